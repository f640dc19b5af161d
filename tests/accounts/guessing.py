"""Hundreds of logins at the same moment, over plain sockets of asyncio, each from an address of this machine."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

PATIENCE = 120.0
GUESSER, HONEST, ANOTHER = "127.0.0.1", "127.0.0.2", "127.0.0.3"


class Login(NamedTuple):
    """What became of one: the status of HTTP, or what Socket.IO said; and the seconds that took."""

    found: str
    seconds: float


class Target(NamedTuple):
    """Where a server listens."""

    port: int

    async def request(self, source: str, method: str, path: str, headers: str = "", body: str = "") -> tuple[str, str]:
        """Status and body of the answer to one request, on a connection of its own."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(source, 0))
        try:
            head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n{headers}"
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
            answer = (await asyncio.wait_for(reader.read(), PATIENCE)).decode()
        finally:
            writer.close()
        return answer.split(" ", 2)[1], answer.partition("\r\n\r\n")[2]

    async def basic(self, source: str, name: str, password: str) -> str:
        """A list over REST, with a name and password; its status."""
        credentials = base64.b64encode(f"{name}:{password}".encode()).decode()
        return (await self.request(source, "GET", "/list_nn", f"Authorization: Basic {credentials}\r\n"))[0]

    async def connect(self, source: str, auth: dict[str, str]) -> str:
        """A Socket.IO connection that polls: "connected", or the sentence of the refusal."""
        status, opened = await self.request(source, "GET", "/socket.io/?EIO=4&transport=polling")
        if status != "200":
            return f"{status} {opened[:80]}"
        path = f"/socket.io/?EIO=4&transport=polling&sid={json.loads(opened[1:])['sid']}"
        await self.request(source, "POST", path, body=f"40{json.dumps(auth)}")
        while True:
            status, answer = await self.request(source, "GET", path)
            if status != "200":
                return f"{status} {answer[:80]}"
            for packet in answer.split("\x1e"):
                if packet.startswith("40"):
                    return "connected"
                if packet.startswith("44"):
                    return str(json.loads(packet[2:])["message"])


async def timed(login: Awaitable[str]) -> Login:
    """One login, and how long it took."""
    begin = time.monotonic()
    return Login(await login, time.monotonic() - begin)


def at_once(
    count: int, guess: Callable[[int], Awaitable[str]], beside: Callable[[], Awaitable[str]] | None = None
) -> tuple[Sequence[Login], Sequence[Login]]:
    """So many guesses at the same moment; and what is done `beside` them, one after the other, until they are over."""

    async def run() -> tuple[Sequence[Login], Sequence[Login]]:
        guesses = asyncio.gather(*(timed(guess(number)) for number in range(count)))
        others: list[Login] = []
        await asyncio.sleep(0)
        while beside is not None and not (guesses.done() and others):
            others.append(await timed(beside()))
        return await guesses, others

    return asyncio.run(run())


def count(logins: Sequence[Login]) -> Counter[str]:
    """How often each came out."""
    return Counter(login.found for login in logins)
