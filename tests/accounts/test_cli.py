"""userdb.py: what it does, what it says, and that nothing secret is where others can read it."""

from __future__ import annotations

import io
import json
import os
import pty
import pwd
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.passwords import CHEAP
from tests.running import ROOT

from imageserver.accounts import cli, database
from imageserver.accounts.database import UserDB

OPERATOR = pwd.getpwuid(os.getuid()).pw_name


class Done(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """Runs userdb.py with the users of this test, in this process."""
    monkeypatch.setattr(database.argon2, "PasswordHasher", lambda: CHEAP)
    monkeypatch.setenv("IMAGESERVER_DATA", str(tmp_path))

    def run(*arguments: str, typed: str = "") -> Done:
        monkeypatch.setattr(sys, "stdin", io.StringIO(typed))
        monkeypatch.setattr(sys, "argv", ["src/userdb.py"])
        capsys.readouterr()
        return Done(cli.main(arguments), *capsys.readouterr())

    return run


@pytest.fixture
def users(tmp_path: Path) -> UserDB:
    return UserDB(tmp_path / "users.db", CHEAP)


def test_life_of_a_user(command: Callable[..., Done], users: UserDB, tmp_path: Path) -> None:
    done = command("add", "alice", "--roles", "camera,admin", typed="secret word\n")
    assert done == (0, f"Added to {tmp_path}/users.db: alice camera,admin\n", "")
    assert users.check("alice", "secret word").roles == {"camera", "admin"}
    assert command("set", "alice", "--model", "lenet", "--hz", "5", "--rotate", "90").out == (
        "alice camera,admin --model lenet --hz 5 --rotate 90\n"
    )
    settings = {"model": "lenet", "hz": 5.0, "rotate": 90, "only": [], "camera": None}
    assert json.loads(command("list", "--json").out) == [{"name": "alice", "roles": ["camera", "admin"], **settings}]
    assert command("passwd", "alice", typed="changed") == (
        0, "The password of alice is changed; connections that are open end within 2 seconds.\n", ""
    )  # fmt: skip
    assert users.check("alice", "changed")
    assert command("set", "alice", "--model", "", "--hz", "", "--rotate", "0").out == "alice camera,admin\n"
    assert command("set", "alice", "--model", "lennet") == (
        0,
        "alice camera,admin --model lennet\n",
        f"There is no model 'lennet' in {ROOT / 'models'}: until there is, the server's own default is used.\n",
    )
    assert command("add", "bob", typed="x") == (0, f"Added to {tmp_path}/users.db: bob camera\n", "")
    assert command("remove", "bob") == (0, "Removed bob; connections that are open end within 2 seconds.\n", "")
    assert command("remove", "alice") == (
        0,
        "Removed alice; connections that are open end within 2 seconds.\n",
        "That was the last user. The server stays closed until there is one again; to let anybody in without a login, "
        f"stop it, remove {tmp_path}/users.db, and start it without -a.\n",
    )
    assert command("list") == (0, "", f"No users in {tmp_path}/users.db.\n")
    assert {change.by for change in users.changes(0)} == {OPERATOR}


def test_users_are_bound_to_cameras_and_set_free(command: Callable[..., Done], users: UserDB) -> None:
    assert command("add", "alice", "--only", "kitchen, front door,kitchen", typed="x").code == 0
    assert users.get("alice").only == ("kitchen", "front door")
    assert command("list").out == "alice camera --only 'kitchen,front door'\n"
    assert json.loads(command("list", "--json").out)[0]["only"] == ["kitchen", "front door"]
    assert command("set", "alice", "--hz", "2").err == ""
    said = "What alice may has changed: connections that are open end within 2 seconds.\n"
    assert command("set", "alice", "--only", "ga\u0308rten") == (0, "alice camera --only 'gärten' --hz 2\n", said)
    assert command("set", "alice", "--roles", "viewer").err == said
    assert command("set", "alice", "--only", "") == (0, "alice viewer --hz 2\n", said)
    assert users.get("alice").only == ()


def test_a_user_has_a_name_for_the_camera(command: Callable[..., Done], users: UserDB) -> None:
    done = command("add", "alice", "--camera", " front do\u0308r ", typed="x")
    assert done.out.endswith(": alice camera --camera 'front dör'\n")
    assert users.get("alice").camera == "front dör"
    assert users.check("alice", "x").camera == "front dör"
    assert json.loads(command("list", "--json").out)[0]["camera"] == "front dör"
    assert command("set", "alice", "--camera", "yard") == (0, "alice camera --camera yard\n", "")
    assert [change.detail for change in users.changes(0)] == [
        "roles camera, camera front dör",
        "camera front dör -> yard",
    ]
    assert command("set", "alice", "--only", "kitchen,yard").code == 0
    refused = command("set", "alice", "--camera", "door")
    assert (refused.code, users.get("alice").camera) == (2, "yard")
    assert "'door' cannot be the user's camera, who is bound to others: kitchen, yard" in refused.err
    assert command("set", "alice", "--camera", "", "--only", "").out == "alice camera\n"


def test_a_token_is_printed_once_and_alone(command: Callable[..., Done], users: UserDB) -> None:
    command("add", "alice", "--roles", "camera,viewer", typed="x")
    done = command("token", "alice", "--roles", "camera", "--days", "90", "--name", "front door")
    text = done.out.rstrip("\n")
    assert done.code == 0 and users.check_token(text).roles == {"camera"}
    (token,) = users.tokens()
    assert re.fullmatch(
        "This is shown once. Give it to one program, as Authorization: Bearer or as the password of alice. "
        r"It has the roles camera, until 20\d\d-\d\d-\d\d \d\d:\d\d UTC; "
        f"to end it:  python3 src/userdb.py revoke {token.identity}\n",
        done.err,
    )
    users._marks.settle()
    lasting = command("token", "alice")
    assert "the roles camera,viewer, without an end;" in lasting.err
    listed = command("tokens")
    first, second = listed.out.splitlines()
    assert re.fullmatch(
        rf"{token.identity} alice camera until 20[\d-]{{8}} [\d:]{{5}} UTC, last used [\d-]{{10}} [\d:]{{5}} UTC, "
        "'front door'",
        first,
    )
    assert second.endswith(" alice camera,viewer without an end, never used")
    assert command("tokens", "alice") == listed
    shown = json.loads(command("tokens", "--json").out)
    assert [sorted(row) for row in shown] == [["created", "expires", "id", "name", "roles", "used", "user"]] * 2
    assert shown[0]["id"] == token.identity and shown[1]["expires"] is None and shown[1]["used"] is None
    assert text.split("_")[2] not in listed.out + json.dumps(shown)
    assert command("revoke", token.identity) == (0, "Revoked; connections that are open end within 2 seconds.\n", "")
    assert users.check_token(text) is None
    assert command("revoke", lasting.out.strip()).code == 0
    assert command("tokens").err.startswith("No tokens in /") and command("tokens", "--json").out == "[]\n"


def test_logins_on_pages_are_shown_and_revoked(command: Callable[..., Done], users: UserDB) -> None:
    users.add("alice", "x")
    cookie = users.open_page(users.check("alice", "x"), "192.0.2.1")
    (page,) = users.pages()
    for listed in (command("sessions"), command("sessions", "alice")):
        assert re.fullmatch(
            rf"{page.identity} alice from 192\.0\.2\.1 since [\d-]{{10}} [\d:]{{5}} UTC, last seen .* UTC\n",
            listed.out,
        )
    (shown,) = json.loads(command("sessions", "--json").out)
    assert (shown["id"], shown["user"], shown["address"]) == (page.identity, "alice", "192.0.2.1")
    assert sorted(shown) == ["address", "begun", "id", "seen", "user"]
    assert command("revoke", page.identity).code == 0
    assert users.check_page(cookie) is None
    assert command("sessions").err.startswith("Nobody is logged in on a page of /")


@pytest.mark.parametrize(
    ("arguments", "typed", "sentence"),
    [
        (
            ("add", "a:b"),
            "x",
            "'a:b' cannot be a user's name: it takes 1 to 128 visible characters, no colon, no space at either end",
        ),
        (
            ("add", "bob"),
            "",
            "there is no password on standard input: run this in a terminal, or pipe the password into it",
        ),
        (("add", "alice"), "x", "there is a user 'alice' already: change it with passwd or set, or remove it first"),
        (("passwd", "bob"), "x", "there is no user 'bob'; list shows them all"),
        (("remove", "bob"), "", "there is no user 'bob'; list shows them all"),
        (("set", "bob", "--hz", "1"), "", "there is no user 'bob'; list shows them all"),
        (("set", "alice", "--hz", "fast"), "", "--hz is 'fast', but it takes a number from 0 (no cap) to 1000"),
        (("set", "alice", "--roles", "boss"), "", "'boss' cannot be a user's roles: they are camera, viewer, admin"),
        (
            ("set", "alice", "--only", "a,,b"),
            "",
            "'' cannot be the name of a camera that a user is bound to: empty, or a comma",
        ),
        (
            ("set", "alice", "--only", "a\nb"),
            "",
            "'a\\nb' cannot be the name of a camera: it takes at most 64 characters, no controls",
        ),
        (("set", "alice", "--only", "x" * 65), "", f"'{'x' * 64}'… (65 characters) cannot be the name of a camera: "
            "it takes at most 64 characters, no controls"),
        (("token", "bob"), "", "there is no user 'bob'; list shows them all"),
        (("token", "alice", "--days", "soon"), "", "--days is 'soon', but it takes a number of days, up to 3650"),
        (
            ("token", "alice", "--days", "0"),
            "",
            "days is 0, but a token lasts more than 0 and at most 3650 days, or for ever",
        ),
        (("token", "alice", "--roles", "boss"), "", "'boss' cannot be a token's roles: they are camera, viewer, admin"),
        (
            ("token", "alice", "--roles", "admin"),
            "",
            "'alice' has not the role admin, so no token of theirs can have it",
        ),
        (
            ("token", "alice", "--name", "a\tb"),
            "",
            "'a\\tb' cannot be a token's name: it takes at most 64 visible characters, no space at either end",
        ),
        (("tokens", "bob"), "", "there is no user 'bob'; list shows them all"),
        (("sessions", "bob"), "", "there is no user 'bob'; list shows them all"),
        (("revoke", "x"), "", "there is no token or page session of that id; tokens and sessions show them all"),
    ],
)  # fmt: skip
def test_mistakes(
    command: Callable[..., Done], users: UserDB, arguments: Sequence[str], typed: str, sentence: str
) -> None:
    users.add("alice", "x")
    before = users.revision()
    assert command(*arguments, typed=typed) == (2, "", f"userdb.py: {sentence}\n")
    assert users.revision() == before


def test_a_user_with_too_many_tokens(command: Callable[..., Done], users: UserDB, monkeypatch) -> None:
    users.add("alice", "x")
    monkeypatch.setenv("IMAGESERVER_MAX_TOKENS", "1")
    command("token", "alice")
    assert command("token", "alice") == (
        2, "", "userdb.py: 'alice' has 1 tokens, and more are not allowed: revoke one\n"
    )  # fmt: skip


def typed_command(*arguments: str, typed: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """userdb.py as a process."""
    return subprocess.run(
        [sys.executable, str(ROOT / "src/userdb.py"), *arguments],
        input=typed, cwd=ROOT, env={"PATH": os.environ["PATH"], **environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_as_a_program(tmp_path: Path) -> None:
    done = typed_command("add", "alice", "--data", str(tmp_path), typed="secret word\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Added to {tmp_path}/users.db: alice camera\n", "")
    done = typed_command("list", "--users", str(tmp_path / "users.db"))
    assert (done.returncode, done.stdout) == (0, "alice camera\n")
    done = typed_command("passwd", "bob", IMAGESERVER_DATA=str(tmp_path), typed="x")
    assert (done.returncode, done.stderr) == (2, "userdb.py: there is no user 'bob'; list shows them all\n")
    assert UserDB(tmp_path / "users.db").check("alice", "secret word")


def on_a_terminal(folder, *passwords):
    """Run `add alice` on a terminal, typing a password at each prompt; its exit code and what the screen shows."""
    ours, theirs = pty.openpty()
    program = [sys.executable, str(ROOT / "src/userdb.py"), "add", "alice", "--data", str(folder)]
    with subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True) as process:
        os.close(theirs)
        screen = b""
        for password in (*passwords, None):
            while True:
                try:
                    piece = os.read(ours, 1000)
                except OSError:  # the other end is closed: it ended
                    piece = b""
                screen += piece
                if not piece or (password and screen.endswith(b": ")):
                    break
            if password:
                screen += b"\n"
                os.write(ours, password.encode() + b"\n")
        os.close(ours)
    return process.returncode, screen.decode()


def test_on_a_terminal_the_password_is_asked_for_twice_and_not_shown(tmp_path):
    code, screen = on_a_terminal(tmp_path, "geheimwort", "geheimwort")
    assert code == 0 and "Password: " in screen and "Once more: " in screen and "geheim" not in screen
    assert UserDB(tmp_path / "users.db").check("alice", "geheimwort")


def test_on_a_terminal_two_different_passwords_change_nothing(tmp_path):
    code, screen = on_a_terminal(tmp_path, "geheimwort", "gehemwort")
    assert code == 2 and "the two passwords differ; nothing was changed" in screen
    assert not (tmp_path / "users.db").exists()
