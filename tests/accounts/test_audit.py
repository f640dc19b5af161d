"""The audit: what is a line of it, what never is, and that nobody can fill it."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.protocols.http.asking import Asking
from tests.running import PATIENCE, ROOT, until

from imageserver import limits, metrics
from imageserver.accounts import audit
from imageserver.accounts.audit import NO_AUDIT, Audit, AuditEvent, AuditFile
from imageserver.accounts.doors import ADMIN, DOORS
from imageserver.errors import SettingError
from imageserver.limits import Limits

FIELDS = ["time", "event", "outcome", "user", "address", "door", "credential", "by", "detail", "count"]


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Audited:
    """An audit in a folder, and what it holds."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.clock, self.said = Clock(), list[str]()
        self.path, self.marks = folder / "audit.jsonl", 0
        self.file = AuditFile(
            str(self.path), Limits(**settings), self.said.append, lambda: 1_700_000_000 + self.clock.now, self.clock
        )

    def minute(self) -> None:
        """A minute passes."""
        self.clock.now += audit.MINUTE
        self.file.sum_up()

    def entries(self) -> list[dict[str, Any]]:
        """All lines so far."""
        self.marks += 1
        mark = f'"mark {self.marks}"'
        self.file.lines.add(mark)
        until(lambda: self.path.exists() and mark in self.path.read_text(), "the lines before the mark")
        return [json.loads(line) for line in self.path.read_text().splitlines() if not line.startswith('"')]


@pytest.fixture
def audited(tmp_path: Path) -> Iterator[Audited]:
    found = Audited(tmp_path)
    yield found
    found.file.close(PATIENCE)


def test_an_event_is_a_line_with_all_fields(audited: Audited) -> None:
    audited.file.note(
        AuditEvent.DELETION, user="anna", address="10.0.0.7", door="DELETE /x", credential="token 7", detail="x 7"
    )
    (entry,) = audited.entries()
    assert list(entry) == FIELDS
    assert entry == {
        "time": "2023-11-14T22:13:20.000+00:00",
        "event": "deletion",
        "outcome": "done",
        "user": "anna",
        "address": "10.0.0.7",
        "door": "DELETE /x",
        "credential": "token 7",
        "by": "",
        "detail": "x 7",
        "count": 1,
    }
    assert audited.path.stat().st_mode & 0o777 == 0o600


def test_no_audit_notes_nothing() -> None:
    NO_AUDIT.note(AuditEvent.DELETION, user="anna")


@pytest.mark.parametrize("field", ["user", "address", "door", "credential", "by", "detail"])
@pytest.mark.parametrize("text", ["x" * 2**20, "\n\r\0\x1b[2J" * 1000, "\ud800\udfff", "\u202e\u2028", '"}{"', "é猫"])
def test_whatever_clients_send_is_measured_and_cleaned(audited: Audited, field: str, text: str) -> None:
    audited.file.note(AuditEvent.DELETION, **{field: text})
    audited.file.note(AuditEvent.LOGIN_REFUSED, **{field: text})
    entries = audited.entries()
    assert [entry["event"] for entry in entries] == ["deletion", "login refused"]
    assert len(entries[0][field]) < 10 * audit.LONGEST_DETAIL
    assert entries[0][field].isprintable()


def test_a_token_is_never_noted_wherever_somebody_typed_it(audited: Audited) -> None:
    audited.file.note(AuditEvent.LOGIN_REFUSED, user="ist_12_verysecret", detail="Bearer ist_12_verysecret, and more")
    (entry,) = audited.entries()
    assert entry["user"] == "ist_12_…"
    assert entry["detail"] == "Bearer ist_12_… and more"
    assert "verysecret" not in audited.path.read_text()


def test_refused_logins_of_one_address_are_summed_up(audited: Audited) -> None:
    for number in range(100):
        audited.file.note(AuditEvent.LOGIN_REFUSED, user=f"name{number}", address="10.0.0.7", door="/x")
    audited.file.note(AuditEvent.LOGIN_REFUSED, user="anna", address="10.0.0.8")
    audited.file.note(AuditEvent.LOGIN_TAKEN, user="anna", address="10.0.0.7")
    assert len(audited.entries()) == 12
    audited.minute()
    last = audited.entries()[-1]
    assert len(audited.entries()) == 13
    assert (last["event"], last["outcome"], last["count"]) == ("login refused", "refused", 90)
    assert (last["user"], last["address"], last["door"]) == ("", "10.0.0.7", "/x")  # what they have in common
    assert last["since"] < last["time"]
    audited.minute()
    assert len(audited.entries()) == 13


def test_who_goes_on_has_a_line_a_minute_and_who_was_quiet_begins_anew(audited: Audited) -> None:
    for _ in range(5):
        for _ in range(1000):
            audited.file.limit_hit("max_connections", "address 10.0.0.7")
        audited.minute()
    assert [entry["count"] for entry in audited.entries()] == [1, 999, 1000, 1000, 1000, 1000]
    audited.minute()
    audited.file.limit_hit("max_connections", "address 10.0.0.7")
    assert [entry["count"] for entry in audited.entries()][6:] == [1]


def test_a_network_of_ipv6_is_one_client(audited: Audited) -> None:
    for number in range(100):
        audited.file.note(AuditEvent.LOGIN_REFUSED, address=f"2001:db8::{number:x}")
    audited.minute()
    assert [entry["count"] for entry in audited.entries()] == [*[1] * 10, 90]


@pytest.mark.parametrize("event", list(audit.AT_ONCE))
def test_a_flood_from_everywhere_costs_bounded_memory_and_few_lines(audited: Audited, event: AuditEvent) -> None:
    for number in range(100_000):
        address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        audited.file.note(event, user=f"name{number}" * 10, address=address, detail="x")
    assert all(len(groups._groups) <= audit.MOST_GROUPS + 1 for groups in audited.file._groups.values())
    audited.minute()
    entries = audited.entries()
    assert sum(entry["count"] for entry in entries) == 100_000
    assert len(entries) <= audit.MOST_AT_ONCE + audit.MOST_GROUPS + 1


def test_a_flood_of_one_kind_hides_nothing_of_another(audited: Audited) -> None:
    for number in range(10_000):
        audited.file.note(AuditEvent.LOGIN_REFUSED, user=f"name{number}", address=f"10.0.{number >> 8}.{number & 255}")
    audited.file.note(AuditEvent.LOGIN_TAKEN, user="mallory", address="10.0.0.9")
    assert audited.entries()[-1]["event"] == "login taken"


def test_the_file_is_begun_anew_at_its_size_and_old_ones_give_way(tmp_path: Path) -> None:
    audited = Audited(tmp_path, audit_bytes=4096, audit_files=2)
    hits = metrics.LIMITS_HIT.child("audit-bytes")
    before = hits.value
    for number in range(200):
        audited.file.note(AuditEvent.DELETION, detail=str(number))
        audited.entries()
    audited.file.close(PATIENCE)
    names = ["audit.jsonl.2", "audit.jsonl.1", "audit.jsonl"]
    assert sorted(entry.name for entry in tmp_path.iterdir()) == sorted(names)
    lines = [json.loads(line) for name in names for line in (tmp_path / name).read_text().splitlines()]
    found = [int(line["detail"]) for line in lines if "detail" in line]
    assert found == list(range(found[0], 200))
    assert hits.value > before + 2


def test_lines_that_were_lost_are_counted_told_and_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    audited = Audited(tmp_path)
    before = metrics.AUDIT_DROPPED.child().value

    def full(_descriptor: int, _data: bytes) -> int:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as patched:
        patched.setattr("imageserver.lines.os.write", full)
        audited.file.note(AuditEvent.DELETION)
        audited.file.note(AuditEvent.DELETION)
        until(lambda: metrics.AUDIT_DROPPED.child().value == before + 2, "the loss")
    audited.file.note(AuditEvent.TRAINING_STARTED)
    until(lambda: [entry["event"] for entry in audited.entries()] == ["training started", "lines lost"], "the lines")
    assert audited.entries()[-1]["count"] == 2
    assert audited.said == [
        f"--audit {audited.path} cannot be written: No space left on device",
        f"--audit {audited.path} can be written again; 2 events are missing in it",
    ]
    audited.file.close(PATIENCE)


def test_what_cannot_be_opened_is_said(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="--audit .*: Is a directory; give a file"):
        AuditFile(str(tmp_path), Limits(), print)


def test_the_end_writes_what_was_being_counted(tmp_path: Path) -> None:
    audited = Audited(tmp_path)
    for _ in range(3):
        audited.file.limit_hit("max_requests", "user anna")
    audited.file.close(PATIENCE)
    entries = [json.loads(line) for line in audited.path.read_text().splitlines()]
    assert [(entry["user"], entry["detail"], entry["count"]) for entry in entries] == [
        ("anna", "--max-requests", 1),
        ("anna", "--max-requests", 2),
    ]


def test_hits_of_limits_are_told_to_whom_it_concerns(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, str]] = []
    monkeypatch.setattr("imageserver.limits.table._heard", lambda name, who: heard.append((name, who)))
    limits.hit("max_requests")
    limits.hit("max_requests", "user anna")
    assert limits.note("too many", "max_connections", "address 10.0.0.7") == "too many (--max-connections)"
    assert heard == [("max_requests", ""), ("max_requests", "user anna"), ("max_connections", "address 10.0.0.7")]


KILLED = """
import sys
from imageserver.accounts.audit import AuditEvent, AuditFile
from imageserver.limits import Limits
file = AuditFile(sys.argv[1], Limits(audit_bytes=65536, audit_files=1000), print)
while True:
    file.note(AuditEvent.DELETION, user="x" * 100, detail="y" * 300)
"""


def test_kill_9_leaves_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    program = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r}); import bootstrap; bootstrap.provide_package()"
    process = subprocess.Popen([sys.executable, "-c", program + KILLED, str(path)], stdout=subprocess.DEVNULL)
    until((tmp_path / "audit.jsonl.5").exists, "some files")
    process.send_signal(signal.SIGKILL)
    process.wait()
    for entry in tmp_path.iterdir():
        content = entry.read_text()
        assert not content or content.endswith("\n")
        assert all(json.loads(line)["event"] == "deletion" for line in content.splitlines())


NOTED_ELSEWHERE = ("/streams/", "/users", "/tokens", "/sessions")
"""Of these more is noted than the table knows: whose they are."""


def test_what_only_an_admin_may_change_is_noted() -> None:
    doors = [door for door in DOORS if door.changes and door.roles == {ADMIN}]
    assert {door.event for door in doors} >= {"deletion", "training started", "training cancelled"}
    silent = [door.name for door in doors if not door.event and not door.path.startswith(NOTED_ELSEWHERE)]
    assert not silent, "give their rows in accounts/doors.py an event"


def test_every_event_is_documented_and_no_other() -> None:
    text = (ROOT / "docs" / "audit.md").read_text()
    rows = re.findall(r"^\| (`[a-z ]+`(?:, `[a-z ]+`)*) \|", text.partition("| event | when |")[2], re.MULTILINE)
    assert {name for row in rows for name in re.findall("`(.*?)`", row)} == {str(event) for event in AuditEvent}
    for name in FIELDS:
        assert f"| `{name}` |" in text


@pytest.mark.skipif(shutil.which("jq") is None, reason="no jq")
def test_the_questions_of_the_documentation_have_answers(audited: Audited, tmp_path: Path) -> None:
    note = audited.file.note
    note(AuditEvent.LOGIN_REFUSED, user="anna", address="10.0.0.7")
    note(AuditEvent.LOGIN_TAKEN, user="anna", address="10.0.0.7", credential="token 8c1f00a2b4d6")
    note(AuditEvent.DELETION, user="anna", address="10.0.0.7", detail="/snippets/7/")
    note(AuditEvent.USER_ADDED, user="bob", by="anna")
    audited.file.limit_hit("max_requests", "user anna")
    entries, day = audited.entries(), "2023-11-14"
    (tmp_path / "asked").mkdir()
    (tmp_path / "asked" / "audit.jsonl").write_text("\n".join(map(json.dumps, entries)))
    text = (ROOT / "docs" / "audit.md").read_text()
    block = text.partition("## Questions")[2].split("```")[1].replace("2026-11-21", day)
    answers = []
    for question in block.strip().split("\n\n"):
        command = question.partition("\n")[2]
        done = subprocess.run(["bash", "-c", command], cwd=tmp_path / "asked", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        answers.append(done.stdout)
    assert len(answers) == 6
    assert all(answers)
    assert json.loads(answers[0]) == [{"address": "10.0.0.7", "failed": 1}]
    assert answers[1].endswith(" anna /snippets/7/ from 10.0.0.7\n")
    assert json.loads(answers[3])["by"] == "anna"
    assert answers[4] == "1 --max-requests anna\n"
    assert json.loads(answers[5]) == ["10.0.0.7"]


class Noted(Audit):
    """An audit that remembers."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, dict[str, str]]] = []

    def note(self, event: str, **more: str) -> None:
        self.notes.append((str(event), more))


@pytest.mark.parametrize(
    ("method", "path", "event"),
    [
        ("POST", "/lenet/train", "training started"),
        ("GET", "/lenet/train", "training started"),
        ("POST", "/lenet/train/cancel", "training cancelled"),
    ],
)
def test_who_starts_and_cancels_trainings_is_noted_when_it_is_done(method: str, path: str, event: str) -> None:
    asking = Asking(required=True).serve()
    asking.add("anna", "admin")
    asking.add("bob", "camera")
    asking.logins.audit = noted = Noted()
    assert asking(method, path, "bob").status_code == 403
    assert [kind for kind, _more in noted.notes] == ["login taken"]
    assert asking(method, path, "anna").status_code == 200
    kind, more = noted.notes[-1]
    assert kind == event
    assert more["user"] == "anna"
    assert more["detail"] == path
    assert more["credential"] == "password"
