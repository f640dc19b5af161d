"""What a session client does in the tests: session_program.py PORT TRANSPORTS KEY. Prints what it found as JSON.

Runs in an environment of its own, with Socket.IO's client of either generation and nothing else.
"""

import json
import queue
import struct
import sys
import threading
import zlib

import socketio

ELDER = not hasattr(socketio, "SimpleClient")  # 4.x, which speaks generation 3
FRAMES = 12


def png(grey, width=64, height=48):
    """A plain picture file, without any library."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + bytes([grey]) * width) * height
    parts = (
        (b"IHDR", struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def main():
    port, transports, key = sys.argv[1:]
    client = socketio.Client(reconnection=False)
    predictions, come = [], threading.Condition()

    def hear(text):
        with come:
            predictions.append(json.loads(text))
            come.notify_all()

    def call(event, time, data=b""):
        return json.loads(client.call(event, struct.pack("<Q", time) + data, timeout=60))

    verdicts = queue.Queue()
    client.on("connect", lambda: verdicts.put(None))
    client.on("connect_error", verdicts.put)
    client.on("prediction", hear)
    url = "http://127.0.0.1:" + port
    if ELDER:
        client.connect(
            url + ("?key=" + key if key else ""), transports=transports.split(",")
        )  # it does not wait for the verdict
    else:
        try:
            client.connect(url, transports=transports.split(","), auth={"key": key} if key else None, wait_timeout=60)
        except socketio.exceptions.ConnectionError:
            assert not verdicts.empty()
    refused = verdicts.get(timeout=60)
    if refused is not None:
        client.disconnect()
        print(json.dumps({"refused": refused}))
        return
    refusals = [call("frame", 1, png(3)), call("session_end", 1), call("nothing_like_it", 1)]
    start = call("session_start", 1000)
    if start["success"]:
        refusals += [
            call("session_start", 1),
            call("frame", 1, b"no picture"),
            json.loads(client.call("frame", b"1234567", timeout=60)),
        ]
        acknowledged = [call("frame", 2000 + number, png(10 * number)) for number in range(FRAMES)] + [
            call("session_end", 9000)
        ]
        assert all(answer == {"success": True} for answer in acknowledged), acknowledged
        with come:
            assert come.wait_for(lambda: predictions and "frame" not in predictions[-1], 60), predictions
    client.disconnect()
    print(json.dumps({"start": start, "refusals": refusals, "predictions": predictions}))


if __name__ == "__main__":
    main()
