"""A server that speaks CamStream as far as a client can tell, on python-socketio's own threads.

It prints its port, then what it gets.

Model "digits": labels a frame by the last byte of its file. "slow": answers every third frame. "deaf": answers nothing.
"picky": refuses each second frame. "leaver": ends the connection at the second frame, once.
The only user is alice with the password secret; whoever does not authenticate is taken, too.
"""

import contextlib
import json
import socket
import sys
import time

import socketio
from werkzeug.serving import WSGIRequestHandler, make_server

MODELS = ("faces", "digits", "slow", "deaf", "picky", "leaver")
server = socketio.Server(async_mode="threading", max_http_buffer_size=2**24)
streams = {}
sockets = {}
left = []


@server.event
def connect(sid, environ, auth=None):
    streams[sid] = {"model": "faces", "seq": 0, "dropped": 0}
    sockets[sid] = environ["werkzeug.socket"]


@server.event
def disconnect(sid, _reason):
    """The libraries leave the connection open, and each client would wait 3 s for its end."""
    with contextlib.suppress(OSError):
        sockets.pop(sid).shutdown(socket.SHUT_RDWR)


@server.event
def authenticate(sid, name, password, callback):
    print("login", name, flush=True)
    server.emit(callback, (name, password) == ("alice", "secret"), to=sid)


@server.event
def configure(sid, options):
    if options["model"] not in MODELS:
        return json.dumps({"success": False, "error": f"there is no model {options['model']!r}"})
    streams[sid]["model"] = options["model"]
    return json.dumps({"success": True})


@server.event
def receiveImage(sid, picture):
    stream = streams[sid]
    stream["seq"] += 1
    seq, model = stream["seq"], stream["model"]
    print("frame", seq, len(picture), flush=True)
    if model == "leaver" and seq == 2 and not left:
        left.append(sid)
        server.disconnect(sid)
    elif model == "picky" and seq % 2 == 0:
        server.emit("frame_error", json.dumps({"error": "no picture", "seq": seq}), to=sid)
    elif model == "deaf" or (model == "slow" and seq % 3):
        stream["dropped"] += 1
    else:
        answer = {
            "model": model,
            "timestamp": int(time.time() * 1000),
            "age_ms": 1.5,
            "seq": seq,
            "dropped": stream["dropped"],
        }
        if model == "faces":
            answer["boxes"] = [{"x": 1, "y": 2, "width": 30, "height": 40, "label": "face", "score": 0.875}]
        else:
            answer |= {"label": chr(picture[-1]), "score": 0.996, "labels": []}
        server.emit("prediction", json.dumps(answer), to=sid)


class Quiet(WSGIRequestHandler):
    def log(self, *_anything):
        pass


listening = make_server("127.0.0.1", int(sys.argv[1]), socketio.WSGIApp(server), threaded=True, request_handler=Quiet)
print(listening.port, flush=True)
listening.serve_forever()
