"""Rooms and who is in them: python-socketio's `Manager`, composed.

What is used of python-socketio 5.18: `enter_room`, `leave_room` and `get_participants`, none of which asks for a server
behind the manager. `tests/transport/socketio/test_upstream.py` fails when that changes.
"""

from __future__ import annotations

from collections.abc import Iterator

import socketio

from imageserver.transport.engineio.session import EngineSession


class Rooms:
    """The members of each namespace and its rooms; a member's own id is a room, and None the room of all."""

    def __init__(self) -> None:
        self._manager = socketio.Manager()
        self._rooms_of: dict[tuple[str, str], set[str | None]] = {}

    def __len__(self) -> int:
        """How many members there are."""
        return len(self._rooms_of)

    def add(self, sid: str, namespace: str, session: EngineSession) -> None:
        """A new member."""
        self._rooms_of[namespace, sid] = {None, sid}
        self._manager.enter_room(sid, namespace, None, eio_sid=session)
        self._manager.enter_room(sid, namespace, sid, eio_sid=session)

    def remove(self, sid: str, namespace: str) -> None:
        """A member leaves every room. Upstream looks through all: the time for a crowd would grow with its square."""
        for room in self._rooms_of.pop((namespace, sid), ()):
            self._manager.leave_room(sid, namespace, room)

    def enter(self, sid: str, namespace: str, room: str) -> None:
        """Put a member into a room. ValueError when it is none, or when the room is another member's id."""
        if (namespace, sid) not in self._rooms_of:
            raise ValueError(f"{sid} is not connected to {namespace}")
        self._manager.enter_room(sid, namespace, room)
        self._rooms_of[namespace, sid].add(room)

    def leave(self, sid: str, namespace: str, room: str) -> None:
        """Take a member out of a room; harmless when it is not there."""
        self._manager.leave_room(sid, namespace, room)
        self._rooms_of.get((namespace, sid), set()).discard(room)

    def members(self, namespace: str, room: str | None) -> Iterator[tuple[str, EngineSession]]:
        """The members of a room and their connections, as they are now."""
        participants: Iterator[tuple[str, EngineSession]] = self._manager.get_participants(namespace, room)
        return participants
