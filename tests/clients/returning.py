"""A camera on python-socketio of either generation, as people write it: returning.py PORT TRANSPORTS PICTURE.

Prints "up" when a prediction has come over a new connection and "down" when one has ended. Runs for ever, in an
environment of its own.
"""

import contextlib
import sys
import time

import socketio


def main():
    port, transports, picture = sys.argv[1:]
    with open(picture, "rb") as file:
        data = file.read()
    client = socketio.Client()
    up = []

    def hear(_text):
        if not up:
            up.append(True)
            print("up", flush=True)

    def end(*_reason):
        up.clear()
        print("down", flush=True)

    client.on("prediction", hear)
    client.on("disconnect", end)
    client.connect("http://127.0.0.1:" + port, transports=transports.split(","))
    while True:
        time.sleep(0.1)
        if client.connected:
            with contextlib.suppress(socketio.exceptions.SocketIOError):  # it has ended just now
                client.emit("receiveImage", data)


if __name__ == "__main__":
    main()
