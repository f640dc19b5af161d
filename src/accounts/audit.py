"""The audit: who logged in or was refused, and who changed what, each a line of JSON in the file of `--audit`.

    audit.note(AuditEvent.DELETION, user="anna", address="10.0.0.7", door="DELETE /snippets/<n>/", detail="snippet 7")

Whoever has something to note is given an `Audit`; where no audit is asked for that is one that notes nothing.
docs/audit.md has the fields and the events. No password, token, key or path of one may be in what is noted.
"""

from __future__ import annotations

import datetime
import enum
import json
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from imageserver import limits, metrics
from imageserver.accounts.store.bearer import PAGE, TOKEN
from imageserver.limits import Limits
from imageserver.lines import LinesKind, LinesWriter, printable
from imageserver.transport import hub
from imageserver.transport.budget import owner_of

MINUTE = 60.0
LONGEST, LONGEST_DETAIL = 128, 500
"""Characters of a field that are noted."""
MOST_GROUPS = 256
"""Of each kind of event that clients bring about as they like, who are told apart in a minute."""
MOST_AT_ONCE = 256
"""Lines of such a kind in a minute, beside the sums."""

_TOKEN = re.compile(rf"((?:{TOKEN}|{PAGE})_[^_\s]+_)[^\s\"']+")


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
    USER_CHANGED = "user changed"
    """Roles, cameras and whatever else is not the password."""
    PASSWORD_CHANGED = "password changed"
    DELETION = "deletion"
    TRAINING_STARTED = "training started"
    TRAINING_CANCELLED = "training cancelled"
    TRAINING_ENDED = "training ended"
    CONFIGURATION = "configuration"
    """Somebody's stream was changed by somebody else, or a model was loaded anew."""
    DISCONNECTION = "disconnection"
    """The server ended a connection: an admin asked for it, its login no longer holds, or it did not log in."""
    LIMIT_HIT = "limit hit"
    LINES_LOST = "lines lost"
    """The audit itself could not be written."""


REFUSALS = (AuditEvent.LOGIN_REFUSED, AuditEvent.LOGIN_PAUSED, AuditEvent.LIMIT_HIT)
"""Events whose outcome is "refused"; that of all others is "done"."""

AT_ONCE = {
    AuditEvent.LOGIN_TAKEN: 10,
    AuditEvent.LOGIN_REFUSED: 10,
    AuditEvent.LOGIN_PAUSED: 1,
    AuditEvent.LIMIT_HIT: 1,
}
"""What a client can bring about as often as it likes: of each, and of who did it, so many a minute are a line of their
own, and one is the sum of all others."""


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
        """Note what happened; never blocks, and never fails; in any thread.

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

REMEDY = "give a file that can be written, in a folder where it can be renamed"
"""Where the file of --audit cannot be used."""


class AuditFile(Audit):
    """The audit in a file: a line of JSON for each event, written by a thread, readable by its owner alone.

    Args:
        path: the file.
        settings: `audit_bytes`, at which it is begun anew, and `audit_files`, of how many such the oldest gives way.
        log: takes a line about what the operator can mend; called in any thread.
        clock: seconds since 1970.
        monotonic: seconds.
        beside: takes each line but those of `write`, in any thread, and must not block.

    Raises:
        SettingError: it cannot be opened for appending.
    """

    def __init__(
        self,
        path: str,
        settings: Limits,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        beside: Callable[[str], None] = lambda _line: None,
    ) -> None:
        kind = LinesKind(
            option="--audit",
            remedy=REMEDY,
            what="events",
            dropped=metrics.AUDIT_DROPPED.child(),
            max_bytes=settings.audit_bytes,
            keep=settings.audit_files,
            rotated=lambda: limits.hit("audit_bytes"),
            mode=0o600,
            sync_every=1.0,
        )
        self.lines = LinesWriter(path, kind, log, self._regained)
        self._clock, self._beside = clock, beside
        self._lock = threading.Lock()  # guards the groups
        self._groups: dict[str, _Groups] = {event: _Groups(at_once, monotonic) for event, at_once in AT_ONCE.items()}

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
        said = {"user": user, "address": address, "door": door, "credential": credential, "by": by, "detail": detail}
        fields, now = _cleaned(said), self._clock()
        groups = self._groups.get(event)
        if groups is not None:
            with self._lock:
                if not groups.passes(_who(event, fields), fields, now):
                    return
        self._add(line_of(event, now, fields))

    def write(self, entries: list[tuple[AuditEvent, float, dict[str, str]]]) -> bool:
        """Whether the disk holds these, each an event, its time in seconds since 1970, and fields. Blocks."""
        return self.lines.write([line_of(event, when, _cleaned(fields)) for event, when, fields in entries])

    def limit_hit(self, name: str, who: str) -> None:
        """Note that somebody ran into the limit `name`. `who`: as `limits.hit` has it."""
        kind, _, rest = who.partition(" ")
        if not rest:  # of an account that is nobody's
            return
        user, address = (rest, "") if kind == "user" else ("", rest)
        self.note(AuditEvent.LIMIT_HIT, user=user, address=address, detail=limits.option(name))

    def run(self) -> None:
        """Write the sums of minutes that are over, until the server ends."""
        while True:
            hub.sleep(1.0)
            hub.in_thread(self.sum_up)  # a thousand lines, when very many were counted

    def sum_up(self, *, all_of_them: bool = False) -> None:
        """Write the sums of minutes that are over, or of those that are not as well."""
        now = self._clock()
        with self._lock:
            sums = [(event, group) for event, groups in self._groups.items() for group in groups.sums(all_of_them)]
        for event, group in sums:
            self._add(line_of(event, now, group.common, group.count, group.since))

    def close(self, timeout: float) -> None:
        """Write what waits, for at most `timeout` seconds. Blocks: call it in a thread."""
        self.sum_up(all_of_them=True)
        self.lines.close(timeout)

    def _add(self, line: str) -> None:
        self.lines.add(line)
        self._beside(line)

    def _regained(self, lost: int) -> None:
        self._add(line_of(AuditEvent.LINES_LOST, self._clock(), {}, lost))


@dataclass(slots=True)
class _Group:
    """Events of one kind from one client, of one minute: how many were not written, and what they have in common."""

    begun: float
    """Monotonic seconds."""
    at_once: int
    """Further ones that are written."""
    count: int = 0
    since: float = 0.0
    """When the first of them was, in seconds since 1970."""
    common: dict[str, str] = field(default_factory=dict)

    def add(self, fields: dict[str, str], now: float) -> None:
        if not self.count:
            self.since, self.common = now, fields
        self.count += 1
        for name, text in fields.items():
            if self.common[name] != text:
                self.common[name] = ""


class _Groups:
    """Events of one kind by who brought them about.

    Args:
        at_once: of each who, events of a minute that are written as they come.
        monotonic: seconds.
    """

    def __init__(self, at_once: int, monotonic: Callable[[], float]) -> None:
        self._at_once, self._monotonic = at_once, monotonic
        self._groups: dict[str, _Group] = {}  # the oldest minute first
        self._minute, self._written = monotonic(), 0

    def passes(self, who: str, fields: dict[str, str], now: float) -> bool:
        """Whether an event is written; else it is counted."""
        group = self._groups.get(who)
        if group is None:
            who = who if len(self._groups) < MOST_GROUPS else ""  # all others together
            group = self._groups.setdefault(who, _Group(self._monotonic(), self._at_once))
        if group.at_once > 0 and self._written < MOST_AT_ONCE:
            group.at_once -= 1
            self._written += 1
            return True
        group.add(fields, now)
        return False

    def sums(self, all_of_them: bool) -> list[_Group]:
        """What was counted in minutes that are over. Who goes on has a sum a minute until there is a quiet one."""
        now = self._monotonic()
        if now - self._minute >= MINUTE:
            self._minute, self._written = now, 0
        over = [(who, group) for who, group in self._groups.items() if all_of_them or now - group.begun >= MINUTE]
        for who, group in over:
            del self._groups[who]
            if group.count:
                self._groups[who] = _Group(now, 0)
        return [group for _who_it_was, group in over if group.count]


def _who(event: str, fields: dict[str, str]) -> str:
    """By whom events of a kind are summed up."""
    if event == AuditEvent.LIMIT_HIT:
        return f"{fields['detail']} {fields['user']} {fields['address']}"
    owner = owner_of(fields["address"])
    return f"{owner} {fields['user']}" if event == AuditEvent.LOGIN_TAKEN else owner


def _cleaned(fields: dict[str, str]) -> dict[str, str]:
    return {name: cleaned(text, LONGEST_DETAIL if name == "detail" else LONGEST) for name, text in fields.items()}


def cleaned(text: str, most: int) -> str:
    """A text of a client's that may stand in the audit: printable, at most so many characters, without a token."""
    if len(text) <= most and text.isprintable() and not _TOKEN.search(text):
        return text
    short = _TOKEN.sub(r"\1…", printable(text[:most]))
    return short if len(text) <= most else f"{short}… ({len(text)} characters)"


def line_of(event: str, when: float, fields: dict[str, str], count: int = 1, since: float | None = None) -> str:
    """A line of the audit; `since`: when the first of several was, which one line is the sum of."""
    line = {
        "time": _iso(when),
        "event": event,
        "outcome": "refused" if event in REFUSALS else "done",
        **{name: fields.get(name, "") for name in ("user", "address", "door", "credential", "by", "detail")},
        "count": count,
    }
    if since is not None:
        line["since"] = _iso(since)
    return json.dumps(line, ensure_ascii=False)


def _iso(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).isoformat(timespec="milliseconds")
