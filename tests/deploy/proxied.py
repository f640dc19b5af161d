"""A camera behind nginx: proxied.py URL TRANSPORTS PICTURES. Prints what it got as JSON.

It reads and writes in two threads, for which the SSL sockets of CPython 3.11 and 3.12 are not made: about one in three
hundred connections over TLS is lost in its first moment, with any server. Then it begins anew.
"""

import json
import sys
import threading

import socketio


class Lost(Exception):
    """The connection has ended."""


def main():
    for _ in range(3):
        try:
            return stream()
        except (Lost, socketio.exceptions.SocketIOError) as error:
            lost = error
    raise lost


def stream():
    url, transports, *pictures = sys.argv[1:]
    client = socketio.Client(reconnection=False)
    logins, predictions, gone, come = [], [], [], threading.Condition()

    def hear(kept, value):
        with come:
            kept.append(value)
            come.notify_all()

    def wait(condition, what):
        with come:
            assert come.wait_for(lambda: condition() or gone, 50), what + " did not come"
            if not condition():
                raise Lost

    client.on("disconnect", lambda *reason: hear(gone, reason))
    client.on("onAuthentication", lambda answer: hear(logins, answer))
    client.on("prediction", lambda text: hear(predictions, json.loads(text)))
    client.on("frame_error", lambda text: hear(predictions, json.loads(text)))
    client.connect(url, transports=transports.split(","))
    client.emit("authenticate", ("alice", "secret", "onAuthentication"))
    wait(lambda: logins, "the answer to authenticate")
    labels = []
    for name in pictures:
        with open(name, "rb") as file:
            client.emit("receiveImage", file.read())
        wait(lambda: len(predictions) > len(labels), "a prediction")
        labels.append(predictions[-1].get("label") or predictions[-1].get("error"))
    transport = client.transport() if callable(client.transport) else client.transport
    client.disconnect()
    print(json.dumps({"login": logins, "labels": labels, "transport": transport}))


if __name__ == "__main__":
    main()
