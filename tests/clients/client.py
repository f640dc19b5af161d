"""What a Python client does in the tests: client.py PORT TRANSPORTS. Prints what it found as JSON.

Runs in an environment of its own.
"""

import json
import sys
import threading

import engineio
import socketio

ELDER = (
    engineio.__version__.startswith("3.") if hasattr(engineio, "__version__") else not hasattr(socketio, "SimpleClient")
)


def pattern(size):
    return (bytes(range(256)) * (size // 256 + 1))[:size]


class Heard:
    """The values of the events that came, to be waited for."""

    def __init__(self, client, event, namespace=None):
        self.values, self.come = [], threading.Condition()
        client.on(event, self.hear, namespace=namespace)

    def hear(self, *values):
        with self.come:
            self.values.append(list(values))
            self.come.notify_all()

    def take(self):
        with self.come:
            assert self.come.wait_for(lambda: self.values, 20), "nothing came"
            return self.values.pop(0)


def main():
    port, transports = sys.argv[1:]
    client = socketio.Client(reconnection_delay=0.02, reconnection_delay_max=0.05)
    connected, auth, back, steps = (Heard(client, event) for event in ("connect", "auth", "message-back", "step"))
    custom = Heard(client, "auth", "/custom")

    def ask(*values, namespace="/"):
        answered, answers = threading.Event(), []

        def hear(*answer):
            answers.extend(answer)
            answered.set()

        client.emit("message-with-ack", values, namespace=namespace, callback=hear)
        assert answered.wait(20), "no acknowledgement"
        return answers

    url = "http://127.0.0.1:" + port
    options = {"transports": transports.split(","), "namespaces": ["/", "/custom"]}
    if ELDER:
        client.connect(url + "?token=abc", **options)
    else:
        client.connect(url, auth={"token": "abc"}, **options)
    connected.take()
    assert auth.take() == [{"token": "abc"}]
    assert custom.take() == [{"token": "abc"}]

    values = ["", "ünïcödé € 😀 \u2028", 0, 1.5, -7, None, True, [], {}, [1, ["two", {"three": 3}]]]
    values += [
        pattern(0),
        pattern(1),
        pattern(65536),
        pattern(1500000),
        {"a": [pattern(3), {"b": pattern(4)}], "c": "d"},
    ]
    for value in values:
        expected = None if ELDER and value == b"" else value  # that client takes empty binary for nothing
        client.emit("message", (value, "end"))
        assert back.take() == [expected, "end"], value
        assert ask(value) == [expected], value
    assert ask() == []

    count, last, numbers = 200, threading.Event(), []

    def hear(number):
        numbers.append(number)
        if len(numbers) == count:
            last.set()

    for index in range(count):
        client.emit("message-with-ack", index, callback=hear)
    assert last.wait(20)
    assert numbers == list(range(count))

    client.emit("burst", count)
    assert sorted(steps.take()[0] for _ in range(count)) == list(range(count))  # it runs handlers in threads

    assert ask(pattern(9), namespace="/custom") == [pattern(9)]
    transport = client.transport() if callable(client.transport) else client.transport
    client.emit("drop")
    connected.take()
    assert ask(pattern(2)) == [pattern(2)]
    client.disconnect()
    print(json.dumps({"transport": transport}))


if __name__ == "__main__":
    main()
