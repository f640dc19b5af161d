"""Several front ends, and the proxies of deploy/front-ends/ before them, each a process of its own."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import requests
from tests.nginx import NGINX, command, free_ports
from tests.running import PATIENCE, ROOT, Server, until

HAPROXY = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
HERE = ROOT / "deploy" / "front-ends"
NAMES = "abc"
PROXIES = [name for name, path in (("nginx", NGINX), ("haproxy", HAPROXY)) if path]


class FrontEnds:
    """Three front ends by their names, each with a port of its own that it has again after a restart.

    They are at 127.0.0.1, as the proxy is; a subclass may have `hosts`, `believed` (the proxy's address) and `server`
    otherwise.

    Args:
        folder: Of their data.
        options: What all are started with.
        first: The names of those that are started at first.
    """

    believed = "127.0.0.1"

    def __init__(self, folder: Path, *options: str, first: str = NAMES) -> None:
        self.hosts = dict.fromkeys(NAMES, "127.0.0.1")
        self._folder, self._options, self._first = folder, options, first
        self.ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        self.tcp_ports = dict(zip(NAMES, free_ports(len(NAMES)), strict=True))
        self.servers: dict[str, Server] = {}
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> FrontEnds:
        for name in self._first:
            self.start(name)
        for server in self.servers.values():
            server.ready()
        return self

    def __exit__(self, *_exception: object) -> None:
        for server in self.servers.values():
            server.process.kill()  # each would take its time to leave
        self._closing.close()

    def start(self, name: str) -> Server:
        """Start one; returns when it listens."""
        data = self._folder / name
        data.mkdir(exist_ok=True)
        listening = ("-p", str(self.ports[name]), "--tcp-port", str(self.tcp_ports[name]), "--front-end", name)
        server = self.server(name, *listening, "--trusted-proxy", self.believed, *self._options, data=data)
        self.servers[name] = self._closing.enter_context(server)
        return self.servers[name]

    def server(self, _name: str, *arguments: str, data: Path) -> Server:
        """A process that has just been started."""
        return Server(*arguments, data=data)


class Proxy:
    """nginx or HAProxy with its file, on a port of its own.

    Attributes:
        port: Where it listens.
        tcp_port: The same for legacy TCP commands; of HAProxy alone.
    """

    def __init__(self, kind: str, folder: Path, ends: FrontEnds) -> None:
        self.port, self.tcp_port = free_ports(2)
        self._said = folder / f"{kind}.txt"
        write = self._nginx if kind == "nginx" else self._haproxy
        run = write(folder, ends)
        with self._said.open("w") as said:  # a pipe that nobody reads could fill up
            self.process = subprocess.Popen(run, stdout=said, stderr=subprocess.STDOUT)

    def __enter__(self) -> Proxy:
        until(self._answers, "the proxy")
        return self

    def __exit__(self, *_exception: object) -> None:
        self.process.terminate()
        self.process.wait(20)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def said(self) -> str:
        """Its log: of each request, with the status that the client got."""
        return self._said.read_text()

    def statuses(self, path: str) -> list[int]:
        """Of all requests to paths that begin so."""
        return [int(found) for found in re.findall(rf'(\d\d\d) "?[A-Z]+ {path}', self.said)]

    def _answers(self) -> bool:
        assert self.process.poll() is None, self.said
        try:
            return requests.get(self.url + "/health/live", timeout=PATIENCE).ok
        except requests.ConnectionError:
            return False

    def _nginx(self, folder: Path, ends: FrontEnds) -> Sequence[str]:
        text = placed(HERE / "nginx.conf", ends, r"listen 80 ", f"listen 127.0.0.1:{self.port} ")
        text = text.replace("access_log off;", "access_log /dev/stdout plain;")
        form = "log_format plain '$status $request';\n"
        (folder / "imageserver.conf").write_text(form + text)
        return command(folder, level="warn", connections=2048)

    def _haproxy(self, folder: Path, ends: FrontEnds) -> Sequence[str]:
        text = placed(HERE / "haproxy.cfg", ends, r"bind :80\n", f"bind 127.0.0.1:{self.port}\n")
        text = text.replace("maxconn 40000", "maxconn 2000").replace("bind :50022", f"bind 127.0.0.1:{self.tcp_port}")
        log = '    log stdout format raw local0\n    log-format "%ST %r"\n'
        text = text.replace("frontend imageserver\n", "frontend imageserver\n" + log)
        path = folder / "haproxy.cfg"
        path.write_text(text)
        assert HAPROXY is not None
        return [HAPROXY, "-db", "-f", str(path)]


class SharedProxy(Proxy):
    """The same with what the files say of front ends that have --redis and --shared."""

    def _nginx(self, folder: Path, ends: FrontEnds) -> Sequence[str]:
        command = super()._nginx(folder, ends)
        changed(folder / "imageserver.conf", r"include /etc/\S+-snap\S+;", f"include {HERE / 'snap-anywhere.conf'};", 1)
        return command

    def _haproxy(self, folder: Path, ends: FrontEnds) -> Sequence[str]:
        command = super()._haproxy(folder, ends)
        changed(folder / "haproxy.cfg", r"# (server [bc] )", r"\1", 2)
        return command


def changed(path: Path, pattern: str, replacement: str, count: int) -> None:
    """Change a file in so many places."""
    text, found = re.subn(pattern, replacement, path.read_text())
    assert found == count, pattern
    path.write_text(text)


def placed(path: Path, ends: FrontEnds, listening: str, port: str) -> str:
    """A file of deploy/front-ends with the addresses of `ends`, and a port of the test's."""
    text, count = re.subn(listening, port, path.read_text())
    assert count == 1, listening
    for name in NAMES:
        host = ends.hosts[name]
        text = text.replace(f"front-end-{name}:8080", f"{host}:{ends.ports[name]}")
        legacy = f"{host}:{ends.tcp_ports[name]} check port {ends.ports[name]}"
        text = text.replace(f"front-end-{name}:50022 check port 8080", legacy)
        text = text.replace(f"front-end-{name}:50022", f"{host}:{ends.tcp_ports[name]}")
    assert not re.findall(r"server .*front-end-", text)
    return text


@contextlib.contextmanager
def behind(kind: str, folder: Path, *options: str, first: str = NAMES) -> Iterator[tuple[FrontEnds, Proxy]]:
    """Front ends, as many as `first` names, behind a proxy of that kind for three."""
    with FrontEnds(folder, *options, first=first) as ends, Proxy(kind, folder, ends) as proxy:
        yield ends, proxy


def leave(server: Server) -> None:
    """Stop it, as a service manager does."""
    server.process.send_signal(signal.SIGTERM)
    assert server.process.wait(PATIENCE) == 0
