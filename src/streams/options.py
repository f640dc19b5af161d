"""What may be asked of a stream while it runs, whoever asks: its own client, or an admin."""

from __future__ import annotations

from typing import Any

from imageserver.errors import BodyError
from imageserver.streams.stream import Stream

MOST_HZ = 1e6
"""Frames a second that may be asked for; no number that is one is larger (and of 400 digits none is a float)."""
MOST_SHOWN = 64
"""Characters of a wrong value that its sender is told again."""


def configure(stream: Stream, options: Any, most: float) -> None:
    """Change a stream's model and rate from the next frame on.

    Args:
        stream: Which.
        options: `{"model": "lenet", "hz": 5}`, either of them or both; whatever a client has sent.
        most: What the operator allows, frames a second, 0 for no cap.

    Raises:
        BodyError: `options` are none.
        ModelError: The model cannot be had; nothing is changed.
    """
    if not isinstance(options, dict) or not options:
        raise BodyError('configure takes an object like {"model": "lenet", "hz": 5}')
    unknown = sorted(set(options) - {"model", "hz"})
    if unknown:
        raise BodyError(f"configure knows model and hz, not {shown(unknown[0])}")
    model, hz = options.get("model"), options.get("hz")
    if model is not None and not isinstance(model, str):
        raise BodyError(f"model must be a model's name, not {shown(model)}")
    if hz is not None and not (isinstance(hz, (int, float)) and not isinstance(hz, bool) and 0 <= hz <= MOST_HZ):
        raise BodyError(f"hz must be a number of frames a second, 0 for no cap, not {shown(hz)}")
    stream.configure(model=model, hz=None if hz is None else capped(hz, most))


def capped(hz: float, most: float) -> float:
    """What a client asks for, within what the operator allows (0: no cap)."""
    return min((cap for cap in (hz, most) if cap), default=0.0)


def shown(value: Any) -> str:
    """What a client sent, in a sentence to it: short, whatever it is."""
    if isinstance(value, (str, int, float)) or value is None:
        text = repr(value)
        return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
    return f"a {type(value).__name__}"
