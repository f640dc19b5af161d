"""Pictures of Snap in the data folder of one server: files, and SQLite for their records."""
