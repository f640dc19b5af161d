"""The legacy TCP port by the settings, by an old configuration file, and by what `--auth` allows."""

from __future__ import annotations

import configparser
import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imageserver.accounts.login import Logins
from imageserver.config import addresses
from imageserver.config.kinds import ADDRESS, OFF
from imageserver.config.table import Settings
from imageserver.errors import InvalidValue, SettingError
from imageserver.protocols.legacy_tcp.protocol import NAMESPACE, Asker, LegacyTcp
from imageserver.transport import hub
from imageserver.transport.budget import Budget

DEFAULT_PORT = 50022
MAX_CONFIG = 2**16  # bytes of an old configuration file
_TOP = "top of the file"  # the section of what stands before any section


@dataclass(frozen=True)
class Endpoint:
    """An address and a port, and whether somebody asked for that port."""

    host: str
    port: int
    asked: bool


def build(
    settings: Settings,
    streams: Asker,
    budget: Budget,
    logins: Logins,
    *,
    log: Callable[[str], None],
    warn: Callable[[str], None],
) -> LegacyTcp | None:
    """Build the port as the settings want it, listening.

    Args:
        settings: All of them; those that begin with `tcp_`, `ip` and `auth` count.
        streams: Where its questions go.
        budget: Of the bytes that wait.
        logins: Counts signatures that are wrong.
        log: Takes a line for the log.
        warn: Takes a sentence for the operator.

    Returns:
        The port; None where there is to be none.

    Raises:
        SettingError: It cannot listen there, or a file that was named cannot be read.
    """
    keys = None
    if settings.tcp_authorized_keys is not None:
        from imageserver.accounts.ssh_signatures import AuthorizedKeys  # costs megabytes, so only where it is needed

        keys = AuthorizedKeys(settings.tcp_authorized_keys, NAMESPACE, warn)
    listener = listen(settings, warn)
    if listener is None:
        return None
    return LegacyTcp(streams, listener, settings, budget=budget, keys=keys, logins=logins, log=log)


def listen(settings: Settings, warn: Callable[[str], None]) -> hub.Socket | None:
    """The listening socket, or None where there is to be none. SettingError; `warn` takes a sentence."""
    endpoint = choose(settings, warn)
    if endpoint is None:
        return None
    host, port = endpoint.host, endpoint.port
    try:
        return hub.listen(host, port, dead_peer_time=settings.dead_peer_time)
    except OSError as error:
        if error.errno == errno.EADDRINUSE and not endpoint.asked:
            warn(
                f"port {port} on {host} is in use, so legacy TCP commands are off; choose another with --tcp-port, "
                "or off"
            )
            return None
        raise SettingError(fault(endpoint, error)) from error


def fault(endpoint: Endpoint, error: OSError) -> str:
    """What is said of a port that cannot be had."""
    host, port = endpoint.host, endpoint.port
    if error.errno == errno.EADDRINUSE:
        return (
            f"the legacy TCP port {port} on {host} is in use already: stop what uses it, or choose another "
            "with --tcp-port (0 = any free one, off = none)"
        )
    if error.errno == errno.EACCES:
        return f"the legacy TCP port {port} may not be used by this user: choose one from 1024 on"
    return (
        f"this machine cannot listen on {host}:{port} for legacy TCP commands ({error.strerror}): "
        "give one of its own addresses with --tcp-ip"
    )


def choose(settings: Settings, warn: Callable[[str], None]) -> Endpoint | None:
    """Where to listen by these settings; None when the port is off."""
    old_host, old_port = read_config(settings.tcp_config) if settings.tcp_config is not None else (None, None)
    asked = settings.tcp_port if settings.tcp_port is not None else old_port
    if asked == OFF:
        return None
    host = settings.tcp_ip or old_host or settings.ip
    if (
        settings.auth
        and settings.tcp_authorized_keys is None
        and not settings.tcp_open
        and not addresses.is_loopback(host)
    ):
        loopback = "::1" if ":" in host else "127.0.0.1"
        warn(
            f"legacy TCP commands carry no password, so with --auth they are for this machine alone ({loopback}, "
            f"not {host}): name the keys of known apps with --tcp-authorized-keys, or let anybody in with --tcp-open"
        )
        host = loopback
    return Endpoint(host, DEFAULT_PORT if asked is None else asked, asked is not None)


def read_config(path: Path) -> tuple[str | None, int | None]:
    """Address and port of an old configuration file, each None when it is not there. SettingError.

    Two forms are in the field, with or without quotes around the values:

        [Server]                        HOST = "94.7.190.69"
        serverName = 94.7.190.69        PORT = "50022"
        [Port]
        port = 50022
    """
    parser = configparser.ConfigParser(
        interpolation=None, strict=False, allow_no_value=True, default_section="\0", inline_comment_prefixes=("#", ";")
    )
    try:
        with path.open("rb") as stream:
            text = stream.read(MAX_CONFIG + 1)
        if len(text) > MAX_CONFIG:
            raise SettingError(
                f"--tcp-config: {path} is larger than {MAX_CONFIG} bytes, so it is no configuration file"
            )
        parser.read_string(f"[{_TOP}]\n" + text.decode("utf-8-sig"))
    except OSError as error:
        raise SettingError(f"--tcp-config: {path} cannot be read: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError) as error:
        raise SettingError(f"--tcp-config: {path} is no configuration file: {str(error).splitlines()[0]}") from error
    found = {
        (section.lower(), key): (value or "").strip("\"' ")
        for section in parser.sections()
        for key, value in parser.items(section)
    }
    host = found.get(("server", "servername")) or found.get((_TOP, "host"))
    port = found.get(("port", "port")) or found.get((_TOP, "port"))
    if not host and not port:
        raise SettingError(f"--tcp-config: {path} has neither [Server] serverName and [Port] port, nor HOST and PORT")
    if port and not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise SettingError(
            f"--tcp-config: the port in {path} is {port!r}, but it takes a whole number from 0 to 65,535"
        )
    try:
        return ADDRESS.parse(host, path.parent) if host else None, int(port) if port else None
    except (ValueError, InvalidValue) as error:
        raise SettingError(
            f"--tcp-config: the address in {path} is {host!r}, but it takes {ADDRESS.expects}"
        ) from error
