"""What waits for an Engine.IO client: groups of packets, encoded only when their turn comes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from types import ModuleType

from imageserver.transport.budget import SMALL, Charge
from imageserver.transport.engineio.packet import EnginePacket
from imageserver.transport.websocket.frames import BINARY, TEXT, frame

MOST_IN_ANSWER = 16
"""Packets in one answer to a poll: python-engineio's clients of both generations refuse more."""

COALESCE_BYTES = 64 * 1024

PACKET_BYTES = 1024
"""What a packet counts beside its data. It takes a third of that; but to let go of a hundred thousand takes 50 ms."""


class Group:
    """Packets that belong together, such as an event and its attachments; nothing is ever sent between them.

    `key`: while a group waits, a newer one with the same key takes its place. One group may go to many clients:
    it is encoded once for each encoding that any of them needs.
    """

    __slots__ = ("_frames", "key", "packets", "size")

    def __init__(self, packets: Iterable[EnginePacket], key: str | None = None) -> None:
        self.packets = tuple(packets)
        self.key = key
        self.size = sum(len(packet.data) + PACKET_BYTES for packet in self.packets)
        self._frames: dict[tuple[int, bool], bytes] = {}

    def frames(self, codec: ModuleType, base64: bool) -> bytes:
        """The packets as WebSocket frames of one generation."""
        encoding = (codec.VERSION, base64)
        encoded = self._frames.get(encoding)
        if encoded is None:
            messages = [codec.encode_packet(packet, base64=base64) for packet in self.packets]
            encoded = self._frames[encoding] = b"".join(
                frame(TEXT, message.encode()) if isinstance(message, str) else frame(BINARY, message)
                for message in messages
            )
        return encoded


class SendQueue(deque[Group]):
    """The groups that wait for one client, in order; `size` in bytes."""

    __slots__ = ("_charge", "size")

    def __init__(self, charge: Charge) -> None:
        super().__init__()
        self._charge = charge
        self.size = 0

    def replace(self, group: Group) -> bool:
        """Put `group` where one with its key waits; whether one does."""
        for index, waiting in enumerate(self):
            if waiting.key == group.key:
                self.size += group.size - waiting.size
                self[index] = group
                self._count()
                return True
        return False

    def put(self, group: Group) -> bool:
        """Add a group at the end; False when its client may not have so much waiting."""
        self.append(group)
        self.size += group.size
        return self._count()

    def clear(self) -> None:
        """Give up all that waits."""
        super().clear()
        self.size = 0
        self._count()

    def take(self) -> Group:
        """Remove the first group. IndexError when there is none."""
        group = self.popleft()
        self.size -= group.size
        self._count()
        return group

    def take_answer(self) -> list[EnginePacket]:
        """Remove what one answer to a poll carries."""
        packets: list[EnginePacket] = []
        while self and (not packets or len(packets) + len(self[0].packets) <= MOST_IN_ANSWER):
            packets.extend(self.take().packets)
        return packets

    def take_frames(self, codec: ModuleType, base64: bool) -> bytes:
        """Remove what is worth one write, as WebSocket frames."""
        encoded: list[bytes] = []
        size = 0
        while self and size < COALESCE_BYTES:
            encoded.append(self.take().frames(codec, base64))
            size += len(encoded[-1])
        return b"".join(encoded)

    def _count(self) -> bool:
        """Charge what waits to its client; False when there is no room for it."""
        size = self.size if self.size > SMALL else 0
        return size == self._charge.size or self._charge.set(size)
