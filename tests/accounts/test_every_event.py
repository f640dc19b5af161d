"""A walk over every event of Socket.IO in both generations, every room of `/ws` and every command of legacy TCP."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import websocket
from tests.accounts.walking import EVIL, FRIEND, MODES, WITH_USERS, Scene, Visitor, expected, scene
from tests.running import PATIENCE, Server, picture

from imageserver.accounts import doors
from imageserver.accounts.doors import COMMAND, EVENT

TIME = struct.pack("<Q", 1)
PLACE = '{"_placeholder":true,"num":0}'
SENDS = {
    "receiveImage": picture(5),
    "configure": {"hz": 0},
    "session_start": TIME,
    "frame": TIME + picture(5, suffix=".png"),
    "session_end": TIME,
}
"""What goes with each event; in an order in which each can succeed."""


@pytest.fixture(scope="module", params=MODES)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene(request.param, tmp_path_factory.mktemp("data"), "--session-models", "sleeper") as found:
        yield found


class Talk:
    """A connection of Socket.IO over a WebSocket; `refusal` is what the server said where it did not let it in."""

    def __init__(
        self, server: Server, generation: int, auth: dict[str, str] | None, *, name: str = "", **more: Any
    ) -> None:
        self.generation, self._number, self.refusal = generation, 0, ""
        query = {"EIO": str(generation), "transport": "websocket", **({"name": name} if name else {})}
        query |= (auth or {}) if generation == 3 else {}
        url = f"ws://127.0.0.1:{server.port}/socket.io/?{urllib.parse.urlencode(query)}"
        self._ws = websocket.create_connection(url, timeout=PATIENCE, **{"suppress_origin": True, **more})
        assert self._next().startswith("0{")
        if generation == 4:
            self._ws.send(f"40{json.dumps(auth) if auth else ''}")
        answer = self._next()
        self.refusal = "" if answer.startswith("40") else answer

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ws.shutdown()

    def emit(self, event: str, *arguments: Any, number: str = "") -> None:
        if len(arguments) == 1 and isinstance(arguments[0], bytes):
            self._ws.send(f'451-{number}["{event}",{PLACE}]')
            self._ws.send_binary((b"\x04" if self.generation == 3 else b"") + arguments[0])
        else:
            self._ws.send(f"42{number}{json.dumps([event, *arguments])}")

    def call(self, event: str, *arguments: Any) -> dict[str, Any]:
        """The acknowledgement."""
        self._number += 1
        self.emit(event, *arguments, number=str(self._number))
        answer = self.heard(f"43{self._number}[")
        found: dict[str, Any] = json.loads(json.loads(answer[answer.index("[") :])[0])
        return found

    def heard(self, *beginnings: str) -> str:
        """The next packet that begins so."""
        while not (packet := self._next()).startswith(beginnings):
            assert not packet.startswith("41"), packet
        return packet

    def _next(self) -> str:
        packet = self._ws.recv()
        while packet == "2":
            self._ws.send("3")
            packet = self._ws.recv()
        assert isinstance(packet, str), packet
        assert packet, "the server closed the connection"
        return packet

    def passes(self, event: str) -> bool:
        """Whether the event is taken."""
        sent = SENDS[event]
        if event != "receiveImage":
            return bool(self.call(event, sent)["success"])
        self.emit(event, sent)
        return self.heard('42["prediction"', '42["frame_error"').startswith('42["prediction"')


def test_there_is_something_to_send_with_every_event() -> None:
    assert {*SENDS, "authenticate"} == {door.path for door in doors.DOORS if door.protocol == EVENT}


@pytest.mark.parametrize("generation", [3, 4])
def test_who_may_send_events(place: Scene, generation: int) -> None:
    for visitor in place.visitors:
        header = visitor.headers if visitor.cookie else {}
        with Talk(place.server, generation, visitor.auth, header=header) as talk:
            lets_in = not visitor.auth or place.mode != "-a" or visitor.roles is not None
            assert bool(talk.refusal) is not lets_in, (visitor.name, talk.refusal)
            for event in SENDS if lets_in else ():
                refused = expected(doors.TABLE.event(event), place.mode, visitor)
                assert talk.passes(event) is not bool(refused), (visitor.name, event)


@pytest.mark.parametrize("generation", [3, 4])
def test_who_may_authenticate(place: Scene, generation: int) -> None:
    """As the apps do: connect first, then say who one is; a token stands in place of the password."""
    for visitor in (each for each in place.visitors if not each.cookie):
        with Talk(place.server, generation, None) as talk:
            talk.emit("authenticate", visitor.user or visitor.owner, visitor.secret, "onAuthentication")
            refused = expected(doors.TABLE.event("receiveImage"), place.mode, visitor)
            answer = talk.heard('42["onAuthentication"')
            accepted = place.mode != "-a" or not refused  # without -a every name and password is (docs/protocols.md)
            assert answer == f'42["onAuthentication",{"true" if accepted else "false"}]', visitor.name
            assert talk.passes("receiveImage") is not bool(refused), visitor.name


@pytest.mark.parametrize("room", ["", "/attic"])
def test_who_may_join_a_room(place: Scene, room: str) -> None:
    door = doors.TABLE.http("GET", "/ws/<string(maxlength=64):room>" if room else "/ws")
    for visitor in place.visitors:
        hidden = room and visitor.bound and visitor.counts(place.mode)  # it is not the name of a camera of theirs
        assert joins(place, visitor, room) == (404 if hidden else expected(door, place.mode, visitor) or 101), (
            visitor.name
        )


def joins(place: Scene, visitor: Visitor, room: str = "", **more: Any) -> int:
    """The status of the handshake of `/ws`."""
    header = [f"{name}: {value}" for name, value in visitor.headers.items()]
    return shakes_hands(f"ws://127.0.0.1:{place.server.port}/ws{room}", header=header, **more)


def shakes_hands(url: str, **more: Any) -> int:
    """The status of a WebSocket's handshake; `more` are websocket-client's options."""
    try:
        websocket.create_connection(
            url, timeout=PATIENCE, **{"suppress_origin": "origin" not in more, **more}
        ).shutdown()
    except websocket.WebSocketBadStatusException as error:
        return error.status_code
    return 101


PAGES = {
    "its own": ({"origin": ""}, True),
    "of a friend": ({"origin": FRIEND}, True),
    "of nobody knows": ({"origin": EVIL}, False),
    "of a name that leads here": ({"origin": EVIL, "host": "evil.example"}, False),
    "without a page, by another name": ({"host": "evil.example"}, True),
}


@pytest.mark.parametrize("page", PAGES)
def test_from_where(place: Scene, page: str) -> None:
    options, may = PAGES[page]
    if options.get("origin") == "":
        options = {"origin": place.server.url}
    visitor = place.visitor("viewer" if place.mode in WITH_USERS else "nobody")
    status = 101 if may else 403
    assert joins(place, visitor, **options) == status
    for generation in (3, 4):
        url = f"ws://127.0.0.1:{place.server.port}/socket.io/?EIO={generation}&transport=websocket"
        assert shakes_hands(url, **options) == status, generation


# ---- legacy TCP -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [False, True], ids=["without keys", "with keys"])
def test_who_may_send_commands(tmp_path: Path, keys: bool) -> None:
    """With keys every command but AUTH asks for a signature; BYE! ends the connection in any case."""
    listed = tmp_path / "keys"
    listed.write_text("")
    with Server("--tcp-port", "0", *(["--tcp-authorized-keys", str(listed)] if keys else []), data=tmp_path) as server:
        port = int(server.wait_for(r"legacy TCP listening on .*:(\d+)$")[1])
        for door in doors.DOORS:
            if door.protocol == COMMAND:
                asked = keys and (door.login is doors.Login.KEY or door.path == "BYE!")
                assert (first_reply(port, door.path) == b"6") is asked, door.path


def first_reply(port: int, command: str) -> bytes:
    with contextlib.closing(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) as sock:
        assert sock.recv(1) == b"?"
        sock.sendall(command.encode())
        return sock.recv(1)
