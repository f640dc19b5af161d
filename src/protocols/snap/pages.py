"""Lists of pictures as JSON, a page at a time, made of the texts that the database holds. Blocks: use a thread."""

from __future__ import annotations

import json
from typing import NamedTuple

from imageserver.protocols.snap.records import Row
from imageserver.protocols.snap.store import LAST, SnapStore


class ListPage(NamedTuple):
    """A page of a list, and the address of the next one; "" for the last."""

    body: bytes
    next: str


def record(row: Row) -> str:
    """One picture's record."""
    received = json.dumps(row.received)
    about = f'"type":"image/{row.kind}","size":{row.size},"image":"/snippets/{row.id}/image"'
    return f'{{"id":{row.id},"prediction":{row.prediction},"received":{received},{about}}}'


def newest(store: SnapStore, after: int, most: int) -> ListPage:
    """The newest picture of each id above `after`: at most `most`."""
    rows, more = store.newest(after, most)
    body = f'{{"snippets":[{",".join(map(record, rows))}]}}'
    return ListPage(body.encode(), f"/snippets/?after={rows[-1].id}&limit={most}" if more else "")


def history(store: SnapStore, identity: int, before: int, most: int) -> ListPage | None:
    """The pictures of an id, newest first, with numbers below `before`: at most `most`. None: there is no such id."""
    rows, more = store.history(identity, before, most)
    if not rows and before == LAST:
        return None
    body = f'{{"id":{identity},"history":[{",".join(map(record, rows))}]}}'
    following = f"/snippets/{identity}/?history=1&before={rows[-1].number}&limit={most}" if more else ""
    return ListPage(body.encode(), following)
