"""The table of requests: what the server refuses, and that nobody reads two requests where it reads one."""

from __future__ import annotations

import json
import shutil
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.transport.http import field, parties, rows
from tests.transport.http.parties import REFUSED, Answer
from tests.transport.http.rows import TAKEN

pytestmark = pytest.mark.slow  # it starts five servers
TABLE = rows.table()
PROBE = "GET probe 0 0"


class Opinions:
    """What each party made of each row; what the server saw of the rows that came through a proxy."""

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, list[Answer]] = {}
        self.recorded: dict[str, list[list[str]]] = {}
        server = parties.server()
        started = [server]
        try:
            self.answers["server"] = server.ask(TABLE)
            for name, start in (("nginx", parties.nginx), ("haproxy", parties.haproxy)):
                if shutil.which(name) or shutil.which(f"/usr/sbin/{name}"):
                    proxy = start(folder, server.port)
                    started.append(proxy)
                    self.answers[name] = proxy.ask(TABLE)
                    self.recorded[name] = self._recorded(server, proxy)
            other = parties.gunicorn(folder)
            started.append(other)
            self.answers["gunicorn"] = other.ask(TABLE)
        finally:
            for party in started:
                party.stop()
        self.answers["h11"] = [parties.ask_h11(row) for row in TABLE]

    def _recorded(self, server: parties.Party, proxy: parties.Party) -> list[list[str]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/records", timeout=20) as answer:
            records = json.load(answer)
        return [records.get(proxy.tag(index), []) for index in range(len(TABLE))]


@pytest.fixture(scope="module")
def opinions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Opinions]:
    return Opinions(tmp_path_factory.mktemp("parties"))


def taken(answer: Answer) -> list[str]:
    return [words for words in answer.seen if words != REFUSED]


def test_the_table_is_large() -> None:
    assert len({row.data for row in TABLE}) > 1400


def test_each_row_is_taken_or_refused_as_it_says(opinions: Opinions) -> None:
    wrong = []
    for row, answer in zip(TABLE, opinions.answers["server"], strict=True):
        if row.taken == TAKEN:
            right = len(answer.seen) > 1 and answer.seen[-1] == PROBE and REFUSED not in answer.seen
        else:
            # Whatever follows a refusal is not read: at most one stands there, and it is the last.
            right = len(taken(answer)) == row.taken and REFUSED not in answer.seen[: row.taken]
            right = right and (not row.taken or answer.statuses[-1] in (200, 400)) and len(answer.seen) <= row.taken + 1
            right = right and (row.taken > 0 or answer.statuses[0] in (400, 413, 414, 431))
        if not right or not answer.ended:
            wrong.append((row.name, answer))
    assert not wrong


@pytest.mark.parametrize("party", ["nginx", "haproxy", "gunicorn", "h11"])
def test_requests_end_for_others_where_they_end_for_the_server(opinions: Opinions, party: str) -> None:
    """Request by request, as far as both read: what is refused leads to nothing."""
    if party not in opinions.answers:
        pytest.skip(f"needs {party} (scripts/apt-packages.sh)")
    wrong = [
        (row.name, ours, others)
        for row, ours, others in zip(TABLE, opinions.answers["server"], opinions.answers[party], strict=True)
        if any(one != other and REFUSED not in (one, other) for one, other in zip(ours.seen, others.seen, strict=False))
    ]
    assert not wrong


@pytest.mark.parametrize("proxy", ["nginx", "haproxy"])
def test_the_server_sees_what_the_proxy_sends_it(opinions: Opinions, proxy: str) -> None:
    """No more requests than the proxy's client got answers for, and each answer goes to who asked."""
    if proxy not in opinions.answers:
        pytest.skip(f"needs {proxy} (scripts/apt-packages.sh)")
    for row, answer, recorded in zip(TABLE, opinions.answers[proxy], opinions.recorded[proxy], strict=True):
        assert recorded == taken(answer), (row.name, answer)
        assert not answer.foreign and answer.ended, (row.name, answer)
        assert not {502, 503, 504} & set(answer.statuses), (row.name, answer)


@pytest.mark.parametrize("party", ["gunicorn", "h11"])
def test_nobody_is_stricter_without_a_reason(opinions: Opinions, party: str) -> None:
    wrong = [
        (row.name, ours, others)
        for row, ours, others in zip(TABLE, opinions.answers["server"], opinions.answers[party], strict=True)
        if len(taken(others)) < len(taken(ours)) and not row.why
    ]
    assert not wrong


def test_a_reason_is_needed_where_it_is_given(opinions: Opinions) -> None:
    for index, row in enumerate(TABLE):
        if row.why:
            fewest = min(len(taken(opinions.answers[party][index])) for party in ("gunicorn", "h11"))
            assert fewest < len(taken(opinions.answers["server"][index])), row.name


def test_clients_in_the_field_are_answered_by_everybody(opinions: Opinions) -> None:
    for party, answers in opinions.answers.items():
        for row, answer in list(zip(TABLE, answers, strict=True))[-len(field.requests()) :]:
            assert answer.seen and answer.seen[0] != REFUSED, (party, row.name, answer)
