"""Who is there beside the cameras: one who adds users, one who puts pictures, one who looks at all cameras."""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from itertools import count

import requests
from tests.faults.load import marked

PUTS = 65535
"""The mark of the pictures that are put."""
PAUSE = 0.5
"""Seconds until somebody who was refused, or has lost a connection, tries again."""
WITHIN = 15.0
"""Seconds that a request may take."""


def session(token: str) -> requests.Session:
    """Requests with a token, which go to nobody else than whom they name."""
    made = requests.Session()
    made.trust_env = False
    made.headers["Authorization"] = f"Bearer {token}"
    return made


class Beside(ABC):
    """Somebody in a thread, as a context."""

    def __init__(self) -> None:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Beside:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._ending.set()
        self._thread.join(2 * WITHIN)

    @abstractmethod
    def _run(self) -> None:
        """Until `_ending` is set."""


class Writer(Beside):
    """Writes one thing after the other, and keeps the numbers of what was acknowledged.

    Args:
        url: Of the proxy.
        token: Of a user who may.
        every: Seconds between two.
    """

    def __init__(self, url: str, token: str, every: float) -> None:
        super().__init__()
        self._url, self._session, self._every = url, session(token), every
        self.acknowledged: list[int] = []
        self.refused = 0

    def _run(self) -> None:
        for number in count(1):
            try:
                done = self._write(number)
            except requests.RequestException:  # the front end that had it was killed
                done = False
            if done:
                self.acknowledged.append(number)
            else:
                self.refused += 1
            if self._ending.wait(self._every):
                return

    @abstractmethod
    def _write(self, number: int) -> bool:
        """Whether it was acknowledged."""


class Users(Writer):
    """Adds users, each with a password that is hashed."""

    @staticmethod
    def name(number: int) -> str:
        return f"added-{number}"

    def _write(self, number: int) -> bool:
        wish = {"password": "a password", "roles": ["viewer"]}
        answer = self._session.put(f"{self._url}/users/{self.name(number)}", json=wish, timeout=WITHIN)
        return answer.status_code == 201


class Snippets(Writer):
    """Puts pictures of Snap, each under a number of its own.

    Attributes:
        wrong: Answers to another picture than the one that was put.
    """

    wrong = 0

    def _write(self, number: int) -> bool:
        answer = self._session.put(f"{self._url}/snippets/{number}/", data=marked(PUTS, number), timeout=WITHIN)
        if answer.status_code != 200:
            return False
        label = answer.json()["prediction"].get("label")  # none where the model could not answer; the picture is kept
        self.wrong += label not in (None, f"{PUTS}.{number}")
        return True

    def missing(self) -> list[int]:
        """Which of those that were acknowledged cannot be got as they were put; asked of any front end."""
        return [number for number in list(self.acknowledged) if not self._is_there(number)]

    def _is_there(self, number: int) -> bool:
        for _ in range(3):  # the front end that is asked may be on its way out
            with contextlib.suppress(requests.RequestException):
                found = self._session.get(f"{self._url}/snippets/{number}/image", timeout=WITHIN)
                if found.status_code < 500:
                    return found.content == marked(PUTS, number)
            time.sleep(PAUSE)
        return False


class Viewer(Beside):
    """Follows what happens at all cameras, at one front end; where that one is gone, at the next.

    Args:
        urls: Of the front ends, by their names.
        token: Of a viewer.

    Attributes:
        at: Where it is.
        wrong: Predictions that were shown of another camera than that whose picture it was.
        heard: When a prediction of a camera at that front end was shown, by the front end's name.
    """

    def __init__(self, urls: Mapping[str, str], token: str) -> None:
        super().__init__()
        self._urls, self._session = urls, session(token)
        self.at = ""
        self.wrong = 0
        self.heard: dict[str, float] = {}

    def sees_all_since(self, moment: float) -> bool:
        """Whether cameras at every front end were shown after that moment."""
        return all(self.heard.get(name, 0.0) > moment for name in self._urls)

    def _run(self) -> None:
        while True:
            for name in reversed(self._urls):
                self.at = name
                with contextlib.suppress(requests.RequestException):
                    url = f"{self._urls[name]}/streams/events"
                    with self._session.get(url, stream=True, timeout=(2, 2 * WITHIN)) as answer:
                        self._follow(answer)
                if self._ending.wait(PAUSE):
                    return

    def _follow(self, answer: requests.Response) -> None:
        kind = b""
        for line in answer.iter_lines(4096):
            if self._ending.is_set():
                return
            if line.startswith(b"event:"):
                kind = line.split()[1]
            elif kind == b"prediction" and line.startswith(b"data:"):
                self._shown(json.loads(line[5:]))

    def _shown(self, told: dict[str, str]) -> None:
        camera = re.match(r"camera-(\d+)", told.get("name", ""))
        if camera is None:
            return
        self.heard[told["stream"].partition(".")[0]] = time.monotonic()
        self.wrong += told.get("label", "").partition(".")[0] != camera[1]
