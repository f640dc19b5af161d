"""models/blink on drawn faces that close their eyes at known times."""

import sys
from typing import Any

import numpy as np
import pytest
from tests.generators.face_video import Case, video
from tests.generators.watching import open_model, watch

pytestmark = pytest.mark.slow
SIX = tuple((second, 0.2) for second in (2.05, 4.3, 6.1, 8.6, 10.2, 11.1))


@pytest.mark.parametrize("face", ["light", "medium", "dark"])
def test_each_blink_is_counted_once(face: str) -> None:
    seen = watch(open_model("blink"), video(Case(face=face, closed=SIX, seconds=12, size=(160, 120), seed=601)))
    assert seen.answers[0][0] >= 10
    assert seen.end is not None
    assert seen.end["blinks_per_minute"] == pytest.approx(30, abs=1)
    assert seen.end["fatigue"] == 0


def test_open_eyes_do_not_blink() -> None:
    seen = watch(open_model("blink"), video(Case(seconds=12, seed=602, motion=4, noise=4)))
    assert seen.end == {"blinks_per_minute": 0.0, "fatigue": 0.0}


def test_eyes_that_stay_closed_are_fatigue_and_no_blink() -> None:
    seen = watch(open_model("blink"), video(Case(face="medium", closed=((4, 0.2), (6, 2.0)), seconds=13, seed=603)))
    assert seen.end is not None
    assert seen.end["blinks_per_minute"] == pytest.approx(60 / 13, abs=0.3)
    assert seen.end["fatigue"] == pytest.approx(2 / 13 / 0.3, abs=0.06)


def test_without_a_face_there_is_no_figure() -> None:
    seen = watch(open_model("blink"), video(Case(face="none", seconds=11)))
    assert seen.answers[-1][1] == {"blinks_per_minute": None, "fatigue": None, "blink_reason": "no face is seen"}
    assert seen.end is None


class Stub:
    """Stands for the tracker and the eyes: `shut` says how the eyes are."""

    number, found_open, shut = 1, False, False

    def update(self, frame: Any, timestamp: int) -> Any:
        return self

    def difference(self, frame: Any, face: Any, now: float, ask: bool) -> float:
        return 1.2 if self.shut else 0.05

    def learn(self, frame: Any, face: Any, share: float = 0.05) -> None:
        if share == 1.0:
            self.shut = False


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def person(stub: Stub) -> Any:
    watch = sys.modules[type(open_model("blink")).__module__].Watch(0, stub)
    watch._eyes, watch._face = stub, 1
    return watch


BLANK = np.zeros((2, 2, 3), np.uint8)


def test_figures_are_of_the_last_minute(person: Any, stub: Stub) -> None:
    for number in range(3000):  # five minutes: 20 blinks in the first, then drowsiness, then nothing
        second = number / 10
        stub.shut = (second < 60 and second % 3 < 0.2) or (60 <= second < 120 and second % 10 < 2)
        answer = person.see(BLANK, round(second * 1000))
        if second == 59.5:
            assert answer == {"blinks_per_minute": pytest.approx(20, abs=0.7), "fatigue": 0.0}
        if second == 119.5:
            assert answer == {"blinks_per_minute": 0.0, "fatigue": pytest.approx(0.2 / 0.3, abs=0.04)}
    assert answer == {"blinks_per_minute": 0.0, "fatigue": 0.0}
    assert person.summary()["blinks_per_minute"] == pytest.approx(4, abs=0.1)
    assert len(person._minute._bins) <= 61


def test_eyes_that_look_different_since_are_learnt_anew(person: Any, stub: Stub) -> None:
    stub.shut = stub.found_open = True  # the cascade sees them open
    for number in range(40):
        person.see(BLANK, number * 100)
    assert not stub.shut


def test_a_pause_ends_what_the_eyes_were_doing(person: Any, stub: Stub) -> None:
    stub.shut = True
    person.see(BLANK, 0)
    person.see(BLANK, 100)
    stub.shut = False
    person.see(BLANK, 30_000)
    assert person._blinks == 0
    assert person._watched < 0.2
