"""Heart rate from a face's colour. What it does and what it is worth: README.md in this folder."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.toolkit.face_tracking import FaceTracker

from . import pos
from .skin import SkinSampler

FIRST_ANSWER_S = 8.0
WINDOW_S = pos.FULL_WINDOW_S
"""Longest window: more would be surer of a steady pulse, and later with one that changes."""

LONGEST_GAP_S = 1.0
"""Frames missing for longer than a beat cannot be filled in: the window starts anew."""

LATE_S = 0.25
"""A frame this much older than its predecessor is one that was overtaken; older than that, the clock was set."""

LEAST_FRAMES_PER_SECOND = 4.5
MOST_SAMPLES = 1024
SHORTEST_STEP_S = 0.01
ESTIMATE_EVERY_S = 0.25

CONFIDENT = 0.35
"""Quality from which a rhythm is reported as a heart rate; bench/pulse.py prints what it lets through and what it
holds back."""

NO_FACE = "no face is seen"
NO_PULSE = "the face shows no clear pulse"
TOO_FEW = "there are too few frames a second"
WAITING = "there are not 8 s of the face yet"


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


class Watch:
    """What is remembered of one person: at most 12 s of colours, and sums."""

    def __init__(self, timestamp: int, tracker: FaceTracker | None = None, sampler: SkinSampler | None = None) -> None:
        self._tracker, self._sampler = tracker or FaceTracker(), sampler or SkinSampler()
        self._times: deque[float] = deque(maxlen=MOST_SAMPLES)
        self._colours: deque[NDArray[np.float64]] = deque(maxlen=MOST_SAMPLES)
        self._since = timestamp / 1000  # of the uninterrupted series of frames, with a face or without
        self._newest: float | None = None
        self._face = 0
        self._answer: dict[str, Any] | None = None
        self._estimated: float | None = None
        self._reason = WAITING
        self._rates = Mean()
        self._quality = Mean()
        self._watched_s = 0.0

    def see(self, frame: NDArray[np.uint8], timestamp: int) -> dict[str, Any] | None:
        now = timestamp / 1000
        self._keep_time(now)
        frame = np.ascontiguousarray(frame)
        face = self._tracker.update(frame, timestamp)
        colour = self._sampler.sample(frame, face) if face is not None else None
        if face is not None and colour is not None:
            if face.number != self._face:
                self._face = face.number
                self._forget()
            self._add(now, colour)
        elif self._times and now - max(self._times) > LONGEST_GAP_S:
            self._forget()
        return self._tell(now, seen=face is not None)

    def summary(self) -> dict[str, Any]:
        """The session's mean heart rate, its standard deviation and mean quality, over the seconds that have one."""
        if not self._rates.weight:
            return {"HR": None, "HR_spread": None, "HR_quality": 0.0, "HR_window_s": 0.0, "HR_reason": self._reason}
        return {
            "HR": round(self._rates.mean, 1),
            "HR_spread": round(self._rates.deviation, 1),
            "HR_quality": round(self._quality.mean, 2),
            "HR_window_s": round(self._watched_s, 1),
        }

    def _keep_time(self, now: float) -> None:
        if self._newest is not None and not -LATE_S <= now - self._newest <= LONGEST_GAP_S:
            self._forget()
            self._since, self._newest = now, now
        self._newest = max(now, self._newest if self._newest is not None else now)

    def _forget(self) -> None:
        self._times.clear()
        self._colours.clear()
        self._answer, self._estimated = None, None

    def _add(self, now: float, colour: NDArray[np.float64]) -> None:
        if self._times and 0 <= now - self._times[-1] < SHORTEST_STEP_S:
            return  # more than 100 frames a second tell nothing new
        if self._times and now - self._times[-1] > LONGEST_GAP_S:
            self._forget()
        self._times.append(now)
        self._colours.append(colour)
        while now - self._times[0] > WINDOW_S:
            self._times.popleft()
            self._colours.popleft()

    def _tell(self, now: float, seen: bool) -> dict[str, Any] | None:
        length = self._times[-1] - self._times[0] if len(self._times) > 1 else 0.0
        if length < FIRST_ANSWER_S:
            if now - self._since < FIRST_ANSWER_S:
                return None
            return self._nothing(WAITING if seen else NO_FACE, length)
        if not seen:
            return self._nothing(NO_FACE, length)
        if self._answer is None or self._estimated is None or not 0 <= now - self._estimated < ESTIMATE_EVERY_S:
            # The first answer of a window speaks for all of its seconds, each later one for those since.
            new_s = length if self._estimated is None else min(max(0.0, now - self._estimated), length)
            self._estimated = now
            self._answer = self._estimate(new_s)
        return self._answer

    def _estimate(self, new_s: float) -> dict[str, Any]:
        times = np.array(self._times)
        order = np.argsort(times, kind="stable")
        times = times[order] - times[order[0]]
        keep = np.concatenate([[True], np.diff(times) > 1e-3])  # frames of the same moment have no slope between them
        times, colours = times[keep], np.array(self._colours)[order][keep]
        rate = 1 / float(np.median(np.diff(times)))
        length = float(times[-1])
        if min(rate, len(times) / length) < LEAST_FRAMES_PER_SECOND:
            return self._nothing(TOO_FEW, length)
        even = pos.resample(times, colours.reshape(len(colours), -1)).reshape(-1, *colours.shape[1:])
        found = pos.estimate(even, self._sampler.shares, rate)
        if found.quality < CONFIDENT:
            return self._nothing(NO_PULSE, length, found.quality)
        self._watched_s += new_s
        self._rates.add(found.rate, found.quality * new_s)
        self._quality.add(found.quality, new_s)
        return {"HR": round(found.rate, 1), "HR_quality": round(found.quality, 2), "HR_window_s": round(length, 1)}

    def _nothing(self, reason: str, length: float, quality: float = 0.0) -> dict[str, Any]:
        """No heart rate, and why. `HR` is there, as null: it must take the place of one reported earlier."""
        self._reason = reason
        return {"HR": None, "HR_quality": round(quality, 2), "HR_window_s": round(length, 1), "HR_reason": reason}


class Mean:
    """Weighted mean and deviation of a series that is not kept (West 1979)."""

    def __init__(self) -> None:
        self.weight, self.mean, self._squares = 0.0, 0.0, 0.0

    def add(self, value: float, weight: float) -> None:
        self.weight += weight
        step = value - self.mean
        self.mean += step * weight / self.weight
        self._squares += weight * step * (value - self.mean)

    @property
    def deviation(self) -> float:
        return float(np.sqrt(self._squares / self.weight)) if self.weight else 0.0
