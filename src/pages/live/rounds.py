"""All live pages: who is woken by a frame, whose round is sent next, and the state that all are told once a second."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from imageserver.errors import describe
from imageserver.pages.live.messages import Message, PageHidden, RoundHandled, StreamFilter, Watching
from imageserver.pages.live.page import LivePage, PageState
from imageserver.pages.live.state import States
from imageserver.streams.far import FarStream, FarStreams, FarWatcher
from imageserver.streams.frame import Frame, Prediction
from imageserver.streams.stream import Stream, StreamSubscriber
from imageserver.transport import fairness, hub
from imageserver.transport.websocket.frames import CloseCode

AGAIN = 1.0
"""Seconds after which states are made again that could not be."""


class Rounds(StreamSubscriber):
    """Watches all streams. `states` makes what pages are told; `log` takes a line about what went wrong."""

    def __init__(self, states: States, log: Callable[[str], None]) -> None:
        self._states, self._log = states, log
        self._pages: dict[LivePage, None] = {}
        self._watching: dict[str, dict[LivePage, None]] = {}  # by the ids of streams
        self._due: dict[LivePage, None] = {}
        self._is_due, self._wanted = hub.Event(), hub.Event()

    def __len__(self) -> int:
        return len(self._pages)

    @property
    def pages(self) -> list[LivePage]:
        """Those that are open."""
        return list(self._pages)

    # ---- pages --------------------------------------------------------------------------------------------------

    def add(self, page: LivePage) -> None:
        """A page has come."""
        self._pages[page] = None
        self._wanted.set()

    def remove(self, page: LivePage) -> None:
        """It has gone."""
        page.close()
        self._unwatch(page, page.watched)
        self._pages.pop(page, None)
        self._due.pop(page, None)

    def take(self, page: LivePage, message: Message) -> None:
        """What a page says. BodyError."""
        match message:
            case RoundHandled(number):
                page.handled(number)
            case Watching(ids):
                self._unwatch(page, page.watched)
                page.watch(ids)
                for stream_id in ids:
                    self._watching.setdefault(stream_id, {})[page] = None
            case StreamFilter(text):
                page.list_only(text)
                self._wanted.set()
            case PageHidden(hidden):
                page.show(hidden)
                self._wanted.set()

    def due(self, page: LivePage) -> None:
        """Its round is to be sent."""
        self._due[page] = None
        self._is_due.set()

    # ---- what becomes of frames (StreamSubscriber) --------------------------------------------------------------

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        pages = self._watching.get(stream.id)
        if pages is not None:
            for page in pages:
                page.touch()

    def rejected(self, stream: Stream, frame: Frame, error: str) -> None:
        for page in self._watching.get(stream.id, ()):
            page.touch()

    def watch_far(self, far: FarStreams) -> None:
        """Hear of those of other front ends, too."""
        far.watchers.append(_FarRounds(self._watching))

    # ---- for ever -----------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Send the rounds that are due, one page after the other, and let others have their turns; spawn it."""
        hub.spawn(self._tell_states)
        while True:
            self._is_due.wait()
            self._is_due.clear()
            while self._due:
                page = next(iter(self._due))
                del self._due[page]
                try:
                    page.send_round(self._states.texts.get(page.view))
                except Exception as error:  # noqa: BLE001 - the others have to be served all the same
                    self._log(f"a live page ends: {describe(error)}")
                    page.ws.close(CloseCode.GOING_AWAY, "something went wrong in the server; its log says what")
                fairness.pause()  # a round may have megabytes, and cameras come first

    def _tell_states(self) -> None:
        while True:
            self._wanted.clear()
            views = {page.view for page in self._pages if page.state is PageState.SHOWN}
            if not views:
                self._states.forget()
                self._wanted.wait()
                continue
            try:
                self._states.refresh(views)
            except Exception as error:  # noqa: BLE001 - as above
                self._log(f"the state for live pages cannot be made: {describe(error)}")
                hub.sleep(AGAIN)
            for page in self._pages:
                page.touch()
            hub.sleep(self._states.rest)
            self._wanted.wait(self._states.due_in)

    def _unwatch(self, page: LivePage, ids: Iterable[str]) -> None:
        for stream_id in ids:
            pages = self._watching.get(stream_id, {})
            pages.pop(page, None)
            if not pages:
                self._watching.pop(stream_id, None)


class _FarRounds(FarWatcher):
    """The same of streams of other front ends. `watching`: the pages, by the ids of streams."""

    def __init__(self, watching: Mapping[str, Iterable[LivePage]]) -> None:
        self._watching = watching

    def shown(self, stream: FarStream) -> None:
        for page in self._watching.get(stream.id, ()):
            page.touch()
