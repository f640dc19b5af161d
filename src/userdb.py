#!/usr/bin/env python3
"""Who may come in: import it (`UserDB`), or type `python3 src/userdb.py --help`.

Thin: the database is accounts/database.py, the command accounts/cli.py.
"""

import sys

if __name__ == "__main__":
    import bootstrap

    bootstrap.start()
elif not __package__:  # another program imports it from here
    import bootstrap

    bootstrap.provide_package(keep_path=True)

from imageserver.accounts.database import ROLES, ROTATIONS, User, UserDB, Verifier

__all__ = ["ROLES", "ROTATIONS", "User", "UserDB", "Verifier"]

if __name__ == "__main__":
    from imageserver.accounts import cli

    sys.exit(cli.main())
