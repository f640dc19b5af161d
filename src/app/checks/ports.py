"""The ports: whether the server could listen on them. Each is taken for a moment, and connected to by nobody."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

from imageserver.app import data_lock
from imageserver.app.checks.finding import Finding, fails, stops
from imageserver.config.table import Settings
from imageserver.errors import SettingError
from imageserver.protocols.legacy_tcp import port as legacy_tcp
from imageserver.protocols.legacy_tcp.protocol import NAMESPACE

_LISTENS = "0A"
"""TCP_LISTEN in /proc/net/tcp."""


def look(settings: Settings) -> Iterator[Finding]:
    """What keeps the server from listening on the ports of HTTP and HTTPS."""
    for port in dict.fromkeys((settings.port, settings.https_port)):
        if port is not None and (reason := _in_the_way(settings, settings.ip, port)):
            yield stops(fault(settings.ip, port, reason))


def legacy(settings: Settings) -> Iterator[Finding]:
    """The same of the port of legacy TCP commands, with the files that belong to it."""
    try:
        endpoint = legacy_tcp.choose(settings, lambda _sentence: None)
    except SettingError as error:
        yield stops(str(error))
        return
    if endpoint is None:
        return
    if settings.tcp_authorized_keys is not None:
        from imageserver.accounts.ssh_signatures import AuthorizedKeys

        said: list[str] = []
        try:
            AuthorizedKeys(settings.tcp_authorized_keys, NAMESPACE, said.append)
        except SettingError as error:
            yield stops(str(error))
        yield from map(fails, said)
    if endpoint.asked and (reason := _in_the_way(settings, endpoint.host, endpoint.port)):
        yield stops(legacy_tcp.fault(endpoint, reason))


def fault(ip: str, port: int, error: OSError) -> str:
    """What is said of a port of HTTP that cannot be had."""
    if error.errno == errno.EADDRINUSE:
        return f"port {port} on {ip} is in use: stop what uses it, or choose another with -p (0 = any free one)"
    if error.errno == errno.EACCES:
        return f"port {port} may not be used by this user: choose one from 1024 on with -p"
    return f"{ip}:{port} cannot be listened on ({error.strerror}): give an address of this machine with -i"


def _in_the_way(settings: Settings, host: str, port: int) -> OSError | None:
    """Why nobody can listen there; None where somebody can, or the server with the same data folder does already.

    That may be this process, when its start has failed.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            running = data_lock.holder(settings.data)
            ours = (os.getpid(), *([running.pid] if running else []))
            if error.errno == errno.EADDRINUSE and any(_listens(process, port) for process in ours):
                return None
            return error
    return None


def _listens(process: int, port: int) -> bool:
    """Whether a process listens on a port; where its descriptors may not be looked at, that is believed of it."""
    found = set()
    try:
        for entry in os.listdir(f"/proc/{process}/fd"):
            with contextlib.suppress(FileNotFoundError):  # closed by now, as the one that lists them
                found.add(os.readlink(f"/proc/{process}/fd/{entry}"))
    except PermissionError:
        return True
    except OSError:  # it has ended
        return False
    return any(f"socket:[{inode}]" in found for inode in _inodes(port))


def _inodes(port: int) -> Iterator[str]:
    """Of the sockets that listen on a port, whatever their address."""
    for table in ("tcp", "tcp6"):
        path = Path(f"/proc/net/{table}")
        for line in path.read_text().splitlines()[1:] if path.exists() else ():
            words = line.split()
            if words[3] == _LISTENS and re.fullmatch(rf"[0-9A-F]+:{port:04X}", words[1]):
                yield words[9]
