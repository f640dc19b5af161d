"""What has happened: told in order, bounded whatever clients bring about."""

from __future__ import annotations

import threading

import pytest

from imageserver import limits, news
from imageserver.news import AT_ONCE, KEPT, LONGEST, MINUTE, MOST_GROUPS, News, NewsKind

LOGIN, LIMIT, WORKER = NewsKind.LOGIN_REFUSED, NewsKind.LIMIT_HIT, NewsKind.WORKER_RESTARTED


class Told:
    """News with a clock of their own."""

    def __init__(self) -> None:
        self.now = 0.0
        self.news = News(lambda: 1_800_000_000 + self.now, lambda: self.now)
        self.tell = self.news.tell

    def texts(self, since: int = 0) -> list[str]:
        return [item.text for item in self.news.since(since)]


@pytest.fixture
def told() -> Told:
    return Told()


def test_news_are_told_in_order_with_numbers(told: Told) -> None:
    told.tell(WORKER, "one")
    told.now = 1.5
    told.tell(LOGIN, "two")
    first, second = told.news.since(0)
    assert (first.number, first.kind, first.text) == (1, WORKER, "one")
    assert (second.number, second.at) == (2, 1_800_000_001_500)
    assert told.texts(1) == ["two"]
    assert told.texts(2) == []


def test_what_is_told_again_within_a_minute_is_counted(told: Told) -> None:
    for _ in range(1000):
        told.tell(LIMIT, "anna ran into it")
    assert told.texts() == ["anna ran into it"]
    told.now = MINUTE
    assert told.texts(1) == ["anna ran into it, and 999 more like it within a minute"]
    told.tell(LIMIT, "anna ran into it")
    assert told.texts(2) == ["anna ran into it"]


def test_a_minute_that_is_over_is_summed_up_by_who_tells_next(told: Told) -> None:
    for _ in range(2):
        told.tell(LIMIT, "again")
    told.now = 3 * MINUTE
    told.tell(LIMIT, "again")
    assert told.texts() == ["again", "again, and 1 more like it within a minute", "again"]


def test_of_a_group_a_few_are_told(told: Told) -> None:
    for number in range(100):
        told.tell(LOGIN, f"login of {number}", "address 10.0.0.7")
    assert told.texts() == [f"login of {number}" for number in range(AT_ONCE)]
    told.now = MINUTE
    assert told.texts(AT_ONCE) == [f"login of {AT_ONCE - 1}, and {100 - AT_ONCE} more like it within a minute"]


def test_a_flood_of_one_kind_leaves_the_others(told: Told) -> None:
    told.tell(WORKER, "the only one")
    for number in range(10_000):
        told.tell(LIMIT, f"address {number} ran into it")
        told.now += 0.001
    assert len(told.texts()) <= 1 + KEPT
    assert told.texts()[0] == "the only one"
    assert len(told.news._groups) <= MOST_GROUPS + len(NewsKind)


def test_a_text_is_bounded(told: Told) -> None:
    told.tell(LOGIN, "x" * 10_000)
    assert told.texts() == ["x" * LONGEST + "…"]


def test_threads_may_tell(told: Told) -> None:
    def tell(name: int) -> None:
        for _ in range(500):
            told.tell(WORKER, f"thread {name}")

    threads = [threading.Thread(target=tell, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told.now = MINUTE
    assert sum("499 more" in text for text in told.texts()) == 4


def test_a_limit_that_somebody_runs_into_is_news(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, ...]] = []
    monkeypatch.setattr(news, "tell", lambda *said: heard.append(said))
    limits.hit("max_frame_bytes", "user anna")
    limits.hit("max_frame_bytes", "address ")
    limits.hit("max_frame_bytes")
    assert heard == [(LIMIT, "user anna ran into --max-frame-bytes")]
