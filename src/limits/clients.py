"""The limits of every client, whatever it wants."""

from __future__ import annotations

from dataclasses import dataclass

from imageserver.limits.doors import DoorLimits
from imageserver.limits.row import GIB, HOUR, KIB, MANY, MIB, SHORTEST, limit

_CONNECTIONS = "Limits of connections"
_MESSAGES = "Limits of messages"
_MEMORY = "Limits of memory"

ANONYMOUS_TEXT_BYTES = 64 * KIB
"""Of `max_text_bytes`, what a client may send that has not logged in where it has to."""


@dataclass(frozen=True, kw_only=True)
class ClientLimits(DoorLimits):
    """What every client may take, whatever it wants: connections, messages and memory."""

    max_connections: int = limit(
        _CONNECTIONS, 20_000, "count", 1, MANY, label="connections",
        help="open connections in total",
    )
    max_per_address: int = limit(
        _CONNECTIONS, 0, "count", 0, MANY, label="connections_per_address",
        help="open connections of one client address; 0 is no limit",
    )
    spare_descriptors: int = limit(
        _CONNECTIONS, 128, "count", 8, MANY,
        help="open files and sockets that connections leave to workers, databases and the log; at most half of what "
        "the process may have",
    )
    dead_peer_time: float = limit(
        _CONNECTIONS, 60.0, "seconds", 2, HOUR,
        help="time after which a connection ends whose other side does not answer at all, as when it was switched off",
    )
    max_request_line: int = limit(
        _CONNECTIONS, 8 * KIB, "bytes", 256, MIB, label="request_line_bytes",
        help="request line of a request: method, path and query",
    )
    max_header_bytes: int = limit(
        _CONNECTIONS, 32 * KIB, "bytes", 1024, MIB, label="header_bytes",
        help="request line and headers of a request together",
    )
    max_headers: int = limit(
        _CONNECTIONS, 100, "count", 8, 10_000, label="headers",
        help="headers of a request, and of what follows a body in chunks",
    )
    max_header_value: int = limit(
        _CONNECTIONS, 4 * KIB, "bytes", 256, 32 * KIB, label="header_value_bytes",
        help="value of a header that is taken apart: Accept, Authorization, Content-Type, X-Forwarded-For",
    )
    max_query_fields: int = limit(
        _CONNECTIONS, 100, "count", 10, 10_000, label="query_fields",
        help="fields in the query of a request",
    )
    max_chunk_line: int = limit(
        _CONNECTIONS, 256, "bytes", 32, 16 * KIB, label="chunk_line_bytes",
        help="line before each chunk of a body: its size and extensions",
    )
    header_time: float = limit(
        _CONNECTIONS, 10.0, "seconds", SHORTEST, HOUR, label="header_seconds",
        help="time for a request's headers to arrive in",
    )
    keep_alive_time: float = limit(
        _CONNECTIONS, 75.0, "seconds", SHORTEST, HOUR, label="keep_alive_seconds",
        help="time that a connection may wait between two requests",
    )
    max_body_bytes: int = limit(
        _CONNECTIONS, 64 * MIB, "bytes", 1024, GIB, label="body_bytes",
        help="largest body of a request; what reads it has lower limits of its own",
    )
    min_body_rate: int = limit(
        _CONNECTIONS, 1024, "bytes", 0, GIB, label="body_rate",
        help="bytes a second at which bodies and messages must come in each --body-grace, and answers be taken in "
        "each --send-time",
    )
    body_grace: float = limit(
        _CONNECTIONS, 10.0, "seconds", SHORTEST, HOUR, label="body_grace_seconds",
        help="time in each of which --min-body-rate is demanded",
    )
    send_time: float = limit(
        _CONNECTIONS, 60.0, "seconds", SHORTEST, HOUR, label="send_seconds",
        help="time in each of which a client must take --min-body-rate of an answer, or is given up",
    )
    drain_bytes: int = limit(
        _CONNECTIONS, 64 * MIB, "bytes", 0, GIB,
        help="bytes read and dropped after an early refusal, so that the client can read the answer",
    )
    drain_time: float = limit(
        _CONNECTIONS, 10.0, "seconds", SHORTEST, HOUR, label="drain_seconds",
        help="time for the same",
    )
    join_time: float = limit(
        _CONNECTIONS, 10.0, "seconds", SHORTEST, HOUR, label="connect_seconds",
        help="time for a Socket.IO client to join a namespace, and for an upgrade to WebSocket",
    )
    ping_interval: float = limit(
        _CONNECTIONS, 25.0, "seconds", SHORTEST, HOUR,
        help="time between two heartbeats of a Socket.IO connection",
    )
    ping_timeout: float = limit(
        _CONNECTIONS, 20.0, "seconds", SHORTEST, HOUR,
        help="time a heartbeat may take before the connection is given up",
    )
    close_time: float = limit(
        _CONNECTIONS, 2.0, "seconds", SHORTEST, HOUR, label="close_seconds",
        help="time that a client has to answer a WebSocket's close frame",
    )
    max_pings: int = limit(
        _CONNECTIONS, 100, "count", 1, MANY, label="pings_per_second",
        help="heartbeats a second that one client may ask for",
    )

    max_message_bytes: int = limit(
        _MESSAGES, 16 * MIB, "bytes", 1024, GIB, label="message_bytes",
        help="largest message, all of its fragments together",
    )
    max_text_bytes: int = limit(
        _MESSAGES, 64 * KIB, "bytes", 1024, GIB,
        help="largest Socket.IO packet as text; pictures are its binary attachments. With --auth a client that has not "
        "logged in may send 64K at most",
    )
    message_time: float = limit(
        _MESSAGES, 60.0, "seconds", SHORTEST, HOUR, label="message_seconds",
        help="time from a message's first byte to its last",
    )
    max_payload_packets: int = limit(
        _MESSAGES, 256, "count", 1, MANY, label="payload_packets",
        help="packets in one request of a polling client",
    )
    max_payload_bytes: int = limit(
        _MESSAGES, 64 * MIB, "bytes", 1024, GIB, label="payload_bytes",
        help="largest request of a polling client, which may hold several messages",
    )
    max_name_length: int = limit(
        _MESSAGES, 256, "count", 16, 64 * KIB,
        help="characters of the name of an event or a namespace",
    )
    max_attachments: int = limit(
        _MESSAGES, 16, "count", 0, MANY, label="attachments",
        help="binary attachments of one Socket.IO packet",
    )
    attachment_time: float = limit(
        _MESSAGES, 60.0, "seconds", SHORTEST, HOUR, label="attachments_seconds",
        help="time from a Socket.IO packet to the last of its attachments",
    )
    max_namespaces: int = limit(
        _MESSAGES, 16, "count", 1, MANY, label="namespaces",
        help="namespaces that one connection may join",
    )
    max_outgoing_bytes: int = limit(
        _MESSAGES, 32 * MIB, "bytes", 1024, GIB, label="queue_bytes",
        help="bytes waiting to be sent to one client; above it newer predictions replace older ones, "
        "then the connection ends",
    )

    memory_budget: int = limit(
        _MEMORY, 0, "bytes", 0, 2**62,
        help="bytes that may wait in the server for all clients together; 0 is an eighth of the memory there is, "
        "256 MiB to 4 GiB",
    )
    memory_share: int = limit(
        _MEMORY, 0, "bytes", 0, 2**62,
        help="what of it one address or user may have; 0 is a quarter",
    )
    memory_strangers: int = limit(
        _MEMORY, 64 * MIB, "bytes", 1024, 2**62,
        help="with --auth, what of it all those together may have who have not logged in; one address has three "
        "quarters (a picture of 16M, as text)",
    )
