"""The Open Inference Protocol, by hand and by tritonclient, and the OpenAPI document, by schemathesis."""

import base64
import json
import re
import struct
import subprocess

import numpy as np
import pytest
import requests
from tests.running import ROOT

CLIENTS = ROOT / "build" / "rest-clients" / "bin"
needs_clients = pytest.mark.skipif(not (CLIENTS / "st").exists(), reason="tests/environments.sh has not been run")


def infer(server, model, request, **more):
    answer = server.ask("POST", f"/v2/models/{model}/infer", json=request, **more)
    assert answer.status_code == 200, answer.text
    return {output["name"]: output for output in answer.json()["outputs"]}


def tensor(pixels, **more):
    return {
        "inputs": [
            {"name": "image", "shape": list(pixels.shape), "datatype": "UINT8", "data": pixels.ravel().tolist()}
        ],
        **more,
    }


def test_health_models_and_what_they_take(server):
    assert requests.get(server.url + "/v2/health/live", timeout=60).json() == {"live": True}
    assert requests.get(server.url + "/v2/health/ready", timeout=60).json() == {"ready": True}
    assert server.ask("GET", "/v2").json()["extensions"] == ["binary_tensor_data", "classification"]
    names = server.ask("GET", "/v2/models").json()["models"]
    assert {"lenet", "faces", "echo"} <= set(names)
    assert "echoer" not in names  # it keeps state
    for path in ("/v2/models/lenet", "/v2/models/lenet/versions/1"):
        found = server.ask("GET", path).json()
        assert found["inputs"] == [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 1]}]
        assert [output["shape"] for output in found["outputs"]] == [[-1, 10], [-1]]
    assert server.ask("GET", "/v2/models/slow/ready").json() == {
        "name": "slow",
        "ready": True,
    }  # loaded for the question
    for path in ("/v2/models/nothing", "/v2/models/lenet/versions/2", "/v2/models/echoer", "/v2/nothing"):
        assert server.ask("GET", path).status_code == 404


def test_a_request_may_come_with_the_content_type_that_curl_gives_it(server):
    request = tensor(np.zeros((1, 28, 28, 1), np.uint8))
    for kind in ("application/x-www-form-urlencoded", "application/octet-stream", None):
        headers = {"Content-Type": kind}
        answer = server.ask("POST", "/v2/models/lenet/infer", data=json.dumps(request), headers=headers)
        assert answer.status_code == 200, answer.text


def test_who_says_how_long_it_waits_is_answered_by_then(server):
    request = tensor(np.zeros((1, 28, 28, 1), np.uint8))
    headers = {"X-Envoy-Expected-Rq-Timeout-Ms": "1"}
    answer = server.ask("POST", "/v2/models/slow/infer", json=request, headers=headers)
    assert (answer.status_code, answer.json()) == (503, {"error": "the model 'slow' did not answer within 0.001 s"})
    for text in ("60000", "", "soon", "9" * 50):
        headers = {"X-Envoy-Expected-Rq-Timeout-Ms": text}
        assert server.ask("POST", "/v2/models/lenet/infer", json=request, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "path",
    ["/v2/models/stats", "/v2/models/lenet/stats", "/v2/models/lenet/versions/1/stats", "/v2/models/echoer/stats"],
)
def test_statistics_are_not_taken_for_a_model(server, path):
    answer = server.ask("GET", path)
    assert answer.status_code == 404
    assert "statistics" in answer.json()["error"]


def test_numbers_of_any_length_are_refused_in_words(server):
    digits = "9" * 5000
    request = '{"inputs": [{"name": "image", "shape": [%s], "datatype": "BYTES", "data": [%s]}]}'
    long = "9" * 4000
    for body in (request % (digits, '""'), request % ("1", digits), request % ("1", long), request % (long, "")):
        answer = server.ask("POST", "/v2/models/lenet/infer", data=body, headers={"Content-Type": "application/json"})
        assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_scores_are_those_of_classify(server, digit):
    file, pixels = digit
    classified = server.ask("POST", "/lenet/classify", files={"f": ("7.png", file)}).json()
    expected = {entry["label"]: entry["score"] for entry in classified["labels"]}
    in_base64 = {
        "inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(file).decode()]}]
    }
    as_network = (pixels / np.float32(255)).reshape(1, 28, 28, 1)
    floats = {"inputs": [{"name": "image", "shape": [1, 28, 28, 1], "datatype": "FP32", "data": as_network.tolist()}]}
    for request in (in_base64, tensor(pixels.reshape(1, 28, 28, 1)), floats):
        found = infer(server, "lenet", request)
        assert found["label"]["data"] == ["7"]
        for label, score in expected.items():
            assert abs(found["scores"]["data"][int(label)] - score) < 2e-5


def test_several_pictures_of_any_size_in_one_request(server):
    greys = np.stack([np.full((20, 30, 1), grey, np.uint8) for grey in (5, 99, 250)])
    found = infer(server, "echo", tensor(greys))
    assert [json.loads(text)["label"] for text in found["result"]["data"]] == ["5", "99", "250"]


def test_binary_tensors_go_both_ways(server, digit):
    file, _pixels = digit
    element = struct.pack("<I", len(file)) + file
    head = json.dumps(
        {
            "id": "a",
            "inputs": [
                {"name": "image", "shape": [1], "datatype": "BYTES", "parameters": {"binary_data_size": len(element)}}
            ],
            "outputs": [{"name": "scores", "parameters": {"binary_data": True}}, {"name": "label"}],
        }
    ).encode()
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    answer = server.ask("POST", "/v2/models/lenet/infer", data=head + element, headers=headers)
    size = int(answer.headers["Inference-Header-Content-Length"])
    scores, label = json.loads(answer.content[:size])["outputs"]
    assert scores["parameters"] == {"binary_data_size": 40}
    assert label["data"] == ["7"]
    assert np.frombuffer(answer.content[size:], "<f4").argmax() == 7


@pytest.mark.parametrize(
    ("model", "request_", "headers", "status", "words"),
    [
        ("lenet", tensor(np.zeros((17, 28, 28, 1), np.uint8)), {}, 400, "at most 16"),
        (
            "lenet",
            {"inputs": [{"name": "image", "shape": [1, 27, 28, 1], "datatype": "FP32", "data": [0] * 756}]},
            {},
            400,
            "28, 28, 1",
        ),
        (
            "echo",
            {"inputs": [{"name": "image", "shape": [1, 16, 16, 1], "datatype": "FP32", "data": [0] * 256}]},
            {},
            400,
            "UINT8",
        ),
        (
            "lenet",
            {"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["aGVsbG8="]}]},
            {},
            400,
            "no JPEG",
        ),
        ("lenet", tensor(np.zeros((1, 28, 28, 1), np.uint8)), {"Inference-Header-Content-Length": "x"}, 400, "number"),
        (
            "lenet",
            tensor(np.zeros((1, 28, 28, 1), np.uint8)),
            {"Inference-Header-Content-Length": "99999"},
            400,
            "bytes",
        ),
        (
            "lenet",
            tensor(np.zeros((1, 28, 28, 1), np.uint8)),
            {"Inference-Header-Content-Length": "9" * 5000},
            400,
            "number",
        ),
        ("lenet", tensor(np.zeros((1, 28, 28, 1), np.uint8)), {"Content-Type": "text/plain"}, 415, "text/plain"),
        (
            "lenet",
            {"inputs": [{"name": "picture", "shape": [1], "datatype": "BYTES", "data": [""]}]},
            {},
            400,
            "no input 'picture'; it is called 'image'",
        ),
        ("lenet", [], {}, 400, "inputs"),
        ("nothing", {}, {}, 404, "no model"),
        ("echoer", {}, {}, 404, "state"),
    ],
)
def test_wrong_requests_are_refused_in_words(server, model, request_, headers, status, words):
    headers = {"Content-Type": "application/json"} | headers
    answer = server.ask("POST", f"/v2/models/{model}/infer", data=json.dumps(request_), headers=headers)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert words in answer.json()["error"]


@needs_clients
@pytest.mark.parametrize("model", ["lenet", "xray-densenet"])
def test_tritonclient_works_unchanged(server, digit, model, tmp_path):
    file, pixels = digit
    if not (server.models / model / "model.toml").exists():
        pytest.skip(f"{model} is not here")
    channels = server.ask("GET", f"/v2/models/{model}").json()["inputs"][0]["shape"][3]
    (tmp_path / "7.png").write_bytes(file)
    np.save(tmp_path / "7.npy", np.repeat(pixels.reshape(1, 28, 28, 1), channels, axis=3))
    command = [
        CLIENTS / "python",
        ROOT / "tests/protocols/http/triton_client.py",
        f"127.0.0.1:{server.port}",
        "test_nn:lenet",
        model,
    ]
    done = subprocess.run(
        [*command, tmp_path / "7.png", tmp_path / "7.npy"], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["live"], found["ready"], found["model_ready"], found["id"]) == (True, True, True, "seven")
    expected = server.ask("POST", f"/{model}/classify", data=file, headers={"Content-Type": "image/png"}).json()
    for way in (found["files"], found["binary"], found["json"], *found["async"]):
        assert way["label"] == [expected["labels"][0]["label"]]
        assert abs(max(way["scores"][0]) - expected["labels"][0]["score"]) < 2e-5
    assert found["classes"][0].split(":")[2] == expected["labels"][0]["label"]
    assert found["unknown"][0] == "404"


@needs_clients
def test_schemathesis_finds_nothing(server, tmp_path):
    command = [
        CLIENTS / "st",
        "--config-file",
        ROOT / "tests/protocols/http/schemathesis.toml",
        "run",
        f"{server.url}/openapi.json",
    ]
    options = ["-a", "test_nn:lenet", "-n", "5", "--generation-deterministic", "--no-color"]
    which = [
        "--phases",
        "examples,coverage,fuzzing",
        "--exclude-path-regex",
        "(train|reload)$|^/login$|^/users/.|^/streams/events$",
    ]
    done = subprocess.run(
        [*command, *options, *which],
        capture_output=True,
        text=True,
        timeout=110,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stdout[-6000:]


def test_the_document_describes_every_operation(server):
    found = server.ask("GET", "/openapi.json").json()
    assert found["openapi"] == "3.1.0"
    for path in ("/list_nn", "/{name}/classify", "/{name}/train/status", "/v2/models/{name}/infer"):
        assert path in found["paths"]
    identities = [each["operationId"] for operations in found["paths"].values() for each in operations.values()]
    assert len(set(identities)) == len(identities)
    assert all(each["summary"] for operations in found["paths"].values() for each in operations.values())
    training = found["paths"]["/{name}/train"]
    assert ("deprecated" in training["post"], training["get"]["deprecated"]) == (False, True)
    assert training["post"]["parameters"][0]["schema"]["enum"] == ["lenet"]
    references = set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(found)))
    assert references == set(found["components"]["schemas"])


def test_the_page_needs_nothing_from_elsewhere(server):
    answer = server.ask("GET", "/docs")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert not re.search(r"@import|url\(|<style|style=|<script>", answer.text)
    links = re.findall(r'(?:href|src|action)="([^"]+)"', answer.text)
    assert not [link for link in links if re.match(r"/|\w+:", link)], "every link is relative"
    for path in server.ask("GET", "/openapi.json").json()["paths"]:
        assert f"<code>{path}</code>" in answer.text
