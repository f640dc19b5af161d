"""What a jailed process prints where nobody takes it."""

from __future__ import annotations

import os

from imageserver.jail.output import _Forgiving


def test_a_full_pipe_that_does_not_wait_loses_what_it_does_not_take() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        with _Forgiving(writing, "wb", closefd=False) as output:
            size = 2**20
            assert 0 < output.write(bytes(size)) < size, "a part fits"
            assert output.write(memoryview(bytes(size))) == size, "a buffer would try the rest for ever"
    finally:
        os.close(reading)
        os.close(writing)
