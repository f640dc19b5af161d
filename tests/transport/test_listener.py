"""What accepted connections have from their port; connections that are refused, as the log tells of them."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest
from tests.later import replace_in_hub

from imageserver.app import parts
from imageserver.config import reading
from imageserver.config.table import Settings
from imageserver.protocols.legacy_tcp import port as legacy_tcp_port
from imageserver.transport import hub, listener
from imageserver.transport.listener import QUIET, Refusals


def test_each_limit_that_refuses_is_named_once_and_the_end_of_all_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    later: list[float] = []
    now = 0.0
    replace_in_hub(monkeypatch, listener, call_later=lambda seconds, _look: later.append(seconds))
    refusals = Refusals(lines.append, lambda: now)
    for second in range(3):
        now = float(second)
        refusals.add("9 connections are open", "max_connections")
        refusals.add("there are too many files", "spare_descriptors")
    assert lines == ["9 connections are open (--max-connections)", "there are too many files (--spare-descriptors)"]
    now = QUIET
    refusals.add("9 connections are open", "max_connections")
    refusals._look()
    assert later == [QUIET, QUIET], "one look for both"
    now = 2 * QUIET - 1
    refusals.add("there are too many files", "spare_descriptors")
    assert len(lines) == 3, "that was over for a while"
    now = 3 * QUIET
    refusals._look()
    assert lines[3:] == ["connections are taken again; 8 were refused or had to wait"]
    refusals.add("9 connections are open", "max_connections")
    assert len(lines) == 5


@pytest.mark.parametrize(
    "listen",
    [lambda settings: parts.listen(settings, 0), lambda settings: legacy_tcp_port.listen(settings, pytest.fail)],
    ids=["http", "legacy_tcp"],
)
def test_who_comes_before_the_port_is_served_is_ended_when_dead_as_well(
    listen: Callable[[Settings], hub.Socket],
) -> None:
    settings = reading.read(["--ip=127.0.0.1", "--tcp-port=0", "--dead-peer-time=8"], {})
    with listen(settings) as port, socket.create_connection(port.getsockname()), port.accept()[0] as accepted:
        assert accepted.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 4
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 8000
