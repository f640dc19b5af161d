"""Who is asked the rows of the table: this server, nginx and HAProxy before it, gunicorn, and h11 by itself."""

from __future__ import annotations

import asyncio
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import h11
from tests.nginx import command
from tests.transport.http import seen
from tests.transport.http.rows import PROBE, TAG, Row

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
HAPROXY = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")

REFUSED = "refused"

AT_ONCE = 128
"""Connections to one party at the same time."""

_ANSWER = re.compile(
    rb"HTTP/[0-9.]+ (\d\d\d)(?: |\r)|\r\nX-Seen: (\S+) ([^\r]*)|(?:^|(?<=\n))[a-z]\d{4} ([^\r\n]*)\n", re.IGNORECASE
)
"""A status, what was seen in a header, and the same in a body."""

_HAPROXY = """
global
    maxconn 1000
defaults
    mode http
    timeout connect 5s
    timeout client 5s
    timeout server 20s
    timeout http-request 4s
    timeout http-keep-alive 4s
    option http-keep-alive
    http-reuse always
frontend public
    bind fd@{descriptor}
    default_backend imageserver
backend imageserver
    server one 127.0.0.1:{port}
"""


@dataclass
class Answer:
    """What a party made of a row.

    Attributes:
        seen: The requests that it answered, as `seen.describe` tells them, and `REFUSED` for each that it refused.
        statuses: The status codes that came back, those of 1xx left out.
        foreign: Answers to other connections' requests.
        ended: Whether it ended the connection.
    """

    seen: list[str] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    ended: bool = False


class Party:
    """A server that is asked.

    `letter` begins the tags of its requests. `quiet`: seconds after which it says no more.
    """

    def __init__(self, letter: str, port: int, process: subprocess.Popen[str], quiet: float = 40.0) -> None:
        self.letter, self.port, self.quiet = letter, port, quiet
        self._process = process

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=20)

    def ask(self, rows: Iterable[Row]) -> list[Answer]:
        """Send each row with the probe behind it on a connection of its own."""

        async def ask_all() -> list[Answer]:
            turn = asyncio.Semaphore(AT_ONCE)
            return await asyncio.gather(*(self._ask(turn, index, row) for index, row in enumerate(rows)))

        return asyncio.run(ask_all())

    def tag(self, index: int) -> str:
        """Whose request for which row it is."""
        return f"{self.letter}{index:04}"

    async def _ask(self, turn: asyncio.Semaphore, index: int, row: Row) -> Answer:
        tag, answer, said = self.tag(index), Answer(), b""
        async with turn:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port, limit=2**20)
            try:
                writer.write((row.data + PROBE).replace(TAG, tag.encode()))
                while piece := await asyncio.wait_for(reader.read(65536), self.quiet):
                    said += piece
                answer.ended = True
            except ConnectionError:
                answer.ended = True
            except TimeoutError:
                pass
            finally:
                writer.close()
        in_header = b""
        for status, name, words, body in _ANSWER.findall(said):
            if body:
                answer.seen += [body.decode()] if body != in_header else []  # HTTP/0.9 has a body and nothing else
                in_header = b""
            elif name:
                answer.seen[-1], in_header = words.decode(), words
                answer.foreign += [] if name.decode() in (tag, "none") else [f"{name} {words}"]
            elif status[:1] != b"1":
                answer.statuses.append(int(status))
                answer.seen.append(REFUSED)
        return answer


def server() -> Party:
    """This server."""
    process = _start([sys.executable, "-W", "ignore", str(HERE / "seen.py")])
    assert process.stdout is not None
    return Party("d", int(process.stdout.readline()), process)


def gunicorn(folder: Path) -> Party:
    """gunicorn with the same application. It waits for ever for what a request still lacks."""
    said = folder / "gunicorn.txt"
    options = {
        "bind": "127.0.0.1:0",
        "worker-class": "gthread",
        "threads": str(AT_ONCE),
        "keep-alive": "30",
        "graceful-timeout": "1",
        "chdir": str(HERE),
        "log-file": str(said),
    }
    command = [sys.executable, "-m", "gunicorn", "--no-control-socket", "seen:application"]
    process = _start([*command, *(f"--{name}={value}" for name, value in options.items())])

    def port() -> int:
        text = said.read_text() if said.exists() else ""
        found = re.search(r"Listening at: http://127\.0\.0\.1:(\d+)", text)
        return int(found[1]) if found and "Booting worker" in text else 0

    _wait_for(port, process)
    return Party("g", port(), process, quiet=6.0)


def nginx(folder: Path, behind: int) -> Party:
    """nginx with the file of this project before a server on the port `behind`."""
    text = (ROOT / "deploy/nginx.conf").read_text()
    port = _free_port()
    for pattern, replacement in [
        (r"listen (443|\[::\]).*\n", ""), (r"ssl_.*\n", ""), (r"listen 80 ", f"listen 127.0.0.1:{port} "),
        (r"rate=200r/s", "rate=100000r/s"), (r"burst=400", "burst=10000"),
        (r"127\.0\.0\.1:8080", f"127.0.0.1:{behind}"),
        (r"(client_\w+_timeout|keepalive_timeout|send_timeout) \d+s", r"\1 4s"),
    ]:  # fmt: skip
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    (folder / "imageserver.conf").write_text(text)
    process = _start(command(folder, level="crit", connections=1024))
    _wait_for(lambda: _listens(port), process)
    return Party("n", port, process)


def haproxy(folder: Path, behind: int) -> Party:
    """HAProxy before a server on the port `behind`."""
    assert HAPROXY is not None
    with socket.create_server(("127.0.0.1", 0), backlog=256) as listener:
        configuration = folder / "haproxy.cfg"
        configuration.write_text(_HAPROXY.format(descriptor=listener.fileno(), port=behind))
        process = _start([HAPROXY, "-db", "-q", "-f", str(configuration)], pass_fds=(listener.fileno(),))
        return Party("h", listener.getsockname()[1], process)


def ask_h11(row: Row) -> Answer:
    """What h11 by itself makes of a row."""
    answer, connection = Answer(), h11.Connection(h11.SERVER)
    connection.receive_data((row.data + PROBE).replace(TAG, b"x0000"))
    method, target, body = b"", b"", b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Request):
                method, target, body = event.method, event.target, b""
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                answer.seen.append(seen.describe(method.decode(), target.decode(), body))
                answer.statuses.append(200)
                connection.send(h11.Response(status_code=200, headers=[("Content-Length", "0")]))
                connection.send(h11.EndOfMessage())
                connection.start_next_cycle()
            else:
                return answer  # it waits for more
    except h11.RemoteProtocolError:
        answer.statuses.append(400)
        answer.seen.append(REFUSED)
    except h11.LocalProtocolError:
        pass  # the connection ends here
    answer.ended = True
    return answer


def _start(command: list[str], pass_fds: tuple[int, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, pass_fds=pass_fds)


def _wait_for(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.args
        time.sleep(0.02)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0
