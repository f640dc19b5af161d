"""What runs in threads beside the loop."""

from __future__ import annotations

import contextlib
import gc
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
