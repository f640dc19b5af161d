"""How answers to events are written."""

from __future__ import annotations

import json

encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
SUCCESS = encode({"success": True})


def failure(sentence: str) -> str:
    """The acknowledgement of an event that was refused."""
    return encode({"success": False, "error": sentence})
