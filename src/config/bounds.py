"""The bounds of everything that waits or arrives: the part of the settings table that few people ever touch.

Hitting one is counted under the name of its option in `imageserver_limits_hit_total`.
"""

from __future__ import annotations

from dataclasses import dataclass

from imageserver.config import kinds
from imageserver.config.sources import setting

_PICTURES = "Limits of pictures"
_LOGINS = "Limits of logins"
_CONNECTIONS = "Limits of connections"
_MESSAGES = "Limits of messages"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Every limit with its value: sizes in bytes, times in seconds."""

    max_frame_bytes: int = setting(
        _PICTURES, "--max-frame-bytes", default=16 * 2**20, kind=kinds.size(1024, 32 * 2**20),
        help="largest file of a picture",
    )
    max_pixels: int = setting(
        _PICTURES, "--max-pixels", default=50_000_000, kind=kinds.whole("N", 1),
        help="most pixels of a picture, width times height",
    )
    max_requests: int = setting(
        _PICTURES, "--max-requests", default=256, kind=kinds.whole("N", 1),
        help="single pictures, each of which gets an answer, that may wait for a model",
    )
    session_bytes: int = setting(
        _PICTURES, "--session-bytes", default=512 * 2**20, kind=kinds.size(2**20, 2**40),
        help="frames of all sessions together that may wait for models",
    )

    login_queue: int = setting(
        _LOGINS, "--login-queue", default=256, kind=kinds.whole("N", 1),
        help="logins that may wait to be checked; further ones are refused",
    )
    login_threads: int = setting(
        _LOGINS, "--login-threads", default=2, kind=kinds.whole("N", 1, 64),
        help="passwords checked at the same time, 64 MiB of memory each",
    )
    login_attempts: int = setting(
        _LOGINS, "--login-attempts", default=60, kind=kinds.whole("N", 0),
        help="refused logins a minute from one address, after which it has to wait; 0 is no limit",
    )

    max_connections: int = setting(
        _CONNECTIONS, "--max-connections", default=20_000, kind=kinds.whole("N", 1),
        help="open connections in total",
    )
    max_per_address: int = setting(
        _CONNECTIONS, "--max-per-address", default=0, kind=kinds.whole("N", 0),
        help="open connections of one client address; 0 is no limit",
    )
    max_request_line: int = setting(
        _CONNECTIONS, "--max-request-line", default=8 * 2**10, kind=kinds.size(256, 2**20),
        help="request line of a request: method, path and query",
    )
    max_header_bytes: int = setting(
        _CONNECTIONS, "--max-header-bytes", default=32 * 2**10, kind=kinds.size(1024, 2**20),
        help="request line and headers of a request together",
    )
    header_time: float = setting(
        _CONNECTIONS, "--header-time", default=10.0, kind=kinds.TIME,
        help="time for a request's headers to arrive in",
    )
    keep_alive_time: float = setting(
        _CONNECTIONS, "--keep-alive-time", default=75.0, kind=kinds.TIME,
        help="time that a connection may wait between two requests",
    )
    max_body_bytes: int = setting(
        _CONNECTIONS, "--max-body-bytes", default=64 * 2**20, kind=kinds.size(1024, 2**30),
        help="largest body of a request; what reads it has lower limits of its own",
    )
    min_body_rate: int = setting(
        _CONNECTIONS, "--min-body-rate", default=1024, kind=kinds.size(0, 2**30),
        help="bytes a second that a request's body must keep up on average",
    )
    body_grace: float = setting(
        _CONNECTIONS, "--body-grace", default=10.0, kind=kinds.TIME,
        help="time before --min-body-rate is demanded",
    )
    send_time: float = setting(
        _CONNECTIONS, "--send-time", default=60.0, kind=kinds.TIME,
        help="time for which a client may take nothing of an answer before it is given up",
    )
    drain_bytes: int = setting(
        _CONNECTIONS, "--drain-bytes", default=64 * 2**20, kind=kinds.size(0, 2**30),
        help="bytes read and dropped after an early refusal, so that the client can read the answer",
    )
    drain_time: float = setting(
        _CONNECTIONS, "--drain-time", default=10.0, kind=kinds.TIME,
        help="time for the same",
    )
    join_time: float = setting(
        _CONNECTIONS, "--join-time", default=10.0, kind=kinds.TIME,
        help="time for a Socket.IO client to join a namespace, and for an upgrade to WebSocket",
    )
    ping_interval: float = setting(
        _CONNECTIONS, "--ping-interval", default=25.0, kind=kinds.TIME,
        help="time between two heartbeats of a Socket.IO connection",
    )
    ping_timeout: float = setting(
        _CONNECTIONS, "--ping-timeout", default=20.0, kind=kinds.TIME,
        help="time a heartbeat may take before the connection is given up",
    )
    max_pings: int = setting(
        _CONNECTIONS, "--max-pings", default=100, kind=kinds.whole("N", 1),
        help="heartbeats a second that one client may ask for",
    )

    max_message_bytes: int = setting(
        _MESSAGES, "--max-message-bytes", default=16 * 2**20, kind=kinds.size(1024, 2**30),
        help="largest message, all of its fragments together",
    )
    message_time: float = setting(
        _MESSAGES, "--message-time", default=60.0, kind=kinds.TIME,
        help="time from a message's first byte to its last",
    )
    max_payload_packets: int = setting(
        _MESSAGES, "--max-payload-packets", default=256, kind=kinds.whole("N", 1),
        help="packets in one request of a polling client",
    )
    max_payload_bytes: int = setting(
        _MESSAGES, "--max-payload-bytes", default=64 * 2**20, kind=kinds.size(1024, 2**30),
        help="largest request of a polling client, which may hold several messages",
    )
    max_attachments: int = setting(
        _MESSAGES, "--max-attachments", default=16, kind=kinds.whole("N", 0),
        help="binary attachments of one Socket.IO packet",
    )
    attachment_time: float = setting(
        _MESSAGES, "--attachment-time", default=60.0, kind=kinds.TIME,
        help="time from a Socket.IO packet to the last of its attachments",
    )
    max_namespaces: int = setting(
        _MESSAGES, "--max-namespaces", default=16, kind=kinds.whole("N", 1),
        help="namespaces that one connection may join",
    )
    max_outgoing_bytes: int = setting(
        _MESSAGES, "--max-outgoing-bytes", default=32 * 2**20, kind=kinds.size(1024, 2**30),
        help="bytes waiting to be sent to one client; above it newer predictions replace older ones, then the connection ends",
    )
