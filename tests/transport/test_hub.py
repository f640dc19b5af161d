"""What runs in threads beside the loop, and what the kernel does for its sockets."""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
import weakref
from collections.abc import Iterator

import pytest

from imageserver.transport import hub


class Picture:
    """What a call was given."""


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


def refuse(_picture: Picture) -> None:
    try:
        raise KeyError("shape")
    except KeyError as error:
        kept = error  # which this frame's traceback keeps in turn
        raise ValueError("no picture") from kept


def test_a_thread_gives_its_result_or_its_error() -> None:
    assert hub.in_thread(divmod, 7, 2) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        hub.in_thread(divmod, 7, 0)
    with pytest.raises(ValueError, match="no picture") as refused:
        hub.in_thread(refuse, Picture())
    assert isinstance(refused.value.__cause__, KeyError)
    assert refused.traceback[-1].name == "refuse", "where it was raised is told"


@pytest.mark.usefixtures("uncollected")
def test_an_error_of_a_thread_does_not_keep_what_the_call_was_given() -> None:
    picture = Picture()
    left = weakref.ref(picture)
    with contextlib.suppress(ValueError):
        hub.in_thread(refuse, picture)
    del picture
    hub.sleep(0)  # the loop itself holds the error until its next turn
    assert left() is None


@pytest.mark.skipif(sys.platform != "linux", reason="a bound of Linux")
def test_the_kernel_takes_little_for_a_client_that_reads_nothing() -> None:
    with hub.listen("127.0.0.1", 0) as listener, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(listener.getsockname())
        accepted, _address = listener.accept()
        with accepted:
            accepted.setblocking(False)
            taken = 0
            while count := hub.send_nowait(accepted, bytes(4096)):
                taken += count
    assert hub.UNSENT_BYTES <= taken < hub.UNSENT_BYTES + 2**15
