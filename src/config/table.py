"""The settings of the server: one table; command line, environment, TOML, `-h` and docs/settings.md come from it.

A setting is a field of `Settings` (limits: of `Limits`, in limits/): its type, default, options and help
stand in one place, and mypy knows its type. To add one, write the field and run `make docs`; `python3 src/bootstrap.py
config.table --markdown` prints the reference.

    reading.load(sys.argv[1:])             from everywhere at once, for a program
    reading.read(arguments, variables)     the same, pure but for the files
    Settings(port=0, auth=True)            the defaults with a few changes, for tests
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from imageserver import folders
from imageserver.config import kinds, shown, sources
from imageserver.config.database import DatabaseAddress
from imageserver.config.kinds import Credential, Network
from imageserver.config.sources import Setting, setting
from imageserver.inference.shared.elsewhere.cluster import ClusterAddress
from imageserver.limits import GIB, Limits

INTRO = "Receives camera frames over the network, runs a model on them, and sends each prediction back."

_LISTENING = "Where it listens"
_SEVERAL = "Several front ends"
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
        brief="address to listen on",
        help="address to listen on; localaddr is this machine's LAN address, :: every IPv6 address",
    )
    port: int = setting(
        _LISTENING, "-p", "--port", default=8080, kind=kinds.PORT,
        brief="port to listen on; 0 is any free one",
        help="port to listen on; 0 takes any free one",
    )
    tls: bool = setting(
        _LISTENING, "-s", "--tls", default=False, kind=kinds.FLAG,
        help="speak HTTPS on that port, and nothing else",
    )
    https_port: int | None = setting(
        _LISTENING, "--https-port", default=None, kind=kinds.PORT, shown="none",
        brief="HTTPS as well, on this port",
        help="port to speak HTTPS on, beside HTTP on the other; 0 takes any free one",
    )
    cert: Path | None = setting(
        _LISTENING, "--cert", default=None, kind=kinds.PATH,
        shown="ssl/cert.pem beside src, else self-signed in --data",
        help="certificate for HTTPS, PEM, with the chain behind it; a new one is loaded without a restart",
    )
    key: Path | None = setting(
        _LISTENING, "--key", default=None, kind=kinds.PATH, shown="ssl/key.pem beside src",
        help="its private key, PEM without a password; may be in the file of --cert",
    )
    cors_origin: tuple[str, ...] = setting(
        _LISTENING, "--cors-origin", default=(), kind=kinds.ORIGINS, shown="the server's own",
        help="further origin whose web pages may use the server, at every path; * is all of them; repeatable",
    )
    server_name: tuple[str, ...] = setting(
        _LISTENING, "--server-name", default=(), kind=kinds.NAMES, shown="this machine's and the certificate's",
        help="further name by which browsers reach the server, such as a proxy's; *.example.org is every one below it; "
        "repeatable",
    )
    trusted_proxy: tuple[Network, ...] = setting(
        _LISTENING, "--trusted-proxy", default=(), kind=kinds.NETWORKS,
        help="reverse proxies whose X-Forwarded-For tells the client's address; repeatable",
    )

    front_end: str | None = setting(
        _SEVERAL, "--front-end", default=None, kind=kinds.WORD, shown="none",
        help="name of this front end among several: ids of Socket.IO sessions begin with it and a dot, so that a proxy "
        "finds the front end again",
    )
    leave_time: float = setting(
        _SEVERAL, "--leave-time", default=0.0, kind=kinds.duration(0, 3600),
        help="time over which connected clients are told to come back when the server is to stop, while newcomers are "
        "refused",
    )
    shared: Path | None = setting(
        _SEVERAL, "--shared", default=None, kind=kinds.FOLDER, shown="none",
        help="folder that several front ends write: pictures of Snap, in place of --data; it has to be there",
    )
    redis: DatabaseAddress | None = setting(
        _SEVERAL, "--redis", default=None, kind=kinds.REDIS, shown="none",
        help="Redis by which several front ends know each other's cameras and relay /ws: redis://…, "
        "with TLS rediss://…",
    )
    redis_password: Path | None = setting(
        _SEVERAL, "--redis-password", default=None, kind=kinds.PATH, shown="none",
        help="file with the password of --redis, in one line",
    )

    auth: bool = setting(
        _USERS, "-a", "-auth", "--auth", default=False, kind=kinds.FLAG,
        brief="let in only users with a password or token",
        help="let in only clients with a user's name and password",
    )
    users: Path | DatabaseAddress = setting(
        _USERS, "--users", default=_IN_DATA, kind=kinds.USERS, shown="users.db in --data",
        help="database of users, as src/userdb.py edits it: a file, or postgresql://… for several front ends",
    )
    user: tuple[Credential, ...] = setting(
        _USERS, "--user", default=(), kind=kinds.CREDENTIALS, secret=True,
        brief="a user for a trial",
        help="for a trial: a user with every role, in memory, in place of the database; repeatable "
        "(in the variable, one a line)",
    )

    model: str = setting(
        _MODELS, "-m", "--model", default="faces", kind=kinds.MODEL,
        brief="model for streams that ask for none",
        help="model for streams that ask for none",
    )
    preload: tuple[str, ...] = setting(
        _MODELS, "--preload", default=(), kind=kinds.MODELS,
        brief="further models to load at once",
        help="further models to load at the start rather than at their first use",
    )
    hz: float = setting(
        _MODELS, "--hz", default=0.0, kind=kinds.number("N", 0, 1000),
        brief="most frames a second of each stream; 0 is no cap",
        help="most frames a second processed of each stream; 0 is no cap",
    )
    workers: int = setting(
        _MODELS, "--workers", default=0, kind=kinds.whole("N", 0, 256), shown="one for each processor, at most 4",
        brief="processes that run models",
        help="processes that run models; they share the processors; 0 is one for each processor, at most 4",
    )
    cluster: ClusterAddress | None = setting(
        _MODELS, "--cluster", default=None, kind=kinds.CLUSTER, shown="none",
        help="cluster of Ray's that runs models, but for those whose manifest says here: ray://head:10001, or auto for "
        "that of this machine",
    )
    jail: bool = setting(
        _MODELS, "--jail", default=True, kind=kinds.FLAG,
        help="hold the code of models to its own files, without network; --no-jail lets it do what the server can",
    )
    models: Path = setting(
        _MODELS, "--models", default=folders.MODELS, kind=kinds.FOLDER,
        shown="models beside src; where it is installed, those of the package",
        help="folder with a folder for each model",
    )
    display: bool = setting(
        _MODELS, "-d", "--display", default=False, kind=kinds.FLAG,
        brief="show each stream in a window here",
        help="show each stream in a window on this machine",
    )

    snippet_history: int = setting(
        _SNAP, "--snippet-history", default=1, kind=kinds.whole("N", 1, 100_000),
        help="pictures that are kept of each number",
    )

    session_models: tuple[str, ...] = setting(
        _SESSIONS, "--session-models", default=(), kind=kinds.MODELS, shown="pulse,blink where they exist",
        help="stateful models that watch a session together; where two give the same key the later one counts",
    )
    session_key: str = setting(
        _SESSIONS, "--session-key", default="", kind=kinds.SECRET, secret=True, shown="none",
        help="key that session clients show on connecting, instead of a user's name and password",
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
        brief="folder where the server keeps its state",
        help="folder where the server keeps its state",
    )
    results: Path | None = setting(
        _FILES, "--results", default=None, kind=kinds.OUTPUT,
        brief="every prediction as a line of JSON; - is here",
        help="file to add every prediction to as a line of JSON; - is standard output",
    )
    audit: Path | None = setting(
        _FILES, "--audit", default=None, kind=kinds.PATH,
        help="file to add a line of JSON to for each login, deletion, training and whatever else somebody may ask "
        "about later",
    )
    config: Path | None = setting(
        _FILES, "--config", default=None, kind=kinds.PATH,
        brief="TOML file with settings",
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
        help="configuration file of the former server, for address and port: "
        "[Server] serverName and [Port] port, or HOST and PORT",
    )
    tcp_authorized_keys: Path | None = setting(
        _TCP, "--tcp-authorized-keys", default=None, kind=kinds.PATH,
        help="file of SSH public keys: only clients that sign with one of them (AUTH) are served",
    )
    tcp_open: bool = setting(
        _TCP, "--tcp-open", default=False, kind=kinds.FLAG,
        help="with --auth but without keys, listen on the network all the same, not only on this machine",
    )

    def __post_init__(self) -> None:
        # Defaults that depend on another setting or on the machine.
        if self.users == _IN_DATA:
            object.__setattr__(self, "users", self.data / "users.db")
        if self.workers == 0:
            object.__setattr__(self, "workers", min(4, os.cpu_count() or 1))
        if self.worker_memory == 0:
            object.__setattr__(self, "worker_memory", min(4 * GIB, max(2 * GIB, _machine_memory() // 2)))


TABLE: tuple[Setting, ...] = sources.table_of(Settings)


def _machine_memory() -> int:
    """Bytes; of what the machine has, whatever is free."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


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
key is an error, so that a typing mistake does not pass unnoticed. `imageserver check` with the same options tells
everything that is wrong, and starts nothing; `--print-config` writes the settings as they hold, as such a TOML file.

`address:port` may stand alone in place of `--ip` and `--port`. Switches take `yes` or `no` in variables and files; on
the command line `--no-auth` undoes `--auth`. Sizes are in bytes, or end in K, M or G (multiples of 1,024). Times are
in seconds, or end in ms, s, min or h."""


def main() -> int:
    """Print docs/settings.md."""
    if sys.argv[1:] != ["--markdown"]:
        print("usage: python3 src/bootstrap.py config.table --markdown", file=sys.stderr)
        return 2
    sys.stdout.write(shown.markdown(TABLE, "Settings", REFERENCE))
    return 0
