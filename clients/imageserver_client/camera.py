"""A camera: the newest frame goes out, few are on their way at a time, results come back.

DISCONNECTED ⇄ CONNECTED    when the connection ends it pauses, and connects again
CLOSED                      the end, from either: `close` was called, or `error` says why
"""

from __future__ import annotations

import contextlib
import enum
import functools
import itertools
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from imageserver_client.camstream import CamStream, Wishes
from imageserver_client.connection import TRUST, Token, Trust, url_of
from imageserver_client.errors import ClientError, Unreachable, Wrong, login_wanted
from imageserver_client.link import UNAUTHENTICATED

MOST_KEPT = 1000
"""Results that wait to be read; of more the oldest go."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
"""Seconds before a try to connect again: doubled each time, and each shorter by up to half at random."""
NETWORK_PAUSE = 0.01
"""Seconds until a network that was behind is looked at again."""
LAST_WORDS = 5.0
"""Seconds that the end waits for the connection to close."""


class State(enum.Enum):
    """Where a camera's life is."""

    DISCONNECTED = "disconnected"
    CONNECTED = "connected"
    CLOSED = "closed"


class Result(NamedTuple):
    """What the server said about the frame `number` of `send`, `at` by our monotonic clock.

    Either the `prediction`, whose keys docs/protocols.md lists, or the `error` for which there is none.
    """

    number: int
    prediction: dict[str, Any] | None
    error: str | None
    at: float


class Camera:
    """Streams pictures to a server. Use as a context; iterating gives the results for as long as it is open.

    Args:
        server: `host:port` or a URL.
        login: name and password, or a token; None: do not authenticate.
        model: the model to ask for; None: the server's default.
        hz: frames a second at most; None: as many as the server answers.
        name: the camera's name; "": none.
        trust: whom to believe over HTTPS.
        on_result: called with each result by a thread of its own; then there is nothing to iterate over.
        timeout: seconds to wait for each answer of the server's.
        in_flight: frames that may be on their way at a time.
        tries: to connect again before it gives up; None: for ever.

    Raises:
        ClientError: on entering. There is no such server, or it does not take the login, the model or hz. What ends an
            open camera is `error`, which `send`, `receive` and iterating raise.
    """

    def __init__(
        self,
        server: str,
        login: tuple[str, str] | Token | None = None,
        *,
        model: str | None = None,
        hz: float | None = None,
        name: str = "",
        trust: Trust = TRUST,
        on_result: Callable[[Result], object] | None = None,
        timeout: float = 30.0,
        in_flight: int = 2,
        tries: int | None = None,
    ) -> None:
        self._wishes = Wishes(url_of(server, trust), login, model, hz, name, trust, timeout)
        self._in_flight, self._tries, self._on_result = in_flight, tries, on_result
        self._thread = threading.Thread(target=self._run, name="camera", daemon=True)
        self._changed = threading.Condition()  # guards what follows
        self._state = State.DISCONNECTED
        self._connection: CamStream | None = None
        self._before = self._sent = 0  # frames sent over earlier connections, and over this one
        self._waiting: bytes | None = None
        self._pending: dict[int, float] = {}  # when a frame was sent that has no answer, by its `seq`
        self._due = 0.0
        self._events: deque[Result | State] = deque(maxlen=MOST_KEPT)
        self.latest: Result | None = None
        self.error: ClientError | None = None

    def __enter__(self) -> Camera:
        self._open()
        self._thread.start()
        if self._on_result is not None:
            threading.Thread(target=self._tell, args=(self._on_result,), name="results", daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Result]:
        while (event := self.receive()) is not State.CLOSED:
            if isinstance(event, Result):
                yield event

    @property
    def is_behind(self) -> bool:
        """Whether a frame waits to be sent, which the next one will replace."""
        return self._waiting is not None

    def send(self, picture: bytes) -> int:
        """Send a picture file as soon as it may go, in place of one that still waits; never blocks.

        Returns:
            The number that its result will carry. One that takes another's place takes its number, too.
        """
        with self._changed:
            if self._state is State.CLOSED:
                raise self.error or Wrong("The camera is closed: send while its `with` lasts.")
            self._waiting = picture
            self._changed.notify_all()
            return self._before + self._sent + 1

    def receive(self, timeout: float | None = None) -> Result | State | None:
        """What happens next: a result, or a new state; None when nothing does for `timeout` seconds.

        Frames that are on their way when the connection ends get no result.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._events or self._state is State.CLOSED, timeout)
            if self._events:
                return self._events.popleft()
            if self.error is not None:
                raise self.error
            return State.CLOSED if self._state is State.CLOSED else None

    def close(self) -> None:
        """End it; what waits is not sent any more."""
        self._become(State.CLOSED)
        if self._thread.is_alive():
            self._thread.join(LAST_WORDS)

    def _become(self, state: State, error: ClientError | None = None) -> None:
        """Change the state, unless that is over."""
        with self._changed:
            if self._state in (state, State.CLOSED):
                return
            self._state, self.error = state, error
            if state is not State.CLOSED:
                self._events.append(state)
            self._changed.notify_all()

    def _run(self) -> None:
        """In a thread of its own: send what waits, and connect again."""
        try:
            while self._state is not State.CLOSED:
                if self._state is State.CONNECTED:
                    self._send_next()
                else:
                    self._return()
        except ClientError as error:
            self._become(State.CLOSED, error)
        self._hang_up()

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _send_next(self) -> None:
        with self._changed:
            pause, connection = self._pause(), self._connection
            if pause != 0 or self._waiting is None or connection is None or self._state is not State.CONNECTED:
                self._changed.wait(pause)
                return
            picture, self._waiting = self._waiting, None
            self._sent += 1
            self._pending[self._sent] = now = time.monotonic()
            hz = self._wishes.hz
            self._due = max(self._due, now) + (1 / hz if hz else 0.0)  # what falls behind does not catch up
        connection.send(picture)

    def _pause(self) -> float | None:
        """Seconds until the next frame may go; None: until something changes."""
        now, patience = time.monotonic(), self._wishes.timeout
        self._pending = {seq: sent for seq, sent in self._pending.items() if sent + patience > now}
        if self._waiting is None or self._connection is None:
            return None
        if len(self._pending) >= self._in_flight:
            return min(self._pending.values()) + patience - now
        return NETWORK_PAUSE if self._connection.is_behind else max(0.0, self._due - now)

    def _return(self) -> None:
        """Connect again, after pauses that grow. Unreachable when the last try failed; Refused."""
        self._hang_up()
        for attempt in itertools.count(1):
            # Spread out, so that a thousand cameras do not return in the same instant.
            pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(attempt - 1, 9)) * random.uniform(0.5, 1.0)
            with self._changed:
                if self._changed.wait_for(lambda: self._state is State.CLOSED, pause):
                    return
            try:
                self._open()
                return
            except Unreachable as error:
                if attempt == self._tries:
                    raise Unreachable(f"{error} It did not come back within {attempt} tries.") from None

    def _open(self) -> None:
        with self._changed:
            self._before, self._sent, self._pending = self._before + self._sent, 0, {}
            before = self._before
        hear = functools.partial(self._hear, before)
        connection = CamStream(self._wishes, hear, lambda: self._become(State.DISCONNECTED))
        self._connection = connection
        self._become(State.CONNECTED)
        if not connection.is_open:  # it ended before anybody was told
            self._become(State.DISCONNECTED)

    def _hear(self, before: int, seq: int, prediction: dict[str, Any] | None, error: str | None) -> None:
        if error is not None and self._wishes.login is None and error.startswith(UNAUTHENTICATED):
            self._become(State.CLOSED, login_wanted())
        with self._changed:
            if self._state is not State.CONNECTED or before != self._before:
                return
            # A refusal may overtake the prediction of an earlier frame; a prediction says that older ones have none.
            settled = [each for each in self._pending if each == seq or (each < seq and prediction is not None)]
            for each in settled:
                del self._pending[each]
            result = Result(before + seq, prediction, error, time.monotonic())
            self._events.append(result)
            self.latest = result if prediction is not None else self.latest
            self._changed.notify_all()

    def _tell(self, on_result: Callable[[Result], object]) -> None:
        """In a thread of its own: each result."""
        try:
            with contextlib.suppress(ClientError):  # `error` keeps it
                for result in self:
                    on_result(result)
        finally:
            self._become(State.CLOSED)  # nobody is told any more
