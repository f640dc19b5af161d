"""A turn of the loop is bounded however many are ready, and who leaves does not keep who stays waiting."""

import select
import socket
from contextlib import ExitStack

from imageserver.transport import hub
from imageserver.transport.epoll import LEAVING, MOST, Hub, chosen

READ, LEFT = select.EPOLLIN, select.EPOLLIN | select.EPOLLRDHUP


def test_few_go_on_as_they_are():
    ready = [(number, LEFT) for number in range(LEAVING)]
    assert chosen(ready) is ready


def test_who_stays_goes_first_and_who_leaves_is_not_forgotten():
    ready = [(number, LEFT) for number in range(1000)] + [(number, READ) for number in range(1000, 2000)]
    now = chosen(ready)
    assert len(now) == MOST
    assert [number for number, event in now if event == READ] == list(range(1000, 1000 + MOST - LEAVING))
    assert [number for number, event in now if event == LEFT] == list(range(LEAVING))


def test_the_server_has_this_loop():
    assert isinstance(hub.eventlet.hubs.get_hub(), Hub) or not Hub.is_available()


def test_one_that_speaks_is_heard_while_a_crowd_leaves():
    """Each of the crowd is woken in the end, and most of them after the one that came last."""
    order = []
    with ExitStack() as stack:
        pairs = [tuple(map(stack.enter_context, socket.socketpair())) for _ in range(4 * MOST)]
        speaker, heard = map(stack.enter_context, socket.socketpair())

        def wait(sock):
            hub.wait_readable(sock, 10.0)
            order.append(sock)

        tasks = [hub.spawn(wait, ours) for ours, _theirs in pairs] + [hub.spawn(wait, heard)]
        hub.sleep(0.01)
        for _ours, theirs in pairs:
            theirs.close()
        speaker.send(b"x")
        for task in tasks:
            task.wait()
    assert len(order) == 4 * MOST + 1
    assert order.index(heard) <= MOST
