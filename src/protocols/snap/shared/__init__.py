"""Pictures of Snap in a folder that several front ends write: files alone, since SQLite's locks do not reach so far."""
