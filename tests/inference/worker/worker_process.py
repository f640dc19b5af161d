"""A real worker process without the engine: what a test sends goes over a socket pair and shared memory."""

import mmap
import os
import socket
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

from imageserver import bootstrap
from imageserver.inference.shared import wire
from imageserver.jail.rules import Jail

ROOT = Path(__file__).resolve().parents[3]
MODELS = ROOT / "models"
TEST_MODELS = ROOT / "tests" / "models"


def convert(folder, cache):
    """What the server does when a worker asks for it: a sentence when it failed, else an empty text."""
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)  # or it would stay out of the jail's reach
    ours, theirs = socket.socketpair()
    with ours, tempfile.TemporaryDirectory() as scratch:
        jail = Jail(scratch=scratch, read=(str(folder),), write=(str(cache),))
        command = bootstrap.command("inference.convert.process", "--control", str(theirs.fileno()))
        command += ["--jail", jail.to_text(), "--models-cache", str(cache), "--folder", str(folder)]
        subprocess.run(command, pass_fds=(theirs.fileno(),), timeout=110, check=False)
        theirs.close()
        said = list(wire.Unpacker().feed(ours.recv(65536)))
    return said[0]["error"] if said else ""


class WorkerProcess:
    """`with WorkerProcess(tmp_path) as worker: worker.load(folder); worker.run("name", [bytes])`."""

    def __init__(self, cache, *arguments, jail=None):
        self._cache, self._folder = Path(cache), tempfile.TemporaryDirectory()
        self._cache.mkdir(parents=True, exist_ok=True, mode=0o700)
        read = (str(MODELS), str(TEST_MODELS), tempfile.gettempdir())
        jail = replace(jail or Jail(read=(*read, str(cache))), scratch=self._folder.name)
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(100)
        memory = os.memfd_create("arena")
        os.ftruncate(memory, wire.SLOTS * wire.SLOT_BYTES)
        self.arena = mmap.mmap(memory, wire.SLOTS * wire.SLOT_BYTES)
        command = bootstrap.command("inference.worker.main", "--control", str(theirs.fileno()), "--arena", str(memory))
        command += ["--jail", jail.to_text()]
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
        self._folder.cleanup()

    def send(self, message):
        self.socket.sendall(wire.pack(message))

    def receive(self):
        """The next message; a model that it wants converted is. EOFError when the worker is gone."""
        while not self._messages:
            data = self.socket.recv(65536)
            if not data:
                raise EOFError
            self._messages += self._unpacker.feed(data)
        message = self._messages.pop(0)
        if message["op"] != "convert":
            return message
        self.send({"op": "converted", "error": convert(Path(message["folder"]), self._cache)})
        return self.receive()

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
