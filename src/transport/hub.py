"""Concurrency primitives for the server process, on eventlet without monkey-patching.

The rest of the server uses these names and never eventlet itself, so another loop can replace it one day.
Everything here runs on one native thread, the hub's; only `in_thread` leaves it.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import signal
import socket
import ssl
import sys
import termios
import traceback
import warnings
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, TypeVar, cast

with warnings.catch_warnings():
    # eventlet announces its own maintenance mode on import; that is why it lives in this package alone.
    warnings.simplefilter("ignore")
    # Its resolver costs a quarter of the server's start and 7 MB, and nothing here looks up a name while it serves.
    os.environ.setdefault("EVENTLET_NO_GREENDNS", "yes")
    import eventlet
import eventlet.event
import eventlet.hubs
import eventlet.semaphore
import eventlet.tpool
from eventlet.green import socket as green_socket
from eventlet.green import ssl as green_ssl
from eventlet.greenio import GreenSocket

from imageserver.errors import TimedOut, trace_of
from imageserver.transport import epoll

if epoll.Hub.is_available():
    eventlet.hubs.use_hub(epoll.Hub)

UNSENT_BYTES = 2**17
"""What the kernel takes of a connection's answers beyond what is on its way: else it takes 2.8 MB for a client that
reads nothing, and a viewer on a slow line sees what is seconds old."""

T = TypeVar("T")
_Outcome: TypeAlias = tuple[T | None, Exception | None]

if TYPE_CHECKING:
    Socket = socket.socket
else:
    Socket = GreenSocket

Semaphore = eventlet.semaphore.Semaphore
sleep: Callable[[float], None] = eventlet.sleep


class Timeout:
    """`with Timeout(seconds):` raises `TimedOut` in the block when it takes longer. None: no limit."""

    def __init__(self, seconds: float | None) -> None:
        self._timer = eventlet.Timeout(seconds, TimedOut(seconds)) if seconds is not None else None

    def __enter__(self) -> Timeout:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, tb: TracebackType | None) -> None:
        if self._timer is not None:
            self._timer.cancel()


class Event:
    """A flag to wait for. `set` may come before `wait`; `clear` makes it usable again."""

    def __init__(self) -> None:
        self._set = False
        self._event = eventlet.event.Event()

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        if not self._set:
            self._set = True
            self._event.send(None)

    def clear(self) -> None:
        if self._set:
            self._set = False
            self._event = eventlet.event.Event()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until set, at most `timeout` seconds (None: for ever). Returns whether it is set."""
        if not self._set:
            try:
                with Timeout(timeout):
                    self._event.wait()
            except TimedOut:
                pass
        return self._set


class Task:
    """A running green thread. An exception in it is printed to standard error with its name, never lost."""

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        self._green = eventlet.spawn(_run, function, args)

    def kill(self) -> None:
        """End it at its next switch point; returns when it has ended. Harmless when it has ended already."""
        self._green.kill()

    def wait(self) -> Any:
        """Wait for its end; returns what the function returned, None when it raised."""
        return self._green.wait()

    def __bool__(self) -> bool:
        """Whether it still runs."""
        return not self._green.dead


def _run(function: Callable[..., T], args: tuple[Any, ...]) -> T | None:
    try:
        return function(*args)
    except eventlet.greenlet.GreenletExit:
        raise
    except Exception as error:  # noqa: BLE001
        # The last line of defence: a green thread has no caller that could handle it.
        _crashed(f"unexpected error in {getattr(function, '__qualname__', function)}:\n{trace_of(error)}")
        return None


def _print_crash(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it, or its disk is full
        sys.stderr.write(text)
        sys.stderr.flush()


_crashed: Callable[[str], None] = _print_crash


def on_crash(function: Callable[[str], None]) -> None:
    """Have `function` told of exceptions that nobody caught in a green thread, in place of standard error."""
    global _crashed
    _crashed = function


def spawn(function: Callable[..., Any], *args: Any) -> Task:
    """Run `function(*args)` in a green thread of its own, from the next turn of the loop on."""
    return Task(function, args)


class Timer(Protocol):
    """A call that comes later."""

    def cancel(self) -> None:
        """Have it not come; harmless when it has."""


def call_later(seconds: float, function: Callable[..., Any], *args: Any) -> Timer:
    """Call `function(*args)` after `seconds`, unless `cancel()` of what is returned comes before.

    It runs in the loop itself and must not block: spawn from it if it has to.
    """
    timer: Timer = eventlet.hubs.get_hub().schedule_call_global(seconds, function, *args)
    return timer


def spawn_later(seconds: float, function: Callable[..., Any], *args: Any) -> Timer:
    """Like `spawn`, after `seconds`."""
    return call_later(seconds, spawn, function, *args)


def in_thread(function: Callable[..., T], *args: Any) -> T:
    """Run `function(*args)` in a native thread of the pool and wait green for its result or exception.

    For what would hold the loop: SQLite, argon2, file system work, DNS.
    """
    outcome: _Outcome[T] = eventlet.tpool.execute(_outcome, function, args)
    result, error = outcome
    del outcome
    if error is None:
        return cast(T, result)
    try:
        raise error
    finally:
        del error


def _outcome(function: Callable[..., T], args: tuple[Any, ...]) -> _Outcome[T]:
    """What came of a call in its thread. tpool, raising an error itself, keeps it in a circle with its arguments."""
    try:
        return function(*args), None
    except Exception as error:  # noqa: BLE001
        traceback.clear_frames(error.__traceback__)
        return None, error


def wait_readable(fd: Any, timeout: float | None = None) -> None:
    """Wait until `fd` (int or object with fileno()) is readable; raises `TimedOut` after `timeout` seconds."""
    eventlet.hubs.trampoline(fd, read=True, timeout=timeout, timeout_exc=TimedOut)


def wait_writable(fd: Any, timeout: float | None = None) -> None:
    """Wait until `fd` is writable; raises `TimedOut` after `timeout` seconds."""
    eventlet.hubs.trampoline(fd, write=True, timeout=timeout, timeout_exc=TimedOut)


def listen(host: str, port: int, backlog: int = 4096, *, dead_peer_time: float | None = None) -> Socket:
    """A listening TCP socket (IPv4, or IPv6 for an address with colons); port 0 = any. Raises OSError.

    `dead_peer_time`: as `end_dead_peers`, for all that it accepts.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = cast(Socket, green_socket.socket(family, socket.SOCK_STREAM))
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Now: the kernel takes connections, with what holds at that moment.
        if dead_peer_time is not None:
            end_dead_peers(listener, dead_peer_time)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listener.bind((host, port))
        listener.listen(backlog)
    except BaseException:
        listener.close()
        raise
    return listener


def green(sock: socket.socket) -> Socket:
    """A green socket over an ordinary one: same descriptor, waits in the loop instead of in the kernel."""
    return cast(Socket, GreenSocket(sock))


_signal_sockets: list[socket.socket] = []


def on_signals(numbers: tuple[signal.Signals, ...], function: Callable[[int], None]) -> None:
    """Call `function(number)` in a green thread whenever one of `numbers` arrives.

    Python runs a handler between bytecodes, but eventlet's loop sleeps in epoll until something is due; so the
    handler's wake-up descriptor is what the loop watches.
    """
    ours, theirs = socket.socketpair()
    for end in (ours, theirs):
        end.setblocking(False)
    _signal_sockets[:] = [ours, theirs]
    signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda _number, _frame: None)

    def watch() -> None:
        while True:
            wait_readable(ours)
            for number in ours.recv(64):
                if number in numbers:
                    spawn(function, number)

    spawn(watch)


def start_threads() -> None:
    """Start the native threads of `in_thread` now. OSError, RuntimeError: the system lets none be started."""
    eventlet.tpool.setup()


def end_dead_peers(sock: Socket, seconds: float) -> None:
    """Have the kernel end connections whose other side has not answered for `seconds`, even while nothing is sent.

    Linux; elsewhere what the system knows of it.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # First it is asked after half of the time, then three times more in the rest of it.
    for option, share in (("TCP_KEEPIDLE", 2), ("TCP_KEEPINTVL", 6)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), max(1, int(seconds / share)))
    if hasattr(socket, "TCP_KEEPCNT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 3)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def numbered(prefix: str) -> Callable[[], str]:
    """A source of short unique names: `prefix1`, `prefix2`, …"""
    count = itertools.count(1)
    return lambda: f"{prefix}{next(count)}"


class Watch:
    """Calls `function()` inside the loop, once, when `fd` becomes readable or its other end goes away.

    For a green thread that waits for something else meanwhile; nobody may wait to read `fd` until `cancel`.
    """

    def __init__(self, fd: int, function: Callable[[], None]) -> None:
        self._hub, self._function = eventlet.hubs.get_hub(), function
        self._listener = self._hub.add(self._hub.READ, fd, self._ready, self._obsolete, lambda: None)

    def cancel(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            self._hub.remove(listener)

    def _ready(self, _fd: int) -> None:
        if self._listener is not None:
            self.cancel()
            self._function()

    def _obsolete(self, _error: BaseException) -> None:
        self._listener = None


def receive_nowait(sock: Socket, into: memoryview) -> int | None:
    """Read what is there: the count of bytes, 0 at the end of the stream, None when nothing is there yet.

    `sock` must be in non-blocking mode; TLS or not. Raises OSError for a broken connection.
    """
    try:
        return sock.recv_into(into)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return None
    except ssl.SSLEOFError:
        return 0


def send_nowait(sock: Socket, data: bytes | memoryview) -> int:
    """Send what fits: the count of bytes taken, 0 when none fits now. Conditions and errors as `receive_nowait`."""
    try:
        return sock.send(data)
    except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
        return 0


def peek(sock: Socket, timeout: float) -> bytes:
    """Wait for the first byte and leave it where it is; b"" at the end of the stream. Raises OSError, `TimedOut`."""
    wait_readable(sock, timeout)
    return socket.socket.recv(_plain(sock), 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)


def start_tls(sock: Socket, context: ssl.SSLContext, timeout: float) -> Socket:
    """Do the server's TLS handshake in this green thread; returns the socket to use from then on.

    Raises OSError when the handshake fails and `TimedOut` when it takes longer than `timeout` seconds.
    """
    secured: Socket = green_ssl.GreenSSLSocket(sock, server_side=True, do_handshake_on_connect=False, _context=context)
    try:
        with Timeout(timeout):
            secured.do_handshake()  # type: ignore[attr-defined]
    except BaseException:
        secured.close()
        raise
    return secured


def _plain(sock: Socket) -> socket.socket:
    return cast(socket.socket, getattr(sock, "fd", sock))


def gone(sock: Socket) -> bool:
    """Whether the other end of a connection has gone away, without waiting and without reading anything."""
    try:
        # Below TLS on purpose: what counts is the end of the stream, and SSLSocket.recv refuses flags.
        return not socket.socket.recv(_plain(sock), 1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True


def no_delay(sock: Socket) -> None:
    """Send small messages at once: an acknowledgement must not wait 40 ms for the kernel to coalesce it."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def unacknowledged(sock: Socket) -> int:
    """Bytes given to the kernel that the other side has not taken yet (SIOCOUTQ, tcp(7)); 0 when it is gone."""
    count = bytearray(4)
    try:
        fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, count)
    except (OSError, ValueError):
        return 0
    return int.from_bytes(count, sys.byteorder)


def shut(sock: Socket, *, reading: bool = True) -> None:
    """Shut a connection down, both ways or (`reading=False`) only ours; the descriptor stays. Never raises OSError.

    Green threads that wait for it wake up; closing the descriptor under them would leave them waiting for whoever
    gets its number next.
    """
    with contextlib.suppress(OSError):  # not connected any more
        socket.socket.shutdown(_plain(sock), socket.SHUT_RDWR if reading else socket.SHUT_WR)
