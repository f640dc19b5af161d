"""Whom to ask: one endpoint of several, a second where the first one fails, and none that is known to be gone.

- Of two that chance picks, the one with fewer batches under way is asked (power of two choices).
- A batch has one deadline, also where it is asked for in several parts. With a second endpoint at hand the first has
  half of what is left; what failed is sent there once more, as long as the budget of retries allows it.
- An endpoint that fails again and again is left alone (breaker.py); a thread for each looks whether it is well.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from imageserver.errors import EndpointFailed, EndpointRefused, ModelError, OutOfTime, Unreachable
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.worker.context import Note
from imageserver.inference.worker.remote.breaker import Breaker, BreakerState, RetryBudget
from imageserver.inference.worker.remote.messages import Answer, Question
from imageserver.inference.worker.remote.negotiation import Agreement, agree
from imageserver.inference.worker.remote.settings import NOBODY, RemoteSettings
from imageserver.inference.worker.remote.transport import BatchTime, Transport

LEAST_LOOK = 1.0
"""Seconds that a look may take where looks follow each other more closely."""

Read = TypeVar("Read")


class RemoteEndpoint:
    """One of them. What is counted is changed under the lock of `Endpoints`."""

    def __init__(self, name: str, transport: Transport) -> None:
        self.name, self.transport = name, transport
        self.breaker = Breaker()
        self.waiting = self.answered = self.failed = 0
        self.trouble = "was not asked yet"
        """What it did last, as a sentence goes on behind its name."""
        self.mismatch: ModelError | None = None
        """It does not fit the manifest, or the others."""


class Endpoints:
    """Those of one model. `infer` may be called from many threads.

    Args:
        manifest: of the model.
        endpoints: names and ways to ask, in the manifest's order.
        settings: bounds.
        note: for the log.
        chance: picks.
    """

    def __init__(
        self,
        manifest: Manifest,
        endpoints: Sequence[tuple[str, Transport]],
        settings: RemoteSettings,
        note: Note,
        chance: random.Random | None = None,
    ) -> None:
        self.all = [RemoteEndpoint(name, transport) for name, transport in endpoints]
        self.agreement: Agreement | None = None
        self.retried = 0
        self.time = BatchTime(settings.seconds)
        self._manifest, self._settings, self._note = manifest, settings, note
        self._look_seconds = max(settings.look_every, LEAST_LOOK)
        self._chance = chance or random.Random()
        self._budget = RetryBudget(settings.retries / 100, settings.batches)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._told: Callable[[], None] = lambda: None

    @property
    def usable(self) -> bool:
        """Whether any of them may be asked."""
        return any(endpoint.breaker.allows for endpoint in self.all)

    @property
    def trouble(self) -> str:
        """What is wrong with those that may not be asked, for the log; "" when all may."""
        wrong = [f"{each.name} {each.trouble}" for each in self.all if not each.breaker.allows]
        return "; ".join(wrong[:4]) + (f"; and {len(wrong) - 4} more" if len(wrong) > 4 else "")

    def negotiate(self) -> Agreement:
        """Look at all of them at once, and agree how they are asked.

        Raises:
            Unreachable: none answers.
            ModelError: those that answer do not fit the manifest.
        """
        looks = [threading.Thread(target=self.look, args=(endpoint,), daemon=True) for endpoint in self.all]
        for look in looks:
            look.start()
        end = time.monotonic() + 2 * self._look_seconds
        for look in looks:
            look.join(max(0.0, end - time.monotonic()))
        if self.usable and self.agreement is not None:
            return self.agreement
        self._note(f"{self._manifest.name}: {self.trouble}")
        mismatches = [endpoint.mismatch for endpoint in self.all if endpoint.mismatch is not None]
        if len(mismatches) == len(self.all):
            raise ModelError(f"the model {self._manifest.name!r} does not fit where it runs, which {mismatches[0]}")
        raise Unreachable(NOBODY)

    def watch(self, told: Callable[[], None]) -> None:
        """Look at each of them now and then, until `close`; `told` is called when one comes or goes."""
        self._told = told
        for endpoint in self.all:
            threading.Thread(target=self._watch, args=(endpoint,), name=f"look at {endpoint.name}", daemon=True).start()

    def close(self) -> None:
        """End the looks and what is open."""
        self._stopped.set()
        for endpoint in self.all:
            endpoint.transport.close()

    def infer(self, question: Question, read: Callable[[Answer], Read]) -> Read:
        """Ask one of them, and another where that one fails.

        Args:
            question: what is asked.
            read: makes of an answer what is wanted. ValueError: the answer is none, and counts as a failure.

        Raises:
            Unreachable: none answered within the time. Its sentence is for clients. OutOfTime: that was over.
            EndpointRefused: one answered that it does not take this.
        """
        deadline, rushed = self.time.deadline()
        if time.monotonic() >= deadline:
            raise OutOfTime(NOBODY)
        self._budget_add()
        tried: list[RemoteEndpoint] = []
        while True:
            endpoint, others = self._begin(tried)
            until = deadline
            if others:
                until = (time.monotonic() + deadline) / 2
            try:
                answer = endpoint.transport.infer(question, until)
                try:
                    found = read(answer)
                except ValueError as error:
                    raise EndpointFailed(f"gives an answer that {error}") from None
                self._end(endpoint, None)
                return found
            except EndpointRefused:
                self._end(endpoint, None)  # it answers: what it was sent is at fault, or its model
                raise
            except EndpointFailed as error:
                late = time.monotonic() >= deadline
                self._end(endpoint, error, counts=not (late and rushed))
                tried.append(endpoint)
                if not self._try_again(others):
                    raise (OutOfTime if late else Unreachable)(NOBODY) from None
            except BaseException as error:
                self._end(endpoint, EndpointFailed(f"could not be asked ({type(error).__name__})"))
                raise

    def look(self, endpoint: RemoteEndpoint) -> None:
        """Find out whether an endpoint is well; one that was left alone has to say again what its model takes."""
        deadline = time.monotonic() + self._look_seconds
        trouble: ModelError | None = None
        mismatch: ModelError | None = None
        try:
            if not endpoint.breaker.allows:
                agreed = agree(self._manifest, endpoint.transport.form(deadline))
                with self._lock:
                    if self.agreement not in (None, agreed):
                        raise ModelError(f"has other tensors than the first endpoint: {agreed.input}, {agreed.outputs}")
                    self.agreement = agreed
            endpoint.transport.ready(deadline)
        except EndpointFailed as error:
            trouble = error
        except ModelError as error:
            trouble = mismatch = error
        with self._lock:
            endpoint.mismatch = mismatch
            self._note_trouble(endpoint, trouble)
            before = endpoint.breaker.allows
            endpoint.breaker.looked(trouble is None, time.monotonic())
            changed = endpoint.breaker.allows != before
        if changed:
            self._tell(endpoint)

    def _watch(self, endpoint: RemoteEndpoint) -> None:
        while not self._stopped.wait(self._settings.look_every):
            self.look(endpoint)

    def _begin(self, tried: list[RemoteEndpoint]) -> tuple[RemoteEndpoint, bool]:
        """One that may be asked, and whether there are others for a second try. Unreachable."""
        with self._lock:
            able = [each for each in self.all if each.breaker.allows and each not in tried]
            if not able:
                raise Unreachable(NOBODY)
            picked = self._chance.sample(able, min(2, len(able)))
            endpoint = min(picked, key=lambda each: each.waiting)
            endpoint.waiting += 1
            return endpoint, len(able) > 1

    def _end(self, endpoint: RemoteEndpoint, failure: EndpointFailed | None, counts: bool = True) -> None:
        """`counts`: how it ended says something of the endpoint; it had the time to answer."""
        with self._lock:
            endpoint.waiting -= 1
            if not counts:
                return
            before = endpoint.breaker.state
            if failure is None:
                endpoint.answered += 1
                endpoint.breaker.succeeded()
            else:
                endpoint.failed += 1
                self._note_trouble(endpoint, failure)
                endpoint.breaker.failed(time.monotonic())
            opened = before is not endpoint.breaker.state is BreakerState.OPEN
        if opened:
            self._tell(endpoint)

    def _budget_add(self) -> None:
        with self._lock:
            self._budget.add()

    def _try_again(self, others: bool) -> bool:
        with self._lock:
            again = others and self._budget.take()
            self.retried += again
        return again

    def _note_trouble(self, endpoint: RemoteEndpoint, trouble: ModelError | None) -> None:
        if trouble is not None:
            endpoint.trouble = " ".join(str(trouble).split())[:300]

    def _tell(self, endpoint: RemoteEndpoint) -> None:
        if self._stopped.is_set():
            return
        gone = "" if endpoint.breaker.allows else f"is left alone: it {endpoint.trouble}"
        self._note(f"{self._manifest.name}: {endpoint.name} {gone or 'is asked'}")
        self._told()
