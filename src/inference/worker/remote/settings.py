"""The bounds of what a model elsewhere may cost; the server's table of limits has the same as `remote_…`."""

from __future__ import annotations

from dataclasses import dataclass

NOBODY = "no server that runs it answers"
"""What clients are told: where these are is no business of theirs."""


@dataclass(frozen=True)
class RemoteSettings:
    """Args:
    seconds: for a batch, its second try included.
    batches: under way at once.
    answer_bytes: of an answer.
    retries: of a hundred batches, those that may be sent a second time.
    look_every: seconds between two looks at an endpoint, and, from one second on, for one.
    """

    seconds: float = 5.0
    batches: int = 8
    answer_bytes: int = 64 * 2**20
    retries: float = 20.0
    look_every: float = 2.0
