"""What a model costs, measured without a server."""

import json
from pathlib import Path

import pytest
from tests.generators.watching import MODELS

from imageserver.inference import bench_model


def test_each_size_of_batches_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_model.main([str(MODELS / "lenet"), "--seconds", "0.01", "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["batch"] for row in rows] == [1, 2, 4, 8, 16]
    for row in rows:
        assert row["model"] == "lenet"
        assert row["runs"] >= bench_model.LEAST_RUNS
        assert 0 < row["median"] <= row["slow"]
        assert row["decoding"] > 0 < row["pictures"]


def test_of_a_model_with_state_a_frame_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_model.main(["mock_fast", "--seconds", "0.01"]) == 0
    first, head, row = capsys.readouterr().out.splitlines()
    assert first.startswith("mock_fast: loaded in ") and "; decoding astronaut.jpg: " in first
    assert head == "pictures at a time   ms median   ms p99   pictures a second"
    assert row.split()[0] == "1"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["lenett"], "'lenett' is no folder and none of the server's models: blink, "),
        (["lenet", "--picture", "nowhere.png"], "there is no picture 'nowhere.png': name one with --picture"),
        (["lenet", "--picture", __file__], "the picture cannot be used: "),
    ],
)
def test_what_cannot_be_measured_is_told_in_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench_model.main(arguments) == 1
    assert sentence in capsys.readouterr().err


def test_the_picture_is_there() -> None:
    assert Path(bench_model.PICTURE).is_file()
