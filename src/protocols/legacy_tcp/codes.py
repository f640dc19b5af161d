"""The bytes of the legacy TCP protocol: sizes, and what the server says."""

from __future__ import annotations

import re

GREETING = b"?"
DONE, MISSING, MALFORMED, NO_MODEL, MISMATCH, NO_PICTURE, REFUSED = (bytes([code]) for code in b"0123456")
PNEUMONIA, NORMAL = DONE + b"P", DONE + b"N"

COMMAND_BYTES, CODE_BYTES, SIZE_BYTES, DIGEST_BYTES = 4, 4, 10, 64
NONCE_BYTES = 32
MAX_SIGNATURE_BYTES = 16 * 2**10


def parse_size(text: bytes) -> int | None:
    """Read a size: one run of decimal digits, padded with anything else, as `48213zzzzz`.

    Returns:
        The number; None where there is none, or two.
    """
    found = re.fullmatch(rb"[^0-9]*([0-9]+)[^0-9]*", text, re.DOTALL)
    return int(found[1]) if found else None


def reply_for(label: str) -> bytes:
    """The reply to PRED for a model's label, which the model's threshold has decided already.

    `none` is what a model answers when nothing reaches its threshold. A label that is neither is no answer to the
    question whether there is pneumonia, and saying N to it could harm: NO_MODEL.
    """
    return {"pneumonia": PNEUMONIA, "normal": NORMAL, "none": NORMAL}.get(label.strip().lower(), NO_MODEL)
