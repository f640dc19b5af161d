"""Who may come in, built from the settings: users, the audit, and the one check of logins."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from imageserver import limits
from imageserver.accounts.audit import NO_AUDIT, Audit, AuditFile
from imageserver.accounts.database import ROLES, UserDB
from imageserver.accounts.login import Logins
from imageserver.accounts.remote import rights
from imageserver.accounts.remote.asking import Users
from imageserver.accounts.remote.audit import SharedAudit
from imageserver.accounts.remote.users import RemoteUsers
from imageserver.app import logs
from imageserver.app.changes import KEPT, UserChanges
from imageserver.clock import SteadyClock
from imageserver.config.database import DatabaseAddress
from imageserver.config.table import Settings
from imageserver.transport import hub

LOG = logs.LOGGER


def users(settings: Settings) -> Users:
    """The user database, or one in memory when users are given for a trial. SettingError."""
    if not settings.user and isinstance(settings.users, DatabaseAddress):
        remote = RemoteUsers(settings.users, settings, rights.jail(settings, enforced=settings.jail), LOG.warning)
        remote.start()
        return remote
    if not settings.user:
        assert isinstance(settings.users, Path)
        found = UserDB(settings.users, limits=settings, clock=SteadyClock(LOG.warning))
        if settings.auth:
            found.any()  # a file that cannot be used is told before anybody can connect
        return found
    trial = UserDB(None, limits=settings, clock=SteadyClock(LOG.warning))
    for credential in settings.user:
        trial.add(credential.name, credential.password, ROLES)
    return trial


def audit(settings: Settings, users: Users) -> AuditFile | None:
    """The file of events, where one is asked for; what becomes of users is followed into it. SettingError."""
    if settings.audit is None:
        return None
    beside: Callable[[str], None] = _nowhere
    if isinstance(users, RemoteUsers):
        table = SharedAudit(users, settings.front_end or socket.gethostname(), settings, LOG.warning)
        hub.spawn(table.run)
        beside = table.add
    found = AuditFile(str(settings.audit), settings, LOG.warning, beside=beside)
    limits.on_hit(found.limit_hit)
    hub.spawn(found.run)
    hub.spawn(UserChanges(users, found, settings.data / KEPT if users.path else None, LOG.warning).run)
    return found


def _nowhere(_line: str) -> None:
    """One server alone has its audit in a file."""


def logins(settings: Settings, users: Users, audit: Audit = NO_AUDIT) -> Logins:
    """The check of names and passwords that every door shares."""
    return Logins(users, settings, required=settings.auth, log=LOG.warning, audit=audit)


def lacking(users: Users) -> str:
    """A sentence on what is gone without which cameras stream on, "" where nothing is."""
    return users.problem if isinstance(users, RemoteUsers) else ""
