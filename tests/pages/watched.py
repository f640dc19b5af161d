"""What a page of a browser asks for and complains of, gathered from the events of the DevTools protocol."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

AWAY = ("WebSocket connection to", "ERR_CONNECTION", r"\b426\b")
"""What a page complains of while its server is away; 426 where it is back before the page has asked what is wrong."""


class Watched:
    """One page's requests, bytes and problems.

    Args:
        frame: The identity of its main frame.

    Attributes:
        problems: errors on the console, exceptions that nobody caught, requests that failed, requests elsewhere.
        bytes: received over the wire for each address, headers included; what came from the cache is none.
        origins: that it asked for something.
    """

    def __init__(self, frame: str) -> None:
        self._frame = frame
        self.problems: list[str] = []
        self.bytes: dict[str, int] = {}
        self.origins: set[str] = set()
        self.origin = ""
        self._addresses: dict[str, str] = {}
        self._expected: list[str] = []
        self._loads: list[tuple[str, str]] = []  # "init" or "load", and the loader's identity
        self._lock = threading.Lock()
        self._events: dict[str, Callable[[dict[str, Any]], None]] = {
            "Network.requestWillBeSent": lambda event: self._asked(event["requestId"], event["request"]["url"]),
            "Network.webSocketCreated": lambda event: self._asked(event["requestId"], event["url"]),
            "Network.responseReceived": self._answered,
            "Network.loadingFinished": self._finished,
            "Network.loadingFailed": self._failed,
            "Page.lifecycleEvent": self._lives,
            "Runtime.consoleAPICalled": self._said,
            "Runtime.exceptionThrown": self._threw,
            "Log.entryAdded": self._logged,
        }

    def event(self, method: str, parameters: dict[str, Any]) -> None:
        """Take an event."""
        if take := self._events.get(method):
            with self._lock:
                take(parameters)

    def expect(self, *patterns: str) -> None:
        """Problems that one of these regular expressions finds are none."""
        self._expected += patterns

    def unexpected(self) -> list[str]:
        """The problems so far that nobody expected."""
        with self._lock:
            return [each for each in self.problems if not any(re.search(one, each) for one in self._expected)]

    def is_loaded(self, loader: str) -> bool:
        """Whether a document has loaded, or one that it led to, which may take its place before it has."""
        with self._lock:
            begun = ("init", loader) in self._loads
            return begun and any(name == "load" for name, _ in self._loads[self._loads.index(("init", loader)) :])

    def _asked(self, identity: str, url: str) -> None:
        self._addresses[identity] = url
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https", "ws", "wss") or not self.origin:
            return
        origin = f"{parts.scheme.replace('ws', 'http')}://{parts.netloc}"
        self.origins.add(origin)
        if origin != self.origin:
            self.problems.append(f"a request elsewhere: {url}")

    def _answered(self, event: dict[str, Any]) -> None:
        if event["response"]["status"] >= 400:
            self.problems.append(f"{event['response']['status']} for {event['response']['url']}")

    def _finished(self, event: dict[str, Any]) -> None:
        url = self._addresses.get(event["requestId"], "")
        self.bytes[url] = self.bytes.get(url, 0) + int(event["encodedDataLength"])

    def _failed(self, event: dict[str, Any]) -> None:
        if not event.get("canceled"):
            self.problems.append(f"{event['errorText']} for {self._addresses.get(event['requestId'])}")

    def _lives(self, event: dict[str, Any]) -> None:
        if event["name"] in ("init", "load") and event["frameId"] == self._frame:
            self._loads.append((event["name"], event["loaderId"]))

    def _said(self, event: dict[str, Any]) -> None:
        if event["type"] in ("error", "assert", "warning"):
            texts = (str(each.get("value", each.get("description"))) for each in event["args"])
            self.problems.append(f"console.{event['type']}: {' '.join(texts)}")

    def _threw(self, event: dict[str, Any]) -> None:
        details = event["exceptionDetails"]
        self.problems.append(f"an exception: {details.get('exception', {}).get('description', details['text'])}")

    def _logged(self, event: dict[str, Any]) -> None:
        entry = event["entry"]
        if entry["level"] == "error":
            self.problems.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}".rstrip())
