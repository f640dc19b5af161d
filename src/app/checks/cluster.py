"""The cluster that models run on: whether what asks for it is installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator

from imageserver.app.checks.finding import Finding, stops
from imageserver.config.table import Settings
from imageserver.inference.shared.elsewhere.cluster import LACKING


def lacking(settings: Settings) -> str:
    """A sentence where a cluster is named and Ray is not installed; it is not imported here."""
    return LACKING if settings.cluster and importlib.util.find_spec("ray") is None else ""


def look(settings: Settings) -> Iterator[Finding]:
    """What keeps models from running there."""
    if sentence := lacking(settings):
        yield stops(sentence)
