"""Every limit of the transports, with default and unit. A figure of 0 means "no limit" only where its line says so.

Each is counted when somebody runs into it: `metrics.LIMITS_HIT`, labelled with the field's name.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class HttpLimits:
    """Limits of the HTTP listener, whatever runs behind it."""

    connections: int = 20_000
    """Connections open at once; one more is answered 503."""

    connections_per_address: int = 0
    """Connections open at once from one client address, 0: no limit. Behind a trusted proxy, requests running at once."""

    request_line_bytes: int = 8192
    """Bytes of method, target and version; a longer one is answered 414."""

    header_bytes: int = 32_768
    """Bytes of request line and headers together; more are answered 431."""

    header_seconds: float = 10
    """Time from a connection's or a request's first byte to the end of its headers; slower ones are answered 408."""

    handshake_seconds: float = 10
    """Time for a TLS handshake."""

    keep_alive_seconds: float = 75
    """Time that a connection may wait between two requests, or pause within a body."""

    body_bytes: int = 64 * MIB
    """Bytes of a request body; more are answered 413. Applications have lower limits of their own."""

    body_rate: int = 1024
    """Bytes a second that a body must bring on the average once `body_grace_seconds` are over, 0: no limit."""

    body_grace_seconds: float = 10
    """Time for which a body may arrive at any rate."""

    send_seconds: float = 60
    """Time for which a client may take nothing of an answer before it is given up."""

    drain_bytes: int = 64 * MIB
    """Bytes of a body read and dropped after an early refusal, so that the client can read the answer."""

    drain_seconds: float = 10
    """Time for the same."""


@dataclass(frozen=True, kw_only=True)
class WebSocketLimits:
    """Limits of one WebSocket connection."""

    message_bytes: int = 16 * MIB
    """Bytes of a message, over all its fragments; a larger one closes with 1009."""

    message_seconds: float = 60
    """Time from a message's first to its last byte; a slower one closes with 1008."""

    queue_bytes: int = 32 * MIB
    """Bytes waiting for a client that reads too slowly; one more message closes with 1008."""

    pings_per_second: int = 100
    """Pings of a client that are answered; a client that sends more is closed with 1008."""

    close_seconds: float = 2
    """Time that a client has to answer a close frame."""


@dataclass(frozen=True, kw_only=True)
class SocketIOLimits:
    """Times and limits of Engine.IO and Socket.IO."""

    ping_interval: float = 25
    """Seconds between heartbeats; fractions count."""

    ping_timeout: float = 20
    """Seconds that the other side has to answer a heartbeat."""

    message_bytes: int = 16 * MIB
    """Bytes of a message, and of each attachment; told to clients of generation 4 as maxPayload."""

    message_seconds: float = 60
    """Time from a WebSocket message's first to its last byte."""

    payload_bytes: int = 64 * MIB
    """Bytes of a polling POST. Clients in the field put several messages in one and ignore maxPayload."""

    payload_packets: int = 256
    """Packets in a polling POST."""

    attachments: int = 16
    """Binary attachments of one packet."""

    attachments_seconds: float = 60
    """Time from a packet's header to the last of its attachments."""

    namespaces: int = 16
    """Namespaces that one connection may be in."""

    connect_seconds: float = 10
    """Time in which a connection must join a namespace, and in which an upgrade to WebSocket must complete."""

    queue_bytes: int = 32 * MIB
    """Bytes waiting for a client that does not fetch them; one more message disconnects it."""

    pings_per_second: int = 100
    """Pings of a client that are answered; a client that sends more is closed."""

    close_seconds: float = 2
    """Time that a client has to answer a WebSocket close frame."""
