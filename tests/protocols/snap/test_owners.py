"""Whose pictures, news and commands somebody gets: roles and cameras over real sockets, one server for all."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests
import websocket
from requests.auth import _basic_auth_str
from tests.running import PATIENCE, ROOT, CheapServer, Server, picture, until

from imageserver.accounts.database import User, UserDB

LONG = "Ж中🙂é" * 32
"""128 characters of several scripts."""

USERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cam1": (("camera",), ()),
    "cam2": (("camera",), ()),
    LONG: (("camera",), ()),
    "eye": (("viewer",), ()),
    "both": (("camera", "viewer"), ()),
    "boss": (("admin",), ()),
    "kit": (("camera",), ("kitchen", "hall")),
    "kiteye": (("viewer",), ("kitchen", "hall")),
    "kitboss": (("admin",), ("kitchen",)),
}


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> UserDB:
    made = UserDB(tmp_path_factory.mktemp("data") / "users.db")
    for name, (roles, only) in USERS.items():
        made.add(name, "secret", roles, only=only)
    return made


@pytest.fixture(scope="module")
def server(users: UserDB) -> Iterator[Server]:
    assert users.path is not None
    options = ("--snippet-history", "5", "--picture-rate", "0", "--look-rate", "0", "--relay-rate", "50")
    with CheapServer("-a", *options, data=users.path.parent) as running:
        yield running.ready()


def ask(server: Server, user: str, method: str, path: str, grey: int | None = None, **options: Any) -> Any:
    data = None if grey is None else picture(grey)
    auth = (user.encode(), b"secret")
    return requests.request(method, server.url + path, data=data, auth=auth, timeout=PATIENCE, **options)


def put(server: Server, user: str, identity: int, grey: int = 100, query: str = "") -> requests.Response:
    answer: requests.Response = ask(server, user, "PUT", f"/snippets/{identity}/{query}", grey)
    return answer


def status(server: Server, user: str, identity: int, more: str = "") -> int:
    return int(ask(server, user, "GET", f"/snippets/{identity}/{more}").status_code)


def listed(server: Server, user: str, query: str = "") -> list[int]:
    """The numbers of the whole list, over all of its pages."""
    found: list[int] = []
    path = f"/snippets/{query}"
    while path:
        answer = ask(server, user, "GET", path)
        assert answer.status_code == 200
        found += [snippet["id"] for snippet in answer.json()["snippets"]]
        path = answer.links.get("next", {}).get("url", "")
    return found


@contextmanager
def joined(server: Server, *members: tuple[str, str]) -> Iterator[list[websocket.WebSocket]]:
    """Clients of the relay, as (user, what follows `/ws`)."""
    made: list[websocket.WebSocket] = []
    try:
        for user, path in members:
            header = ["Authorization: " + _basic_auth_str(user.encode(), b"secret")]
            address = f"ws://127.0.0.1:{server.port}/ws{path}"
            made.append(websocket.create_connection(address, timeout=PATIENCE, header=header))
        yield made
    finally:
        for ws in made:
            ws.shutdown()


def heard(ws: websocket.WebSocket, last: str) -> list[str]:
    """What came before the text `last`."""
    found = []
    while (text := ws.recv()) != last:
        found.append(text)
    return found


# ---- pictures -------------------------------------------------------------------------------------------------


def test_a_number_is_who_puts_it_first(server: Server) -> None:
    assert put(server, "cam1", 1, 40).status_code == 200
    for refused in (put(server, "cam2", 1), ask(server, "cam2", "POST", "/snippets/1/", 50), put(server, "both", 1)):
        assert refused.status_code == 403
        assert refused.json() == {"error": "another user put picture 1: put yours under a number of its own"}
    assert put(server, "eye", 1).status_code == 403
    for more in ("", "image", "?history=1"):
        assert [status(server, user, 1, more) for user in ("cam1", "cam2", "eye", "boss", "both", "kiteye", "kit")] == [
            200, 403, 200, 200, 200, 404, 404
        ]  # fmt: skip
    assert ask(server, "eye", "GET", "/snippets/1/").json()["prediction"]["label"] == "40"
    assert put(server, "cam1", 1, 60).status_code == 200
    assert put(server, "boss", 1, 70).status_code == 200, "an admin may everything"
    assert (put(server, "cam1", 1).status_code, status(server, "cam1", 1)) == (403, 403)


def test_history_holds_ones_own(server: Server) -> None:
    for user, grey in (("cam1", 10), ("boss", 20), ("boss", 30)):
        put(server, user, 2, grey)

    def history(user: str) -> list[str]:
        found = ask(server, user, "GET", "/snippets/2/?history=1").json()["history"]
        return [entry["prediction"]["label"] for entry in found]

    assert history("eye") == ["30", "20", "10"]
    assert ask(server, "boss", "DELETE", "/snippets/2/").status_code == 200
    put(server, "cam2", 2, 40)
    assert history("cam2") == ["40"]


def test_the_list_is_for_viewers_and_says_who_put_what(server: Server) -> None:
    put(server, LONG, 3)
    put(server, "kit", 4, query="?name=hall")
    for user in ("cam1", "kit"):
        assert ask(server, user, "GET", "/snippets/").status_code == 403
    records = {record["id"]: record for record in ask(server, "eye", "GET", "/snippets/").json()["snippets"]}
    assert (records[3]["user"], "camera" in records[3]) == (LONG, False)
    assert (records[4]["user"], records[4]["camera"]) == ("kit", "hall")
    own = ask(server, LONG, "GET", "/snippets/3/").json()
    assert "user" not in own and own["image"] == "/snippets/3/image"
    assert 3 not in listed(server, "kiteye") and 4 in listed(server, "kiteye")


def test_one_bound_to_cameras_knows_of_no_others(server: Server) -> None:
    answer = put(server, "kit", 5)
    assert (answer.status_code, answer.json()["camera"]) == (200, "kitchen"), "its first, where it says none"
    assert put(server, "kit", 5, query="?name=hall").json()["camera"] == "hall"
    for query in ("?name=door", "?room=door", "?name=Kitchen"):
        assert put(server, "kit", 6, query=query).status_code == 404
    assert put(server, "kit", 6, query=f"?name={'x' * 65}").status_code == 400
    assert status(server, "eye", 6) == 404
    assert put(server, "cam1", 7, query="?name=door").json()["camera"] == "door"
    assert put(server, "cam1", 8, query="?name=kitchen").status_code == 200
    assert [put(server, "kit", number).status_code for number in (7, 8)] == [404, 403]
    assert [status(server, "kit", number) for number in (5, 7, 8)] == [200, 404, 403]
    assert [status(server, "kiteye", number) for number in (5, 7, 8)] == [200, 404, 200]
    assert {5, 8} <= set(listed(server, "kiteye")) and 7 not in listed(server, "kiteye")
    for method in ("PUT", "GET", "DELETE"):
        codes = [ask(server, "kitboss", method, f"/snippets/{number}/", 9).status_code for number in (7, 8)]
        assert codes == [404, 200], method
    assert ask(server, "kiteye", "GET", "/snippets/7/image").json() == {
        "error": "there is no picture 7; PUT one to this address"
    }


def test_of_two_that_race_for_a_number_one_gets_it(server: Server) -> None:
    for number in range(20, 25):
        found: dict[str, int] = {}

        def race(user: str, number: int = number, found: dict[str, int] = found) -> None:
            found[user] = put(server, user, number).status_code

        threads = [threading.Thread(target=race, args=(user,)) for user in ("cam1", "cam2", LONG)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert sorted(found.values()) == [200, 403, 403]
        (winner,) = [user for user, code in found.items() if code == 200]
        assert ask(server, "eye", "GET", f"/snippets/{number}/").json()["user"] == winner


# ---- the relay ------------------------------------------------------------------------------------------------


def test_news_go_to_viewers_and_to_the_sender(server: Server) -> None:
    members = [("cam1", ""), ("cam2", ""), ("eye", ""), ("boss", ""), ("both", ""), ("kiteye", ""), ("kit", "")]
    with joined(server, *members, ("boss", "?name=kitchen")) as (*clients, last):
        put(server, "cam1", 30, 33)
        put(server, "kit", 31, 44, "?name=hall")
        last.send("end")  # from a camera that those who are bound may see
        news = {user: [text[:15] for text in heard(ws, "end")] for (user, _), ws in zip(members, clients, strict=True)}
    one, two = '{"snippet": 30,', '{"snippet": 31,'
    assert news == {
        "cam1": [one], "cam2": [], "eye": [one, two], "boss": [one, two], "both": [one, two], "kiteye": [two],
        "kit": [two],
    }  # fmt: skip


@pytest.mark.parametrize("text", ["snap", " SNAP\r\n", "\ufeffSnap\0", "ſnap", f"{' ' * 65530}snap"])
def test_a_camera_commands_nobody_and_stays(server: Server, text: str) -> None:
    with joined(server, ("cam1", "/r"), ("cam2", "/r"), ("eye", "/r")) as (one, two, eye):
        before = refused(server)
        one.send(text)
        one.send("snap!")
        assert heard(two, "snap!") == heard(eye, "snap!") == []
        assert refused(server) == before + 1
        for commander, device in ((eye, one), (eye, two)):
            commander.send(text)
            assert device.recv() == text


def refused(server: Server) -> float:
    return figure(server, "imageserver_snaps_refused_total ")


def figure(server: Server, name: str) -> float:
    lines = ask(server, "boss", "GET", "/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(name)))


def test_rooms_of_one_bound_are_its_cameras(server: Server) -> None:
    with joined(server, ("kit", "/kitchen"), ("kit", "/hall?name=hall"), ("kit", "")):
        pass
    for path in ("/door", "/Kitchen", "/kitchen?name=door", "?name=door", "/kitchen%20"):
        with pytest.raises(websocket.WebSocketBadStatusException) as turned_away, joined(server, ("kit", path)):
            pass
        assert turned_away.value.status_code == 404


def test_texts_pass_between_those_who_may_see_each_others_camera(server: Server) -> None:
    members = [
        ("kit", ""), ("kiteye", ""), ("cam1", ""), ("cam1", "?name=kitchen"), ("eye", ""), ("boss", "?name=door"),
        ("boss", "?name=hall"),
    ]  # fmt: skip
    names = ["kit", "kiteye", "cam1", "kitchen", "eye", "door", "hall"]
    with joined(server, *members) as clients:
        of = dict(zip(names, clients, strict=True))
        got: dict[str, set[str]] = {name: set() for name in names}
        for name in names:
            of[name].send(name)
            witness = "kitchen" if name == "hall" else "hall"
            got[witness].add(str(of[witness].recv()))  # one after the other
        of["hall"].send("end")
        for name in names[:-1]:
            got[name].update(heard(of[name], "end"))
        assert got["kit"] == {"kiteye", "kitchen", "hall"}
        assert got["kiteye"] == {"kit", "kitchen", "hall"}
        assert got["cam1"] == {"kitchen", "eye", "door", "hall"}, "unbound, but those who are bound do not see it"
        assert got["door"] == {"cam1", "kitchen", "eye", "hall"}
        assert got["hall"] == {"kit", "kiteye", "cam1", "kitchen", "eye", "door"}
    with joined(server, ("kit", ""), ("cam1", ""), ("eye", ""), ("kiteye", "")) as (kit, cam, eye, kiteye):
        eye.send("snap")
        assert kit.recv() == cam.recv() == kiteye.recv() == "snap", "who commands shows no camera"
        kiteye.send("snap")
        assert kit.recv() == "snap"
        kit.send("end")
        assert kiteye.recv() == "end"
        eye.send("over")
        assert cam.recv() == "over", "nothing of kiteye's, who must not see cam1"


def test_who_sends_too_fast_is_read_more_slowly_and_loses_nothing(server: Server) -> None:
    with joined(server, ("cam1", "/fast"), ("eye", "/fast")) as (fast, eye):
        for number in range(70):
            fast.send(str(number))
        assert [eye.recv() for _ in range(70)] == [str(number) for number in range(70)]
        eye.send("at once")
        assert fast.recv() == "at once"
    figures = ask(server, "boss", "GET", "/metrics").text
    assert 'imageserver_limits_hit_total{limit="relay-rate"}' in figures


def test_pages_of_other_origins_are_turned_away_before_the_upgrade(server: Server) -> None:
    header = ["Authorization: " + _basic_auth_str("eye", "secret")]
    address = f"ws://127.0.0.1:{server.port}/ws"
    for options in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"host": "evil.example"},
        {"origin": f"http://evil.example:{server.port}", "host": f"evil.example:{server.port}"},
    ):
        with pytest.raises(websocket.WebSocketBadStatusException) as turned_away:
            websocket.create_connection(address, timeout=PATIENCE, header=header, **options)
        assert turned_away.value.status_code == 403


def test_both_programs_with_tokens_and_the_name_of_a_camera(server: Server, users: UserDB, tmp_path: Path) -> None:
    source = tmp_path / "source.jpg"
    source.write_bytes(picture(66))

    def command(name: str, *words: str) -> list[str]:
        return [sys.executable, str(ROOT / "clients" / name), "-s", server.url, *words]

    secrets = {name: users.add_token(name)[1] for name in ("kit", "kiteye")}
    device = command("capture.py", "--source", str(source), "--count", "1", "--id", "90", "--name", "hall")
    environment = {**os.environ, "CAMERA_TOKEN": secrets["kit"]}
    capture = subprocess.Popen(device, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert capture.stdout is not None
        assert capture.stdout.readline() == f"Waiting for snap at {server.url}.\n"
        for words, said in (
            (["--token", secrets["kit"], "--wait", "0.5"], "has your user the role viewer"),
            (["--token", "ist_abc_wrong"], "The server does not take the token: it is wrong, has expired, or was"),
            (["--token", secrets["kit"], "-u", "kit"], "give --token or --user, not both"),
        ):
            refused = subprocess.run(
                command("snap.py", *words), capture_output=True, text=True, timeout=PATIENCE, check=False
            )
            assert refused.returncode in (1, 2) and said in refused.stderr, refused
        snap = command("snap.py", "--token", secrets["kiteye"], "--wait", str(PATIENCE))
        snapped = subprocess.run(snap, capture_output=True, text=True, timeout=PATIENCE, check=False)
        assert snapped.stdout.startswith("Picture 90: 66 "), snapped
        assert capture.wait(PATIENCE) == 0
    finally:
        capture.kill()
        capture.wait()
        assert capture.stdout is not None
        capture.stdout.close()
    assert ask(server, "eye", "GET", "/snippets/90/").json()["camera"] == "hall"


def test_a_login_that_ends_closes_its_connections_read_or_not(server: Server, users: UserDB) -> None:
    for name in ("gone", "changed", "stays"):
        users.add(name, "secret")
    token, secret = users.add_token("stays", days=1)
    bearer = [f"Authorization: Bearer {secret}"]
    with joined(server, ("gone", "/end"), ("changed", "/end"), ("stays", "/end"), ("gone", "/end")) as clients:
        gone, changed, stays, deaf = clients
        by_token = websocket.create_connection(f"ws://127.0.0.1:{server.port}/ws/end", timeout=PATIENCE, header=bearer)
        before = connections(server)
        users.remove("gone")
        users.set(User("changed", frozenset({"viewer"})))
        users.revoke(token.identity)
        for ws in (gone, changed, by_token):
            opcode, payload = ws.recv_data()
            assert (opcode, payload[:2]) == (websocket.ABNF.OPCODE_CLOSE, (1008).to_bytes(2, "big"))
            assert payload[2:].decode().startswith("this login no longer holds")
            ws.shutdown()
        until(lambda: connections(server) == before - 4, "the one that does not read to be cut off")
        stays.send("still here")
        changed_again = [("changed", "/end")]
        with joined(server, *changed_again) as (viewer,):
            viewer.send("snap")
            assert stays.recv() == "snap", "with its new role"
        deaf.shutdown()


def connections(server: Server) -> float:
    return figure(server, 'imageserver_connections{transport="relay"}')
