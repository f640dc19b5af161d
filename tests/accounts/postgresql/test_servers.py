"""Two servers with their users in one PostgreSQL, and what becomes of logins while that is gone."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests import postgresql
from tests.running import Server, until

from imageserver.accounts import cli
from imageserver.accounts.database import UserDB
from imageserver.config import database


def ask(server: Server, path: str, login: str = "", method: str = "GET", body: Any = None) -> tuple[int, Any]:
    """The status, and what the JSON of the answer holds. `login`: NAME:PASSWORD, or a token."""
    request = urllib.request.Request(server.url + path, method=method)
    if login.startswith("ist_"):
        request.add_header("Authorization", f"Bearer {login}")
    elif login:
        request.add_header("Authorization", "Basic " + base64.b64encode(login.encode()).decode())
    if body is not None:
        request.data = json.dumps(body).encode()
        request.add_header("Content-Type", "application/json")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@contextlib.contextmanager
def following(server: Server, token: str) -> Iterator[Callable[[], None]]:
    """A connection that lives on this token; what is given waits for its end."""
    request = urllib.request.Request(server.url + "/streams/events", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=60) as events:
        assert events.status == 200

        def ended() -> None:
            with contextlib.suppress(http.client.IncompleteRead):
                while events.read1():
                    pass

        yield ended


@pytest.fixture(scope="module")
def cluster() -> Iterator[postgresql.Cluster]:
    """One of this file's own, since it is killed."""
    with postgresql.running() as found:
        yield found


@pytest.fixture(scope="module")
def address(cluster: postgresql.Cluster) -> str:
    from imageserver.accounts.postgresql.database import PostgreSQL

    address = cluster.database()
    opened = PostgreSQL(database.parsed(address))
    opened.begin()
    opened.wait(10)
    UserDB(opened).add("alice", "secret", ["admin"])
    opened.close()
    return address


@pytest.fixture(scope="module")
def servers(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    folders = [tmp_path_factory.mktemp(name) for name in ("first", "second")]
    limits = ["--login-attempts", "8", "--audit", "audit.jsonl"]
    with (
        Server("-a", "--users", address, *limits, "--front-end", "a", data=folders[0]) as first,
        Server("-a", "--users", address, *limits, "--front-end", "b", data=folders[1]) as second,
    ):
        yield first, second


@pytest.fixture
def gone(cluster: postgresql.Cluster) -> Iterator[Callable[[], None]]:
    """Kills the database; it is back afterwards."""
    yield cluster.kill
    cluster.start()


def test_what_one_changes_the_other_knows_at_once(servers: tuple[Server, Server]) -> None:
    first, second = servers
    assert ask(first, "/users/bob", "alice:secret", "PUT", {"password": "x", "roles": ["viewer"]})[0] == 201
    assert [user["name"] for user in ask(second, "/users/", "alice:secret")[1]] == ["alice", "bob"]
    token = ask(first, "/tokens/", "alice:secret", "POST", {"user": "bob"})[1]
    assert ask(second, "/list_nn", token["token"])[0] == 200
    assert ask(second, f"/tokens/{token['id']}", "alice:secret", "DELETE")[0] == 200
    assert ask(first, "/list_nn", token["token"])[0] == 401


def test_a_connection_ends_when_its_token_is_revoked_elsewhere(servers: tuple[Server, Server]) -> None:
    first, second = servers
    token = ask(first, "/tokens/", "alice:secret", "POST", {})[1]
    with following(first, token["token"]) as ended:
        begun = time.monotonic()
        assert ask(second, f"/tokens/{token['id']}", "alice:secret", "DELETE")[0] == 200
        ended()
        assert time.monotonic() - begun < 10, (
            "at the latest after two seconds, on a machine that has nothing else to do"
        )


def test_who_logged_in_stays_while_it_is_gone_and_nobody_else_comes_in(
    servers: tuple[Server, Server], cluster: postgresql.Cluster, gone: Callable[[], None]
) -> None:
    first, second = servers
    ask(first, "/users/carol", "alice:secret", "PUT", {"password": "y", "roles": ["viewer"]})
    token = ask(first, "/tokens/", "carol:y", "POST", {})[1]["token"]
    assert ask(first, "/list_nn", token)[0] == 200 == ask(first, "/list_nn", "carol:y")[0]
    revoked = ask(first, "/tokens/", "carol:y", "POST", {})[1]
    assert ask(first, "/list_nn", revoked["token"])[0] == 200
    with following(first, revoked["token"]) as ended:
        assert ask(second, f"/tokens/{revoked['id']}", "alice:secret", "DELETE")[0] == 200
        ended()  # so it has looked
    gone()
    until(lambda: "lacking" in ask(first, "/health/ready")[1], "the server to notice")
    assert ask(first, "/list_nn", token)[0] == 200 == ask(first, "/list_nn", "carol:y")[0]
    assert ask(first, "/list_nn", revoked["token"])[0] == 503, "it was revoked, though it was right lately"
    for _ in range(20):  # more than may fail
        status, said = ask(first, "/list_nn", "alice:wrong")
        assert status == 503 and said["error"] == "the users cannot be read at this moment; the server's log says why"
    assert ask(second, "/list_nn", token)[0] == 503, "it came to the other one"
    status, ready = ask(first, "/health/ready")
    assert status == 200 and ready["status"] == "ready" and "users' database" in ready["lacking"]
    assert ask(first, "/users/dave", "alice:secret", "PUT", {"password": "z"})[0] == 503
    figures = urllib.request.Request(first.url + "/metrics", headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(figures, timeout=60) as answer:
        assert re.search(rb'(?m)^imageserver_database_up\{what="users"\} 0', answer.read())


def test_all_is_back_by_itself_and_nobody_has_to_pause(servers: tuple[Server, Server]) -> None:
    for server in servers:
        until(lambda server=server: "lacking" not in ask(server, "/health/ready")[1], "the users", 15)
        assert ask(server, "/list_nn", "alice:secret")[0] == 200
        assert "answers again" in server.text
        assert ask(server, "/users/", "carol:y")[0] == 403, "what was acknowledged is there"


def test_texts_that_are_none_are_wrong_logins_like_others(servers: tuple[Server, Server]) -> None:
    for shown in ({"user": "a\ud800", "password": "b"}, {"user": "alice", "password": "\0"}):
        assert ask(servers[0], "/login", method="POST", body=shown)[0] == 401
    for body in ({"password": "b\ud800"}, {"password": "a\0"}):
        assert ask(servers[0], "/users/eve", "alice:secret", "PUT", body)[0] == 400


def test_guesses_count_at_both_together(servers: tuple[Server, Server]) -> None:
    """Eight may fail in a minute; some did above."""
    statuses = [ask(servers[number % 2], "/list_nn", f"guessed{number}:x")[0] for number in range(12)]
    assert statuses.count(401) <= 8 and statuses[-2:] == [429, 429]
    assert ask(servers[0], "/list_nn", "alice:secret")[0] == 200, "who was right lately is let in"


@pytest.mark.long
def test_a_database_that_is_silent_counts_as_gone(servers: tuple[Server, Server], cluster: postgresql.Cluster) -> None:
    """As one that is stopped, or behind a wire that was cut: nothing is refused, and nothing is answered."""
    first, _second = servers
    cluster.kill(signal.SIGSTOP)
    try:
        until(lambda: ask(first, "/list_nn", "nobody:x")[0] == 503, "the server to notice", 30)
        begun = time.monotonic()
        assert ask(first, "/list_nn", "nobody:x")[0] == 503
        assert time.monotonic() - begun < 2, "whoever asks then is told at once"
    finally:
        cluster.kill(signal.SIGCONT)
    until(lambda: ask(first, "/list_nn", "alice:secret")[0] == 200, "the users", 15)


def test_a_killed_process_comes_back(servers: tuple[Server, Server]) -> None:
    first, _second = servers
    children = Path(f"/proc/{first.process.pid}/task/{first.process.pid}/children").read_text().split()
    (pid,) = [pid for pid in children if b"accounts.postgresql" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    command = Path(f"/proc/{pid}/cmdline").read_bytes()
    assert b"postgresql://" not in command, "secrets stand on no command line"
    os.kill(int(pid), signal.SIGKILL)
    until(lambda: "ended by signal SIGKILL; it is started again" in first.text, "the line")
    until(lambda: ask(first, "/users/", "alice:secret")[0] == 200, "the users", 15)


def test_a_server_starts_without_its_database_and_finds_it_later(tmp_path: Path) -> None:
    with Server("-a", "--users", "postgresql://anna:hunter22@127.0.0.1:1/users", data=tmp_path) as server:
        assert ask(server, "/list_nn", "alice:secret")[0] == 503
        assert "postgresql://anna:…@127.0.0.1:1/users cannot be reached" in server.text
        assert "hunter22" not in server.text.replace("--users has a password", "")


def test_the_audits_of_both_are_in_one_table(
    servers: tuple[Server, Server], address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def noted() -> set[str]:
        capsys.readouterr()
        assert cli.main(["audit", "--users", address]) == 0
        lines = map(json.loads, capsys.readouterr().out.splitlines())
        return {line["front_end"] for line in lines if line["event"] == "login refused"}

    for server in servers:
        assert ask(server, "/list_nn", "mallory:x")[0] in (401, 429)
    until(lambda: noted() == {"a", "b"}, "the lines of both")


def test_a_password_of_pgpass_is_found_in_the_jail(
    cluster: postgresql.Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import psycopg

    address = cluster.database().replace("tests@", "secretive@")
    with psycopg.connect(cluster.address("postgres"), autocommit=True) as connection:
        connection.execute("CREATE ROLE secretive LOGIN PASSWORD 'hunter22'")
        connection.execute(f"GRANT CREATE ON DATABASE {address.rpartition('/')[2]} TO secretive")
    rights = cluster.data / "pg_hba.conf"
    rights.write_text("host all secretive all scram-sha-256\n" + rights.read_text())
    cluster.kill(signal.SIGHUP)
    with pytest.raises(psycopg.OperationalError, match="password"):
        until(lambda: psycopg.connect(address, passfile="/dev/null").close(), "the new rights")
    (tmp_path / ".pgpass").write_text(f"127.0.0.1:{cluster.port}:*:secretive:hunter22\n")
    (tmp_path / ".pgpass").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    with Server("-a", "--users", address, data=tmp_path) as server:
        assert ask(server, "/list_nn", "alice:secret")[0] == 401, server.text
        assert "nobody can log in yet" in server.text and "hunter22" not in server.text
