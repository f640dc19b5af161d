"""Reading a WebSocket in large pieces: what each read completes, and how long a message may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imageserver.errors import ProtocolError, TimedOut
from imageserver.limits import Limits
from imageserver.transport import hub, pace
from imageserver.transport.budget import FULL, Charge
from imageserver.transport.fairness import SharedTurn, Turn
from imageserver.transport.pace import Pace
from imageserver.transport.websocket.frames import LARGE_BYTES, Chunk, CloseCode, Receiver

_chunks: list[Chunk] = []  # memory to read into, lent to whoever reads just now: an idle connection has none
_SPARE_CHUNKS = 4
_large_frames = SharedTurn(1)  # of all connections: six completed theirs in one turn of the loop, which took 35 ms


class Incoming:
    """What comes from one client. `sock` must be in non-blocking mode; `rest` has been read from it already."""

    __slots__ = (
        "_charge", "_clock", "_limits", "_pace", "_rest", "_since", "_sock", "read_at", "receiver", "turn", "waiting",
    )  # fmt: skip

    def __init__(
        self,
        sock: hub.Socket,
        rest: bytes,
        limits: Limits,
        clock: Callable[[], float],
        charge: Charge,
        max_text: int | None = None,
    ) -> None:
        self._sock, self._rest, self._clock = sock, rest, clock
        self._limits, self._charge = limits, charge
        self._pace: Pace | None = None
        self._since: float | None = None  # of the message whose pace that is
        self.receiver = Receiver(limits.max_message_bytes, clock, max_text, charge.set)
        self.turn = Turn(clock)
        self.read_at = clock()
        """When something last came."""
        self.waiting = False
        """Whether everything that came has been handled, and more is waited for."""

    def batches(self) -> Iterator[Iterator[tuple[int, bytes]]]:
        """Read, and yield what each read completes, to be used up before the next; ends with the stream.

        Raises `ProtocolError`.
        """
        receiver, sock = self.receiver, self._sock
        if self._rest:
            chunk = Chunk(len(self._rest))
            chunk.view[: chunk.size] = self._rest
            self._rest = b""
            yield receiver.parse(chunk, chunk.size)
        while True:
            if receiver.completes_large:
                _large_frames.take()
            chunk = _chunks.pop() if _chunks else Chunk()
            try:
                count = hub.receive_nowait(sock, receiver.room(chunk))
                if count:
                    self.read_at = self._clock()
                    yield receiver.parse(chunk, count)
            except OSError:
                count = 0
            finally:
                if len(_chunks) < _SPARE_CHUNKS:
                    _chunks.append(chunk)
            del chunk
            if count is None:
                self._wait()
            elif not count:
                return

    def end(self) -> None:
        """Let go of what is incomplete: nothing more is read."""
        self.receiver.forget()
        self._charge.set(0)

    def _wait(self) -> None:
        end = None
        if self.receiver.since is not None or self._charge.size:
            end = self._message_end()
        self.waiting = True
        try:
            hub.wait_readable(self._sock, None if end is None else max(0.0, end - self._clock()))
        except TimedOut:
            if self.receiver.size > LARGE_BYTES:
                _large_frames.take()  # to let go of it takes a millisecond as well, and whoever began together ends so
            raise self._too_slow() from None
        finally:
            self.waiting = False
            self.turn.begin()

    def _message_end(self) -> float | None:
        """Charge what is kept of an incomplete message; until when more of it must come, None where there is none.

        Raises `ProtocolError`.
        """
        receiver = self.receiver
        if not self._charge.set(receiver.size):
            raise ProtocolError(CloseCode.TRY_AGAIN_LATER, FULL)
        if receiver.since is None:
            return None
        if self._pace is None:
            self._pace = pace.of_arrival(self._limits, self._clock)
        if self._since != receiver.since:
            self._since = receiver.since
            self._pace.begin(receiver.arrived)
        self._pace.reached(receiver.arrived)
        return min(receiver.since + self._limits.message_time, self._pace.end)

    def _too_slow(self) -> ProtocolError:
        """Why a message is given up."""
        since, limits = self.receiver.since, self._limits
        if since is None or self._clock() >= since + limits.message_time:
            limit, sentence = "message_time", f"a message may take {limits.message_time:g} seconds"
        else:
            limit, sentence = "min_body_rate", f"a message came at less than {limits.min_body_rate} bytes a second"
        return ProtocolError(CloseCode.POLICY_VIOLATION, sentence, limit)
