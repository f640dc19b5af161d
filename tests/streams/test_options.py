"""What may be asked of a stream while it runs."""

from __future__ import annotations

from typing import Any

import pytest

from imageserver.errors import BodyError
from imageserver.streams import options


class Stream:
    """Remembers what it is asked for."""

    def configure(self, *, model: str | None = None, hz: float | None = None) -> None:
        self.asked = (model, hz)


@pytest.mark.parametrize(
    ("asked", "most", "expected"),
    [
        ({"model": "lenet", "hz": 5}, 0.0, ("lenet", 5)),
        ({"hz": 5}, 2.0, (None, 2.0)),
        ({"hz": 0}, 2.0, (None, 2.0)),
        ({"hz": 0}, 0.0, (None, 0.0)),
        ({"model": "lenet"}, 2.0, ("lenet", None)),
    ],
)
def test_what_is_asked_is_done_within_what_the_operator_allows(asked: Any, most: float, expected: Any) -> None:
    stream: Any = Stream()
    options.configure(stream, asked, most)
    assert stream.asked == expected


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (None, 'configure takes an object like {"model": "lenet", "hz": 5}'),
        ({}, 'configure takes an object like {"model": "lenet", "hz": 5}'),
        ({"fps": 5}, "configure knows model and hz, not 'fps'"),
        ({"x" * 1000: 5}, f"configure knows model and hz, not '{'x' * 63}…"),
        ({"model": 5}, "model must be a model's name, not 5"),
        ({"hz": float("nan")}, "hz must be a number of frames a second, 0 for no cap, not nan"),
        ({"hz": True}, "hz must be a number of frames a second, 0 for no cap, not True"),
        ({"hz": [5]}, "hz must be a number of frames a second, 0 for no cap, not a list"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(asked: Any, sentence: str) -> None:
    stream: Any = Stream()
    with pytest.raises(BodyError) as caught:
        options.configure(stream, asked, 0.0)
    assert str(caught.value) == sentence
