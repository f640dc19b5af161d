"""Backup and restore as docs/operations.md describes them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import requests
from tests.running import PATIENCE, ROOT, Server, picture

from imageserver.accounts.database import ROLES, UserDB

AUTH = ("alice", "secret")


def test_a_copy_of_the_state_serves_elsewhere(tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    UserDB(state / "users.db").add(*AUTH, ROLES)
    with Server("-a", data=state) as server:
        server.ready()
        assert requests.put(f"{server.url}/snippets/1/", picture(40), auth=AUTH, timeout=PATIENCE).ok
        # Of the users alone while it runs: the command of the page, with the paths here.
        (command,) = re.findall(r"python3 -c \"(import sqlite3.*)\"", (ROOT / "docs/operations.md").read_text())
        command = command.replace("/var/lib/imageserver/users.db", str(state / "users.db"))
        subprocess.run([sys.executable, "-W", "ignore", "-c", command], check=True, cwd=tmp_path, timeout=60)
    (tmp_path / "elsewhere").mkdir()
    subprocess.run(["tar", "-C", tmp_path, "-czf", tmp_path / "backup.tar.gz", "state"], check=True)
    subprocess.run(["tar", "-C", tmp_path / "elsewhere", "-xzf", tmp_path / "backup.tar.gz"], check=True)
    with Server("-a", data=tmp_path / "elsewhere" / "state") as server:
        server.ready()
        assert requests.get(f"{server.url}/snippets/1/image", auth=AUTH, timeout=PATIENCE).content == picture(40)
    assert UserDB(tmp_path / "users-copy.db").check(*AUTH) is not None
