"""models/mock_fast and models/mock_slow: the examples that authors copy."""

import numpy as np
import pytest
from tests.generators.watching import MODELS, open_model

from imageserver.inference.shared import manifest

FRAME = np.full((12, 16, 3), 100, np.uint8)


@pytest.mark.parametrize(("name", "frame", "every"), [("mock_fast", "rgb", True), ("mock_slow", "pil", False)])
def test_their_manifests_show_both_ways(name: str, frame: str, every: bool) -> None:
    state = manifest.read(MODELS / name).state
    assert state is not None
    assert (state.frame, state.every_frame, state.time_limit_s) == (frame, every, 5.0)


def test_mock_fast_counts_each_session_for_itself() -> None:
    model = open_model("mock_fast")
    model.start("a", 0)
    model.start("b", 0)
    assert model.forward_single_frame("a", FRAME, 1) == {"mock_fast_frames": 1, "mock_fast_brightness": 100.0}
    assert model.forward_single_frame("a", FRAME, 2)["mock_fast_frames"] == 2
    assert model.forward_single_frame("b", FRAME, 3)["mock_fast_frames"] == 1
    assert model.end("a", 4) == {"mock_fast_frames": 2}
    assert model.end("b", 4) == {"mock_fast_frames": 1}


def test_mock_slow_sleeps_half_a_second_and_takes_pillow_images(monkeypatch: pytest.MonkeyPatch) -> None:
    image = pytest.importorskip("PIL.Image")
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    model = open_model("mock_slow")
    model.start("a", 0)
    assert model.forward_single_frame("a", image.fromarray(FRAME), 1) == {
        "mock_slow_frames": 1,
        "mock_slow_size": [16, 12],
    }
    assert slept == [0.5]
    assert model.end("a", 2) == {"mock_slow_frames": 1}
