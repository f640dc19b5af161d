"""How the reader of Socket.IO's events treats a client that owes an attachment, by a clock of the test's own."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from tests.later import replace_in_hub

from imageserver.limits import Limits
from imageserver.transport.socketio import attachments
from imageserver.transport.socketio.events import EventReader


def test_who_owes_an_attachment_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its end comes after the next look, as on a busy machine."""
    now, log, closed, looks = [0.0], [], [], []
    replace_in_hub(monkeypatch, attachments, call_later=lambda _seconds, look: looks.append(look))
    limits = Limits(attachment_time=1.0)
    engine: Any = SimpleNamespace(limits=limits, log=log.append, clock=lambda: now[0], close=closed.append, who=str)
    engine.owner = str
    reader = EventReader(engine, SimpleNamespace(), SimpleNamespace(joined={}))
    reader.message("client", '51-["echo",{"_placeholder":true,"num":0}]')
    for _ in range(4):
        looks.pop()()
        now[0] += 0.5
    assert (closed, len(log)) == (["client"], 1)
