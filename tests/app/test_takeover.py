"""A data folder of the version before (tests/data/before) is taken over at the first start, and nothing is lost."""

from __future__ import annotations

import base64
import tarfile
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.running import PATIENCE, ROOT, Server

from imageserver.accounts.database import User, UserDB

PASSWORD = "the same for all"
USERS = [
    User("Zoë Ärmel", frozenset({"camera", "viewer"}), "lenet", 2.5, 90),
    User("alice", frozenset({"camera"})),
    User("bob", frozenset({"viewer"})),
    User("carol", frozenset({"admin"})),
    User("test_nn", frozenset({"camera", "viewer", "admin"})),
]
NUMBERS = {1: 3, 7: 1, 2**40: 1}
"""How many pictures each number has."""
DIGIT = ROOT / "clients/samples/digits/1.png"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """That folder."""
    with tarfile.open(ROOT / "tests/data/before/data.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "data"


class Session(requests.Session):
    """Asks as one user."""

    def __init__(self, server: Server, name: str) -> None:
        super().__init__()
        self._url = server.url
        self.auth = (name.encode(), PASSWORD)
        self.trust_env = False

    def json_of(self, path: str) -> Any:
        answer = self.get(self._url + path, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def bytes_of(self, path: str) -> bytes:
        answer = self.get(self._url + path, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return answer.content

    def number(self, picture: bytes) -> str:
        """Which digit LeNet reads."""
        body = {"image": base64.b64encode(picture).decode()}
        answer = self.post(f"{self._url}/lenet/classify", json=body, timeout=PATIENCE)
        assert answer.status_code == 200, answer.text
        return str(answer.json()["number"])


def check_everything(server: Server) -> None:
    """Whoever was there logs in, and finds what was there."""
    for user in USERS:
        with Session(server, user.name) as session:
            assert session.json_of("/list_nn")["text"]
    with Session(server, "test_nn") as session:
        newest = session.json_of("/snippets/")["snippets"]
        assert [snippet["id"] for snippet in newest] == list(NUMBERS)
        for snippet in newest:
            earlier = session.json_of(f"/snippets/{snippet['id']}/?history=1")["history"]
            assert len(earlier) == NUMBERS[snippet["id"]]
            assert earlier[0].items() <= snippet.items()
            assert len(session.bytes_of(snippet["image"])) == snippet["size"]
        assert session.json_of("/lenet/train/status")["accuracy"] == "10.00"
        assert session.number(DIGIT.read_bytes()) == "7"


def test_everything_is_there(data: Path) -> None:
    with Server("-a", "--snippet-history", "3", data=data, model="lenet") as server:
        check_everything(server.ready())
    assert sorted(UserDB(data / "users.db").list(), key=lambda user: user.name) == USERS
