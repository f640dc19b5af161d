"""The relay of Snap: whatever text one client of a room sends reaches every other one, in order.

A client that does not read delays nobody: what it does not take waits in the kernel and in a bounded queue,
and one that takes nothing of it for `--ws-send-timeout` is dropped. One that sends more than `--relay-rate` texts a
second is read more slowly, and none is lost. Who may command, and who hears of whose pictures, is said in rights.py.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from imageserver import limits, metrics
from imageserver.accounts.live import LiveLogins
from imageserver.errors import Refused
from imageserver.limits import Limits
from imageserver.peers.rooms import FarText, RoomListener, SharedRooms
from imageserver.protocols.snap import rights
from imageserver.protocols.snap.members import Member, TextRate, commands
from imageserver.transport import hub
from imageserver.transport.budget import FULL, Charge
from imageserver.transport.fairness import Turn
from imageserver.transport.websocket.connection import WebSocket, accept, encode_text
from imageserver.transport.websocket.frames import CHUNK_BYTES, CloseCode
from imageserver.web.access import Access
from imageserver.web.application import Application, Route
from imageserver.web.requests import Request

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

PREFIX = "/ws"
MAX_ROOM = 64
MESSAGE_BYTES = 64 * 2**10
"""Bytes of a text; "snap" has four."""
QUEUE_BYTES = 4 * 2**20
"""Bytes of texts that may wait for one client."""


class RelayRoom:
    """Who is in a room, and how many of them are bound to some cameras."""

    def __init__(self) -> None:
        self.members: dict[WebSocket, Member] = {}
        self.bound = 0

    def add(self, ws: WebSocket, member: Member) -> None:
        self.members[ws] = member
        self.bound += member.bound

    def remove(self, ws: WebSocket) -> None:
        self.bound -= self.members.pop(ws).bound


class Relay(RoomListener):
    """The rooms of `/ws` and `/ws/<room>`, and who is in them.

    Args:
        bounds: those that concern connections, and `relay_rate`.
        live: ends those whose login holds no longer.
        shared: the same rooms at other front ends.
    """

    def __init__(self, bounds: Limits, live: LiveLogins, shared: SharedRooms | None = None) -> None:
        self._live = live
        self._shared = shared or SharedRooms()
        self._shared.listener = self
        self._limits = replace(bounds, max_message_bytes=MESSAGE_BYTES, max_outgoing_bytes=QUEUE_BYTES)
        self._rooms: dict[str, RelayRoom] = {}
        self._gauge = metrics.CONNECTIONS.child("relay")

    def join(self, request: Request, room: str = "") -> WSGIApplication:
        """Make a WebSocket of the request; what is returned stays in the room until the client leaves."""
        rights.check_room(request.user, room)
        user, camera, account = request.user, request.camera, request.account
        ws = accept(request.environ, self._limits)
        if ws is None:
            raise Refused(426, "this address speaks WebSocket", Upgrade="websocket", Sec_WebSocket_Version="13")
        member = Member(ws, self._limits.ws_send_timeout, user, camera, account)
        return functools.partial(self._serve, ws, room, member)

    def announce(self, room: str, text: str, owner: str, camera: str) -> None:
        """Send the news of a picture to everybody in `room` who may have it.

        Args:
            room: its name; "": the common one.
            text: what is sent.
            owner: the user who put the picture; "": nobody known.
            camera: the name that was said with it; "": none.
        """
        self._shared.announce(room, text, owner, camera)
        self.news(room, text, owner, camera)

    def news(self, room: str, text: str, owner: str, camera: str) -> None:
        """The same of a picture that was put at another front end: those who are here are told."""
        found = self._rooms.get(room)
        if found is not None:
            self._tell(found, text, lambda member: rights.hears(member.user, owner, camera))

    def heard(self, room: str, said: FarText) -> None:
        """Send what a client of another front end said to those in its room who may hear it, as in `_relay`."""
        found = self._rooms.get(room)
        if found is None:
            return
        command, only = commands(said.text), frozenset(said.only)

        def wanted(member: Member) -> bool:
            if only and member.camera not in only:
                return False
            return command or member.user is None or member.user.sees(said.camera)

        self._tell(found, said.text, wanted)

    def departures(self) -> list[Callable[[], None]]:
        """What drops each connection, so that its client tries to come back: for a shutdown.

        There is no close frame: at one, websocket-client up to 1.8 does not connect again however it was asked to.
        """
        return [ws.drop for room in self._rooms.values() for ws in room.members]

    def _relay(self, name: str, room: RelayRoom, text: str, sender: Member) -> None:
        """Send a client's text to the others in its room.

        Where some are bound to cameras, a text passes between members that may see each other's. For a command it is
        enough that who gives it may see the device's: whoever commands shows it no camera.
        """
        far = FarText(text, sender.camera, sender.only)
        if sender.commands and not room.bound:
            self._shared.say(name, far)
            self._tell(room, text, lambda member: member is not sender)
            return
        command = commands(text)
        if command and not sender.commands:
            metrics.SNAPS_REFUSED.inc()
            return
        self._shared.say(name, far)
        self._tell(
            room,
            text,
            lambda member: member is not sender and sender.sees(member) and (command or member.sees(sender)),
        )

    def _tell(self, room: RelayRoom, text: str, wanted: Callable[[Member], bool]) -> None:
        """Send a text to those in a room who are wanted.

        Waits for nobody, but lets others have their turns: 20,000 members take a tenth of a second.
        """
        frame = encode_text(text)  # once for all
        turn = Turn(time.monotonic)
        turn.begin()
        for member in list(room.members.values()):
            if wanted(member):
                member.send(frame)
            turn.share()

    def _serve(
        self,
        ws: WebSocket,
        name: str,
        member: Member,
        _environ: WSGIEnvironment,
        _start_response: StartResponse,
    ) -> Iterable[bytes]:
        room = self._rooms.get(name)
        if room is None:
            room = self._rooms[name] = RelayRoom()
            self._shared.join(name)
        room.add(ws, member)
        self._gauge.value += 1
        login = None if member.user is None else self._live.add(member.user, member.end)
        rate = TextRate(self._limits.relay_rate)
        unread = member.account.charge("messages")
        try:
            while (message := ws.receive()) is not None:
                if isinstance(message, bytes):
                    ws.close(CloseCode.UNSUPPORTED_DATA, "send text")
                    continue
                self._relay(name, room, message, member)
                if late := rate.take():
                    limits.hit("relay_rate", member.account.owner)
                    _put_off(ws, late, unread)
        finally:
            self._gauge.value -= 1
            if login is not None:
                login.close()
            member.forget()
            room.remove(ws)
            if not room.members and self._rooms.get(name) is room:
                del self._rooms[name]
                self._shared.leave(name)
            ws.ended()
        return []


def _put_off(ws: WebSocket, seconds: float, unread: Charge) -> None:
    """Read on later: what the client has sent meanwhile stays where it was read into, and in the kernel."""
    if not unread.set(CHUNK_BYTES):
        ws.close(CloseCode.TRY_AGAIN_LATER, FULL)
        return
    hub.sleep(seconds)
    unread.set(0)


def application(relay: Relay, access: Access, *, log: Callable[[str], None]) -> Application:
    """The application for `/ws`: who may join stands in accounts/doors.py."""
    rooms = (PREFIX, f"{PREFIX}/<string(maxlength={MAX_ROOM}):room>")
    routes = [Route("GET", path, relay.join) for path in rooms]
    nothing = f"a room is one word of at most {MAX_ROOM} characters, as in {PREFIX}/kitchen"
    return Application(routes, access, log=log, nothing=nothing)
