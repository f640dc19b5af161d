"""Users of several front ends in PostgreSQL: what runs in the process that talks to it, and in the commands.

The only folder that imports psycopg, which blocks; nothing of it but `operations`, the words of the wall, is imported
in the server.
"""
