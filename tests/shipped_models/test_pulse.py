"""models/pulse as a session uses it, on videos with a known pulse. The whole grid of cases is bench/pulse.py.

What is hard is in every run (drift, a dark face with noise, motion, closed eyes); further pulses are long.
"""

import sys
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest
from tests.generators.face_video import Case, video
from tests.generators.watching import Watched, open_model, watch

pytestmark = pytest.mark.slow
KEYS = {"HR", "HR_quality", "HR_window_s"}


def errors(case: Case) -> tuple[np.ndarray, Watched]:
    seen = watch(open_model("pulse"), video(case))
    return np.abs(np.array(seen.values("HR")) - case.bpm), seen


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(Case(bpm=53, strength=0.005, seconds=13, seed=501), marks=pytest.mark.long),
        pytest.param(
            Case(bpm=148, strength=0.02, seconds=11, codec="png", jitter=25, seed=502), marks=pytest.mark.long
        ),
        Case(bpm=77, size=(160, 120), seconds=13, drift=0.1, face="medium", seed=503),
        Case(bpm=118, strength=0.02, seconds=12, face="dark", noise=4, seed=504),
        Case(bpm=96, seconds=13, face="light", codec="jpeg:70", motion=5, closed=((5.2, 0.2), (11.1, 0.2)), seed=505),
    ],
    ids=lambda case: f"{case.bpm:g} on {case.face}",
)
def test_at_10_frames_a_second_the_error_is_below_2_beats(case: Case) -> None:
    wrong, seen = errors(case)
    assert seen.told("HR") > 0.8
    assert wrong.mean() < 2
    assert seen.end is not None
    assert seen.end["HR"] == pytest.approx(case.bpm, abs=2)
    assert seen.end["HR_spread"] < 2
    assert 0.35 <= seen.end["HR_quality"] <= 1


@pytest.mark.parametrize(
    "case",
    [
        Case(bpm=64, fps=30, seconds=9.5, size=(160, 120), seed=511),
        pytest.param(
            Case(bpm=131, fps=30, seconds=9.5, strength=0.005, face="medium", seed=512), marks=pytest.mark.long
        ),
    ],
)
def test_at_30_frames_a_second_the_error_is_below_1_beat(case: Case) -> None:
    wrong, seen = errors(case)
    assert seen.told("HR") > 0.8
    assert wrong.mean() < 1


def test_nothing_is_said_before_8_seconds_and_every_frame_is_answered_after() -> None:
    _, seen = errors(Case(bpm=80, seconds=10, seed=521))
    assert 8 <= seen.answers[0][0] < 8.3
    assert len(seen.answers) >= 17
    assert all(set(answer) - {"HR_reason"} == KEYS and 8 <= answer["HR_window_s"] <= 12.1 for _, answer in seen.answers)


@pytest.mark.parametrize("seed", [531, pytest.param(532, marks=pytest.mark.long)])
def test_a_face_without_a_pulse_has_no_heart_rate(seed: int) -> None:
    seen = watch(open_model("pulse"), video(Case(strength=0, seconds=13, seed=seed)))
    assert seen.answers
    assert seen.values("HR") == []
    assert {answer["HR_reason"] for _, answer in seen.answers} == {"the face shows no clear pulse"}
    assert seen.end is not None
    assert seen.end["HR"] is None


def test_the_same_picture_again_and_again_has_no_heart_rate() -> None:
    (_, frame), *_ = video(Case(seconds=1))
    seen = watch(open_model("pulse"), ((number * 100, frame) for number in range(120)))
    assert seen.answers
    assert seen.values("HR") == []
    assert all(answer["HR_quality"] == 0 for _, answer in seen.answers)


def test_a_room_without_a_face_has_none_even_when_it_pulsates() -> None:
    seen = watch(open_model("pulse"), video(Case(face="none", strength=0.02, seconds=10)))
    assert {answer["HR_reason"] for _, answer in seen.answers} == {"no face is seen"}
    assert seen.values("HR") == []
    assert seen.end == {
        "HR": None,
        "HR_spread": None,
        "HR_quality": 0.0,
        "HR_window_s": 0.0,
        "HR_reason": "no face is seen",
    }


def test_sessions_side_by_side_do_not_mix() -> None:
    model = open_model("pulse")
    runs = {
        str(bpm): list(video(Case(bpm=bpm, seconds=11, size=(160, 120), strength=0.02, seed=bpm)))
        for bpm in (60, 90, 120)
    }
    for sid, frames in runs.items():
        model.start(sid, frames[0][0])
    answers: dict[str, Any] = {}
    for number in range(110):
        for sid, frames in runs.items():
            answers[sid] = model.forward_single_frame(sid, frames[number][1], frames[number][0])
    for sid in runs:
        assert answers[sid]["HR"] == pytest.approx(float(sid), abs=2)
        assert model.end(sid, 0)["HR"] == pytest.approx(float(sid), abs=2)


def test_a_change_of_resolution_does_not_interrupt() -> None:
    frames = [
        (timestamp, cv2.resize(frame, (320, 240), interpolation=cv2.INTER_AREA) if number % 40 < 20 else frame)
        for number, (timestamp, frame) in enumerate(video(Case(bpm=88, seconds=11, size=(640, 480), strength=0.02)))
    ]
    seen = watch(open_model("pulse"), frames)
    assert seen.answers[0][0] < 8.3
    assert seen.answers[-1][1]["HR"] == pytest.approx(88, abs=2)


class Stub:
    """Stands for the tracker and the sampler: a face whose colour beats, without pictures."""

    shares = np.full(4, 0.25)

    def __init__(self, bpm: float = 80) -> None:
        self.bpm, self.number, self.there = bpm, 1, True

    def update(self, frame: np.ndarray, timestamp: int) -> Any:
        self._now = timestamp / 1000
        return self if self.there else None

    def sample(self, frame: np.ndarray, face: Any) -> np.ndarray:
        beat = 0.01 * np.sin(2 * np.pi * self.bpm / 60 * self._now) * np.array([0.43, 1, 0.69])
        return np.tile(np.array([190.0, 135.0, 105.0]) * (1 + beat), (4, 1))


BLANK = np.zeros((2, 2, 3), np.uint8)
T0 = 1_700_000_000_000


@pytest.fixture
def stub() -> Stub:
    return Stub()


@pytest.fixture
def person(stub: Stub) -> Any:
    return sys.modules[type(open_model("pulse")).__module__].Watch(T0, stub, stub)


def see(person: Any, start_s: float, stop_s: float, fps: float = 10) -> Iterator[dict[str, Any] | None]:
    for number in range(round(start_s * fps), round(stop_s * fps)):
        yield person.see(BLANK, T0 + round(number * 1000 / fps))


def last(answers: Iterator[dict[str, Any] | None]) -> dict[str, Any] | None:
    *_, final = answers
    return final


@pytest.mark.parametrize(("start", "why"), [(25.0, "a pause"), (2.0, "a clock that was set back")])
def test_the_window_starts_anew_after(person: Any, start: float, why: str) -> None:
    assert last(see(person, 0, 20))["HR"] == pytest.approx(80, abs=0.5)
    assert set(see_kinds(see(person, start, start + 8))) == {None}, why
    assert last(see(person, start + 8, start + 9))["HR_window_s"] == pytest.approx(8.9)


def see_kinds(answers: Iterator[dict[str, Any] | None]) -> list[Any]:
    return [None if answer is None else "answer" for answer in answers]


def test_another_face_starts_the_window_anew_and_says_so(person: Any, stub: Stub) -> None:
    last(see(person, 0, 12))
    stub.number = 2
    answers = list(see(person, 12, 20))
    assert all(
        answer["HR"] is None and answer["HR_reason"] == "there are not 8 s of the face yet" for answer in answers
    )
    assert last(see(person, 20, 21))["HR"] is not None


def test_a_face_that_leaves_takes_its_rate_along_and_may_look_away_for_a_moment(person: Any, stub: Stub) -> None:
    last(see(person, 0, 12))
    stub.there = False
    assert last(see(person, 12, 12.5)) == {
        "HR": None,
        "HR_quality": 0.0,
        "HR_window_s": 11.9,
        "HR_reason": "no face is seen",
    }
    stub.there = True
    assert last(see(person, 12.5, 14))["HR"] == pytest.approx(80, abs=1)
    stub.there = False
    assert last(see(person, 14, 17))["HR_window_s"] == 0
    stub.there = True
    assert last(see(person, 17, 18))["HR"] is None


def test_frames_that_come_too_rarely_are_named_as_the_reason(person: Any) -> None:
    assert last(see(person, 0, 20, fps=2))["HR_reason"] == "there are too few frames a second"


def test_overtaken_and_doubled_frames_do_no_harm(person: Any) -> None:
    order = [number ^ 1 for number in range(120)]  # 1 0 3 2 …
    answers = [person.see(BLANK, T0 + number * 100) for number in order for _ in range(2)]
    assert answers[-1]["HR"] == pytest.approx(80, abs=0.5)


def test_an_hour_at_any_rate_leaves_no_more_behind_than_a_minute(person: Any) -> None:
    last(see(person, 0, 30, fps=500))
    assert len(person._times) == len(person._colours) <= 1024
    summary = person.summary()
    assert summary["HR"] == pytest.approx(80, abs=0.5)
    assert summary["HR_window_s"] == pytest.approx(30, abs=0.5)


def test_a_session_that_ends_early_says_why_there_is_no_rate(person: Any) -> None:
    last(see(person, 0, 5))
    assert person.summary()["HR_reason"] == "there are not 8 s of the face yet"


def test_a_session_leaves_nothing_in_the_model() -> None:
    model = open_model("pulse")
    for number in range(50):
        model.start(str(number), T0)
        model.end(str(number), T0)
    assert model._watches == {}
