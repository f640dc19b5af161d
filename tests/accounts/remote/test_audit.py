"""Lines of the audit on their way to the database: kept while it is gone, and not held up by one that it refuses."""

from __future__ import annotations

from typing import Any

from imageserver import metrics
from imageserver.accounts.audit import LONGEST, AuditEvent, cleaned, line_of
from imageserver.accounts.remote.audit import SharedAudit
from imageserver.errors import UsersUnavailable
from imageserver.limits import Limits


class Database:
    """Takes lines, but for those with "bad" in them."""

    def __init__(self) -> None:
        self.up, self.lines = True, list[str]()

    def ask(self, what: str, front_end: str, lines: list[str]) -> tuple[int, str]:
        assert (what, front_end) == ("note", "a")
        if not self.up:
            raise UsersUnavailable("gone")
        good = [line for line in lines if "bad" not in line]
        self.lines += good
        return len(lines) - len(good), "no such text" if len(good) < len(lines) else ""


def test_what_the_database_does_not_take_is_left_out_counted_and_told_once() -> None:
    database, said = Database(), list[str]()
    users: Any = database
    shared, before = SharedAudit(users, "a", Limits(), said.append), metrics.AUDIT_REFUSED.total()
    database.up = False
    for line in ("1", "bad 2", "3"):
        shared.add(line)
    shared.send()
    assert (database.lines, said) == ([], []), "it is gone: all of them wait"
    database.up = True
    shared.send()
    shared.add("bad 4")
    shared.add("5")
    shared.send()
    assert database.lines == ["1", "3", "5"] and metrics.AUDIT_REFUSED.total() - before == 2
    (line,) = said
    assert "which is in the file alone: no such text" in line


def test_no_line_holds_what_a_database_has_no_text_for() -> None:
    for name in ("\0", "a\0b", "\0" * 200, "\ud800"):
        line = line_of(AuditEvent.LOGIN_REFUSED, 0.0, {"user": cleaned(name, LONGEST)})
        assert "\\u0000" not in line.replace("\\\\", "") and line.isprintable()
