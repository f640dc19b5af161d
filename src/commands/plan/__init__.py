"""`imageserver plan`: how many machines so many cameras need, and why."""
