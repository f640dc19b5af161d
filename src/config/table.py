"""The settings of the server: one table, from which come command line, environment, TOML file, `-h` and docs/settings.md.

A setting is a field of `Settings` (limits: of `Limits`, in bounds.py): its type, default, options and help
stand in one place, and mypy knows its type. To add one, write the field and run `make docs`; `python3 src/bootstrap.py
config.table --markdown` prints the reference.

    load(sys.argv[1:])             from everywhere at once, for a program
    read(arguments, variables)     the same, pure but for the files
    Settings(port=0, auth=True)    the defaults with a few changes, for tests
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from imageserver import folders
from imageserver.config import kinds, sources
from imageserver.config.bounds import Limits
from imageserver.config.kinds import Credential, Network
from imageserver.config.sources import HelpAsked, Setting, setting

INTRO = "Receives camera frames over the network, runs a model on them, and sends each prediction back."

_LISTENING = "Where it listens"
_USERS = "Who may come in"
_MODELS = "Models and streams"
_SNAP = "Snap: pictures on demand"
_SESSIONS = "Sessions of several models"
_TRAINING = "Training over REST"
_FILES = "Files and output"
_TCP = "Legacy TCP commands for chest X-rays"

_IN_DATA = Path()


@dataclass(frozen=True, kw_only=True)
class Settings(Limits):
    """Every setting with its value: sizes in bytes, times in seconds, paths absolute."""

    ip: str = setting(
        _LISTENING, "-i", "--ip", default="0.0.0.0", kind=kinds.ADDRESS,
        help="address to listen on; localaddr is this machine's LAN address, :: every IPv6 address",
    )
    port: int = setting(
        _LISTENING, "-p", "--port", default=8080, kind=kinds.PORT,
        help="port to listen on; 0 takes any free one",
    )
    tls: bool = setting(
        _LISTENING, "-s", "--tls", default=False, kind=kinds.FLAG,
        help="speak HTTPS on that port, and nothing else",
    )
    https_port: int | None = setting(
        _LISTENING, "--https-port", default=None, kind=kinds.PORT, shown="none",
        help="port to speak HTTPS on, beside HTTP on the other; 0 takes any free one",
    )
    cert: Path | None = setting(
        _LISTENING, "--cert", default=None, kind=kinds.PATH, shown="ssl/cert.pem beside src, else self-signed in --data",
        help="certificate for HTTPS, PEM, with the chain behind it",
    )
    key: Path | None = setting(
        _LISTENING, "--key", default=None, kind=kinds.PATH, shown="ssl/key.pem beside src",
        help="its private key, PEM without a password; may be in the file of --cert",
    )
    cors_origin: tuple[str, ...] = setting(
        _LISTENING, "--cors-origin", default=(), kind=kinds.ORIGINS, shown="the server's own",
        help="further origin whose web pages may use the server; * is all of them; repeatable",
    )
    trusted_proxy: tuple[Network, ...] = setting(
        _LISTENING, "--trusted-proxy", default=(), kind=kinds.NETWORKS,
        help="reverse proxies whose X-Forwarded-For tells the client's address; repeatable",
    )

    auth: bool = setting(
        _USERS, "-a", "-auth", "--auth", default=False, kind=kinds.FLAG,
        help="let in only clients with a user's name and password",
    )
    users: Path = setting(
        _USERS, "--users", default=_IN_DATA, kind=kinds.PATH, shown="users.db in --data",
        help="database of users, as src/userdb.py edits it",
    )
    user: tuple[Credential, ...] = setting(
        _USERS, "--user", default=(), kind=kinds.CREDENTIALS, secret=True,
        help="for a trial: a user with every role, in memory, in place of the database; repeatable (in the variable, one a line)",
    )

    model: str = setting(
        _MODELS, "-m", "--model", default="faces", kind=kinds.MODEL,
        help="model for streams that ask for none",
    )
    preload: tuple[str, ...] = setting(
        _MODELS, "--preload", default=(), kind=kinds.MODELS,
        help="further models to load at the start rather than at their first use",
    )
    hz: float = setting(
        _MODELS, "--hz", default=0.0, kind=kinds.number("N", 0, 1000),
        help="most frames a second processed of each stream; 0 is no cap",
    )
    workers: int = setting(
        _MODELS, "--workers", default=0, kind=kinds.whole("N", 0, 256), shown="one for each processor, at most 4",
        help="processes that run models; they share the processors; 0 is one for each processor, at most 4",
    )
    models: Path = setting(
        _MODELS, "--models", default=folders.MODELS, kind=kinds.FOLDER,
        shown="models beside src; where it is installed, those of the package",
        help="folder with a folder for each model",
    )
    model_timeout: float = setting(
        _MODELS, "--model-timeout", default=15.0, kind=kinds.duration(0.1, 3600),
        help="time a batch may run before its worker counts as stuck and is replaced",
    )
    display: bool = setting(
        _MODELS, "-d", "--display", default=False, kind=kinds.FLAG,
        help="show each stream in a window on this machine",
    )

    ws_send_timeout: float = setting(
        _SNAP, "--ws-send-timeout", default=10.0, kind=kinds.duration(0.1, 3600),
        help="time for which a client of /ws may leave texts unread before it is dropped",
    )
    snippet_history: int = setting(
        _SNAP, "--snippet-history", default=1, kind=kinds.whole("N", 1, 100_000),
        help="pictures that are kept of each number",
    )
    snippet_disk: int = setting(
        _SNAP, "--snippet-disk", default=10 * 2**30, kind=kinds.size(2**20, 2**50),
        help="space for all pictures together; the oldest give way",
    )

    session_models: tuple[str, ...] = setting(
        _SESSIONS, "--session-models", default=(), kind=kinds.MODELS, shown="pulse,blink where they exist",
        help="stateful models that watch a session together; where two give the same key the later one counts",
    )
    session_key: str = setting(
        _SESSIONS, "--session-key", default="", kind=kinds.SECRET, secret=True, shown="none",
        help="key that session clients show on connecting, instead of a user's name and password",
    )
    session_idle: float = setting(
        _SESSIONS, "--session-idle", default=60.0, kind=kinds.duration(0.1, 86400),
        help="time without a frame after which a session ends",
    )
    merge_deadline: float = setting(
        _SESSIONS, "--merge-deadline", default=0.25, kind=kinds.duration(0, 60),
        help="time that a frame's prediction waits for slow models",
    )

    mnist: Path | None = setting(
        _TRAINING, "--mnist", default=None, kind=kinds.PATH, shown="Keras's copy, or a download",
        help="mnist.npz to train from",
    )
    training_data: Path | None = setting(
        _TRAINING, "--training-data", default=None, kind=kinds.FOLDER,
        help="folder of labelled pictures (7_81491.jpg) to train from when asked for the sample other",
    )
    training_samples: int = setting(
        _TRAINING, "--training-samples", default=0, kind=kinds.whole("N", 0), shown="0",
        help="pictures shown to the network in training; 0 is as many as make it good",
    )

    data: Path = setting(
        _FILES, "--data", default=folders.data({}), kind=kinds.FOLDER,
        shown="data beside src; where it is installed, ~/.local/share/imageserver",
        help="folder where the server keeps its state",
    )
    results: Path | None = setting(
        _FILES, "--results", default=None, kind=kinds.OUTPUT,
        help="file to add every prediction to as a line of JSON; - is standard output",
    )
    config: Path | None = setting(
        _FILES, "--config", default=None, kind=kinds.PATH,
        help="TOML file with settings",
    )
    log_level: str = setting(
        _FILES, "--log-level", default="info", kind=kinds.choice("LEVEL", "debug", "info", "warning", "error"),
        help="least important messages to log: debug, info, warning or error",
    )
    log_json: bool = setting(
        _FILES, "--log-json", default=False, kind=kinds.FLAG,
        help="log a JSON object a line: time, level, message, pid",
    )

    tcp_ip: str | None = setting(
        _TCP, "--tcp-ip", default=None, kind=kinds.ADDRESS, shown="that of --ip",
        help="address to listen on for legacy TCP commands",
    )
    tcp_port: int | None = setting(
        _TCP, "--tcp-port", default=None, kind=kinds.PORT_OR_OFF, shown="50022, and off where that is in use",
        help="port for legacy TCP commands; 0 takes any free one, off opens none",
    )
    tcp_config: Path | None = setting(
        _TCP, "--tcp-config", default=None, kind=kinds.PATH,
        help="configuration file of the former server, for address and port: [Server] serverName and [Port] port, or HOST and PORT",
    )
    tcp_authorized_keys: Path | None = setting(
        _TCP, "--tcp-authorized-keys", default=None, kind=kinds.PATH,
        help="file of SSH public keys: only clients that sign with one of them (AUTH) are served",
    )
    tcp_open: bool = setting(
        _TCP, "--tcp-open", default=False, kind=kinds.FLAG,
        help="with --auth but without keys, listen on the network all the same, not only on this machine",
    )
    tcp_max_per_host: int = setting(
        _TCP, "--tcp-max-per-host", default=16, kind=kinds.whole("N", 0),
        help="open connections of one client address; 0 is no limit",
    )
    tcp_max_connections: int = setting(
        _TCP, "--tcp-max-connections", default=4096, kind=kinds.whole("N", 1),
        help="open connections in total",
    )
    tcp_max_bytes: int = setting(
        _TCP, "--tcp-max-bytes", default=16 * 2**20, kind=kinds.size(1024, 32 * 2**20),
        help="largest file; --max-frame-bytes holds as well",
    )
    tcp_max_total_bytes: int = setting(
        _TCP, "--tcp-max-total-bytes", default=512 * 2**20, kind=kinds.size(2**20, 2**40),
        help="files of all connections together",
    )

    def __post_init__(self) -> None:
        # Defaults that depend on another setting or on the machine.
        if self.users == _IN_DATA:
            object.__setattr__(self, "users", self.data / "users.db")
        if self.workers == 0:
            object.__setattr__(self, "workers", min(4, os.cpu_count() or 1))


TABLE: tuple[Setting, ...] = sources.table_of(Settings)


def load(arguments: Sequence[str]) -> Settings:
    """The settings of this process; prints the help and ends with code 0 when `arguments` ask for it. SettingError."""
    try:
        return read(arguments, os.environ)
    except HelpAsked as asked:
        print(asked, end="")
        sys.exit(0)


def read(arguments: Sequence[str], environment: Mapping[str, str], folder: Path | None = None, project: Path = folders.PROJECT) -> Settings:
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
    return Settings(**{"data": folders.data(environment)} | sources.merge(layers))


def _width() -> int:
    try:
        return max(80, min(140, os.get_terminal_size(sys.stdout.fileno()).columns))
    except (OSError, ValueError):  # not a terminal
        return 100


REFERENCE = """\
Written by `make docs` from the table in `src/config/table.py`.

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


def main() -> int:
    """Print docs/settings.md."""
    if sys.argv[1:] != ["--markdown"]:
        print("usage: python3 src/bootstrap.py config.table --markdown", file=sys.stderr)
        return 2
    sys.stdout.write(sources.markdown(TABLE, "Settings", REFERENCE))
    return 0
