"""The one table of limits: every bound of what waits, arrives or takes time, with name, default, unit, help and label.

A limit is a field of `Limits`. Its option is the field's name (`max_connections` is `--max-connections`), and so are
the variable and the TOML key; `config/` reads the table for them. Whoever enforces a limit is given a `Limits`, takes
the value from the field, and calls `hit` when somebody runs into it: that counts in `imageserver_limits_hit_total`.
What a log line or an error says of it names the option, by `option`.

Sizes are in bytes, times in seconds. A figure of 0 means "no limit" only where its help says so.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from imageserver import metrics

Unit = Literal["bytes", "seconds", "count"]

_PICTURES = "Limits of pictures"
_LOGINS = "Limits of logins"
_CONNECTIONS = "Limits of connections"
_MESSAGES = "Limits of messages"
_MEMORY = "Limits of memory"
_LISTS = "Limits of lists"
_TRAINING = "Training over REST"
_FILES = "Files and output"
_MODELS = "Models and streams"
_SNAP = "Snap: pictures on demand"
_SESSIONS = "Sessions of several models"
_TCP = "Legacy TCP commands for chest X-rays"


@dataclass(frozen=True)
class Limit:
    """A row of the table: what may be set (`low` to `high`, in `unit`s), and the label of the figure of its hits."""

    group: str
    unit: Unit
    low: float
    high: float
    help: str
    label: str


def _limit(
    group: str, default: float, unit: Unit, low: float, high: float, help: str, label: str = ""  # noqa: A002
) -> Any:
    return dataclasses.field(default=default, metadata={"limit": Limit(group, unit, low, high, help, label)})


ANONYMOUS_TEXT_BYTES = 64 * 2**10
"""Of `max_text_bytes`, what a client may send that has not logged in where it has to."""

MANY = 10**9
KIB, MIB, GIB = 2**10, 2**20, 2**30
SHORTEST, HOUR, DAY = 0.05, 3600.0, 86_400.0


@dataclass(frozen=True, kw_only=True)
class ClientLimits:
    """What every client may take, whatever it wants: logins, connections, messages and memory."""

    login_queue: int = _limit(
        _LOGINS, 256, "count", 1, MANY,
        help="logins that may wait to be checked; further ones are refused",
    )
    login_time: float = _limit(
        _LOGINS, 30.0, "seconds", SHORTEST, DAY,
        help="with --auth: time for a Socket.IO connection to log in, after which it ends; over legacy TCP, where "
        "keys are asked for, time for AUTH",
    )
    login_threads: int = _limit(
        _LOGINS, 2, "count", 1, 64,
        help="passwords checked at the same time, 64 MiB of memory each",
    )
    login_attempts: int = _limit(
        _LOGINS, 60, "count", 0, MANY,
        help="refused logins a minute from one address, after which it has to wait; 0 is no limit",
    )

    max_connections: int = _limit(
        _CONNECTIONS, 20_000, "count", 1, MANY, label="connections",
        help="open connections in total",
    )
    max_per_address: int = _limit(
        _CONNECTIONS, 0, "count", 0, MANY, label="connections_per_address",
        help="open connections of one client address; 0 is no limit",
    )
    max_request_line: int = _limit(
        _CONNECTIONS, 8 * KIB, "bytes", 256, MIB, label="request_line_bytes",
        help="request line of a request: method, path and query",
    )
    max_header_bytes: int = _limit(
        _CONNECTIONS, 32 * KIB, "bytes", 1024, MIB, label="header_bytes",
        help="request line and headers of a request together",
    )
    max_headers: int = _limit(
        _CONNECTIONS, 100, "count", 8, 10_000, label="headers",
        help="headers of a request, and of what follows a body in chunks",
    )
    max_header_value: int = _limit(
        _CONNECTIONS, 4 * KIB, "bytes", 256, 32 * KIB, label="header_value_bytes",
        help="value of a header that is taken apart: Accept, Authorization, Content-Type, X-Forwarded-For",
    )
    max_query_fields: int = _limit(
        _CONNECTIONS, 100, "count", 10, 10_000, label="query_fields",
        help="fields in the query of a request",
    )
    max_chunk_line: int = _limit(
        _CONNECTIONS, 256, "bytes", 32, 16 * KIB, label="chunk_line_bytes",
        help="line before each chunk of a body: its size and extensions",
    )
    header_time: float = _limit(
        _CONNECTIONS, 10.0, "seconds", SHORTEST, HOUR, label="header_seconds",
        help="time for a request's headers to arrive in",
    )
    keep_alive_time: float = _limit(
        _CONNECTIONS, 75.0, "seconds", SHORTEST, HOUR, label="keep_alive_seconds",
        help="time that a connection may wait between two requests",
    )
    max_body_bytes: int = _limit(
        _CONNECTIONS, 64 * MIB, "bytes", 1024, GIB, label="body_bytes",
        help="largest body of a request; what reads it has lower limits of its own",
    )
    min_body_rate: int = _limit(
        _CONNECTIONS, 1024, "bytes", 0, GIB, label="body_rate",
        help="bytes a second at which bodies and messages must come in each --body-grace, and answers be taken in "
        "each --send-time",
    )
    body_grace: float = _limit(
        _CONNECTIONS, 10.0, "seconds", SHORTEST, HOUR, label="body_grace_seconds",
        help="time in each of which --min-body-rate is demanded",
    )
    send_time: float = _limit(
        _CONNECTIONS, 60.0, "seconds", SHORTEST, HOUR, label="send_seconds",
        help="time in each of which a client must take --min-body-rate of an answer, or is given up",
    )
    drain_bytes: int = _limit(
        _CONNECTIONS, 64 * MIB, "bytes", 0, GIB,
        help="bytes read and dropped after an early refusal, so that the client can read the answer",
    )
    drain_time: float = _limit(
        _CONNECTIONS, 10.0, "seconds", SHORTEST, HOUR, label="drain_seconds",
        help="time for the same",
    )
    join_time: float = _limit(
        _CONNECTIONS, 10.0, "seconds", SHORTEST, HOUR, label="connect_seconds",
        help="time for a Socket.IO client to join a namespace, and for an upgrade to WebSocket",
    )
    ping_interval: float = _limit(
        _CONNECTIONS, 25.0, "seconds", SHORTEST, HOUR,
        help="time between two heartbeats of a Socket.IO connection",
    )
    ping_timeout: float = _limit(
        _CONNECTIONS, 20.0, "seconds", SHORTEST, HOUR,
        help="time a heartbeat may take before the connection is given up",
    )
    close_time: float = _limit(
        _CONNECTIONS, 2.0, "seconds", SHORTEST, HOUR, label="close_seconds",
        help="time that a client has to answer a WebSocket's close frame",
    )
    max_pings: int = _limit(
        _CONNECTIONS, 100, "count", 1, MANY, label="pings_per_second",
        help="heartbeats a second that one client may ask for",
    )

    max_message_bytes: int = _limit(
        _MESSAGES, 16 * MIB, "bytes", 1024, GIB, label="message_bytes",
        help="largest message, all of its fragments together",
    )
    max_text_bytes: int = _limit(
        _MESSAGES, 64 * KIB, "bytes", 1024, GIB,
        help="largest Socket.IO packet as text; pictures are its binary attachments. With --auth a client that has not "
        "logged in may send 64K at most",
    )
    message_time: float = _limit(
        _MESSAGES, 60.0, "seconds", SHORTEST, HOUR, label="message_seconds",
        help="time from a message's first byte to its last",
    )
    max_payload_packets: int = _limit(
        _MESSAGES, 256, "count", 1, MANY, label="payload_packets",
        help="packets in one request of a polling client",
    )
    max_payload_bytes: int = _limit(
        _MESSAGES, 64 * MIB, "bytes", 1024, GIB, label="payload_bytes",
        help="largest request of a polling client, which may hold several messages",
    )
    max_name_length: int = _limit(
        _MESSAGES, 256, "count", 16, 64 * KIB,
        help="characters of the name of an event or a namespace",
    )
    max_attachments: int = _limit(
        _MESSAGES, 16, "count", 0, MANY, label="attachments",
        help="binary attachments of one Socket.IO packet",
    )
    attachment_time: float = _limit(
        _MESSAGES, 60.0, "seconds", SHORTEST, HOUR, label="attachments_seconds",
        help="time from a Socket.IO packet to the last of its attachments",
    )
    max_namespaces: int = _limit(
        _MESSAGES, 16, "count", 1, MANY, label="namespaces",
        help="namespaces that one connection may join",
    )
    max_outgoing_bytes: int = _limit(
        _MESSAGES, 32 * MIB, "bytes", 1024, GIB, label="queue_bytes",
        help="bytes waiting to be sent to one client; above it newer predictions replace older ones, "
        "then the connection ends",
    )

    memory_budget: int = _limit(
        _MEMORY, 0, "bytes", 0, 2**62,
        help="bytes that may wait in the server for all clients together; 0 is an eighth of the memory there is, "
        "256 MiB to 4 GiB",
    )
    memory_share: int = _limit(
        _MEMORY, 0, "bytes", 0, 2**62,
        help="what of it one address or user may have; 0 is a quarter",
    )
    memory_strangers: int = _limit(
        _MEMORY, 64 * MIB, "bytes", 1024, 2**62,
        help="with --auth, what of it all those together may have who have not logged in; one address has three "
        "quarters (a picture of 16M, as text)",
    )


@dataclass(frozen=True, kw_only=True)
class Limits(ClientLimits):
    """Every limit with its value: sizes in bytes, times in seconds."""

    max_frame_bytes: int = _limit(
        _PICTURES, 16 * MIB, "bytes", 1024, 32 * MIB,
        help="largest file of a picture",
    )
    max_pixels: int = _limit(
        _PICTURES, 50_000_000, "count", 1, MANY,
        help="most pixels of a picture, width times height",
    )
    max_decoded_bytes: int = _limit(
        _PICTURES, 192 * MIB, "bytes", MIB, 2**40,
        help="most bytes of a picture once it is decoded: width x height x channels x bytes of a sample",
    )
    costly_bytes: int = _limit(
        _PICTURES, 48 * MIB, "bytes", MIB, 2**40,
        help="bytes of decoded pictures that a worker makes at once; larger ones are decoded in a process of their own",
    )
    decode_time: float = _limit(
        _PICTURES, 10.0, "seconds", 1, HOUR,
        help="processor time that such a picture may take to decode",
    )
    costly_queue: int = _limit(
        _PICTURES, 64, "count", 1, MANY,
        help="such pictures of one user or address that may wait; of all together 16 times as many",
    )
    put_off_time: float = _limit(
        _PICTURES, 30.0, "seconds", 0, DAY,
        help="time for which a picture that ended a process is refused, and costly ones of who sends several such",
    )
    max_requests: int = _limit(
        _PICTURES, 256, "count", 1, MANY,
        help="single pictures, each of which gets an answer, that may wait for a model",
    )
    session_bytes: int = _limit(
        _PICTURES, 512 * MIB, "bytes", MIB, 2**40,
        help="frames of all sessions together that may wait for models",
    )

    list_rows: int = _limit(
        _LISTS, 1000, "count", 1, 10_000,
        help="rows in one answer of a list; a link leads to the next ones",
    )

    model_timeout: float = _limit(
        _MODELS, 15.0, "seconds", 0.1, HOUR,
        help="time a batch may run before its worker counts as stuck and is replaced",
    )
    worker_memory: int = _limit(
        _MODELS, 0, "bytes", 0, 2**50,
        help="memory of its own that each process which runs models may take; "
        "0 is half of the machine's, at least 2 and at most 4 GiB",
    )

    ws_send_timeout: float = _limit(
        _SNAP, 10.0, "seconds", 0.1, HOUR,
        help="time for which a client of /ws may leave texts unread before it is dropped",
    )
    snippet_disk: int = _limit(
        _SNAP, 10 * GIB, "bytes", MIB, 2**50,
        help="space on the disk for all pictures together, in whole blocks and with their database; "
        "the oldest give way",
    )
    snippet_files: int = _limit(
        _SNAP, 500_000, "count", 1, MANY,
        help="pictures that are kept of all numbers together; the oldest give way",
    )

    session_idle: float = _limit(
        _SESSIONS, 60.0, "seconds", 0.1, DAY,
        help="time without a frame after which a session ends",
    )

    training_pictures: int = _limit(
        _TRAINING, 300_000, "count", 1, 10_000_000,
        help="pictures that a training may learn from, and files in the folder of --training-data",
    )
    training_followers: int = _limit(
        _TRAINING, 100, "count", 1, MANY,
        help="clients that may follow trainings at the same time; one address may have a quarter of them",
    )

    status_lines: int = _limit(
        _FILES, 100, "count", 1, MANY,
        help="streams of which the log has a line every five seconds; of further ones it has the sums",
    )
    results_bytes: int = _limit(
        _FILES, 0, "bytes", 0, 2**62,
        help="size at which the file of --results is renamed, with .1 behind its name, and begun anew; 0 is no limit",
    )

    tcp_max_per_host: int = _limit(
        _TCP, 16, "count", 0, MANY,
        help="open connections of one client address; 0 is no limit",
    )
    tcp_max_connections: int = _limit(
        _TCP, 4096, "count", 1, MANY,
        help="open connections in total",
    )
    tcp_max_bytes: int = _limit(
        _TCP, 16 * MIB, "bytes", 1024, 32 * MIB,
        help="largest file; --max-frame-bytes holds as well",
    )
    tcp_max_total_bytes: int = _limit(
        _TCP, 512 * MIB, "bytes", MIB, 2**40,
        help="files of all connections together",
    )


def option(name: str) -> str:
    """What people type for the limit `name`, a field of `Limits`: `--max-connections`."""
    return "--" + name.replace("_", "-")


TABLE = {field.name: field.metadata["limit"] for field in dataclasses.fields(Limits)}
"""The rows by the names of their fields."""


def hit(name: str, who: str = "") -> None:
    """Count that somebody ran into the limit `name`.

    Args:
        name: a field of `Limits`; KeyError when there is none of that name.
        who: whose doing it was, as accounts of memory name their owners: "user anna" or "address 10.0.0.7"; "" where
            that is not known.
    """
    metrics.LIMITS_HIT.inc(TABLE[name].label or option(name)[2:])
    if who:
        _heard(name, who)


def note(sentence: str, name: str, who: str = "") -> str:
    """`hit`, and return `sentence` for the log with the option behind it; a `name` of "" is no limit."""
    if not name:
        return sentence
    hit(name, who)
    return f"{sentence} ({option(name)})"


def _unheard(_name: str, _who: str) -> None:
    """Nobody wants to know."""


_heard: Callable[[str, str], None] = _unheard


def on_hit(function: Callable[[str, str], None]) -> None:
    """Have `function(name, who)` told of each hit of which is known whose doing it was; at once, in any thread."""
    global _heard
    _heard = function
