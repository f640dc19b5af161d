"""Engine.IO over a WebSocket: a session that begins on one, and the move from polling to one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imageserver.errors import DecodeError, ProtocolError
from imageserver.limits import note
from imageserver.transport import fairness, hub
from imageserver.transport.budget import FULL, SMALL
from imageserver.transport.engineio.packet import PING, EnginePacket, check_text
from imageserver.transport.engineio.session import EngineSession, EngineState
from imageserver.transport.websocket.connection import WebSocket
from imageserver.transport.websocket.frames import BINARY, TEXT, CloseCode

Messages = Iterator[tuple[int, bytes]]


def begin(session: EngineSession, ws: WebSocket, connected: Callable[[], object]) -> None:
    """Serve a new session until it ends; `connected` is called once it is open."""
    with session:
        ws.outgoing.drained = session.flush
        session.open(ws)
        connected()
        _read(session, ws, ws.messages())


def move(session: EngineSession, ws: WebSocket, seconds: float, moved: Callable[[EngineSession], object]) -> None:
    """Take a polling session over, if the client asks for it within `seconds`, and serve it until it ends.

    `moved` is told of the session once it is on the WebSocket.
    """
    messages = ws.messages()
    if session.state is EngineState.POLLING and _upgraded(session, ws, messages, seconds):
        moved(session)
        with session:
            if session.posting is not None:
                session.posting.wait()  # its packets came before: one green thread at a time handles a session
            _read(session, ws, messages)
    else:
        ws.close(CloseCode.NO_STATUS_RCVD)  # a second one, or one that failed: the session goes on without it
        _wait_for_end(messages)


def _upgraded(session: EngineSession, ws: WebSocket, messages: Messages, seconds: float) -> bool:
    """Do the upgrade; whether the WebSocket is now the session's transport."""
    deadline = hub.call_later(seconds, ws.abort)
    probed = False
    session.probe(ws)
    try:
        for opcode, payload in messages:
            if opcode == TEXT and not probed and payload[:1] == b"2":
                probed = True
                ws.send("3" + payload[1:].decode("utf-8", "replace"))
                session.wake_poll()  # answered with NOOP, so that the client can stop polling
            else:
                if opcode == TEXT and probed and payload == b"5":
                    ws.outgoing.drained = session.flush
                    session.end_probe(upgraded=True)
                break
    finally:
        deadline.cancel()
        session.end_probe(upgraded=False)
    return session.state is EngineState.WEBSOCKET


def _read(session: EngineSession, ws: WebSocket, messages: Messages) -> None:
    """Handle what comes until it ends."""
    decode, sid, owner = session.codec.decode_packet, session.sid, session.owner
    offer, handle = owner.offer_text, owner.message
    plain = session.generation == 4  # binary messages are data alone
    websocket = EngineState.WEBSOCKET
    try:
        for opcode, payload in messages:
            if opcode == BINARY:
                if plain:
                    handle(sid, payload)
                else:
                    session.receive(decode(payload))
            elif not offer(sid, payload):
                packet = _decode_text(session, payload)
                if packet.type == PING:
                    ws.count_ping()
                session.receive(packet)
            if session.state is not websocket:
                break
    except DecodeError as error:
        owner.log(f"{session.who} is disconnected: {note(str(error), error.limit, session.account.owner)}")
        session.close("transport error")
    except UnicodeDecodeError:
        ws.fail(ProtocolError(CloseCode.INVALID_FRAME_PAYLOAD_DATA, "text must be UTF-8"))
        session.close("transport error")
    except ProtocolError as error:
        ws.fail(error)
        session.close("transport error")
    session.close("transport close")
    _wait_for_end(messages)


def _decode_text(session: EngineSession, payload: bytes) -> EnginePacket:
    """The packet of a text message. Raises DecodeError, ProtocolError, UnicodeDecodeError."""
    if payload[:1] != b"b":
        check_text(len(payload) - 1, session.max_text)
        text: EnginePacket = session.codec.decode_packet(payload.decode())
        return text
    # Binary as text has the limit of messages, and is there twice while it is decoded, which lets others have turns.
    charge = session.account.charge("messages")
    if len(payload) > SMALL and not charge.set(2 * len(payload)):
        raise ProtocolError(CloseCode.TRY_AGAIN_LATER, FULL)
    try:
        packet: EnginePacket = session.codec.decode_binary(payload, fairness.pause)
    finally:
        charge.set(0)
    return packet


def _wait_for_end(messages: Messages) -> None:
    for _message in messages:
        pass  # until the client has answered the close frame
