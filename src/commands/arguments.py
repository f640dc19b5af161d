"""How commands read their arguments: as the server reads its settings, with the same sentences."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from imageserver.config.kinds import Kind
from imageserver.errors import InvalidValue


def of(kind: Kind) -> Callable[[str], Any]:
    """How argparse reads a value of a kind of the settings."""

    def read(text: str) -> Any:
        try:
            return kind.parse(text, Path())
        except InvalidValue as reason:
            raise argparse.ArgumentTypeError(f"{text!r}: {reason}") from None
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not {kind.expects}") from None

    return read
