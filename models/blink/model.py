"""Blinks a minute and fatigue. What they are worth: README.md in this folder."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.toolkit.face_tracking import FaceTracker

from .eyes import Eyes

WINDOW_S = 60.0
FIRST_ANSWER_S = 10.0

CLOSED, OPENED = 0.5, 0.3
"""Differences from the open eye above which it is closed, and below which it is open again."""

LONGEST_BLINK_S = 0.5
"""What lasts longer is no blink but a closure, and counts as fatigue."""

DROWSY = 0.15
"""Share of time with closed eyes (PERCLOS) from which people are taken to be drowsy (Wierwille et al. 1994):
fatigue 0.5."""

RELEARN_S = 2.0
"""Open eyes found by the cascade for so long, while they seem closed: the open eye looks different now."""

LONGEST_GAP_S = 1.0

NO_FACE = "no face is seen"
NO_EYES = "the eyes are not seen clearly"


class Model:
    """One `Watch` for each session."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._watches: dict[str, Watch] = {}

    def start(self, sid: str, timestamp: int) -> None:
        self._watches[sid] = Watch(timestamp)

    def forward_single_frame(self, sid: str, frame: NDArray[np.uint8], timestamp: int) -> dict[str, Any] | None:
        return self._watches[sid].see(frame, timestamp)

    def end(self, sid: str, timestamp: int) -> dict[str, Any] | None:
        return self._watches.pop(sid).summary()


class Minute:
    """Seconds watched, seconds closed and blinks of the last WINDOW_S, in bins of a second: at most 61 of them."""

    def __init__(self) -> None:
        self._bins: deque[list[float]] = deque()  # [second, watched, closed, blinks]

    def add(self, now: float, watched: float = 0.0, closed: float = 0.0, blinks: int = 0) -> None:
        second = float(int(now))
        if not self._bins or self._bins[-1][0] < second:
            self._bins.append([second, 0.0, 0.0, 0.0])
        newest = self._bins[-1]
        newest[1] += watched
        newest[2] += closed
        newest[3] += blinks
        while second - self._bins[0][0] >= WINDOW_S:
            self._bins.popleft()

    def sums(self) -> tuple[float, float, float]:
        watched, closed, blinks = (sum(entry[index] for entry in self._bins) for index in (1, 2, 3))
        return watched, closed, blinks

    def clear(self) -> None:
        self._bins.clear()


class Watch:
    """What is remembered of one person."""

    def __init__(self, timestamp: int, tracker: FaceTracker | None = None) -> None:
        self._tracker = tracker or FaceTracker()
        self._eyes = Eyes()
        self._face = 0
        self._since = self._before = timestamp / 1000
        self._shut: float | None = None  # when the eyes closed
        self._long = False  # this closure counts as fatigue already
        self._contradicted: float | None = None
        self._minute = Minute()
        self._watched, self._closed, self._blinks = 0.0, 0.0, 0

    def see(self, frame: NDArray[np.uint8], timestamp: int) -> dict[str, Any] | None:
        now = timestamp / 1000
        step = now - self._before
        if not 0 <= step <= LONGEST_GAP_S:
            # The clock was set, or frames are missing: what happened meanwhile is unknown.
            self._shut, self._contradicted, step = None, None, 0.0
            if now < self._before:
                self._minute.clear()
                self._since = now
        self._before = now
        frame = np.ascontiguousarray(frame)
        face = self._tracker.update(frame, timestamp)
        if face is None:
            self._shut = None
            return self._nothing(NO_FACE, now)
        if face.number != self._face:
            self._face, self._eyes, self._shut = face.number, Eyes(), None
        difference = self._eyes.difference(frame, face, now, ask=self._shut is not None)
        if difference is None:
            return self._nothing(NO_EYES, now)
        if difference > CLOSED:
            self._closing(now, step)
            if self._seem_open(now):
                self._eyes.learn(frame, face, 1.0)
                self._shut = None
        elif difference < OPENED:
            self._opening(now)
            self._eyes.learn(frame, face)
        elif self._shut is not None:
            self._closing(now, step)
        self._add(now, watched=step)
        return self._tell()

    def summary(self) -> dict[str, Any] | None:
        """The whole session. None: the eyes were not watched for 10 s."""
        return _answer(self._watched, self._closed, self._blinks) if self._watched >= FIRST_ANSWER_S else None

    def _closing(self, now: float, step: float) -> None:
        if self._shut is None:
            self._shut, self._long = now, False
        if self._long:
            self._add(now, closed=step)
        elif now - self._shut > LONGEST_BLINK_S:
            self._long = True
            self._add(now, closed=now - self._shut)

    def _opening(self, now: float) -> None:
        if self._shut is not None and not self._long:
            self._add(now, blinks=1)
        self._shut, self._contradicted = None, None

    def _seem_open(self, now: float) -> bool:
        """Whether the cascade has contradicted for RELEARN_S."""
        if not self._eyes.found_open:
            self._contradicted = None
        elif self._contradicted is None:
            self._contradicted = now
        elif now - self._contradicted > RELEARN_S:
            self._contradicted = None
            return True
        return False

    def _add(self, now: float, watched: float = 0.0, closed: float = 0.0, blinks: int = 0) -> None:
        self._minute.add(now, watched, closed, blinks)
        self._watched += watched
        self._closed += closed
        self._blinks += blinks

    def _tell(self) -> dict[str, Any] | None:
        watched, closed, blinks = self._minute.sums()
        return _answer(watched, closed, blinks) if watched >= FIRST_ANSWER_S else None

    def _nothing(self, reason: str, now: float) -> dict[str, Any] | None:
        if now - self._since < FIRST_ANSWER_S:
            return None
        return {"blinks_per_minute": None, "fatigue": None, "blink_reason": reason}


def _answer(watched: float, closed: float, blinks: float) -> dict[str, Any]:
    return {
        "blinks_per_minute": round(60 * blinks / watched, 1),
        "fatigue": round(min(1.0, closed / watched / DROWSY / 2), 3),
    }
