"""Reading a WebSocket in large pieces: what each read completes, and how long a message may take."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from imageserver.errors import ProtocolError, TimedOut
from imageserver.limits import Limits
from imageserver.transport import hub
from imageserver.transport.fairness import Turn
from imageserver.transport.websocket.frames import Chunk, CloseCode, Receiver

_chunks: list[Chunk] = []  # memory to read into, lent to whoever reads just now: an idle connection has none
_SPARE_CHUNKS = 4


class Incoming:
    """What comes from one client. `sock` must be in non-blocking mode; `rest` has been read from it already."""

    __slots__ = ("_clock", "_message_seconds", "_receiver", "_rest", "_sock", "read_at", "turn", "waiting")

    def __init__(self, sock: hub.Socket, rest: bytes, limits: Limits, clock: Callable[[], float]) -> None:
        self._sock, self._rest, self._clock = sock, rest, clock
        self._message_seconds = limits.message_time
        self._receiver = Receiver(limits.max_message_bytes, clock)
        self.turn = Turn(clock)
        self.read_at = clock()
        """When something last came."""
        self.waiting = False
        """Whether everything that came has been handled, and more is waited for."""

    def batches(self) -> Iterator[Iterator[tuple[int, bytes]]]:
        """Read, and yield what each read completes, to be used up before the next; ends with the stream.

        Raises `ProtocolError`.
        """
        receiver, sock = self._receiver, self._sock
        if self._rest:
            chunk = Chunk(len(self._rest))
            chunk.view[: chunk.size] = self._rest
            self._rest = b""
            yield receiver.parse(chunk, chunk.size)
        while True:
            chunk = _chunks.pop() if _chunks else Chunk()
            try:
                count = hub.receive_nowait(sock, receiver.room(chunk))
                if count:
                    self.read_at = self._clock()
                    yield receiver.parse(chunk, count)
            except OSError:
                return
            finally:
                if len(_chunks) < _SPARE_CHUNKS:
                    _chunks.append(chunk)
            if count is None:
                self._wait()
            elif not count:
                return
            del chunk

    def _wait(self) -> None:
        since, seconds = self._receiver.since, self._message_seconds
        left = None if since is None else max(0.0, since + seconds - self._clock())
        self.waiting = True
        try:
            hub.wait_readable(self._sock, left)
        except TimedOut:
            sentence = f"a message may take {seconds:g} seconds"
            raise ProtocolError(CloseCode.POLICY_VIOLATION, sentence, "message_time") from None
        finally:
            self.waiting = False
            self.turn.begin()
