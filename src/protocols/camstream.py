"""CamStream: camera apps that stream JPEG frames over Socket.IO (docs/protocols.md#camstream).

client to server    authenticate(username, password, callback_event), receiveImage(jpeg), configure(options)
server to client    <callback_event>(bool), prediction(json), frame_error(json)

This file speaks in events and knows neither the wire nor the generation of the client.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from imageserver.accounts import doors
from imageserver.accounts.database import User
from imageserver.errors import ImageServerError
from imageserver.protocols.events.answers import SUCCESS, encode, failure
from imageserver.protocols.events.clients import SocketClient, SocketClients, is_another
from imageserver.streams.frame import Frame, Prediction
from imageserver.streams.options import capped, configure
from imageserver.streams.stream import Stream, Streams, StreamSubscriber
from imageserver.transport import hub
from imageserver.transport.socketio.server import SocketIOServer

PROTOCOL = "camstream"
SHOW_REFUSAL = 2.0
"""Seconds that a client with wrong credentials has to show it before it is disconnected."""
MOST_CALLBACK = 256
"""Characters of the event that a client wants the answer to its login under."""
_BYTES = (bytes, bytearray, memoryview)
STRANGERS = {
    "receiveImage": "authenticate first: this server does not take frames from strangers",
    "configure": "authenticate first: strangers cannot configure anything here",
}
"""What those are told who should have logged in."""


class CamStream(StreamSubscriber):
    """The protocol; `events` are its handlers, called as handler(client, *args) in each connection's own order."""

    def __init__(
        self, streams: Streams, clients: SocketClients, server: SocketIOServer, *, model: str, hz: float
    ) -> None:
        """The defaults of its streams are `model` and `hz`, frames processed a second; nobody gets more than `hz`."""
        self._streams, self._clients, self._server = streams, clients, server
        self._model, self._hz = model, hz
        self._open: dict[SocketClient, Stream] = {}
        self._turned_away: dict[SocketClient, hub.Timer] = {}  # until the client logs in after all
        self._sending = doors.TABLE.event("receiveImage")
        self.events: dict[str, Callable[..., Any]] = {
            "authenticate": self.authenticate,
            "receiveImage": self.receive_image,
            "configure": self.configure,
        }

    def refused(self, client: SocketClient, event: str, sentence: str) -> str | None:
        """An event that the client may not send, or not now. A frame is counted, and answered by `frame_error`."""
        said = sentence or STRANGERS[event]
        if event != "receiveImage":
            return failure(said)
        self._refuse(self._stream(client), "not allowed" if sentence else "not authenticated", said)
        return None

    def changed(self, client: SocketClient, before: User | None) -> None:
        """Somebody else is there from now on. A user's frames that wait or run are dropped, so that they never count as
        the next one's; their numbers go on, since the client counts them by connection."""
        former = self._open.get(client)
        if former is None:
            return
        if not is_another(client, before):
            self._adopt(former, client)
            return
        former.close()
        del self._open[client]
        stream = self._stream(client)
        stream.received, stream.answered_count = former.received, former.answered_count
        stream.dropped, stream.refused = former.dropped, former.refused

    def disconnected(self, client: SocketClient) -> None:
        """The connection has ended; harmless for one that never spoke CamStream."""
        self._stop_disconnect(client)
        stream = self._open.pop(client, None)
        if stream is not None:
            stream.close()

    # ---- events -----------------------------------------------------------------------------------------------

    def authenticate(
        self, client: SocketClient, username: Any = None, password: Any = None, callback_event: Any = None, *_more: Any
    ) -> None:
        self._stop_disconnect(client)  # what counts is the last pair of user and password
        accepted, why = False, ""
        try:
            self._clients.login(client, username, password)
            accepted = not self._clients.required or self._clients.may(client, self._sending)
            why = self._sending.refuses(client.user)
        except ImageServerError as error:
            why = str(error)
        if not self._clients.is_here(client):
            return  # it went while its password was checked
        if not accepted:
            if why:
                self._reject(client.sid, self._received(client), why)
            self._turned_away[client] = hub.spawn_later(SHOW_REFUSAL, self._server.disconnect, client.sid)
        elif not why:
            self._stream(client)
        named = isinstance(callback_event, str) and 0 < len(callback_event) <= MOST_CALLBACK
        self._server.emit(callback_event if named else "onAuthentication", accepted, to=client.sid)

    def receive_image(self, client: SocketClient, picture: Any = None, *_more: Any) -> None:
        stream = self._open.get(client) or self._stream(client)
        if not isinstance(picture, _BYTES):
            self._refuse(stream, "picture", "a frame must be the bytes of a picture file, sent as one binary argument")
            return
        try:
            stream.offer(picture)
        except ImageServerError as error:
            self._reject(stream.id, stream.received, str(error))

    def configure(self, client: SocketClient, options: Any = None, *_more: Any) -> str:
        if isinstance(options, str):
            try:
                options = json.loads(options)
            except (ValueError, RecursionError):
                options = None
        try:
            configure(self._stream(client), options, self._hz)
        except ImageServerError as error:
            return failure(str(error))
        return SUCCESS

    # ---- what becomes of frames (StreamSubscriber) --------------------------------------------------------------

    def predicted(self, stream: Stream, frame: Frame, prediction: Prediction) -> None:
        self._server.emit("prediction", encode(prediction), to=stream.id, newest="prediction")

    def rejected(self, stream: Stream, frame: Frame, error: str) -> None:
        self._reject(stream.id, frame.seq, error)

    def disconnect(self, stream: Stream) -> None:
        self._server.disconnect(stream.id, close=True)

    # ---- within -----------------------------------------------------------------------------------------------

    def _stream(self, client: SocketClient) -> Stream:
        """The stream of this client; opened at its first event, since it may be here for sessions only."""
        stream = self._open.get(client)
        if stream is None:
            stream = self._open[client] = self._streams.open(
                client.sid,
                client.name,
                address=client.address,
                protocol=PROTOCOL,
                model=self._model,
                hz=self._hz,
                rotate=0,
                subscriber=self,
                account=self._server.account(client.sid),
            )
            self._adopt(stream, client)
        return stream

    def _adopt(self, stream: Stream, client: SocketClient) -> None:
        """Let the stream be the client's, with its user's defaults."""
        user, may = client.known, self._clients.may(client, self._sending)
        # Who may not send takes no name from who may.
        self._streams.adopt(stream, client.name, client.camera if may else "")
        if user is None or not may:
            return  # no model is loaded for frames that are refused
        stream.rotate = user.rotate
        try:
            stream.configure(model=user.model, hz=None if user.hz is None else capped(user.hz, self._hz))
        except ImageServerError as error:
            why = f"your default model cannot be used, so the server's own is: {error}"
            self._reject(stream.id, stream.received, why)

    def _stop_disconnect(self, client: SocketClient) -> None:
        """Do not disconnect a client for its refused login any more."""
        timer = self._turned_away.pop(client, None)
        if timer is not None:
            timer.cancel()

    def _received(self, client: SocketClient) -> int:
        stream = self._open.get(client)
        return 0 if stream is None else stream.received

    def _refuse(self, stream: Stream, reason: str, sentence: str) -> None:
        """Count a frame that is not even offered, and say why."""
        stream.received += 1
        stream.refuse(reason)
        self._reject(stream.id, stream.received, sentence)

    def _reject(self, sid: str, seq: int, error: str) -> None:
        self._server.emit("frame_error", encode({"error": error, "seq": seq}), to=sid)
