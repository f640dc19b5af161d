"""The settings of the server: one table, from which come command line, environment, TOML file, `-h` and docs/settings.md.

A setting is a field of `Settings`: its type, default, options and help stand in one place, and mypy knows its type.
To add one, write the field and run `make docs`. `python3 src/settings.py --markdown` prints the reference.

    load(sys.argv[1:])             from everywhere at once, for a program
    read(arguments, variables)     the same, pure but for the files
    Settings(port=0, auth=True)    the defaults with a few changes, for tests
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import setting_kinds as kinds
import setting_sources as sources
from setting_kinds import Credential, Kind, Network
from setting_sources import HelpAsked, Setting

PROJECT = Path(__file__).resolve().parent.parent
INTRO = "Receives camera frames over the network, runs a model on them, and sends each prediction back."

_LISTENING = "Where it listens"
_USERS = "Who may come in"
_MODELS = "Models and streams"
_FILES = "Files and output"
_PICTURES = "Limits of pictures"
_LOGINS = "Limits of logins"
_CONNECTIONS = "Limits of connections"
_MESSAGES = "Limits of messages"
_TCP = "Legacy TCP commands for chest X-rays"

_IN_DATA = Path()
_TIME = kinds.duration(0.05, 3600)


def _setting(group: str, *flags: str, default: Any, kind: Kind, help: str, shown: str = "", secret: bool = False) -> Any:  # noqa: A002
    row = Setting("", group, flags, default, kind, help, shown)
    return dataclasses.field(default=default, repr=not secret, metadata={"row": row})


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Every setting with its value: sizes in bytes, times in seconds, paths absolute."""

    ip: str = _setting(
        _LISTENING, "-i", "--ip", default="0.0.0.0", kind=kinds.ADDRESS,
        help="address to listen on; localaddr is this machine's LAN address, :: every IPv6 address",
    )
    port: int = _setting(
        _LISTENING, "-p", "--port", default=8080, kind=kinds.PORT,
        help="port to listen on; 0 takes any free one",
    )
    cors_origin: tuple[str, ...] = _setting(
        _LISTENING, "--cors-origin", default=(), kind=kinds.ORIGINS, shown="the server's own",
        help="further origin whose web pages may use the server; * is all of them; repeatable",
    )
    trusted_proxy: tuple[Network, ...] = _setting(
        _LISTENING, "--trusted-proxy", default=(), kind=kinds.NETWORKS,
        help="reverse proxies whose X-Forwarded-For tells the client's address; repeatable",
    )

    auth: bool = _setting(
        _USERS, "-a", "-auth", "--auth", default=False, kind=kinds.FLAG,
        help="let in only clients with a user's name and password",
    )
    users: Path = _setting(
        _USERS, "--users", default=_IN_DATA, kind=kinds.PATH, shown="users.db in --data",
        help="database of users, as src/userdb.py edits it",
    )
    user: tuple[Credential, ...] = _setting(
        _USERS, "--user", default=(), kind=kinds.CREDENTIALS, secret=True,
        help="for a trial: a user with every role, in memory, in place of the database; repeatable (in the variable, one a line)",
    )

    model: str = _setting(
        _MODELS, "-m", "--model", default="faces", kind=kinds.MODEL,
        help="model for streams that ask for none",
    )
    preload: tuple[str, ...] = _setting(
        _MODELS, "--preload", default=(), kind=kinds.MODELS,
        help="further models to load at the start rather than at their first use",
    )
    hz: float = _setting(
        _MODELS, "--hz", default=0.0, kind=kinds.number("N", 0, 1000),
        help="most frames a second processed of each stream; 0 is no cap",
    )
    workers: int = _setting(
        _MODELS, "--workers", default=0, kind=kinds.whole("N", 0, 256), shown="one for each processor, at most 4",
        help="processes that run models; they share the processors; 0 is one for each processor, at most 4",
    )
    models: Path = _setting(
        _MODELS, "--models", default=PROJECT / "models", kind=kinds.FOLDER, shown="models beside src",
        help="folder with a folder for each model",
    )
    model_timeout: float = _setting(
        _MODELS, "--model-timeout", default=15.0, kind=kinds.duration(0.1, 3600),
        help="time a batch may run before its worker counts as stuck and is replaced",
    )
    display: bool = _setting(
        _MODELS, "-d", "--display", default=False, kind=kinds.FLAG,
        help="show each stream in a window on this machine",
    )

    data: Path = _setting(
        _FILES, "--data", default=PROJECT / "data", kind=kinds.FOLDER, shown="data beside src",
        help="folder where the server keeps its state",
    )
    results: Path | None = _setting(
        _FILES, "--results", default=None, kind=kinds.OUTPUT,
        help="file to add every prediction to as a line of JSON; - is standard output",
    )
    config: Path | None = _setting(
        _FILES, "--config", default=None, kind=kinds.PATH,
        help="TOML file with settings",
    )
    log_level: str = _setting(
        _FILES, "--log-level", default="info", kind=kinds.choice("LEVEL", "debug", "info", "warning", "error"),
        help="least important messages to log: debug, info, warning or error",
    )

    max_frame_bytes: int = _setting(
        _PICTURES, "--max-frame-bytes", default=16 * 2**20, kind=kinds.size(1024, 32 * 2**20),
        help="largest file of a picture",
    )
    max_pixels: int = _setting(
        _PICTURES, "--max-pixels", default=50_000_000, kind=kinds.whole("N", 1),
        help="most pixels of a picture, width times height",
    )
    max_requests: int = _setting(
        _PICTURES, "--max-requests", default=256, kind=kinds.whole("N", 1),
        help="single pictures, each of which gets an answer, that may wait for a model",
    )

    login_queue: int = _setting(
        _LOGINS, "--login-queue", default=256, kind=kinds.whole("N", 1),
        help="logins that may wait to be checked; further ones are refused",
    )
    login_threads: int = _setting(
        _LOGINS, "--login-threads", default=2, kind=kinds.whole("N", 1, 64),
        help="passwords checked at the same time, 64 MiB of memory each",
    )
    login_attempts: int = _setting(
        _LOGINS, "--login-attempts", default=60, kind=kinds.whole("N", 0),
        help="refused logins a minute from one address, after which it has to wait; 0 is no limit",
    )

    max_connections: int = _setting(
        _CONNECTIONS, "--max-connections", default=20_000, kind=kinds.whole("N", 1),
        help="open connections in total",
    )
    max_per_address: int = _setting(
        _CONNECTIONS, "--max-per-address", default=0, kind=kinds.whole("N", 0),
        help="open connections of one client address; 0 is no limit",
    )
    max_request_line: int = _setting(
        _CONNECTIONS, "--max-request-line", default=8 * 2**10, kind=kinds.size(256, 2**20),
        help="request line of a request: method, path and query",
    )
    max_header_bytes: int = _setting(
        _CONNECTIONS, "--max-header-bytes", default=32 * 2**10, kind=kinds.size(1024, 2**20),
        help="request line and headers of a request together",
    )
    header_time: float = _setting(
        _CONNECTIONS, "--header-time", default=10.0, kind=_TIME,
        help="time for a request's headers to arrive in",
    )
    keep_alive_time: float = _setting(
        _CONNECTIONS, "--keep-alive-time", default=75.0, kind=_TIME,
        help="time that a connection may wait between two requests",
    )
    max_body_bytes: int = _setting(
        _CONNECTIONS, "--max-body-bytes", default=64 * 2**20, kind=kinds.size(1024, 2**30),
        help="largest body of a request; what reads it has lower limits of its own",
    )
    min_body_rate: int = _setting(
        _CONNECTIONS, "--min-body-rate", default=1024, kind=kinds.size(0, 2**30),
        help="bytes a second that a request's body must keep up on average",
    )
    body_grace: float = _setting(
        _CONNECTIONS, "--body-grace", default=10.0, kind=_TIME,
        help="time before --min-body-rate is demanded",
    )
    send_time: float = _setting(
        _CONNECTIONS, "--send-time", default=60.0, kind=_TIME,
        help="time for which a client may take nothing of an answer before it is given up",
    )
    drain_bytes: int = _setting(
        _CONNECTIONS, "--drain-bytes", default=64 * 2**20, kind=kinds.size(0, 2**30),
        help="bytes read and dropped after an early refusal, so that the client can read the answer",
    )
    drain_time: float = _setting(
        _CONNECTIONS, "--drain-time", default=10.0, kind=_TIME,
        help="time for the same",
    )
    join_time: float = _setting(
        _CONNECTIONS, "--join-time", default=10.0, kind=_TIME,
        help="time for a Socket.IO client to join a namespace, and for an upgrade to WebSocket",
    )
    ping_interval: float = _setting(
        _CONNECTIONS, "--ping-interval", default=25.0, kind=_TIME,
        help="time between two heartbeats of a Socket.IO connection",
    )
    ping_timeout: float = _setting(
        _CONNECTIONS, "--ping-timeout", default=20.0, kind=_TIME,
        help="time a heartbeat may take before the connection is given up",
    )
    max_pings: int = _setting(
        _CONNECTIONS, "--max-pings", default=100, kind=kinds.whole("N", 1),
        help="heartbeats a second that one client may ask for",
    )

    max_message_bytes: int = _setting(
        _MESSAGES, "--max-message-bytes", default=16 * 2**20, kind=kinds.size(1024, 2**30),
        help="largest message, all of its fragments together",
    )
    message_time: float = _setting(
        _MESSAGES, "--message-time", default=60.0, kind=_TIME,
        help="time from a message's first byte to its last",
    )
    max_payload_packets: int = _setting(
        _MESSAGES, "--max-payload-packets", default=256, kind=kinds.whole("N", 1),
        help="packets in one request of a polling client",
    )
    max_payload_bytes: int = _setting(
        _MESSAGES, "--max-payload-bytes", default=64 * 2**20, kind=kinds.size(1024, 2**30),
        help="largest request of a polling client, which may hold several messages",
    )
    max_attachments: int = _setting(
        _MESSAGES, "--max-attachments", default=16, kind=kinds.whole("N", 0),
        help="binary attachments of one Socket.IO packet",
    )
    attachment_time: float = _setting(
        _MESSAGES, "--attachment-time", default=60.0, kind=_TIME,
        help="time from a Socket.IO packet to the last of its attachments",
    )
    max_namespaces: int = _setting(
        _MESSAGES, "--max-namespaces", default=16, kind=kinds.whole("N", 1),
        help="namespaces that one connection may join",
    )
    max_outgoing_bytes: int = _setting(
        _MESSAGES, "--max-outgoing-bytes", default=32 * 2**20, kind=kinds.size(1024, 2**30),
        help="bytes waiting to be sent to one client; above it newer predictions replace older ones, then the connection ends",
    )

    tcp_ip: str | None = _setting(
        _TCP, "--tcp-ip", default=None, kind=kinds.ADDRESS, shown="that of --ip",
        help="address to listen on for legacy TCP commands",
    )
    tcp_port: int | None = _setting(
        _TCP, "--tcp-port", default=None, kind=kinds.PORT_OR_OFF, shown="50022, and off where that is in use",
        help="port for legacy TCP commands; 0 takes any free one, off opens none",
    )
    tcp_config: Path | None = _setting(
        _TCP, "--tcp-config", default=None, kind=kinds.PATH,
        help="configuration file of the former server, for address and port: [Server] serverName and [Port] port, or HOST and PORT",
    )
    tcp_authorized_keys: Path | None = _setting(
        _TCP, "--tcp-authorized-keys", default=None, kind=kinds.PATH,
        help="file of SSH public keys: only clients that sign with one of them (AUTH) are served",
    )
    tcp_open: bool = _setting(
        _TCP, "--tcp-open", default=False, kind=kinds.FLAG,
        help="with --auth but without keys, listen on the network all the same, not only on this machine",
    )
    tcp_max_per_host: int = _setting(
        _TCP, "--tcp-max-per-host", default=16, kind=kinds.whole("N", 0),
        help="open connections of one client address; 0 is no limit",
    )
    tcp_max_connections: int = _setting(
        _TCP, "--tcp-max-connections", default=4096, kind=kinds.whole("N", 1),
        help="open connections in total",
    )
    tcp_max_bytes: int = _setting(
        _TCP, "--tcp-max-bytes", default=16 * 2**20, kind=kinds.size(1024, 32 * 2**20),
        help="largest file; --max-frame-bytes holds as well",
    )
    tcp_max_total_bytes: int = _setting(
        _TCP, "--tcp-max-total-bytes", default=512 * 2**20, kind=kinds.size(2**20, 2**40),
        help="files of all connections together",
    )

    def __post_init__(self) -> None:
        # Defaults that depend on another setting or on the machine.
        if self.users == _IN_DATA:
            object.__setattr__(self, "users", self.data / "users.db")
        if self.workers == 0:
            object.__setattr__(self, "workers", min(4, os.cpu_count() or 1))


TABLE: tuple[Setting, ...] = tuple(dataclasses.replace(field.metadata["row"], name=field.name) for field in dataclasses.fields(Settings))


def load(arguments: Sequence[str]) -> Settings:
    """The settings of this process; prints the help and ends with code 0 when `arguments` ask for it. SettingError."""
    try:
        return read(arguments, os.environ)
    except HelpAsked as asked:
        print(asked, end="")
        sys.exit(0)


def read(arguments: Sequence[str], environment: Mapping[str, str], folder: Path | None = None, project: Path = PROJECT) -> Settings:
    """The settings that the command line `arguments` (without program name), variables and files give together.

    `folder` is the current folder, from which relative paths count (those in a file count from the file's folder);
    a `.env` is read from it and, weaker, from `project`.
    SettingError holds one sentence that names place, value and remedy. HelpAsked holds the help.
    """
    folder = (folder or Path.cwd()).resolve()
    try:
        typed = sources.from_command_line(TABLE, arguments, folder)
    except HelpAsked:
        raise HelpAsked(sources.usage(TABLE, "ImageServer.py", INTRO, _width())) from None
    files = [sources.from_env_file(TABLE, place / ".env") for place in dict.fromkeys((project, folder))]
    layers = [*files, sources.from_environment(TABLE, environment, "", folder), typed]
    config = sources.merge([[given for given in layer if given.setting.name == "config"] for layer in layers]).get("config")
    if config is not None:
        layers.insert(0, sources.from_toml(TABLE, config))
    return Settings(**sources.merge(layers))


def _width() -> int:
    try:
        return max(80, min(140, os.get_terminal_size(sys.stdout.fileno()).columns))
    except (OSError, ValueError):  # not a terminal
        return 100


REFERENCE = """\
Written by `make docs` from the table in `src/settings.py`.

Each setting can be given in four places. The first of them that has it counts:

1. as an option on the command line;
2. as a variable in the environment;
3. as the same variable in a file `.env`, in the current folder or else beside `src`;
4. as a key of the TOML file that `--config` names: the long option without its dashes, at the top level of the file,
   such as `max-frame-bytes = "4M"`.

Of an option given twice the last one counts. Repeatable ones add up within one place (in TOML, as a list).
Relative paths count from the current folder, and in a file from that file's folder. An unknown option, variable or
key is an error, so that a typing mistake does not pass unnoticed.

`address:port` may stand alone in place of `--ip` and `--port`. Switches take `yes` or `no` in variables and files; on
the command line `--no-auth` undoes `--auth`. Sizes are in bytes, or end in K, M or G (multiples of 1,024). Times are
in seconds, or end in ms, s, min or h."""


if __name__ == "__main__":
    if sys.argv[1:] != ["--markdown"]:
        sys.exit("usage: python3 src/settings.py --markdown")
    sys.stdout.write(sources.markdown(TABLE, "Settings", REFERENCE))
