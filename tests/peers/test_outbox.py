"""What waits to be said: bounded, in pieces, and channels that are never forgotten."""

from __future__ import annotations

from imageserver.peers.messages import ALL, ROOM
from imageserver.peers.redis import outbox
from imageserver.peers.redis.allowance import Allowance
from imageserver.peers.redis.outbox import Outbox


def test_messages_go_in_order_and_in_pieces() -> None:
    box = Outbox()
    texts = [f"{number:06}" * 100 for number in range(1000)]
    assert all(box.add("x", text) for text in texts)
    taken: list[str] = []
    while said := box.take().said:
        assert len(said) <= outbox.MOST_AT_ONCE and sum(len(text) for _channel, text in said) < outbox.PIECE + 600
        taken += [text for _channel, text in said]
    assert taken == texts and not len(box)


def test_no_more_waits_than_may_and_nothing_of_it_once_redis_is_gone() -> None:
    box = Outbox()
    text = "x" * 400_000
    kept = sum(box.add("x", text) for _ in range(100))
    assert kept == outbox.WAITING // len(text)
    assert box.clear() == kept and not len(box) and box.add("x", text)
    assert not box.add("x", "x" * 600_000), "larger than a message may be"


def test_texts_leave_room_for_words_of_life() -> None:
    box = Outbox()
    assert sum(box.add(f"{ROOM}x", "x" * 400_000) for _ in range(100)) == outbox.WAITING // 2 // 400_000
    assert box.add(ALL, "x" * 400_000)


def test_channels_are_told_until_somebody_has_taken_it() -> None:
    box = Outbox()
    for channel in ("a", "b", "a"):
        box.hear(channel)
    box.leave("c")
    first = box.take()
    assert first.hear == ["a", "b"] and not first.leave
    box.put_back(first)
    box.leave("a")
    again = box.take()
    assert again.hear == ["b"] and again.leave == ["a"]
    box.hear("b")
    assert not len(box), "it is known"
    box.hear_anew()
    assert box.take().hear == ["b"]


def test_so_many_bytes_a_second() -> None:
    now = [5.0]
    allowance = Allowance(100, lambda: now[0])
    assert allowance.take(250) and not allowance.take(1)
    assert abs(allowance.lacking - 1.5) < 1e-6
    now[0] += 1.6
    assert not allowance.lacking and allowance.take(1)
    now[0] += 100
    assert [allowance.take(60) for _ in range(3)] == [True, True, False], "no more than a second's worth is saved"
