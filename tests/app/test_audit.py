"""The audit of a real server: each kind of event is there, in its words; no secret is, there or in the log."""

from __future__ import annotations

import base64
import dataclasses
import http.client
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.passwords import CHEAP
from tests.running import PATIENCE, Camera, Server, picture, until

from imageserver.accounts.database import UserDB
from imageserver.app import changes

PASSWORDS = {"admin": "first secret", "cam": "second secret"}
GUESS = "a guess of somebody"


class Audited:
    """A server with users, and the lines of its audit."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "audit.jsonl"
        self.users = UserDB(folder / "users.db", CHEAP)
        for name, password in PASSWORDS.items():
            self.users.add(name, password, ("camera", "viewer", "admin") if name == "admin" else ("camera",), by="root")
        bounds = ("--max-frame-bytes", "4096", "--login-attempts", "8")
        self.server = Server("-a", "--audit", str(self.path), *bounds, data=folder)

    def ask(self, method: str, path: str, user: str = "", body: bytes = b"", *, source: str = "127.0.0.1") -> int:
        """The status of a request; `user`: with that one's password, or a header's whole value."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, PATIENCE, source_address=(source, 0))
        basic = base64.b64encode(f"{user}:{PASSWORDS.get(user, GUESS)}".encode()).decode()
        shown = {"Authorization": user if " " in user else f"Basic {basic}"} if user else {}
        types = {"Content-Type": "image/jpeg" if body[:1] == b"\xff" else "application/json"} if body else {}
        try:
            connection.request(method, path, body or None, shown | types)
            with connection.getresponse() as answer:
                answer.read()
                return answer.status
        finally:
            connection.close()

    def entries(self, event: str = "") -> list[dict[str, Any]]:
        """The lines so far, or those of one kind."""
        found = [json.loads(line) for line in self.path.read_text().splitlines()]
        return [entry for entry in found if event in ("", entry["event"])]

    def wait_for(self, event: str, **fields: Any) -> dict[str, Any]:
        """Wait for a line with these fields."""

        def look() -> dict[str, Any] | None:
            return next((entry for entry in self.entries(event) if fields.items() <= entry.items()), None)

        found: dict[str, Any] = until(look, f"a line of {event} with {fields}")
        return found


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    found = Audited(tmp_path_factory.mktemp("audited"))
    with found.server:
        found.server.ready()
        yield found


def test_a_login_is_noted_once_however_many_requests_show_it(audited: Audited) -> None:
    for _ in range(20):
        assert audited.ask("GET", "/list_nn", "admin", source="127.0.0.2") == 200
    entry = audited.wait_for("login taken", user="admin", address="127.0.0.2")
    assert (entry["credential"], entry["door"], entry["outcome"]) == ("password", "GET /list_nn", "done")
    assert sum(entry["address"] == "127.0.0.2" for entry in audited.entries("login taken")) == 1


def test_a_refused_login_is_noted_by_name_and_address(audited: Audited) -> None:
    assert audited.ask("GET", "/list_nn", "mallory", source="127.0.0.3") == 401
    entry = audited.wait_for("login refused", user="mallory")
    assert (entry["address"], entry["door"], entry["outcome"]) == ("127.0.0.3", "GET /list_nn", "refused")


def test_guessing_leads_to_pauses_and_is_summed_up(audited: Audited) -> None:
    for _ in range(12):
        assert audited.ask("GET", "/list_nn", "somebody", source="127.0.0.4") in (401, 429)
    audited.wait_for("login paused", address="127.0.0.4")
    audited.wait_for("limit hit", address="127.0.0.4", detail="--login-attempts")
    assert sum(entry["address"] == "127.0.0.4" for entry in audited.entries("login refused")) <= 10


def test_users_and_tokens_are_followed_while_the_server_runs(audited: Audited) -> None:
    bob = audited.users.add("bob", "fourth secret", by="root")
    audited.users.passwd("bob", "fifth secret", by="root")
    audited.users.set(dataclasses.replace(bob, roles=frozenset({"viewer"})), by="root")
    audited.users.remove("bob", by="root")
    audited.wait_for("user removed", user="bob", by="root")
    kinds = [entry["event"] for entry in audited.entries() if entry["user"] == "bob"]
    assert kinds == ["user added", "password changed", "user changed", "user removed"]
    added = {entry["user"] for entry in audited.entries("user added")}
    assert added >= {*PASSWORDS, "bob"}
    assert (audited.path.parent / changes.KEPT).stat().st_mode & 0o777 == 0o600


def test_users_and_tokens_over_http_are_noted_with_the_admin(audited: Audited) -> None:
    body = {"password": "seventh secret", "roles": ["viewer"]}
    assert audited.ask("PUT", "/users/zoe", "admin", json.dumps(body).encode()) == 201
    assert audited.ask("POST", "/tokens/", "admin", b'{"user": "zoe"}') == 201
    assert audited.ask("DELETE", "/users/zoe", "admin") == 200
    audited.wait_for("user added", user="zoe", by="admin")
    audited.wait_for("token made", user="zoe", by="admin")
    audited.wait_for("user removed", user="zoe", by="admin")


def test_a_token_is_named_by_its_id(audited: Audited) -> None:
    token, secret = audited.users.add_token("cam", by="cam")
    assert audited.ask("GET", "/list_nn", f"Bearer {secret}") == 200
    entry = audited.wait_for("login taken", user="cam", credential=f"token {token.identity}")
    audited.wait_for("token made", user="cam", by="cam")
    audited.users.revoke(token.identity, by="admin")
    assert audited.wait_for("token revoked", user="cam")["by"] == "admin"
    assert audited.ask("GET", "/list_nn", f"Bearer {secret}") == 401
    assert entry["address"] == "127.0.0.1"
    assert secret not in audited.path.read_text() + audited.server.text
    assert secret.split("_")[2] not in audited.path.read_text() + audited.server.text


def test_a_deletion_is_noted_with_who_and_what(audited: Audited) -> None:
    assert audited.ask("PUT", "/snippets/7/", "cam", picture()) in (200, 201, 204)
    assert audited.ask("DELETE", "/snippets/7/", "cam") == 403
    assert audited.ask("DELETE", "/snippets/7/", "admin") in (200, 204)
    assert audited.ask("DELETE", "/snippets/7/", "admin") == 404
    entry = audited.wait_for("deletion", user="admin")
    assert (entry["detail"], entry["address"], entry["by"]) == ("/snippets/7/", "127.0.0.1", "")
    assert len(audited.entries("deletion")) == 1


def test_what_an_admin_does_to_a_stream_is_noted_with_whose_it_is(audited: Audited) -> None:
    with Camera(audited.server) as camera:
        assert camera.login("cam", PASSWORDS["cam"])
        camera.ask(picture())
        assert audited.ask("POST", "/streams/cam", "admin", b'{"hz": 5}') == 200
        entry = audited.wait_for("configuration", user="cam", by="admin")
        assert entry["detail"] == '{"hz":5}'
        assert audited.ask("DELETE", "/streams/cam", "admin") == 200
        audited.wait_for("disconnection", user="cam", by="admin")


def test_a_connection_whose_login_no_longer_holds_is_noted(audited: Audited) -> None:
    audited.users.add("guest", "sixth secret", by="root")
    with Camera(audited.server) as camera:
        assert camera.login("guest", "sixth secret")
        camera.ask(picture())
        audited.users.remove("guest", by="root")
        audited.wait_for("disconnection", user="guest", credential="password")


def test_whoever_runs_into_a_limit_is_noted(audited: Audited) -> None:
    assert audited.ask("PUT", "/snippets/8/", "cam", b"\xff" * 5000) == 413
    audited.wait_for("limit hit", user="cam", detail="--max-frame-bytes")


def test_no_password_is_in_the_audit_or_in_the_log(audited: Audited) -> None:
    said = audited.path.read_text() + audited.server.text
    encoded = [base64.b64encode(f"{name}:{password}".encode()).decode() for name, password in PASSWORDS.items()]
    later = [f"{number} secret" for number in ("fourth", "fifth", "sixth", "seventh")]
    for secret in (*PASSWORDS.values(), GUESS, *later, *encoded):
        assert secret not in said
    assert audited.path.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    server = Server("--audit", str(tmp_path), data=tmp_path)
    assert server.process.wait(PATIENCE) == 2
    server._reader.join(PATIENCE)
    assert server.text.endswith("Is a directory; give a file that can be written, in a folder where it can be renamed")
    assert server.process.stdout is not None
    server.process.stdout.close()
