"""Sessions over real sockets: a client written from the protocol alone, real models in real workers."""

from __future__ import annotations

import json
import os
import signal
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import socketio
from tests.protocols.session_client import Client
from tests.running import PATIENCE, CheapServer, Server, children, picture, until

STOP, FAIL, HANG, NOTHING = 250, 251, 252, 253
"""Numbers of frames at which the test models are killed, raise, hang, and return nothing."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    arguments = ("--session-models", "sleeper,echoer", "--merge-deadline", "20s", "--session-idle", "20s")
    with Server(*arguments, data=tmp_path_factory.mktemp("data")) as running:
        yield running.ready()


def test_frames_become_merged_predictions_in_order_and_the_end_says_the_last_word(server: Server) -> None:
    with Client(server) as client:
        assert client.start() == {"success": True}
        for number in range(1, 6):
            assert client.frame(number * 10, 1000 + number) == {"success": True}
        assert client.end() == {"success": True}
        predictions = client.wait(6)
        for number, prediction in enumerate(predictions[:5], 1):
            assert prediction["sleeper_number"] == number * 10
            assert prediction["timestamp"] == prediction["recv_ts"] == 1000 + number
            assert prediction["seq"] == number
            assert prediction["success"] is True
            assert prediction["frame"] == {"size": [64, 48], "mode": "RGB"}
            assert prediction["common"] == ("echoer" if "echoer_number" in prediction else "sleeper"), (
                "the later model wins"
            )
        last = predictions[5]
        assert (last["sleeper_frames"], last["sleeper_left"], last["timestamp"]) == (5, 0, 9000)
        assert client.start() == {"success": True}, "the connection can begin another"


def test_refusals_are_sentences(server: Server) -> None:
    time = struct.pack("<Q", 5)
    with Client(server) as client:
        for event, message, words in [
            ("session_start", b"1234567", "7 bytes"),
            ("session_start", "text", "binary"),
            ("frame", time + picture(), "no session runs"),
            ("session_end", time, "no session runs"),
            ("no_such_event", time, "no_such_event"),
        ]:
            answer = client.call(event, message)
            assert answer["success"] is False
            assert words in answer["error"]
        assert client.start() == {"success": True}
        for event, message, words in [
            ("session_start", time, "runs already"),
            ("frame", b"", "0 bytes"),
            ("frame", time, "picture"),
            ("frame", time + b"this is no picture at all", "picture"),
            ("frame", time + bytes(17 * 2**20)[: 2**20], "picture"),
            ("session_end", b"x", "1 bytes"),
        ]:
            answer = client.call(event, message)
            assert answer["success"] is False, (event, message[:20])
            assert words in answer["error"].lower(), answer
        assert client.frame(10, 1) == {"success": True}
        assert client.wait(1)[0]["sleeper_number"] == 10
    assert "Traceback" not in server.text


def test_a_model_may_say_nothing_or_fail_and_the_other_is_heard(server: Server) -> None:
    with Client(server) as client:
        client.start()
        for count, number in enumerate((FAIL, NOTHING, 7), 1):
            client.frame(number, count)
            client.wait(count)  # or a newer frame could take its place at the model that runs the newest only
        failed, silent, spoken = client.predictions
        assert set(failed["errors"]) == {"sleeper", "echoer"}
        assert "RuntimeError" in failed["errors"]["sleeper"]
        assert "sleeper_number" not in silent
        assert "errors" not in silent
        assert spoken["sleeper_number"] == 7


def test_the_acknowledgement_comes_before_any_model_has_answered(server: Server) -> None:
    with Client(server) as client:
        client.start()
        for number in range(20):
            client.frame(number, number)
        assert len(client.predictions) < 20, "the models sleep 20 ms each and were not waited for"
        assert [prediction["seq"] for prediction in client.wait(20)] == list(range(1, 21))


def test_twenty_sessions_at_once_are_not_mixed_up(server: Server) -> None:
    clients = [Client(server) for _ in range(20)]
    try:
        for client in clients:
            assert client.start() == {"success": True}

        def film(index: int) -> None:
            for frame in range(8):
                assert clients[index].frame(index * 10 + frame, 100 * index + frame) == {"success": True}
                threading.Event().wait(0.05)

        threads = [threading.Thread(target=film, args=(index,)) for index in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for index, client in enumerate(clients):
            for frame, prediction in enumerate(client.wait(8)):
                assert prediction["sleeper_number"] == index * 10 + frame
                assert prediction["timestamp"] == 100 * index + frame
                assert prediction.get("echoer_number", index * 10 + frame) == index * 10 + frame
    finally:
        for client in clients:
            client.__exit__()


def test_a_killed_worker_costs_its_frame_and_the_session_goes_on(server: Server) -> None:
    with Client(server) as client, Client(server) as other:
        client.start()
        other.start()
        client.frame(1, 1)
        client.wait(1)
        client.frame(STOP, 2)
        lost = client.wait(2)[1]
        assert "started anew" in lost["errors"]["sleeper"]
        client.frame(3, 3)
        assert client.wait(3)[2]["sleeper_number"] == 3
        other.frame(4, 4)
        assert other.wait(1)[0]["sleeper_number"] == 4


def test_a_model_over_its_time_limit_is_reported_and_replaced(tmp_path: Path) -> None:
    with (
        Server("--session-models", "echoer", "--merge-deadline", "30s", data=tmp_path) as server,
        Client(server) as client,
    ):
        client.start()
        client.frame(HANG, 1)
        assert "took longer than 1 s" in client.wait(1)[0]["errors"]["echoer"]
        client.frame(5, 2)
        assert client.wait(2)[1]["echoer_number"] == 5


def test_a_late_model_is_left_out_and_heard_with_the_next_frame(tmp_path: Path) -> None:
    with (
        Server("--session-models", "sleeper", "--merge-deadline", "0", "--preload", "sleeper", data=tmp_path) as server,
        Client(server) as client,
    ):
        server.wait_for("sleeper is ready for sessions")
        client.start()

        def spoken() -> dict[str, Any] | None:
            sent = len(client.predictions) + 1
            client.frame(sent, sent)
            client.wait(sent)
            return next((prediction for prediction in client.predictions if "sleeper_number" in prediction), None)

        first = until(spoken, "what the model said")
        assert first["sleeper_number"] < first["seq"], "nothing is waited for, so it comes with a later frame"
        client.end()
        until(lambda: "sleeper_frames" in client.predictions[-1], "the last word")
        seqs = [prediction["seq"] for prediction in client.predictions]
        assert seqs == sorted(seqs)


def test_a_lost_connection_ends_its_session_at_the_model(server: Server) -> None:
    with Client(server) as vanished:
        vanished.start()
        vanished.frame(1, 1)
        vanished.wait(1)
    with Client(server) as client:

        def alone() -> bool:
            client.start()
            client.frame(1, 1)
            client.end()
            last = client.wait(2)[-1]
            client.predictions.clear()
            return bool(last["sleeper_left"] == 0)

        until(alone, "the other session to be forgotten by the model")


def test_idle_sessions_end_and_workers_end_with_the_server(tmp_path: Path) -> None:
    with (
        Server("--session-models", "sleeper", "--session-idle", "3s", data=tmp_path) as server,
        Client(server) as client,
    ):
        client.start()
        client.frame(1, 1)
        until(lambda: client.predictions and "sleeper_frames" in client.predictions[-1], "the last word")
        assert client.frame(2, 2)["success"] is False
        workers = children(server.process.pid)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(30) == 0
        assert not any(Path(f"/proc/{pid}").exists() for pid in workers)


def test_a_stopping_server_lets_models_say_their_last_word(tmp_path: Path) -> None:
    # The deadline: the first prediction waits for the model, which may still be starting.
    options = ("--session-models", "sleeper", "--merge-deadline", "30s")
    with Server(*options, data=tmp_path) as server, Client(server) as client:
        client.start()
        client.frame(1, 1)
        client.wait(1)
        client.predictions.clear()
        os.kill(server.process.pid, signal.SIGTERM)
        assert client.wait(1)[-1]["sleeper_frames"] == 1
        assert server.process.wait(30) == 0


def test_a_full_queue_refuses_and_says_so(tmp_path: Path) -> None:
    with Server("--session-models", "sleeper", data=tmp_path) as server, Client(server) as client:
        client.start()
        client.frame(252, 1)  # which keeps the model busy, however slow the machine
        answers = (client.frame(1, 1) for _ in range(100))
        refused = next(answer for answer in answers if not answer["success"])
        assert "64 frames wait" in refused["error"]


def test_sessions_and_camstream_share_a_connection(server: Server) -> None:
    with Client(server) as client:
        assert client.login("alice", "x")
        client.start()
        assert client.ask(picture(99))["label"] == "99"
        client.predictions.clear()
        client.frame(11, 1)
        assert client.wait(1)[0]["sleeper_number"] == 11


def keyed(server: Server, auth: Any) -> socketio.Client:
    client = socketio.Client(reconnection=False)
    client.connect(server.url, transports=["websocket"], auth=auth, wait_timeout=PATIENCE)
    return client


def refusal(server: Server, auth: Any) -> str:
    """What the server says when it turns this away."""
    heard: list[dict[str, str]] = []
    with requests.Session() as http:
        client = socketio.Client(reconnection=False, http_session=http)
        client.on("connect_error", heard.append)
        with pytest.raises(socketio.exceptions.ConnectionError):
            client.connect(server.url, transports=["polling"], auth=auth, wait_timeout=PATIENCE)
    return heard[0]["message"]


def begin(client: socketio.Client) -> bool:
    answer = json.loads(client.call("session_start", struct.pack("<Q", 1), timeout=PATIENCE))
    return bool(answer["success"])


def test_a_key_lets_in_a_wrong_one_does_not_and_none_must_authenticate(tmp_path: Path) -> None:
    with Server(
        "--session-models", "sleeper", "--session-key", "sesame", "--user", "alice:secret", data=tmp_path
    ) as server:
        for wrong in ("open", "", 5, ["sesame"], "\ud800"):
            assert refusal(server, {"key": wrong}) == "the key is wrong"
        for auth, allowed in [
            ({"key": "sesame"}, True),
            (None, False),
            ({"user": "alice", "password": "secret"}, True),
        ]:
            client = keyed(server, auth)
            assert begin(client) is allowed
            client.disconnect()
            client.eio.wait()
        with Client(server) as client:
            assert client.start()["success"] is False
            assert client.login("nobody", "x") is True, "without -a CamStream takes everybody"
            assert client.start()["success"] is False, "but that is no proof"
            assert client.login("alice", "secret") is True
            assert client.start()["success"] is True


def test_with_auth_a_session_needs_a_user(tmp_path: Path) -> None:
    with (
        CheapServer("-a", "--session-models", "sleeper", "--user", "alice:secret", data=tmp_path) as server,
        Client(server) as client,
    ):
        assert client.start()["success"] is False
        assert client.login("alice", "secret") is True
        assert client.start()["success"] is True
        assert "password is wrong" in refusal(server, {"user": "alice", "password": "wrong"})
