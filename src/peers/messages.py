"""What front ends say to each other over Redis: bytes out, and what comes checked before anybody uses it. Pure.

A message is a JSON object in ASCII, and behind a newline the bytes of a picture where it has one:

    {"v": 1, "op": str, "from": the front end, "run": 16 hexadecimal digits, its own since its start, …}

on the channel `imageserver:1:all`, which all hear
    alive     "new": bool                            once a second; who has just begun to hear wants to be told all
    bye                                              it leaves
    rows      "rows": [Row, …]                       streams and sessions, new or as they are now
              "cycle": int, "piece": int, "pieces": int    of a whole list (0: none), of how many, 0 until it is known
    closed    "ids": [str, …]
    follow    "wanted": [str, …] or null             whose predictions are wanted for FOLLOWED, ids and names; null: all
on `imageserver:1:to:<front end>`, which that one hears
    watch     "streams": {id: seq}                   frames of these are wanted for WATCHED; which one came last
on `imageserver:1:predictions`, which those hear who want them
    predictions    "list": [[id, seq, timestamp, prediction or null, error], …]
on `imageserver:1:frame:<id>`, which those hear who look at it
    frame     "seq", "timestamp", "rotate": int, "prediction": {…}, "error": str; and the picture
on `imageserver:1:room:<room>`, which those hear who have somebody in that room of /ws
    text      "text": str, "camera": str, "only": [str, …]     what a client said; which cameras that client may see
    news      "text": str, "owner": str, "camera": str         of a picture that was put

The ids of a front end's streams and sessions begin with its name and a dot. The number in the channels is that of the
version: front ends of other versions do not hear each other.
"""

from __future__ import annotations

import enum
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

VERSION = 1
PREFIX = f"imageserver:{VERSION}:"
ALL, PREDICTIONS = f"{PREFIX}all", f"{PREFIX}predictions"
TO, FRAME, ROOM = f"{PREFIX}to:", f"{PREFIX}frame:", f"{PREFIX}room:"

WATCHED, FOLLOWED = 3.0, 3.0
"""Seconds for which a wish holds; it is said again each second."""
MOST_BYTES = 512 * 2**10
"""Of a message without its picture; a text of /ws has 64 K, which may be six times as much in ASCII."""
MOST_ROWS = 50
"""In one message."""
MOST_IDS = 512
MOST_VALUES = 32
DEEPEST = 16
"""Levels of lists and objects within a prediction."""

_ID, _NAME, _MODEL, _ERROR, _TEXT = 160, 256, 2048, 4096, 2**17
"""Characters of texts, at most."""
_BIG = 2**53
_FRONT_END = re.compile("[a-z0-9]{1,16}")
_RUN = re.compile("[0-9a-f]{16}")

Said = dict[str, Any]
"""A message as it was read."""


class Dropped(enum.StrEnum):
    """Why a message is dropped."""

    UNREADABLE = "unreadable"
    VERSION = "version"
    TOO_LARGE = "too large"
    TOO_MANY = "too many"
    LATE = "late"
    FOREIGN = "foreign"
    """It speaks of what is not its sender's."""


class Heard(NamedTuple):
    """A message that was understood; `text` is its JSON. `dropped`: entries that were not, and are in it no more."""

    said: Said
    text: str
    picture: memoryview
    dropped: int = 0


def encode(op: str, front_end: str, run: str, /, **values: Any) -> str:
    """A message without a picture, who says it near its beginning. ValueError: a value is no JSON."""
    head = {"v": VERSION, "op": op, "from": front_end, "run": run}
    return json.dumps(head | values, separators=(",", ":"), allow_nan=False)


def row(described: Mapping[str, Any], front_end: str, counts: str, kind: str, values: Mapping[str, Any]) -> Said:
    """A stream or session as others list it.

    Args:
        described: As our own lists show it (`Overview.described`).
        front_end: Ours.
        counts: The name that users are bound to.
        kind: "stream" or "session".
        values: Of a session.
    """
    told = {name: value for name, value in described.items() if name != "front_end"}  # whose message it is
    told |= {"id": own_id(str(described["id"]), front_end), "counts": counts, "kind": kind}
    told = {name: _shown(value) for name, value in told.items()}
    if kind == "session":
        told["values"] = {_shown(name): _shown(one) for name, one in values.items() if _tellable(one)}
    return told


def own_id(identity: str, front_end: str) -> str:
    """The id of one of our streams or sessions as others know it."""
    return identity if identity.startswith(f"{front_end}.") else f"{front_end}.{identity}"


def read(channel: str, data: bytes, most_picture: int) -> Heard | Dropped:
    """What came on a channel, or why it is dropped.

    Args:
        channel: Its name.
        data: What came.
        most_picture: Bytes of a picture.
    """
    end = data.find(b"\n", 0, MOST_BYTES + 1)
    head = len(data) if end < 0 else end
    if head > MOST_BYTES or len(data) - head - 1 > most_picture:
        return Dropped.TOO_LARGE
    try:
        text = data[:head].decode("ascii")
        said = json.loads(text, parse_constant=_no_number, parse_float=_finite, parse_int=_whole)
        doubtful, dropped = "\\ud" in text.lower(), 0
        if isinstance(said, dict):
            dropped = _leave_out(said, doubtful)
            text = json.dumps(said, separators=(",", ":")) if dropped else text
        if doubtful and not _is_text(said):
            return Dropped.UNREADABLE
    except (ValueError, RecursionError):
        return Dropped.UNREADABLE
    if not isinstance(said, dict):
        return Dropped.UNREADABLE
    if said.get("v") != VERSION:
        return Dropped.VERSION
    picture = memoryview(data)[head + 1 :]
    return _checked(channel, said) or Heard(said, text, picture, dropped)


def _leave_out(said: Said, doubtful: bool) -> int:
    """Leave out rows and predictions that are not as they should be: the others hold. Returns how many there were."""
    op = said.get("op")
    where, sound = _ENTRIES.get(op if isinstance(op, str) else "", ("", _sound_row))
    entries = said.get(where)
    if not isinstance(entries, list):
        return 0
    said[where] = [one for one in entries if sound(one) and (not doubtful or _is_text(one))]
    return len(entries) - len(said[where])


def _checked(channel: str, said: Said) -> Dropped | None:
    """Why a message is dropped, None where it is as it should be."""
    op, front_end, run = said.get("op"), said.get("from"), said.get("run")
    known = _KINDS.get(op) if isinstance(op, str) else None
    if known is None or not _matches(_FRONT_END, front_end) or not _matches(_RUN, run):
        return Dropped.UNREADABLE
    where, sound, ids = known
    if not (channel.startswith(where) if where in (TO, FRAME, ROOM) else channel == where):
        return Dropped.FOREIGN
    if not sound(said):
        return Dropped.UNREADABLE
    owned = [channel.removeprefix(FRAME)] if where == FRAME else ids(said)
    return None if all(one.startswith(f"{front_end}.") for one in owned) else Dropped.FOREIGN


def whole(number: int) -> int:
    """A client's number as one that others take: what they say of time may be any."""
    return min(max(number, 0), _BIG - 1)


# ---- what a value may be ----------------------------------------------------------------------------------------


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _short(value: object, most: int = _NAME) -> bool:
    return isinstance(value, str) and len(value) <= most


def _count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _BIG


def _rate(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < _BIG


def _texts(value: object, most: int, longest: int = _ID) -> bool:
    return isinstance(value, list) and len(value) <= most and all(_short(one, longest) for one in value)


def _is_text(value: object) -> bool:
    """Whether all in it is text: half of a surrogate pair is none, and could be sent to nobody."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: Any) -> Any:
    """A value as others may read it: what a client says may hold half of a surrogate pair, which is replaced."""
    if isinstance(value, str) and not value.isascii():
        return value.encode("utf-8", "replace").decode()
    return value


def _tellable(value: object) -> bool:
    """Whether a model's value is one that others take: JSON has not all numbers, and they not all that it has."""
    if isinstance(value, int):
        return -_BIG < value < _BIG
    return not isinstance(value, float) or math.isfinite(value)


def _no_number(_text: str) -> Any:
    raise ValueError("JSON has no such number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("JSON has no such number")
    return value


def _whole(text: str) -> int:
    if len(text) > 20:
        raise ValueError("no number of ours has so many digits")
    return int(text)


def _shallow(value: object, levels: int = DEEPEST) -> bool:
    """Whether lists and objects are nested no deeper."""
    if isinstance(value, dict):
        return levels > 0 and all(_shallow(one, levels - 1) for one in value.values())
    if isinstance(value, list):
        return levels > 0 and all(_shallow(one, levels - 1) for one in value)
    return True


def _prediction(value: object) -> bool:
    return isinstance(value, dict) and _shallow(value)


def _size(value: object) -> bool:
    return value is None or (isinstance(value, list) and len(value) == 2 and all(map(_count, value)))


def _values(value: object) -> bool:
    return (
        isinstance(value, dict)
        and len(value) <= MOST_VALUES
        and all(len(name) <= _NAME and (_short(one) or isinstance(one, (int, float))) for name, one in value.items())
    )


_ROW: dict[str, Callable[[object], bool]] = {
    "id": lambda value: _short(value, _ID),
    "name": _short,
    "user": _short,
    "protocol": _short,
    "model": lambda value: _short(value, _MODEL),
    "fps_in": _rate,
    "fps_answered": _rate,
    "age_ms": lambda value: value is None or _rate(value),
    "dropped": _count,
    "size": _size,
    "counts": _short,
    "kind": lambda value: value in ("stream", "session"),
}
_MAY_BE: dict[str, Callable[[object], bool]] = {"camera": _short, "values": _values}


def _sound_row(found: object) -> bool:
    if not isinstance(found, dict) or not _ROW.keys() <= found.keys() <= _ROW.keys() | _MAY_BE.keys():
        return False
    return all((_ROW.get(name) or _MAY_BE[name])(value) for name, value in found.items())


def _alive(said: Said) -> bool:
    return isinstance(said.get("new"), bool)


def _rows(said: Said) -> bool:
    rows = said.get("rows")
    few = isinstance(rows, list) and len(rows) <= MOST_ROWS  # and sound: `_leave_out`
    return few and all(_count(said.get(name)) for name in ("cycle", "piece", "pieces"))


def _closed(said: Said) -> bool:
    return _texts(said.get("ids"), MOST_IDS)


def _follow(said: Said) -> bool:
    return "wanted" in said and (said["wanted"] is None or _texts(said["wanted"], MOST_IDS, _NAME))


def _watch(said: Said) -> bool:
    streams = said.get("streams")
    if not isinstance(streams, dict) or len(streams) > MOST_IDS:
        return False
    return all(_short(one, _ID) and _count(seq) for one, seq in streams.items())


def _predictions(said: Said) -> bool:
    return isinstance(said.get("list"), list)  # and sound: `_leave_out`


def _predicted(entry: object) -> bool:
    if not isinstance(entry, list) or len(entry) != 5:
        return False
    identity, seq, timestamp, prediction, error = entry
    numbers = _count(seq) and _count(timestamp)
    return numbers and _short(identity, _ID) and _prediction(prediction or {}) and _short(error, _ERROR)


def _frame(said: Said) -> bool:
    numbers = all(_count(said.get(name)) for name in ("seq", "timestamp"))
    return (
        numbers
        and said.get("rotate") in (0, 90, 180, 270)
        and _prediction(said.get("prediction"))
        and _short(said.get("error"), _ERROR)
    )


def _text(said: Said) -> bool:
    return _short(said.get("text"), _TEXT) and _short(said.get("camera")) and _texts(said.get("only"), MOST_IDS, _NAME)


def _news(said: Said) -> bool:
    return _short(said.get("text"), _TEXT) and _short(said.get("camera")) and _short(said.get("owner"))


_ENTRIES: dict[str, tuple[str, Callable[[object], bool]]] = {
    "rows": ("rows", _sound_row),
    "predictions": ("list", _predicted),
}
"""Where a message has entries that are sound each for itself."""


def _nothing(_said: Said) -> list[str]:
    return []


_KINDS: dict[str, tuple[str, Callable[[Said], bool], Callable[[Said], list[str]]]] = {
    # op: the channel, whether all of it is as it should be, and what in it has to be its sender's
    "alive": (ALL, _alive, _nothing),
    "bye": (ALL, lambda _said: True, _nothing),
    "rows": (ALL, _rows, lambda said: [one["id"] for one in said["rows"]]),
    "closed": (ALL, _closed, lambda said: said["ids"]),
    "follow": (ALL, _follow, _nothing),
    "watch": (TO, _watch, _nothing),
    "predictions": (PREDICTIONS, _predictions, lambda said: [entry[0] for entry in said["list"]]),
    "frame": (FRAME, _frame, _nothing),
    "text": (ROOM, _text, _nothing),
    "news": (ROOM, _news, _nothing),
}
