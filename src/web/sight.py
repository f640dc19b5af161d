"""Which of all that comes in somebody may look at: users who are bound to cameras see theirs alone."""

from __future__ import annotations

import unicodedata

from imageserver.accounts.database import User
from imageserver.errors import Refused
from imageserver.streams.overview import Incoming, Overview

MOST_KEY = 256
"""Characters of a stream's name or id that are looked at; none has more."""


def sees(user: User | None, one: Incoming) -> bool:
    """Whether a stream or session may be shown to `user`; to None, who need not log in, all are."""
    return user is None or user.sees(one.counts_as)


def named(overview: Overview, user: User | None, key: str) -> list[Incoming]:
    """Those with the id `key`, or of that name, that `user` may see, in the order in which they began; at least one.

    Raises:
        Refused: There is none (404), or none that this user may know of.
    """
    found = [one for one in overview.named(unicodedata.normalize("NFC", key)) if sees(user, one)]
    if not found:
        sentence = f"there is no stream {key!r}; /streams/ lists them"
        raise Refused(404, ". ".join(filter(None, (sentence, overview.far.problem()))))
    return found
