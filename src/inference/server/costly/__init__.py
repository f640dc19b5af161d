"""Pictures that are costly to decode: a process of their own, a turn for each sender, a memory of those that end it."""
