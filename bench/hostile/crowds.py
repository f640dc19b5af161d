"""Many clients that each hold a little: attachments, messages and bodies that never end, sessions, slow readers."""

from __future__ import annotations

import contextlib
import json
import socket
import time

from bench.hostile.target import Target, at_once, attack
from bench.hostile.wire import Polling, Socket, basic, connect, frame_head, head, masked, read_answer, request, told

MIB = 2**20
HOLD = 20.0
"""Seconds for which what never ends is held open."""
PLACES = [{"_placeholder": True, "num": index} for index in range(15)]
PIECE = bytes(MIB)


@attack("attachments", "six connections with 15 attachments of 16 MiB that never end")
def attachments(target: Target) -> None:
    clients = [Socket(target) for _ in range(6)]

    def send(index: int) -> None:
        client = clients[index]
        client.send("4515-" + json.dumps(["receiveImage", *PLACES]))
        for _ in range(14):
            if not client.send_raw(masked(2, bytes(16 * MIB - 100))):
                break
        else:
            client.send_raw(frame_head(2, 16 * MIB - 100) + PIECE)
        target.seen[client.end(HOLD)] += 1

    at_once(len(clients), send)
    for client in clients:
        client.close()


@attack("messages", "100 connections with 15 MiB of a message of 16 MiB that never ends")
def messages(target: Target) -> None:
    clients = [Socket(target, join=False) for _ in range(100)]

    def send(index: int) -> None:
        client = clients[index]
        client.send_raw(frame_head(2, 16 * MIB - 100))
        for _ in range(15):
            if not client.send_raw(PIECE):
                break
        target.seen[client.end(HOLD)] += 1

    at_once(len(clients), send)
    for client in clients:
        client.close()


@attack("fragments", "a message in a million fragments of a byte, and in empty ones, on 4 connections")
def fragments(target: Target) -> None:
    for piece in (frame_head(0, 1, last=False) + b"x", frame_head(0, 0, last=False)):

        def send(_index: int, piece: bytes = piece) -> None:
            client = Socket(target)
            client.send_raw(frame_head(2, 1, last=False) + b"x")
            for _ in range(100):
                if not client.send_raw(piece * 10_000):
                    break
            target.seen[client.end(2)] += 1
            client.close()

        at_once(4, send)


@attack("bodies", "60 requests with 15 MiB of 16, quickly, and then a byte a second; nobody logs in")
def bodies(target: Target) -> None:
    send_bodies(target, {})


@attack("bodies-user", "the same by a user, who has a share of what may wait")
def bodies_user(target: Target) -> None:
    send_bodies(target, basic())


def send_bodies(target: Target, login: dict[str, str]) -> None:
    begin = head("POST", "/faces/classify", Content_Length=str(16 * MIB - 100), Content_Type="image/png", **login)

    def send(_index: int) -> None:
        with connect(target) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(begin)
                for _ in range(15):
                    sock.sendall(PIECE)
                trickle(target, sock)
                return
            target.seen[told(read_answer(sock)[0])] += 1

    at_once(60, send)


def trickle(target: Target, sock: socket.socket) -> None:
    """A byte a second, until the server has enough of it."""
    end = time.monotonic() + HOLD
    while time.monotonic() < end:
        sock.sendall(b"x")
        sock.settimeout(1)
        status, _ = read_answer(sock)
        if status != -1:
            target.seen[told(status)] += 1
            return
    target.seen["still taken"] += 1


@attack("polls", "30 polling posts with 60 MiB, of which the last byte never comes")
def polls(target: Target) -> None:
    def send(_index: int) -> None:
        session = Polling(target, 4)
        with connect(target) as sock:
            with contextlib.suppress(ConnectionError):
                path = f"/socket.io/?EIO=4&transport=polling&sid={session.sid}"
                sock.sendall(head("POST", path, Content_Length=str(60 * MIB)))
                for _ in range(59):
                    sock.sendall(PIECE)
                trickle(target, sock)
                session.close()
                return
            target.seen[told(read_answer(sock)[0])] += 1
        session.close()

    at_once(30, send)


@attack(
    "handshakes", "1,000 polling handshakes over one connection", "--max-connections", "50", "--max-per-address", "10"
)
def handshakes(target: Target) -> None:
    with connect(target) as sock:
        for _ in range(1000):
            sock.sendall(head("GET", "/socket.io/?EIO=4&transport=polling"))
            status, _body = read_answer(sock)
            target.seen["let in" if status == 200 else told(status)] += 1
            if status == 0:
                return


@attack("headers", "2,000 polling handshakes with 30 KB of headers, held")
def headers(target: Target) -> None:
    with connect(target) as sock:
        for _ in range(2000):
            sock.sendall(
                head("GET", "/socket.io/?EIO=4&transport=polling", **{f"X_{n}": "y" * 3000 for n in range(10)})
            )
            status, _body = read_answer(sock)
            target.seen["let in" if status == 200 else told(status)] += 1
            if status == 0:
                return


@attack("heads", "1,000 connections with 31 KB of headers that never end")
def heads(target: Target) -> None:
    socks = []
    for _ in range(1000):
        sock = connect(target)
        with contextlib.suppress(ConnectionError):
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: " + b"y" * 31_000)
        socks.append(sock)
    for sock in socks:
        sock.settimeout(HOLD)
        with contextlib.suppress(OSError):
            status, _ = read_answer(sock)
            target.seen[told(status)] += 1
        sock.close()


@attack("idle", "1,000 anonymous connections that join and do nothing")
def idle(target: Target) -> None:
    clients = [Socket(target) for _ in range(1000)]
    end = time.monotonic() + HOLD
    for client in clients:
        target.seen[client.end(max(0.05, end - time.monotonic()))] += 1
        client.close()


@attack("readers", "200 connections that ask for 200 large answers each and read nothing")
def readers(target: Target) -> None:
    login = basic() if target.guarded else {}
    ask = head("GET", "/openapi.json", **login) * 200
    socks = []
    for _ in range(200):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", target.port))
        sock.sendall(ask)
        socks.append(sock)
    time.sleep(HOLD / 2)
    for sock in socks:
        sock.close()
    target.seen["nothing read"] += len(socks)


@attack("relay", "40 members of /ws that read nothing, one that sends 2,000 texts of 60 KB")
def relay(target: Target) -> None:
    members = []
    for _ in range(40):
        member = Socket(target, path="/ws/attack")
        member.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        members.append(member)
    sender = Socket(target, path="/ws/attack")
    for _ in range(2000):
        if not sender.send("x" * 60_000):
            break
    target.seen[sender.end(2)] += 1
    for member in (*members, sender):
        member.close()


@attack("tls", "500 TLS handshakes that begin and stall", secure=True)
def tls(target: Target) -> None:
    socks = [connect(target, tls=False) for _ in range(500)]
    for sock in socks:
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
    end = time.monotonic() + HOLD
    for sock in socks:
        sock.settimeout(max(0.05, end - time.monotonic()))
        try:
            target.seen["closed" if not sock.recv(100) else "answered"] += 1
        except TimeoutError:
            target.seen["open"] += 1
        except OSError:
            target.seen["reset"] += 1
        sock.close()


@attack("chunks", "bodies of 300 KB in chunks of a byte, 4 at once")
def chunks(target: Target) -> None:
    login = basic() if target.guarded else {}

    def send(_index: int) -> None:
        with connect(target) as sock:
            with contextlib.suppress(ConnectionError):
                sock.sendall(
                    head("POST", "/faces/classify", Transfer_Encoding="chunked", Content_Type="image/png", **login)
                )
                for _ in range(30):
                    sock.sendall(b"1\r\nx\r\n" * 10_000)
                sock.sendall(b"0\r\n\r\n")
            target.seen[told(read_answer(sock)[0])] += 1

    at_once(4, send)


@attack("logins", "3,000 logins with names of 1,000 characters on 10 connections")
def logins(target: Target) -> None:
    def send(index: int) -> None:
        client = Socket(target)
        for number in range(300):
            if not client.event("authenticate", f"{index} {number} " + "n" * 1000, "p" * 1000, "answer"):
                break
        target.seen[client.end(5)[:40]] += 1
        client.close()

    at_once(10, send)


@attack("log", "5,000 requests and handshakes that are refused, from one address")
def log(target: Target) -> None:
    def send(index: int) -> None:
        kinds = [
            head("GET", "/socket.io/?EIO=9&transport=polling"), head("GET", "/" + "x" * 5000),
            head("POST", "/socket.io/?EIO=4&transport=polling&sid=nobody", Content_Length="0"),
            b"GET / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", head("GET", "/lenet", Authorization="Basic eDp5"),
            head("GET", "/", Content_Length="5, 6"),
        ]  # fmt: skip
        for number in range(1250):
            with connect(target) as sock:
                sock.sendall(kinds[number % len(kinds)])
                target.seen[told(read_answer(sock)[0])] += 1

    at_once(4, send)


@attack("legacy", "40 connections of legacy TCP with 15 MiB of a file of 16 that never ends", "--tcp-max-per-host", "0")
def legacy(target: Target) -> None:
    if not target.tcp_port:
        target.seen["no port"] += 1
        return

    def send(_index: int) -> None:
        with socket.create_connection(("127.0.0.1", target.tcp_port), 60) as sock:
            try:
                sock.sendall(b"FILE" + b"16777216zz")
                for _ in range(15):
                    sock.sendall(PIECE)
                sock.settimeout(HOLD)
                time.sleep(1)
                said = sock.recv(100)
                while said and (more := sock.recv(100)):
                    said += more
                target.seen[f"closed after {said!r}"] += 1
            except TimeoutError:
                target.seen["held"] += 1
            except OSError:
                target.seen["reset"] += 1

    at_once(40, send)


@attack("heartbeats", "10 connections that ping without pause, and half-close, and reset in the middle")
def heartbeats(target: Target) -> None:
    def send(_index: int) -> None:
        client = Socket(target)
        for _ in range(100):
            if not client.send_raw(masked(9, b"p" * 100) * 100):
                break
        target.seen[client.end(2)] += 1
        client.close()

    at_once(10, send)


@attack("get", "10,000 pipelined requests on each of 4 connections")
def get(target: Target) -> None:
    def send(_index: int) -> None:
        with connect(target) as sock:
            sock.settimeout(5)
            with contextlib.suppress(OSError):
                sock.sendall(head("GET", "/health/live") * 10_000)
            target.seen[told(read_answer(sock)[0])] += 1

    at_once(4, send)
    request(target, "GET", "/" + "%41/" * 1500)
    request(target, "GET", "/lenet?" + "a&" * 3500)
    request(target, "GET", "/lenet?" + "%C3%A9=" * 1000)
    request(target, "GET", "/", Cookie="a=b; " * 6000)
