"""Clients that follow what happens, each with an answer that does not end by itself: how many there may be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from imageserver import limits, metrics
from imageserver.errors import Refused
from imageserver.transport.budget import owner_of
from imageserver.web.requests import Request, Response


class Followers:
    """At most `most` at the same time, of one address a quarter.

    Args:
        limit: The field of `Limits` that says how many; hitting it is counted.
        most: Its value.
        what: What they follow, as a sentence goes on: "trainings".
        log: Takes a line for each that is refused.
    """

    def __init__(self, limit: str, most: int, what: str, log: Callable[[str], None]) -> None:
        self._limit, self._most, self._what, self._log = limit, most, what, log
        self._by_address: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._by_address.total()

    def admit(self, request: Request, response: Response) -> Response:
        """Count who is answered so, until the response is closed. Refused: 503, there are too many."""
        address = request.environ.get("REMOTE_ADDR", "")
        owner = owner_of(address)
        full = len(self) >= self._most
        if full or self._by_address[owner] >= max(1, self._most // 4):
            many = f"{len(self)} clients follow {self._what}, {self._by_address[owner]} of them from {address}"
            why = f"{many}; one more was refused"
            self._log(limits.note(why, self._limit, owner))
            where = "the server" if full else "your address"
            sentence = f"as many clients as may follow {self._what} from {where} already; try again later"
            raise Refused(503, sentence, Retry_After="60")
        self._by_address[owner] += 1
        metrics.FOLLOWERS.child(self._what).value = len(self)
        response.call_on_close(lambda: self._leave(owner))
        return response

    def _leave(self, owner: str) -> None:
        self._by_address[owner] -= 1
        if not self._by_address[owner]:
            del self._by_address[owner]
        metrics.FOLLOWERS.child(self._what).value = len(self)
