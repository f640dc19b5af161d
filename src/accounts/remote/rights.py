"""What it takes to talk to PostgreSQL: the driver, the network, and the files in which libpq looks for passwords."""

from __future__ import annotations

import os
from pathlib import Path

from imageserver.jail.rules import MIB, Jail
from imageserver.limits import Limits

LACKING = (
    "--users names a PostgreSQL, and its driver is not installed here ({}): install the extra postgresql "
    "(pip install 'imageserver[postgresql]'; make run POSTGRESQL=1)"
)

_VARIABLES = ("PGPASSFILE", "PGSERVICEFILE", "PGSYSCONFDIR", "PGSSLCERT", "PGSSLKEY", "PGSSLROOTCERT", "PGSSLCRL")
"""That name a file or folder, for libpq."""
_AT_HOME = (".pgpass", ".pg_service.conf", ".postgresql")
_HASH = 64 * MIB
"""Memory of one password that is checked."""


def jail(limits: Limits, *, enforced: bool) -> Jail:
    """Its jail: no code of models runs there, and no file is read but what libpq needs."""
    named = [os.environ[name] for name in _VARIABLES if os.environ.get(name)]
    at_home = [str(Path.home() / name) for name in _AT_HOME]
    return Jail(
        enforced=enforced,
        read=(*(path for path in (*named, *at_home) if os.path.exists(path)), "/etc/passwd"),
        network=True,
        memory=512 * MIB + 2 * limits.login_threads * _HASH,
        variables=("PG*",),
    )
