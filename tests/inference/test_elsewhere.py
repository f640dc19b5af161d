"""A server whose model runs at another: over REST, v2 and streams, and what becomes of it when the other is gone."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from tests.inference.worker.remote.other_side import GrpcSide, OtherSide, make_model
from tests.running import ROOT, TEST_MODELS, Server, picture, until

HERE = """
kind = "{kind}"
[input]
width = 28
height = 28
channels = 1
[output]
labels = {labels}
[batch]
max_batch = 4
[runtime]
runtime = "open_inference"
send = "picture"
model = "{model}"
"""
PATIENCE = 60


class Front(Server):
    """The server whose models are elsewhere."""

    def classify(self, model: str, data: bytes) -> requests.Response:
        return requests.post(f"{self.url}/{model}/classify", data=data, timeout=PATIENCE)

    def state(self) -> str:
        text: str = requests.get(f"{self.url}/health/ready", timeout=PATIENCE).text
        return text

    def reached(self) -> None:
        until(lambda: "unreachable" not in self.state(), "the model to be reached", every=0.1)


@pytest.fixture(scope="module")
def side() -> Iterator[OtherSide]:
    with OtherSide() as found:
        yield found


@pytest.fixture(scope="module")
def front(side: OtherSide, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    folder = tmp_path_factory.mktemp("elsewhere")
    make_model(folder / "models" / "far", side.address)
    (folder / "models" / "echo").symlink_to(TEST_MODELS / "echo")
    limits = ("--remote-look-every", "200ms", "--remote-seconds", "2s")
    with Front("--preload", "echo", *limits, data=folder, models=folder / "models", model="far") as found:
        found.ready()
        yield found


def test_what_it_finds_is_told_as_if_it_ran_here(front: Front) -> None:
    found = front.classify("far", picture(204)).json()
    assert (found["label"], round(found["score"], 2)) == ("bright", 0.8)
    assert found["size"]
    line = front.find("model far is ready")
    assert line is not None and "it runs at http://127.0.0.1:" in line.string
    about = requests.get(f"{front.url}/v2/models/far", timeout=PATIENCE).json()
    assert about["platform"] == "open_inference, 1 endpoint"
    figures = requests.get(f"{front.url}/metrics", timeout=PATIENCE).text
    assert 'model="far",result="answered"' in figures


def test_while_it_is_gone_the_server_says_so_and_local_models_do_not_notice(front: Front, side: OtherSide) -> None:
    side.do, side.ready = "close", False
    begun = time.monotonic()
    answer = front.classify("far", picture(9))
    assert (answer.status_code, time.monotonic() - begun < 12) == (503, True), answer.text
    until(lambda: "is unreachable: no server that runs it answers" in front.state(), "it to be unreachable", every=0.1)
    answer = front.classify("far", picture(9))
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
    assert "127.0.0.1" not in answer.text
    assert front.classify("echo", picture(9)).json()["label"] == "9"
    side.do, side.ready = "", True
    front.reached()
    assert front.classify("far", picture(204)).json()["label"] == "bright"


def test_a_manifest_that_does_not_fit_fails_with_a_sentence_and_serves_once_it_does(
    front: Front, side: OtherSide
) -> None:
    models = Path(front.process.args[front.process.args.index("--models") + 1])  # type: ignore[arg-type,call-overload]
    make_model(
        models / "wrong", side.address, manifest=(models / "far" / "model.toml").read_text().split("endpoint")[0]
    )
    text = (models / "wrong" / "model.toml").read_text()
    (models / "wrong" / "model.toml").write_text(text.replace("width = 8", "width = 9"))
    until(lambda: "wrong" in requests.get(f"{front.url}/v2/models", timeout=PATIENCE).text, "the model", every=0.2)
    answer = front.classify("wrong", picture(9))
    assert answer.status_code == 503
    assert "the manifest says [8, 9, 1] for a picture" in answer.text


@pytest.mark.long
def test_over_grpc_in_its_jail(tmp_path: Path) -> None:
    with GrpcSide() as side:
        make_model(tmp_path / "models" / "far", side.address.replace("127.0.0.1", "localhost"))
        with Front(data=tmp_path, models=tmp_path / "models", model="far") as front:
            front.ready()
            assert front.classify("far", picture(204)).json()["label"] == "bright"
            side.do = "UNAVAILABLE"
            assert front.classify("far", picture(204)).status_code == 503


@pytest.mark.long
def test_another_imageserver_decodes(tmp_path: Path) -> None:
    """A classifier and a detector of it; stopped it costs the other's local models nothing, and it comes back."""
    shipped = tmp_path / "shipped"
    shipped.mkdir()
    for name in ("lenet", "faces"):
        (shipped / name).symlink_to(ROOT / "models" / name)
    digits = json.dumps([str(number) for number in range(10)])
    password = tmp_path / "password"
    password.touch(0o600)
    password.write_text("secret")
    (tmp_path / "b").mkdir()
    arguments: dict[str, Any] = {"data": tmp_path / "b", "models": shipped, "model": "lenet"}
    with Server("--auth", "--user", "anna:secret", "--preload", "faces", **arguments) as back:
        more = f'user = "anna"\npassword_file = "{password}"\n'
        for name, kind, labels, model in (
            ("far", "classification", digits, "lenet"),
            ("seen", "detection", "[]", "faces"),
        ):
            manifest = HERE.format(kind=kind, labels=labels, model=model)
            make_model(tmp_path / "models" / name, back.url, more=more, manifest=manifest)
        (tmp_path / "models" / "echo").symlink_to(TEST_MODELS / "echo")
        (tmp_path / "a").mkdir()
        with Front("--preload", "seen,echo", data=tmp_path / "a", models=tmp_path / "models", model="far") as front:
            front.ready()
            digit = (ROOT / "clients/samples/digits/7.png").read_bytes()
            assert front.classify("far", digit).json()["label"] == "7"
            photo = (ROOT / "clients/samples/photos/astronaut.jpg").read_bytes()
            until(lambda: front.classify("seen", photo).status_code == 200, "the other model", every=0.2)
            found = front.classify("seen", photo).json()
            assert (found["label"], found["size"], len(found["boxes"])) == ("face", [512, 512], 1)
            os.kill(back.process.pid, signal.SIGSTOP)
            try:
                begun = time.monotonic()
                assert front.classify("far", digit).status_code == 503
                assert time.monotonic() - begun < 12
                assert front.classify("echo", picture(9)).json()["label"] == "9"
            finally:
                os.kill(back.process.pid, signal.SIGCONT)
            until(lambda: front.classify("far", digit).status_code == 200, "it to come back", every=0.2)
