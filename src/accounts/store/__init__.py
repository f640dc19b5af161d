"""What the database of users holds, a module for each kind; `UserDB` of accounts/database.py puts them together."""
