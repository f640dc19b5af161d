"""src/training_set.py as a command: what goes wrong is said in a sentence."""

import cv2
import numpy as np
import pytest

from imageserver.training import training_set
from imageserver.training.lenet.strokes import draw


@pytest.fixture
def pictures(tmp_path):
    """Ten pictures of each digit."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(100):
        ink = draw(seed % 10, 40, np.random.default_rng(seed))
        cv2.imwrite(str(folder / f"{seed % 10}_{seed}.png"), (235 - 200 * ink).astype(np.uint8))
    return folder


def test_a_folder_that_is_not_there(tmp_path, capsys):
    absent = str(tmp_path / "absent")
    assert training_set.main([absent]) == 2
    assert capsys.readouterr().err == (
        f"training_set.py: {absent} cannot be read: No such file or directory; "
        "give a folder with files such as 7_81491.jpg\n"
    )


@pytest.mark.parametrize("output", ["absent/digits.npz", "pictures"])
def test_a_file_that_cannot_be_written(pictures, tmp_path, capsys, output):
    assert training_set.main([str(pictures), "-o", str(tmp_path / output)]) == 2
    assert f"{tmp_path / output} cannot be written: " in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["pictures"]
