"""The table of requests: what the server refuses, and that nobody reads two requests where it reads one."""

from __future__ import annotations

import pytest
from tests.transport.http import field, rows
from tests.transport.http.opinions import Opinions, taken
from tests.transport.http.parties import REFUSED
from tests.transport.http.rows import TAKEN

pytestmark = pytest.mark.slow  # it starts five servers
TABLE = rows.table()
PROBE = "GET probe 0 0"


@pytest.fixture(scope="module")
def opinions(tmp_path_factory: pytest.TempPathFactory) -> Opinions:
    return Opinions(tmp_path_factory.mktemp("parties"), TABLE)


def test_the_table_is_large() -> None:
    assert len({row.data for row in TABLE}) > 1400


def test_each_row_is_taken_or_refused_as_it_says(opinions: Opinions) -> None:
    wrong = []
    for row, answer in zip(TABLE, opinions.answers["server"], strict=True):
        if row.taken == TAKEN:
            right = len(answer.seen) > 1 and answer.seen[-1] == PROBE and REFUSED not in answer.seen
        else:  # whatever follows a refusal is not read: at most one stands there, and it is the last
            right = len(taken(answer)) == row.taken and REFUSED not in answer.seen[: row.taken]
            right = right and len(answer.seen) <= row.taken + 1
            right = right and answer.statuses[-1] in ((200, 400) if row.taken else (400, 413, 414, 431))
        if not right or not answer.ended:
            wrong.append((row.name, answer))
    assert not wrong


@pytest.mark.parametrize("party", ["nginx", "haproxy", "gunicorn", "h11"])
def test_requests_end_for_others_where_they_end_for_the_server(opinions: Opinions, party: str) -> None:
    assert not opinions.read_otherwise(party)


@pytest.mark.parametrize("proxy", ["nginx", "haproxy"])
def test_the_server_sees_what_the_proxy_sends_it(opinions: Opinions, proxy: str) -> None:
    assert not opinions.sent_otherwise(proxy)


@pytest.mark.parametrize("party", ["gunicorn", "h11"])
def test_nobody_is_stricter_without_a_reason(opinions: Opinions, party: str) -> None:
    assert not opinions.stricter(party)


def test_a_reason_is_needed_where_it_is_given(opinions: Opinions) -> None:
    for index, row in enumerate(TABLE):
        if row.why:
            fewest = min(len(taken(opinions.answers[party][index])) for party in ("gunicorn", "h11"))
            assert fewest < len(taken(opinions.answers["server"][index])), row.name


def test_clients_in_the_field_are_answered_by_everybody(opinions: Opinions) -> None:
    for party, answers in opinions.answers.items():
        for row, answer in list(zip(TABLE, answers, strict=True))[-len(field.requests()) :]:
            assert taken(answer) and answer.seen[0] != REFUSED, (party, row.name, answer)
