"""A client of /ws on websocket-client, which connects again by itself: returning_relay.py PORT.

Prints "up" and "down".
"""

import sys

import websocket


def main():
    app = websocket.WebSocketApp(
        "ws://127.0.0.1:" + sys.argv[1] + "/ws",
        on_open=lambda _app: print("up", flush=True),
        on_reconnect=lambda _app: print("up", flush=True),
        on_error=lambda _app, _error: print("down", flush=True),
    )
    app.run_forever(reconnect=1)


if __name__ == "__main__":
    main()
