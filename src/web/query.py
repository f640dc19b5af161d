"""What a request asks in its query, measured before anybody looks at it: a value that cannot be is refused with 400."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Sequence

from imageserver.errors import Refused
from imageserver.web.requests import Request

MAX_QUERY = 4096
"""Bytes of a query; the names and values that anybody here takes have a few dozen."""

MAX_FIELDS = 32
MAX_TEXT = 64
"""Characters of a name: of a model, of a room."""

_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?")
_YES, _NO = ("1", "yes", "true"), ("", "0", "no", "false")


def text(request: Request, name: str, default: str) -> str:
    """The value of `name`, at most `MAX_TEXT` characters. Refused: 400."""
    value = _fields(request).get(name, default)
    if len(value) > MAX_TEXT:
        raise Refused(400, f"{name} has {len(value)} characters; at most {MAX_TEXT} are taken")
    return value


def whole(request: Request, name: str, default: int, low: int, high: int) -> int:
    """A whole number from `low` to `high`. Refused: 400."""
    value = _fields(request).get(name)
    if value is None:
        return default
    digits = value.removeprefix("-")
    if digits.isascii() and digits.isdecimal() and len(digits) <= len(str(high)) and low <= int(value) <= high:
        return int(value)
    raise Refused(400, f"{name} is a whole number from {low} to {high}, not {_shown(value)}")


def number(request: Request, name: str, default: float, low: float, high: float) -> float:
    """A number from `low` to `high`, as `0.5` or `12`. Refused: 400."""
    value = _fields(request).get(name)
    if value is None:
        return default
    if _NUMBER.fullmatch(value) and low <= float(value) <= high:
        return float(value)
    raise Refused(400, f"{name} is a number from {low:g} to {high:g}, not {_shown(value)}")


def texts(request: Request, name: str, longest: int) -> list[str]:
    """All values of `name`, each at most `longest` characters. Refused: 400."""
    found = [value for key, value in _pairs(request) if key == name]
    for value in found:
        if len(value) > longest:
            raise Refused(400, f"{name} has {len(value)} characters; at most {longest} are taken")
    return found


def choice(request: Request, name: str, allowed: Sequence[str]) -> str:
    """One of `allowed`, of which the first is the default. Refused: 400."""
    value = _fields(request).get(name, allowed[0])
    if value not in allowed:
        raise Refused(400, f"{name} is {' or '.join(allowed)}, not {_shown(value)}")
    return value


def flag(request: Request, name: str) -> bool:
    """Whether `name` is asked for. Refused: 400 for what is neither yes nor no."""
    value = _fields(request).get(name, "")
    if value.lower() not in (*_YES, *_NO):
        raise Refused(400, f"{name} is yes or no, not {_shown(value)}")
    return value.lower() in _YES


def _fields(request: Request) -> dict[str, str]:
    """The first value of each name. Refused: 400."""
    return dict(reversed(_pairs(request)))


def _pairs(request: Request) -> list[tuple[str, str]]:
    """Names and values as they were sent. Refused: 400."""
    query: str = request.environ.get("QUERY_STRING", "")
    if len(query) > MAX_QUERY:
        raise Refused(400, f"the query has {len(query)} bytes; at most {MAX_QUERY} are taken")
    sent = query.encode("latin-1").decode("utf-8", "replace")  # PEP 3333 says latin-1, whatever was sent
    try:
        return urllib.parse.parse_qsl(sent, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError:
        raise Refused(400, f"the query has more than {MAX_FIELDS} fields") from None


def _shown(value: str) -> str:
    """A value as a sentence shows it."""
    return repr(value) if len(value) <= MAX_TEXT else f"{value[:MAX_TEXT]!r}… ({len(value)} characters)"
