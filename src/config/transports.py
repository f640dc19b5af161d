"""The settings that bound connections, as the transports take them."""

from __future__ import annotations

from imageserver.config.table import Settings
from imageserver.transport.limits import HttpLimits, SocketIOLimits, WebSocketLimits

RELAY_MESSAGE_BYTES = 64 * 2**10
"""Bytes of a text; "snap" has four."""
RELAY_QUEUE_BYTES = 4 * 2**20
"""Bytes of texts that may wait for one client."""


def http(settings: Settings) -> HttpLimits:
    """The limits of the HTTP listener."""
    return HttpLimits(
        connections=settings.max_connections,
        connections_per_address=settings.max_per_address,
        request_line_bytes=settings.max_request_line,
        header_bytes=settings.max_header_bytes,
        header_seconds=settings.header_time,
        handshake_seconds=settings.header_time,
        keep_alive_seconds=settings.keep_alive_time,
        body_bytes=settings.max_body_bytes,
        body_rate=settings.min_body_rate,
        body_grace_seconds=settings.body_grace,
        send_seconds=settings.send_time,
        drain_bytes=settings.drain_bytes,
        drain_seconds=settings.drain_time,
    )


def socketio(settings: Settings) -> SocketIOLimits:
    """The limits of Socket.IO, and of the WebSockets below it."""
    return SocketIOLimits(
        ping_interval=settings.ping_interval,
        ping_timeout=settings.ping_timeout,
        message_bytes=settings.max_message_bytes,
        message_seconds=settings.message_time,
        payload_bytes=settings.max_payload_bytes,
        payload_packets=settings.max_payload_packets,
        attachments=settings.max_attachments,
        attachments_seconds=settings.attachment_time,
        namespaces=settings.max_namespaces,
        connect_seconds=settings.join_time,
        queue_bytes=settings.max_outgoing_bytes,
        pings_per_second=settings.max_pings,
    )


def relay(settings: Settings) -> WebSocketLimits:
    """The limits of the clients of `/ws`."""
    return WebSocketLimits(
        message_bytes=RELAY_MESSAGE_BYTES,
        message_seconds=settings.message_time,
        queue_bytes=RELAY_QUEUE_BYTES,
        pings_per_second=settings.max_pings,
    )
