"""Where replicas fit, and how many there should be."""

from __future__ import annotations

import tomllib

import pytest

from imageserver.inference.shared.checked_table import CheckedTable
from imageserver.inference.shared.elsewhere import cluster
from imageserver.inference.shared.elsewhere.cluster import ClusterAddress, Placement
from imageserver.inference.worker.cluster import placing
from imageserver.inference.worker.cluster.autoscaler import Autoscaler
from imageserver.inference.worker.cluster.placing import NodeResources

GIB = 2**30


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("ray://head:10001", "head", 10001),
        ("ray://Head.example.org", "head.example.org", 10001),
        ("ray://[::1]:7/", "::1", 7),
        (" AUTO ", "127.0.0.1", 10001),
    ],
)
def test_an_address(text: str, host: str, port: int) -> None:
    found = cluster.address(text)
    assert (found.host, found.port) == (host, port)
    assert cluster.address(str(found)) == found


@pytest.mark.parametrize("text", ["", "head:10001", "http://head", "ray://", "ray://a:0", "ray://a:70000", "ray://a@b"])
def test_no_address(text: str) -> None:
    with pytest.raises(ValueError):
        cluster.address(text)


def test_how_it_is_shown() -> None:
    assert str(ClusterAddress("::1", 7)) == "ray://[::1]:7"
    assert (str(cluster.address("auto")), cluster.address("auto").full) == ("auto", "ray://127.0.0.1:10001")


def read(text: str) -> tuple[Placement, list[str]]:
    """What a manifest says of the cluster, and what is wrong with it."""
    root = CheckedTable("", tomllib.loads(text))
    placement = cluster.read(root.table("cluster"))
    return placement, root.faults()


def test_the_table_of_a_manifest() -> None:
    assert read("") == (Placement(), [])
    text = '[cluster]\ncpus = 2\ngpus = 0.5\nmemory = "1.5G"\nreplicas = "2..8"'
    placement, faults = read(text)
    assert placement == Placement(cpus=2, gpus=0.5, memory=3 * GIB // 2, least=2, most=8) and not faults
    assert placement.needs() == "2 processors, 0.5 graphics cards, 1.5 GiB of memory"
    assert read('[cluster]\nreplicas = "3"\nwhere = "here"')[0] == Placement(where="here", least=3, most=3)


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ('replicas = "8..1"', '"1..8", or "4", with 1 to 32 of them, not \'8..1\''),
        ('replicas = "0"', "not '0'"),
        ('replicas = "1..33"', "not '1..33'"),
        ('memory = "4"', "such as \"4G\", not '4'"),
        ('memory = "1M"', "not '1M'"),
        ("cpus = 0", "a number from 0.1 to 1024"),
        ("gpus = 1.5", "a whole number, or a part of one below 1, not 1.5"),
        ('where = "there"', "one of cluster, here"),
        ("gpu = 1", "did you mean 'gpus'?"),
    ],
)
def test_what_is_wrong_is_told(line: str, fault: str) -> None:
    _placement, faults = read(f"[cluster]\n{line}")
    assert len(faults) == 1 and fault in faults[0], faults


def test_what_no_node_has_is_a_sentence() -> None:
    small, card = NodeResources(8, 0, 16 * GIB), NodeResources(4, 1, 8 * GIB)
    assert not placing.trouble(Placement(cpus=8, memory=16 * GIB), [small, card])
    assert not placing.trouble(Placement(cpus=4, gpus=1), [small, card])
    told = placing.trouble(Placement(cpus=8, gpus=1), [small, card])
    assert told.startswith("it needs 8 processors, 1 graphics card on one node, and the largest of the cluster has 4")
    assert placing.trouble(Placement(), []) == placing.NO_NODES


class Turns:
    """An autoscaler that is asked every quarter of a second."""

    def __init__(self, least: int = 1, most: int = 8) -> None:
        self.scaler = Autoscaler(least, most, wait=0.2, idle=60.0)
        self.now, self.wanted = 1000.0, least

    def go(self, seconds: float, *, age: float = 0.0, busy: float = 0.0, ready: int | None = None) -> int:
        for _ in range(int(seconds * 4)):
            self.now += 0.25
            there = self.wanted if ready is None else ready
            self.wanted = self.scaler.wanted(self.now, there, age, busy)
        return self.wanted


def test_what_waits_too_long_wants_one_more() -> None:
    turns = Turns()
    assert turns.go(1.0, age=0.3, busy=1) == 1, "a moment is no reason"
    assert turns.go(0.5, age=0.3, busy=1) == 2
    assert turns.go(1.0, age=0.1, busy=2) == 2
    assert turns.go(30.0, age=0.19, busy=2) == 2


def test_much_too_long_wants_twice_as_many_and_no_more_than_there_may_be() -> None:
    turns = Turns(most=6)
    assert turns.go(1.25, age=5.0, busy=1) == 2
    assert turns.go(1.25, age=5.0, busy=2) == 4
    assert turns.go(60.0, age=5.0, busy=4) == 6


def test_none_is_added_while_the_last_one_is_not_ready() -> None:
    turns = Turns()
    assert turns.go(1.25, age=5.0, busy=1) == 2
    assert turns.go(30.0, age=5.0, busy=1, ready=1) == 2
    assert turns.go(0.25, age=5.0, busy=1, ready=2) == 4


def test_little_to_do_for_long_wants_one_less_at_a_time() -> None:
    turns = Turns(least=1)
    turns.go(5.0, age=5.0, busy=8)
    assert turns.wanted == 8
    assert turns.go(59.0, busy=0) == 8
    assert turns.go(2.0, busy=0) == 7
    assert turns.go(600.0, busy=0) == 1
    assert turns.go(600.0, busy=0) == 1


def test_as_much_to_do_as_the_others_could_hardly_do_keeps_it() -> None:
    turns = Turns()
    turns.go(3.0, age=0.3, busy=1)
    assert turns.wanted >= 2
    had = turns.wanted
    assert turns.go(600.0, busy=had - 0.5) == had
