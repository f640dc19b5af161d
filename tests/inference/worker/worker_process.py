"""A real worker process without the engine: what a test sends goes over a socket pair and shared memory."""

import mmap
import os
import socket
import subprocess
from pathlib import Path

from imageserver import bootstrap
from imageserver.inference.shared import wire

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "models"
TEST_MODELS = ROOT / "tests" / "models"


class WorkerProcess:
    """`with WorkerProcess(tmp_path) as worker: worker.load(folder); worker.run("name", [bytes])`."""

    def __init__(self, cache, *arguments):
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(100)
        memory = os.memfd_create("arena")
        os.ftruncate(memory, wire.SLOTS * wire.SLOT_BYTES)
        self.arena = mmap.mmap(memory, wire.SLOTS * wire.SLOT_BYTES)
        command = bootstrap.command("inference.worker.main", "--control", str(theirs.fileno()), "--arena", str(memory))
        self.process = subprocess.Popen(
            [*command, "--models-cache", str(cache), *arguments],
            pass_fds=(theirs.fileno(), memory),
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        os.close(memory)
        self._unpacker, self._messages, self._number = wire.Unpacker(), [], 0
        assert self.receive()["op"] == "hello"

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        self.socket.close()
        self.arena.close()

    def send(self, message):
        self.socket.sendall(wire.pack(message))

    def receive(self):
        """The next message. EOFError when the worker is gone."""
        while not self._messages:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._messages += self._unpacker.feed(data)
        return self._messages.pop(0)

    def load(self, folder):
        """The answer: op 'loaded' or 'failed'."""
        self.send({"op": "load", "model": folder.name, "folder": str(folder)})
        return self.receive()

    def put(self, pictures, slot=0, rotate=0):
        """Write pictures into a slot; returns its items."""
        items, at = [], slot * wire.SLOT_BYTES
        for picture in pictures:
            self.arena[at : at + len(picture)] = picture
            items.append(
                {"at": at - slot * wire.SLOT_BYTES, "size": len(picture), "form": wire.CONTENT_IMAGE, "rotate": rotate}
            )
            at += len(picture)
        return items

    def run(self, model, pictures, rotate=0):
        """The results for the pictures."""
        self._number += 1
        self.send(
            {"op": "run", "id": self._number, "model": model, "slot": 0, "items": self.put(pictures, rotate=rotate)}
        )
        answer = self.receive()
        assert (answer["op"], answer["id"]) == ("done", self._number)
        return answer["results"]
