"""Which streams somebody may look at."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from imageserver.accounts.database import User
from imageserver.errors import Refused
from imageserver.streams.far import FarStreams
from imageserver.web import sight


def test_users_who_are_bound_to_cameras_see_theirs_alone() -> None:
    door, garden = (SimpleNamespace(name=name, counts_as=name) for name in ("Tür", "garden"))
    overview: Any = SimpleNamespace(
        named=lambda key: [one for one in (door, garden) if one.name == key], far=FarStreams(0, 0)
    )
    bound = User("anna", frozenset({"viewer"}), only=("garden",))
    assert sight.named(overview, None, "Tu\u0308r") == [door], "names are composed"
    assert sight.named(overview, bound, "garden") == [garden]
    with pytest.raises(Refused, match="there is no stream 'Tür'") as refused:
        sight.named(overview, bound, "Tür")
    assert refused.value.status == 404
