"""One face, followed through a video."""

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from tests.generators.face_video import Case, video

from imageserver.errors import ModelError
from imageserver.inference.toolkit.face_tracking import FaceTracker, cascade


@pytest.fixture(scope="module")
def portrait() -> np.ndarray:
    (_, frame), *_ = video(Case(seconds=0.1, motion=0, noise=0, codec="", strength=0))
    return frame


def shifted(frame: np.ndarray, x: float, y: float) -> np.ndarray:
    return cv2.warpAffine(
        frame, np.array([[1, 0, x], [0, 1, y]], float), frame.shape[1::-1], borderMode=cv2.BORDER_REFLECT
    )


def test_a_moving_face_is_followed_to_a_part_of_a_pixel(portrait: np.ndarray) -> None:
    tracker = FaceTracker()
    start = tracker.update(portrait, 0)
    assert start is not None
    for number in range(1, 30):
        x, y = 12 * np.sin(number / 4), 5 * np.sin(number / 7)
        face = tracker.update(shifted(portrait, x, y), number * 100)
        assert face is not None
        assert face.number == start.number
        assert face.matrix[:, 2] - start.matrix[:, 2] == pytest.approx([x, y], abs=0.4)
        assert face.side == pytest.approx(start.side, rel=0.02)


@pytest.mark.parametrize("size", [(160, 120), (1280, 960), (240, 320)])
def test_the_place_is_in_pixels_of_the_frame(portrait: np.ndarray, size: tuple[int, int]) -> None:
    reference = FaceTracker().update(portrait, 0)
    other = cv2.resize(portrait[:, 20:200] if size[0] < size[1] else portrait, size, interpolation=cv2.INTER_AREA)
    face = FaceTracker().update(other, 0)
    assert reference is not None
    assert face is not None
    centre = face.matrix @ [0.5, 0.5, 1]
    expected = reference.matrix @ [0.5, 0.5, 1] - ([20, 0] if size[0] < size[1] else [0, 0])
    assert centre / size == pytest.approx(expected / ([180, 240] if size[0] < size[1] else [320, 240]), abs=0.03)


def test_a_face_that_leaves_is_lost_and_one_that_comes_is_another(portrait: np.ndarray) -> None:
    tracker = FaceTracker()
    random = np.random.default_rng(1)
    empty = cv2.GaussianBlur(random.integers(0, 255, portrait.shape, np.uint8), (0, 0), 4)
    for number in range(10):
        assert tracker.update(portrait, number * 100) is not None
    assert [tracker.update(empty, number * 100) for number in range(10, 40)] == [None] * 30
    faces = [tracker.update(portrait, number * 100) for number in range(40, 48)]
    assert faces[-1] is not None
    assert faces[-1].number == 2


def test_closing_the_eyes_does_not_make_another_face() -> None:
    tracker = FaceTracker()
    case = Case(face="dark", seconds=4, closed=((1, 0.3), (2, 1.5)))
    faces = [tracker.update(frame, timestamp) for timestamp, frame in video(case)]
    assert {face.number for face in faces if face is not None} == {1}
    assert sum(face is None for face in faces) <= 2


def test_a_face_found_where_none_is_is_dropped_at_its_first_confirmation(
    portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    from imageserver.inference.toolkit import face_tracking

    real = face_tracking._detect
    monkeypatch.setattr(
        face_tracking, "_detect", lambda grey, smallest, neighbours: [(20, 100, 90, 90)] if neighbours == 4 else []
    )
    tracker = FaceTracker()
    assert tracker.update(portrait, 0) is not None
    assert tracker.update(portrait, 100) is not None
    monkeypatch.setattr(
        face_tracking,
        "_detect",
        lambda grey, smallest, neighbours: [] if neighbours == 2 else real(grey, smallest, neighbours),
    )
    face = tracker.update(portrait, 600)
    assert face is None or face.number == 2


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 500, 3), (500, 1, 3), (3, 4, 3), (30, 40, 3)])
def test_a_picture_too_small_for_a_face_has_none(shape: tuple[int, int, int]) -> None:
    tracker = FaceTracker()
    assert [tracker.update(np.full(shape, 128, np.uint8), number * 400) for number in range(3)] == [None] * 3


def test_threads_do_not_share_a_cascade() -> None:
    with ThreadPoolExecutor(1) as other:
        assert other.submit(cascade, "haarcascade_eye.xml").result() is not cascade("haarcascade_eye.xml")
    assert cascade("haarcascade_eye.xml") is cascade("haarcascade_eye.xml")


def test_a_cascade_that_opencv_does_not_bring_is_named() -> None:
    with pytest.raises(ModelError, match="does not bring the cascade nothing.xml"):
        cascade("nothing.xml")


def test_time_that_jumps_back_does_not_stop_the_search(portrait: np.ndarray) -> None:
    tracker = FaceTracker()
    assert tracker.update(np.zeros_like(portrait), 10_000_000) is None
    assert tracker.update(portrait, 5) is not None
