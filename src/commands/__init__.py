"""The one command: `imageserver user …`, `imageserver check`; without a word it runs the server. Thin."""
