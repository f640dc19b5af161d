"""Lists of pictures as JSON, a page at a time, made of the texts that the store holds. Blocks: use a thread."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import NamedTuple

from imageserver.protocols.snap.pictures import ALL, LAST, PictureStore, Row, Sight


class ListPage(NamedTuple):
    """A page of a list, and the address of the next one; "" for the last."""

    body: bytes
    next: str


def record(row: Row, owner: bool = False) -> str:
    """One picture's record; `owner`: with the name of the user who put it, where one is known."""
    received = json.dumps(row.received)
    about = f'"type":"image/{row.kind}","size":{row.size},"image":"/snippets/{row.id}/image"'
    if row.camera:
        about += f',"camera":{_text(row.camera)}'
    if owner and row.owner:
        about += f',"user":{_text(row.owner)}'
    return f'{{"id":{row.id},"prediction":{row.prediction},"received":{received},{about}}}'


def newest(store: PictureStore, after: int, most: int, sight: Sight = ALL) -> ListPage:
    """The newest picture of each id above `after`, of those in `sight`: at most `most`."""
    rows, following = store.newest(after, most, sight)
    body = f'{{"snippets":[{_records(rows, sight)}]}}'
    return ListPage(body.encode(), "" if following is None else f"/snippets/?after={following}&limit={most}")


def history(store: PictureStore, identity: int, before: int, most: int, sight: Sight = ALL) -> ListPage | None:
    """The pictures of an id in `sight`, newest first, with numbers below `before`: at most `most`.

    None: there is no such id.
    """
    rows, following = store.history(identity, before, most, sight)
    if not rows and following is None and before == LAST:
        return None
    body = f'{{"id":{identity},"history":[{_records(rows, sight)}]}}'
    address = "" if following is None else f"/snippets/{identity}/?history=1&before={following}&limit={most}"
    return ListPage(body.encode(), address)


def _records(rows: Iterable[Row], sight: Sight) -> str:
    return ",".join(record(row, sight.names) for row in rows)


def _text(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
