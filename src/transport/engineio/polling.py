"""Engine.IO over polling: a GET that waits until there is something to fetch, and POSTs that bring packets."""

from __future__ import annotations

from imageserver.errors import DecodeError, EngineRefusal, Refusal
from imageserver.limits import note
from imageserver.transport import fairness, hub
from imageserver.transport.engineio.request import BAD_REQUEST, SESSION_UNKNOWN, EngineRequest
from imageserver.transport.engineio.session import EngineSession, EngineState, WaitingPoll

UPGRADE_GRACE = 0.05
"""Seconds that a request which comes amid an upgrade waits for the upgrade to complete: the loop may see it first."""

OLD_POLL_SECONDS = 9.0
"""How long a poll of generation 3 waits until it is answered NOOP: Java's client 1.0.0 gives one up after 10 s."""


def poll(request: EngineRequest, session: EngineSession) -> list[bytes]:
    """Answer a GET: with what waits for the client, as soon as there is something. Raises EngineRefusal, OSError."""
    if session.poll is not None:
        session.close("transport error")
        raise EngineRefusal(BAD_REQUEST)
    if not session.queue:
        woken = _wait(request, session)
        if session.state is EngineState.WEBSOCKET:
            raise EngineRefusal(BAD_REQUEST)
        if not session.queue and not session.is_open:
            raise EngineRefusal(SESSION_UNKNOWN)
        if woken and not session.queue and hub.gone(request.sock):
            session.close("transport close")
            raise ConnectionResetError("the client went away while its poll waited")
    return request.answer_packets(session.queue.take_answer(), session.base64)


def post(request: EngineRequest, session: EngineSession) -> list[bytes]:
    """Handle the packets of a POST. Raises EngineRefusal, Refusal, OSError."""
    if session.posting is not None:
        session.close("transport error")
        raise EngineRefusal(BAD_REQUEST)
    if session.poll is not None and hub.gone(session.poll.sock):
        session.close("transport close")  # the loop would have told us in a moment
        raise EngineRefusal(SESSION_UNKNOWN)
    done = session.posting = hub.Event()
    try:
        with session:
            _receive(request, session)
    except DecodeError as error:
        session.owner.log(f"{session.who} is disconnected: {note(str(error), error.limit, session.account.owner)}")
        session.close("transport error")
        raise EngineRefusal(BAD_REQUEST, "413 Content Too Large" if error.limit else "400 Bad Request") from None
    except (OSError, Refusal):  # the rest of its message will never come
        session.close("transport error")
        raise
    finally:
        session.posting = None
        done.set()
    return request.answer(b"ok", "text/html")


def settle(session: EngineSession) -> None:
    """Wait a moment while it moves to a WebSocket: a POST right behind the move comes too late, not in time."""
    end = session.owner.clock() + UPGRADE_GRACE
    while session.state is EngineState.UPGRADING and session.owner.clock() < end:
        hub.sleep(0.001)


def _wait(request: EngineRequest, session: EngineSession) -> bool:
    """Wait until there is something to look at; False when the time for that is over."""
    seconds = OLD_POLL_SECONDS if session.generation == 3 else None
    if session.state is EngineState.UPGRADING:
        seconds = UPGRADE_GRACE
    session.poll = WaitingPoll(hub.Event(), request.sock)
    watch = hub.Watch(request.sock.fileno(), session.poll.woken.set)
    try:
        return session.poll.woken.wait(seconds)
    finally:
        watch.cancel()
        session.poll = None


def _receive(request: EngineRequest, session: EngineSession) -> None:
    """Raises DecodeError, OSError, Refusal."""
    limits = session.owner.limits
    body = request.read(limits.max_payload_bytes, session.account)
    session.alive()
    # Binary as text has a third more, and a line break after each 76 characters from some clients.
    longest = limits.max_message_bytes + limits.max_message_bytes // 2
    most, text = limits.max_payload_packets, session.max_text
    packets = session.codec.decode_payload(body, most=most, longest=longest, text=text, pause=fairness.pause)
    if any(len(packet.data) > limits.max_message_bytes for packet in packets):
        raise DecodeError(f"a message may have {limits.max_message_bytes} bytes", "max_message_bytes")
    turn = fairness.Turn(session.owner.clock)  # 256 packets of 64 KiB would hold the loop for a second
    for packet in packets:
        if not session.is_open:
            break
        session.receive(packet)
        turn.share()
