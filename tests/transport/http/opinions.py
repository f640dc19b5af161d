"""What each party made of each row of a table, and where they disagree."""

from __future__ import annotations

import json
import shutil
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.transport.http import parties
from tests.transport.http.parties import REFUSED, Answer
from tests.transport.http.rows import Row

Disagreement = tuple[str, Answer, object]
"""The row's name, what one made of it, and what the other did."""


class Opinions:
    """Asks every party every row, all parties at once, since each lets the rows wait that lack something.

    `answers` by party, "server" among them; without its program a proxy is left out.
    """

    def __init__(self, folder: Path, table: list[Row]) -> None:
        self.table = table
        self.answers: dict[str, list[Answer]] = {}
        self._recorded: dict[str, list[list[str]]] = {}
        server = parties.server()
        started = {"server": server}
        try:
            for name, start in (("nginx", parties.nginx), ("haproxy", parties.haproxy)):
                if shutil.which(name) or shutil.which(f"/usr/sbin/{name}"):
                    started[name] = start(folder, server.port)
            started["gunicorn"] = parties.gunicorn(folder)
            with ThreadPoolExecutor(len(started)) as pool:
                self.answers |= zip(started, pool.map(lambda party: party.ask(table), started.values()), strict=True)
            for name in started.keys() & {"nginx", "haproxy"}:
                self._recorded[name] = self._records(server, started[name])
        finally:
            for party in started.values():
                party.stop()
        self.answers["h11"] = [parties.ask_h11(row) for row in table]

    def _records(self, server: parties.Party, proxy: parties.Party) -> list[list[str]]:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/records", timeout=20) as answer:
            records = json.load(answer)
        return [records.get(proxy.tag(index), []) for index in range(len(self.table))]

    def read_otherwise(self, party: str) -> list[Disagreement]:
        """Rows of which the party read a request otherwise than the server: what is refused leads to nothing."""
        return [
            (row.name, ours, others)
            for row, ours, others in self._beside(party)
            if any(
                one != other and REFUSED not in (one, other) for one, other in zip(ours.seen, others.seen, strict=False)
            )
        ]

    def sent_otherwise(self, proxy: str) -> list[Disagreement]:
        """Rows of which the server saw other requests than the proxy's client got answers for, or others got them."""
        self._needs(proxy)
        return [
            (row.name, answer, recorded)
            for row, answer, recorded in zip(self.table, self.answers[proxy], self._recorded[proxy], strict=True)
            if recorded != taken(answer) or answer.foreign or not answer.ended or {502, 503, 504} & set(answer.statuses)
        ]

    def stricter(self, party: str) -> list[Disagreement]:
        """Rows without a reason of which the party refused a request that the server took."""
        return [
            (row.name, ours, others)
            for row, ours, others in self._beside(party)
            if len(taken(others)) < len(taken(ours)) and others.ended and not row.why
        ]

    def _beside(self, party: str) -> list[tuple[Row, Answer, Answer]]:
        self._needs(party)
        return list(zip(self.table, self.answers["server"], self.answers[party], strict=True))

    def _needs(self, party: str) -> None:
        if party not in self.answers:
            pytest.skip(f"needs {party} (scripts/apt-packages.sh)")


def taken(answer: Answer) -> list[str]:
    """The requests that were not refused."""
    return [words for words in answer.seen if words != REFUSED]
