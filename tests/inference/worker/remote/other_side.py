"""Servers of the Open Inference Protocol in threads of the test, which do wrong when they are told to.

Their model takes grey pictures of 8x8 as FP32, and says how bright each is: scores [1 - brightness, brightness].
"""

from __future__ import annotations

import http.server
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path
from typing import Any

import numpy as np

from imageserver.inference.worker.remote import proto

MANIFEST = """
kind = "classification"
[input]
width = 8
height = 8
channels = 1
range = [0, 1]
[output]
labels = ["dark", "bright"]
[batch]
max_batch = 4
[runtime]
runtime = "open_inference"
model = "brightness"
"""

FORM = {
    "name": "brightness",
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 8, 8, 1]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [-1, 2]}],
}
OF_FILES = {**FORM, "inputs": [{"name": "x", "datatype": "BYTES", "shape": [-1]}]}


def make_model(folder: Path, *endpoints: str, more: str = "", manifest: str = MANIFEST) -> Path:
    """A model's folder whose manifest names these endpoints."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.toml").write_text(f"{manifest}endpoint = {json.dumps(endpoints)}\n{more}")
    return folder


def scores(batch: Any) -> Any:
    """float32 (n, 2) for float32 (n, 8, 8, 1)."""
    bright = batch.reshape(len(batch), -1).mean(axis=1)
    return np.stack([1 - bright, bright], axis=1).astype("<f4")


class OtherSide:
    """Over HTTP. `do` is what it does when it is asked to infer; "" is as it should."""

    def __init__(self, form: dict[str, Any] = FORM, extensions: tuple[str, ...] = ("binary_tensor_data",)) -> None:
        self.do, self.ready, self.form, self.extensions = "", True, form, extensions
        self.pause = 0.0
        """Seconds that an answer takes."""
        self.asked: list[Any] = []
        """The headers of each request to infer."""
        self.bodies: list[bytes] = []
        self.release = threading.Event()
        side = self

        class Handler(_Handler):
            owner = side

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.address = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> OtherSide:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.release.set()
        self.stop()

    def stop(self) -> None:
        """Be gone: nobody listens any more, and connections end."""
        self.do = "close"
        self._server.shutdown()
        self._server.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner: OtherSide
    timeout = 20

    def log_message(self, *_words: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path.endswith("/v2"):
            self._say(200, {"name": "test", "extensions": list(self.owner.extensions)})
        elif self.path.endswith("/ready"):
            self._say(200 if self.owner.ready else 503, {"ready": self.owner.ready})
        else:
            self._say(200, self.owner.form)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.owner.asked.append(dict(self.headers))
        self.owner.bodies.append(body)
        time.sleep(self.owner.pause)
        if self.owner.do:
            MISDEEDS[self.owner.do](self)
        else:
            self._infer(body)

    def _infer(self, body: bytes) -> None:
        head = int(self.headers.get("Inference-Header-Content-Length", 0))
        request = json.loads(body[: head or len(body)])
        given = request["inputs"][0]
        if given["datatype"] == "BYTES":
            found = np.tile(np.float32([0.25, 0.75]), (given["shape"][0], 1))
        else:
            data = np.frombuffer(body[head:], "<f4") if head else np.array(given["data"], "<f4")
            found = scores(data.reshape(given["shape"]))
        output: dict[str, Any] = {"name": "scores", "datatype": "FP32", "shape": list(found.shape)}
        if not head:
            self._say(200, {"outputs": [{**output, "data": found.ravel().tolist()}]})
            return
        data = found.tobytes()
        text = json.dumps({"outputs": [{**output, "parameters": {"binary_data_size": len(data)}}]}).encode()
        self._write(200, text + data, {"Inference-Header-Content-Length": str(len(text))})

    def _say(self, status: int, about: object) -> None:
        self._write(status, json.dumps(about).encode(), {})

    def _write(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def raw(self, *parts: bytes, pause: float = 0.0) -> None:
        """Write as it is, and end the connection."""
        self.close_connection = True
        try:
            for part in parts:
                self.wfile.write(part)
                self.wfile.flush()
                time.sleep(pause)
        except OSError:
            return  # whoever asked has given up

    def hang(self) -> None:
        """Say nothing until the test lets go."""
        self.owner.release.wait(20)
        self.close_connection = True


OK = b"HTTP/1.1 200 OK\r\n"
MISDEEDS: dict[str, Callable[[_Handler], None]] = {
    "close": lambda handler: handler.raw(),
    "garbage": lambda handler: handler.raw(b"\0\1\2 garbage\r\n\r\n"),
    "no json": lambda handler: handler.raw(OK + b"Content-Length: 3\r\n\r\n}{!"),
    "nothing": lambda handler: handler.raw(OK + b'Content-Length: 14\r\n\r\n{"outputs":[]}'),
    "short": lambda handler: handler.raw(OK + b"Content-Length: 900\r\n\r\n{"),
    "redirect": lambda handler: handler.raw(b"HTTP/1.1 307 There\r\nLocation: http://127.0.0.1:9/\r\n\r\n"),
    "endless": lambda handler: handler.raw(OK + b"Content-Length: 99999999\r\n\r\n", *[b"x" * 2**20] * 4),
    "drip": lambda handler: handler.raw(*[bytes([byte]) for byte in OK + b"X: " + b"y" * 1000], pause=0.02),
    "headers": lambda handler: handler.raw(OK + b"X: " + b"y" * 2**18),
    "gzip": lambda handler: handler.raw(OK + b"Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx"),
    "503": lambda handler: handler._say(503, {"error": "full"}),
    "413": lambda handler: handler._say(413, {"error": "too much"}),
    "400": lambda handler: handler._say(400, {"error": "no such shape"}),
    "500": lambda handler: handler._say(500, {"error": "no"}),
    "401": lambda handler: handler._say(401, {"error": "who"}),
    "hang": lambda handler: handler.hang(),
}


class GrpcSide:
    """The same over gRPC, by grpcio's own server and the messages of `proto`; it takes messages of `most` bytes."""

    def __init__(self, form: dict[str, Any] = FORM, most: int = 2**22) -> None:
        import grpc

        self.do, self.ready, self.form = "", True, form
        self.metadata: dict[str, Any] = {}
        self.left: float | None = None
        self._grpc, self._types = grpc, proto.types()
        names = {"ModelReady": self._ready, "ModelMetadata": self._metadata, "ModelInfer": self._infer}
        handlers = {name: grpc.unary_unary_rpc_method_handler(method) for name, method in names.items()}
        options = [("grpc.max_receive_message_length", most)]
        self._server = grpc.server(futures.ThreadPoolExecutor(4), options=options)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(proto.SERVICE, handlers),))
        self.address = f"grpc://127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> GrpcSide:
        self._server.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.stop(None).wait()

    def _ready(self, _request: bytes, _context: Any) -> bytes:
        data: bytes = self._types["ModelReadyResponse"](ready=self.ready).SerializeToString()
        return data

    def _metadata(self, _request: bytes, _context: Any) -> bytes:
        data: bytes = self._types["ModelMetadataResponse"](
            inputs=self.form["inputs"], outputs=self.form["outputs"]
        ).SerializeToString()
        return data

    def _infer(self, data: bytes, context: Any) -> bytes:
        self.metadata, self.left = dict(context.invocation_metadata()), context.time_remaining()
        if self.do == "garbage":
            return b"\xff\xff\xff"
        if self.do == "endless":
            return b"x" * 2**21
        if self.do:
            context.abort(getattr(self._grpc.StatusCode, self.do), "as it was told to")
        request = self._types["ModelInferRequest"].FromString(data)
        shape = request.inputs[0].shape
        if request.inputs[0].datatype == "BYTES":
            found = np.tile(np.float32([0.25, 0.75]), (shape[0], 1)).astype("<f4")
        else:
            found = scores(np.frombuffer(request.raw_input_contents[0], "<f4").reshape(shape))
        answer = self._types["ModelInferResponse"](raw_output_contents=[found.tobytes()])
        answer.outputs.add(name="scores", datatype="FP32", shape=found.shape)
        made: bytes = answer.SerializeToString()
        return made


def unused() -> str:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"
