"""What transport/ stands on of other libraries, and why it takes no more: a test fails when an update changes that."""

from __future__ import annotations

import ast
import inspect
from importlib.metadata import version
from pathlib import Path
from typing import Any

import engineio
import pytest
import socketio
from engineio import packet as engine_packet
from engineio import payload as engine_payload
from socketio import packet as packets

from imageserver.transport.socketio import rooms


@pytest.mark.parametrize(
    ("name", "floor"), [("python-socketio", (5, 16, 2)), ("python-engineio", (4, 13, 2)), ("eventlet", (0, 40, 3))]
)
def test_floors(name: str, floor: tuple[int, ...]) -> None:
    found = tuple(int(part) for part in version(name).split(".")[:3])
    assert floor <= found < (floor[0] + 1,)


def test_its_manager_is_used_by_three_public_methods() -> None:
    tree = ast.parse(Path(rooms.__file__).read_text(encoding="utf-8"))
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "self._manager"
    }
    assert used == {"enter_room", "leave_room", "get_participants"}


def test_its_manager_needs_no_server() -> None:
    manager = socketio.Manager()
    for sid in ("a", "b"):
        for room in (None, sid):
            manager.enter_room(sid, "/", room, eio_sid=f"engine's {sid}")
    manager.enter_room("a", "/", "kitchen")
    with pytest.raises(ValueError, match="sid room"):
        manager.enter_room("a", "/", "b")
    everybody = manager.get_participants("/", None)
    assert next(everybody) == ("a", "engine's a")
    manager.leave_room("b", "/", None)
    assert list(everybody) == [("b", "engine's b")]  # a copy: whoever is called for each may leave
    manager.leave_room("b", "/", "kitchen")
    manager.leave_room("b", "/", "nowhere")
    assert list(manager.get_participants("/", "kitchen")) == [("a", "engine's a")]
    for room in (None, "a", "kitchen"):
        manager.leave_room("a", "/", room)
    manager.leave_room("b", "/", "b")
    assert not manager.rooms  # nothing stays


class Recorder(socketio.Server):
    """python-socketio as it is, with what it sends written down."""

    def __init__(self) -> None:
        super().__init__(async_mode="threading", async_handlers=False)
        self.sent: list[str | bytes] = []
        self.eio.send = lambda _sid, data: self.sent.append(data)
        self.eio.send_packet = lambda _sid, pkt: self.sent.append(pkt.data)

    def feed(self, *messages: str | bytes) -> None:
        for message in messages:
            self._handle_eio_message("e", message)


@pytest.fixture
def upstream() -> Recorder:
    server = Recorder()
    server.on("connect", lambda _sid, _environ, _auth: None)
    server._handle_eio_connect("e", {})
    return server


def test_engineio_refuses_generation_3() -> None:
    statuses: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "QUERY_STRING": "EIO=3&transport=polling",
        "wsgi.url_scheme": "http",
        "HTTP_HOST": "a",
    }
    engineio.Server(async_mode="threading").handle_request(environ, lambda status, _headers: statuses.append(status))
    assert statuses[0].startswith("400")


def test_engineio_remembers_a_packets_first_encoding() -> None:
    pkt = engine_packet.Packet(engine_packet.MESSAGE, b"\1\2")
    assert pkt.encode(b64=True) == pkt.encode(b64=False)


def test_engineio_limits_payloads_for_all_servers_at_once() -> None:
    assert engine_payload.Payload.max_decode_packets == 16


def test_engineio_cuts_fractions_of_a_second() -> None:
    assert "int(\n                self.ping_interval + self.ping_interval_grace_period) * 1000" in inspect.getsource(
        engineio.Server
    )


def test_handlers_emit_before_the_connect_packet(upstream: Recorder) -> None:
    upstream.on("connect", lambda sid, _environ, _auth: upstream.emit("early", to=sid))
    upstream.feed("0")
    assert upstream.sent[0] == '2["early"]'


def test_unknown_namespaces_are_refused_without_the_reason(upstream: Recorder) -> None:
    upstream.feed("0/random,")
    assert upstream.sent == ['4/random,"Unable to connect"']


def test_connect_handlers_that_raise_type_error_are_called_again(upstream: Recorder) -> None:
    calls: list[int] = []

    def connect(*arguments: Any) -> None:
        calls.append(len(arguments))
        raise TypeError

    upstream.on("connect", connect)
    with pytest.raises(TypeError):
        upstream.feed("0")
    assert calls == [3, 2]


def test_failing_handlers_leave_the_client_without_an_answer(upstream: Recorder) -> None:
    upstream.on("event", lambda _sid: None)
    upstream.feed("0")
    with pytest.raises(TypeError):
        upstream.feed('21["event","one too many"]')
    assert len(upstream.sent) == 1


def test_any_number_of_attachments_may_be_announced(upstream: Recorder) -> None:
    upstream.feed("0", '5999999999-["event"]')
    assert upstream._binary_packet["e"].attachment_count == 999_999_999


def test_what_is_no_json_is_taken_and_sent() -> None:
    pkt = packets.Packet(encoded_packet='2["event",NaN]')
    assert pkt.encode() == '2["event",NaN]'


def test_placeholders_may_count_from_the_end() -> None:
    assert packets.Packet.reconstruct_binary([{"_placeholder": True, "num": -1}], [b"a", b"b"]) == [b"b"]


def test_header_and_attachments_are_sent_one_by_one(upstream: Recorder) -> None:
    upstream._send_packet("e", packets.Packet(packets.EVENT, ["event", b"\1"]))
    assert len(upstream.sent) == 2


def test_members_get_an_id_of_their_own(upstream: Recorder) -> None:
    upstream.feed("0")
    assert upstream.manager.sid_from_eio_sid("e", "/") != "e"


def test_turned_out_clients_stay_connected() -> None:
    assert "eio.disconnect" not in inspect.getsource(socketio.Server.disconnect)


def test_leaving_looks_through_every_room() -> None:
    assert "self.rooms[namespace].copy().items()" in inspect.getsource(socketio.Manager.basic_disconnect)


def test_one_failing_disconnect_handler_keeps_others_from_being_told(upstream: Recorder) -> None:
    upstream.on("connect", lambda _sid, _environ, _auth: None, namespace="/a")

    def fail(_sid: str, _reason: str) -> None:
        raise RuntimeError

    upstream.on("disconnect", fail)
    upstream.feed("0", "0/a,")
    with pytest.raises(RuntimeError):
        upstream._handle_eio_disconnect("e", "transport close")
    assert upstream.manager.sid_from_eio_sid("e", "/a") is not None
