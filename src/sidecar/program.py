"""A process beside the server, from within: it takes questions from a socket and answers them in threads."""

from __future__ import annotations

import argparse
import contextlib
import json
import mmap
import os
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from imageserver.errors import ImageServerError, LimitExceeded, LoginPaused, describe
from imageserver.inference.shared import lifetime, wire
from imageserver.jail import entry
from imageserver.jail.rules import Jail

PIECE = 250
"""Rows of a list in one message: reading it holds the server for less than a millisecond or two."""

Answerer = Callable[[str, list[Any]], Any]
"""Given a question and what belongs to it, the answer, for JSON. An iterator is sent as a list, piece by piece."""


class Server:
    """The other end of the socket. Thread-safe.

    Args:
        control: The socket.
        arena: A descriptor of the memory that is shared with the server; None: none is.
    """

    def __init__(self, control: socket.socket, arena: int | None = None) -> None:
        self._control = control
        self.arena = None if arena is None else memoryview(mmap.mmap(arena, os.fstat(arena).st_size))
        """Slots of `wire.SLOT_BYTES`."""
        self._lock = threading.Lock()

    def tell(self, what: str, value: Any = None) -> None:
        """Say something that was not asked for."""
        self.send({"op": "told", "what": what, "with": value})

    def fail(self, sentence: str) -> None:
        """Say that nothing can be done here."""
        self.send({"op": "failed", "error": sentence})

    def send(self, message: wire.Message) -> None:
        """Send a message; a server that is gone is no error, as this process ends with it."""
        with self._lock, contextlib.suppress(OSError):
            self._control.sendall(wire.pack(message))

    def messages(self) -> Iterator[wire.Message]:
        """What it says, until its end."""
        unpacker = wire.Unpacker()
        while data := self._control.recv(65536):
            yield from unpacker.feed(data)


def run(description: str, open_up: Callable[[Server, wire.Message], Answerer], threads: int) -> int:
    """What `main` of such a program does: into the jail, open, answer until the server says stop or is gone.

    Args:
        description: Of the program.
        open_up: Given the server and its first message, returns what answers. ImageServerError: nothing can be done.
        threads: Questions that are answered at the same time.

    Returns:
        The exit code.
    """
    lifetime.end_with_parent()
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--control", type=int, required=True, help="file descriptor of the socket to the server")
    parser.add_argument("--arena", type=int, help="file descriptor of memory shared with it")
    parser.add_argument("--jail", type=Jail.from_text, required=True, help="what it may do (jail/rules.py)")
    options = parser.parse_args()
    entry.enter(options.jail)
    server = Server(socket.socket(fileno=options.control), options.arena)
    messages = server.messages()
    opening = next(messages, None)
    if opening is None:
        return 0
    try:
        answerer = open_up(server, opening)
    except ImageServerError as error:
        server.fail(str(error))
        return 1
    with ThreadPoolExecutor(threads, "answers") as pool:
        for message in messages:
            if message["op"] == "stop":
                break
            pool.submit(_answer, server, answerer, message)
        pool.shutdown(wait=False, cancel_futures=True)
        sys.stdout.flush()
    return 0


def _answer(server: Server, answerer: Answerer, message: wire.Message) -> None:
    reply: wire.Message = {"op": "answer", "id": message["id"]}
    try:
        value = answerer(message["what"], json.loads(message["with"]))
        if isinstance(value, Iterator):
            piece: list[Any] = []
            for row in value:
                piece.append(row)
                if len(piece) == PIECE:
                    server.send({**reply, "value": piece, "more": True})
                    piece = []
            value = piece
        reply["value"] = value
    except ImageServerError as error:
        reply["error"] = {"kind": type(error).__name__, "sentence": str(error)}
        if isinstance(error, LoginPaused):
            reply["error"]["seconds"] = error.seconds
        elif isinstance(error, LimitExceeded):
            reply["error"]["limit"] = error.limit
    except Exception as error:  # noqa: BLE001 - whoever asked is told, and the process goes on
        reply["error"] = {"kind": "SidecarLost", "sentence": f"unexpected: {describe(error)}"}
    try:
        server.send(reply)
    except ValueError as error:  # larger than a message may be, or no text
        said = {"kind": "SidecarLost", "sentence": f"an answer that cannot be sent: {error}"}
        server.send({"op": "answer", "id": message["id"], "error": said})
