"""A model elsewhere as a worker loads and asks it: by HTTP and gRPC, where all is well and where it is not."""

from __future__ import annotations

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from tests.inference.worker.remote.other_side import FORM, MISDEEDS, OF_FILES, GrpcSide, OtherSide, make_model, unused
from tests.running import until

from imageserver.errors import EndpointRefused, ModelError, Unreachable
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.shared import wire
from imageserver.inference.worker import loader
from imageserver.inference.worker.context import LoadContext
from imageserver.inference.worker.predictor import PictureJob
from imageserver.inference.worker.remote import grpc, main
from imageserver.inference.worker.remote.breaker import BreakerState
from imageserver.inference.worker.remote.settings import RemoteSettings

QUICK = RemoteSettings(seconds=5.0, look_every=0.1, answer_bytes=2**20)


class Loaded:
    """A model, loaded from a manifest with these endpoints."""

    def __init__(self, folder: Path, *endpoints: str, more: str = "", settings: RemoteSettings = QUICK) -> None:
        self.notes: list[str] = []
        made = manifests.read(make_model(folder / "far", *endpoints, more=more))
        context = LoadContext(self.notes.append, remote=settings)
        self.serving, self.endpoints = loader.elsewhere(made, context)

    def ask(self, *greys: int, rotate: int = 0) -> list[Any]:
        return self.serving.beside().run([PictureJob(memoryview(picture(grey)), rotate) for grey in greys])


def picture(grey: int, width: int = 8, kind: str = ".png") -> bytes:
    made: bytes = cv2.imencode(kind, np.full((8, width), grey, np.uint8))[1].tobytes()
    return made


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Any]:
    made: list[Loaded] = []

    def load(*endpoints: str, **more: Any) -> Loaded:
        made.append(Loaded(tmp_path, *endpoints, **more))
        return made[-1]

    yield load
    for each in made:
        each.endpoints.close()


@pytest.mark.parametrize("extensions", [("binary_tensor_data",), ()])
def test_tensors_over_http(load: Any, extensions: tuple[str, ...]) -> None:
    with OtherSide(extensions=extensions) as side:
        found = load(side.address).ask(0, 204, 255)
        assert [(result["label"], round(result["labels"][0]["score"], 3)) for result in found] == [
            ("dark", 1.0), ("bright", 0.8), ("bright", 1.0),
        ]  # fmt: skip
        assert [result["size"] for result in found] == [[8, 8]] * 3
        assert 0 < int(side.asked[-1]["x-envoy-expected-rq-timeout-ms"]) <= 5000


def test_tensors_over_grpc_with_a_deadline_and_a_token(load: Any, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("secret\n")
    token.chmod(0o600)
    with GrpcSide() as side:
        loaded = load(side.address, more=f'token_file = "{token}"')
        assert [result["label"] for result in loaded.ask(10, 250)] == ["dark", "bright"]
        assert side.metadata["authorization"] == "Bearer secret"
        assert side.left is not None and 0 < side.left < 5.2
        for misdeed in ("garbage", "UNAVAILABLE", "RESOURCE_EXHAUSTED"):
            side.do = misdeed
            with pytest.raises(Unreachable):
                loaded.ask(10)
        assert not loaded.endpoints.usable
    assert "no message of the protocol" in str(loaded.notes) or "RESOURCE_EXHAUSTED" in str(loaded.notes)


def test_what_grpc_refuses_is_no_failure_of_the_endpoint(load: Any) -> None:
    with GrpcSide() as side:
        loaded = load(side.address)
        for misdeed in ("INVALID_ARGUMENT", "INTERNAL"):
            side.do = misdeed
            for _ in range(3):
                assert loaded.ask(10)[0]["reason"] == "model"
        assert loaded.endpoints.usable


def test_a_batch_larger_than_a_server_over_grpc_takes_is_asked_one_by_one(load: Any) -> None:
    with GrpcSide(most=700) as side:  # a picture has 256 bytes
        loaded = load(side.address)
        for _ in range(4):
            assert [result["label"] for result in loaded.ask(10, 250, 10, 250)] == ["dark", "bright"] * 2
        assert loaded.endpoints.usable


def test_a_picture_larger_than_a_server_over_grpc_takes_is_told_to_its_sender_alone(load: Any) -> None:
    with GrpcSide(OF_FILES, most=700) as side:
        loaded = load(side.address, more='send = "picture"')
        noise = np.random.default_rng(1).integers(0, 255, (40, 40), np.uint8)
        large = PictureJob(memoryview(cv2.imencode(".png", noise)[1].tobytes()), 0)
        for _ in range(4):
            small = PictureJob(memoryview(picture(1)), 0)
            found = loaded.serving.run([large, small])
            assert (found[0].get("reason"), found[1].get("label")) == ("picture", "bright")
        assert loaded.endpoints.usable
    assert "larger than max" in str(loaded.notes)


def test_an_answer_larger_than_is_taken_here_is_a_failure_over_grpc_too(load: Any) -> None:
    with GrpcSide() as side:
        loaded = load(side.address)
        side.do = "endless"
        for _ in range(3):
            with pytest.raises(Unreachable):
                loaded.ask(10)
        assert not loaded.endpoints.usable
    assert "--remote-answer-bytes" in str(loaded.notes)


@pytest.mark.parametrize(
    ("details", "refused"),
    [
        ("SERVER: Received message larger than max (1025 vs. 1024)", True),
        ("grpc: received message larger than max (1025 vs. 1024)", True),
        ("gRPC message exceeds maximum size 1024: 1025", True),
        ("Received message exceeds the maximum configured message size.", True),
        ("CLIENT: Received message larger than max (1025 vs. 1024)", False),
        ("Received message larger than max (1025 vs. 1024)", False),
        ("Stream removed (CLIENT: Received message larger than max (1025 vs. 1024))", False),
        ("Received message larger than max (900 vs. 512)", True),
        ("too many requests", False),
    ],
)
def test_whose_limit_a_message_was_too_large_for(details: str, refused: bool) -> None:
    code = SimpleNamespace(name="RESOURCE_EXHAUSTED")
    error = SimpleNamespace(code=lambda: code, details=lambda: details)
    assert isinstance(grpc._meaning(error, 1024, infers=True), EndpointRefused) is refused


def test_encoded_pictures_go_as_they_came_and_turned_ones_anew(load: Any) -> None:
    with OtherSide(OF_FILES) as side:
        loaded = load(side.address, more='send = "picture"')
        assert loaded.ask(7)[0]["label"] == "bright"
        assert side.bodies[-1].endswith(picture(7))
        job = PictureJob(memoryview(picture(7, 16, ".jpg")), 90)
        assert loaded.serving.run([job])[0]["size"] == [8, 16]
        turned = side.bodies[-1][side.bodies[-1].index(b"\xff\xd8") :]
        assert cv2.imdecode(np.frombuffer(turned, np.uint8), cv2.IMREAD_UNCHANGED).shape[:2] == (16, 8)
        bad = loaded.serving.run([PictureJob(memoryview(b"none"), 0), PictureJob(memoryview(picture(1)), 0)])
        assert (bad[0]["reason"], bad[1]["label"]) == ("picture", "bright")
        side.do = "400"
        assert [result["reason"] for result in loaded.ask(1, 2)] == ["picture"] * 2
        assert loaded.endpoints.usable


def test_what_it_refuses_is_asked_one_by_one_and_opens_nothing(load: Any) -> None:
    with OtherSide() as side:
        loaded = load(side.address)
        for misdeed in ("400", "413", "500"):
            side.do = misdeed
            for _ in range(3):
                assert [result["reason"] for result in loaded.ask(1, 2)] == ["model", "model"]
        assert loaded.endpoints.usable
    assert "no such shape" in str(loaded.notes)


SENTENCES = {
    "close": "closed the connection|cannot be reached|does not speak HTTP", "garbage": "does not speak HTTP",
    "no json": "no valid JSON", "nothing": "has no numbers", "short": "does not speak HTTP", "redirect": "redirects",
    "endless": "remote-answer-bytes", "drip": "in time", "headers": "does not speak HTTP", "gzip": "compresses",
    "503": "503: full", "401": "refuses the login", "hang": "in time",
}  # fmt: skip


@pytest.mark.parametrize("misdeed", sorted(MISDEEDS.keys() - {"400", "413", "500"}))
def test_each_misdeed_is_a_sentence_and_counts(load: Any, misdeed: str) -> None:
    with OtherSide() as side:
        seconds = 0.3 if misdeed in ("hang", "drip") else 20.0
        loaded = load(side.address, settings=replace(QUICK, seconds=seconds, look_every=5.0))
        side.do = misdeed
        begun = time.monotonic()
        with pytest.raises(Unreachable, match="no server that runs it answers"):
            loaded.ask(1)
        assert time.monotonic() - begun < 10
        endpoint = loaded.endpoints.all[0]
        assert endpoint.failed == 1
        assert re.search(SENTENCES[misdeed], endpoint.trouble), endpoint.trouble


def test_of_two_one_dies_and_no_picture_is_lost(load: Any) -> None:
    with OtherSide() as one, OtherSide() as other:
        loaded = load(one.address, other.address)
        loaded.endpoints.watch(lambda: None)
        for number in range(24):
            if number == 8:
                one.stop()
            assert loaded.ask(250)[0]["label"] == "bright"
        assert len(other.asked) > 16
        until(lambda: not loaded.endpoints.all[0].breaker.allows, "the dead one to be left alone")
        assert loaded.endpoints.retried <= 10


def test_one_that_hangs_costs_half_the_time_and_is_then_left_alone(load: Any) -> None:
    with OtherSide() as one, OtherSide() as other:
        loaded = load(one.address, other.address, settings=replace(QUICK, seconds=0.4, look_every=5.0))
        one.do = "hang"
        begun = time.monotonic()
        for _ in range(12):
            assert loaded.ask(250)[0]["label"] == "bright"
        assert time.monotonic() - begun < 4
        assert loaded.endpoints.all[0].breaker.state is BreakerState.OPEN


ONE_BY_ONE = {
    **FORM,
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 8, 8, 1]}],
    "outputs": [{"name": "scores", "datatype": "FP32", "shape": [1, 2]}],
}


class Batches:
    """A worker's batches of pictures, as the server sends them and without a process around them."""

    def __init__(self, loaded: Loaded) -> None:
        self._arena = memoryview(bytearray(wire.SLOT_BYTES))
        context: Any = LoadContext(loaded.notes.append, remote=QUICK)
        nobody: Any = None
        self._worker = main.RemoteWorker(nobody, self._arena, context)
        self._worker._endpoints = loaded.endpoints
        self._worker._free.put(loaded.serving.beside())

    def run(self, *greys: int) -> wire.Message:
        items, at = list[wire.Item](), 0
        for grey in greys:
            data = picture(grey)
            self._arena[at : at + len(data)] = data
            items.append({"at": at, "size": len(data), "form": wire.CONTENT_IMAGE, "rotate": 0})
            at += len(data)
        return self._worker._run({"op": "run", "id": 1, "model": "far", "slot": 0, "items": items})


@pytest.mark.parametrize(
    ("form", "more", "do"), [(ONE_BY_ONE, "", ""), (FORM, "", "400"), (OF_FILES, 'send = "picture"', "400")]
)
def test_a_batch_has_its_time_in_all_however_many_questions_it_becomes(
    load: Any, form: dict[str, Any], more: str, do: str
) -> None:
    """The server kills a worker that takes longer, and with it all that others wait for."""
    with OtherSide(form) as side:
        loaded = load(side.address, more=more, settings=replace(QUICK, seconds=2.0, look_every=20.0))
        batches = Batches(loaded)
        side.pause, side.do = 0.75, do
        for _ in range(2):
            results = batches.run(0, 50, 200, 255)["results"]  # one after the other they take 3 s
            assert len(results) == 4 and results[0].get("reason") != "busy"
            assert results[3] == {"error": "the model 'far' did not answer in time", "reason": "busy"}
        assert loaded.endpoints.usable and loaded.endpoints.all[0].failed == 0, "its answer was not waited for"
        side.pause, side.do = 0.0, ""
        assert all("error" not in each for each in batches.run(0, 50, 200, 255)["results"])


def test_a_batch_of_which_nothing_was_answered_is_lost_as_a_whole(load: Any) -> None:
    with OtherSide(ONE_BY_ONE) as side:
        loaded = load(side.address, settings=replace(QUICK, seconds=0.3, look_every=20.0))
        side.do = "hang"
        assert Batches(loaded).run(0, 255) == {"results": [], "lost": "no server that runs it answers"}
        assert loaded.endpoints.all[0].failed == 1


def test_the_one_with_less_under_way_is_asked(load: Any) -> None:
    with OtherSide() as one, OtherSide() as other:
        loaded = load(one.address, other.address, settings=replace(QUICK, seconds=20.0))
        one.do = "hang"
        threads = []
        warmed = len(one.asked), len(other.asked)  # either of them
        while len(one.asked) == warmed[0]:
            threads.append(threading.Thread(target=loaded.ask, args=(250,)))
            threads[-1].start()
            until(lambda: len(one.asked) + len(other.asked) == sum(warmed) + len(threads), "a question")
        until(lambda: not loaded.endpoints.all[1].waiting, "the answers of the other one")
        before = len(other.asked)
        for _ in range(10):
            loaded.ask(250)
        assert len(other.asked) == before + 10
        one.do = ""
        one.release.set()
        for thread in threads:
            thread.join()


def test_one_that_comes_back_is_asked_again_once_it_says_what_it_takes(load: Any) -> None:
    with OtherSide() as side:
        loaded = load(side.address)
        told = threading.Event()
        loaded.endpoints.watch(told.set)
        side.ready = False
        until(lambda: not loaded.endpoints.usable, "it to be left alone")
        assert told.is_set()
        with pytest.raises(Unreachable):
            loaded.ask(1)
        side.ready, side.form = True, {**FORM, "inputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 8, 8, 1]}]}
        until(lambda: "other tensors" in loaded.endpoints.trouble, "it to be found another")
        assert not loaded.endpoints.usable
        side.form = FORM
        until(lambda: loaded.endpoints.usable, "it to be asked again")
        assert loaded.ask(250)[0]["label"] == "bright"


def test_a_load_needs_an_endpoint_that_answers_and_fits(load: Any) -> None:
    with pytest.raises(Unreachable, match="no server that runs it answers"):
        load(unused())
    with OtherSide({**FORM, "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 3]}]}) as side:
        with pytest.raises(ModelError, match="does not fit where it runs, which takes 'x' as FP32") as caught:
            load(side.address)
        assert side.address not in str(caught.value)
        with OtherSide() as good:
            loaded = load(side.address, good.address)
            assert loaded.ask(1)[0]["label"] == "dark"
            assert [each.breaker.allows for each in loaded.endpoints.all] == [False, True]


@pytest.mark.parametrize(
    ("mode", "text", "sentence"),
    [
        (0o644, "secret", "chmod 600"),
        (0o600, "", "one line"),
        (0o600, "a\nb", "one line"),
        (None, "", "cannot be read"),
    ],
)
def test_a_secret_that_others_read_or_that_is_none_is_refused(
    load: Any, tmp_path: Path, mode: int | None, text: str, sentence: str
) -> None:
    file = tmp_path / "password"
    if mode is not None:
        file.write_text(text)
        file.chmod(mode)
    with pytest.raises(ModelError, match=sentence):
        load(unused(), more=f'user = "anna"\npassword_file = "{file}"')


def test_a_password_goes_in_the_header(load: Any, tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.touch(0o600)
    file.write_text("pass:word")
    os.chmod(file, 0o600)
    with OtherSide() as side:
        load(side.address, more=f'user = "anna"\npassword_file = "{file}"')
        assert side.asked[-1]["Authorization"] == "Basic YW5uYTpwYXNzOndvcmQ="


def test_without_the_extra_a_sentence_says_what_to_install(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "grpc", None)
    with pytest.raises(ModelError, match=r"needs the package grpc: pip install 'imageserver\[remote\]'"):
        load("grpc://127.0.0.1:9")


def test_what_was_noted_just_before_is_not_noted_again() -> None:
    lines: list[str] = []
    note = main.unrepeated(lines.append)
    for text in ("a", "a", "b", "a"):
        note(text)
    assert lines == ["a", "b", "a"]
