"""The audit: who logged in or was refused, and who changed what, each a line of JSON in the file of `--audit`.

    audit.note(AuditEvent.DELETION, user="anna", address="10.0.0.7", door="DELETE /snippets/<n>/", detail="snippet 7")

Whoever has something to note is given an `Audit`; where no audit is asked for that is one that notes nothing.
docs/audit.md has the fields and the events. No password, token, key or path of one may be in what is noted.
"""

from __future__ import annotations

import enum


class AuditEvent(enum.StrEnum):
    """What is noted, as the field `event` has it."""

    LOGIN_TAKEN = "login taken"
    LOGIN_REFUSED = "login refused"
    LOGIN_PAUSED = "login paused"
    TOKEN_MADE = "token made"
    TOKEN_REVOKED = "token revoked"
    PAGE_REVOKED = "page session revoked"
    USER_ADDED = "user added"
    USER_REMOVED = "user removed"
    PASSWORD_CHANGED = "password changed"
    ROLES_CHANGED = "roles changed"
    CAMERAS_CHANGED = "cameras changed"
    DELETION = "deletion"
    TRAINING_STARTED = "training started"
    TRAINING_CANCELLED = "training cancelled"
    TRAINING_ENDED = "training ended"
    CONFIGURATION = "configuration"
    """Somebody's stream was changed by somebody else."""
    DISCONNECTION = "disconnection"
    """The server ended a connection: an admin asked for it, its login no longer holds, or it did not log in."""
    LIMIT_HIT = "limit hit"


class Audit:
    """Where events are noted. This one notes nothing."""

    def note(
        self,
        event: str,
        *,
        user: str = "",
        address: str = "",
        door: str = "",
        credential: str = "",
        by: str = "",
        detail: str = "",
    ) -> None:
        """Note what happened; never blocks, and never fails.

        Args:
            event: an `AuditEvent`.
            user: whose login, account, stream or connection it is; who did it, where `by` is empty.
            address: the client's.
            door: where: "GET /snippets/", an event's name, a command.
            credential: how they proved who they are: "password", "token 7", "page 3".
            by: who did it to `user`, where that is somebody else.
            detail: what else there is to say, in a few words.
        """


NO_AUDIT = Audit()
