"""A network camera: plain grey pictures over RTSP (RFC 2326), as JPEG in RTP (RFC 2435) within the one connection.

FFmpeg, which OpenCV reads network cameras with, is a client of such cameras alone, so it cannot stand in for one.
"""

from __future__ import annotations

import contextlib
import itertools
import re
import socketserver
import struct
import threading
import time

import cv2
import numpy as np

RATE = 25
SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:track1\r\n"
ANSWERS = {
    "OPTIONS": "Public: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n",
    "DESCRIBE": f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n",
    "SETUP": "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
}
MOST = 1400
"""Bytes of a picture in a packet."""


def packets(number: int) -> list[bytes]:
    """One picture, whose grey value is its number, as RTP packets for channel 0 of the connection."""
    grey = np.full((48, 64, 3), number % 256, np.uint8)
    file = bytes(cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, 95])[1])
    tables = b"".join(found[1] for found in re.finditer(rb"\xff\xdb\x00\x43.(.{64})", file, re.DOTALL))
    start = file.index(b"\xff\xda")
    scan = file[start + 2 + int.from_bytes(file[start + 2 : start + 4]) : -2]
    found = []
    for offset in range(0, len(scan), MOST):
        last = offset + MOST >= len(scan)
        head = struct.pack("!BBHII", 0x80, 26 | last << 7, (number * 8 + len(found)) % 65536, number * 90000 // RATE, 7)
        head += bytes(1) + offset.to_bytes(3) + bytes([1, 255, 64 // 8, 48 // 8])  # 4:2:0, with its own tables
        if offset == 0:
            head += struct.pack("!HH", 0, len(tables)) + tables
        packet = head + scan[offset : offset + MOST]
        found.append(b"$\0" + struct.pack("!H", len(packet)) + packet)
    return found


class _Connection(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(OSError):  # who has seen enough hangs up
            while request := self._request():
                method, sequence = request
                body = SDP if method == "DESCRIBE" else ""
                answer = f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\nSession: 1\r\n{ANSWERS.get(method, '')}\r\n{body}"
                self.wfile.write(answer.encode())
                if method == "PLAY":
                    self._play()

    def _request(self) -> tuple[str, str] | None:
        lines = list(iter(lambda: self.rfile.readline().decode().strip(), ""))
        sequence = next((line.partition(":")[2].strip() for line in lines if line.lower().startswith("cseq:")), "")
        return (lines[0].split()[0], sequence) if lines else None

    def _play(self) -> None:
        for number in itertools.count():
            self.wfile.write(b"".join(packets(number)))
            time.sleep(1 / RATE)


class RtspCamera(socketserver.ThreadingTCPServer):
    """Use as a context; its address is `url`."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def url(self) -> str:
        return f"rtsp://127.0.0.1:{self.server_address[1]}/live"

    def __enter__(self) -> RtspCamera:
        self._thread.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()
