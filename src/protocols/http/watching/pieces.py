"""Pictures on their way to several clients: the same bytes for all of them, counted once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from imageserver.inference.shared.wire import Picture
from imageserver.transport.budget import SMALL, Account, Charge


@dataclass(slots=True, eq=False)
class _Sent:
    """A picture, how many it is being sent to, and to whom it is charged: who was the first of them."""

    picture: Picture
    charge: Charge
    clients: int = 0


class SharedPictures:
    """Those that are being sent. Small ones are not counted, as each client has one at most."""

    def __init__(self) -> None:
        self._sent: dict[int, _Sent] = {}  # by the picture's identity

    def begin(self, picture: Picture, account: Account) -> bool:
        """A client begins to be sent a picture; False: there is no room for it. `end` has to follow."""
        if len(picture) <= SMALL:
            return True
        sent = self._sent.get(id(picture))
        if sent is None:
            sent = _Sent(picture, account.another().charge("answers"))  # which the others may need when it has gone
            if not sent.charge.set(len(picture)):
                return False
            self._sent[id(picture)] = sent
        sent.clients += 1
        return True

    def end(self, picture: Picture) -> None:
        """One client has it, or has gone."""
        sent = self._sent.get(id(picture))
        if sent is not None:
            sent.clients -= 1
            if not sent.clients:
                sent.charge.set(0)
                del self._sent[id(picture)]


def pieces(head: bytes, picture: Picture, tail: bytes) -> Iterator[bytes]:
    """All of it, in pieces that are each too small to be counted for the client; what is large is not copied."""
    if len(picture) <= SMALL - len(head) - len(tail):
        yield b"".join((head, picture, tail))
        return
    yield head
    view = memoryview(picture)
    for start in range(0, len(view), SMALL):
        yield view[start : start + SMALL]  # type: ignore[misc]  # whatever has bytes does
    yield tail
