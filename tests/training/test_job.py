"""What the training job says of data that it cannot read: clients read it, so it names the setting and no path."""

import argparse
import errno
import os

import pytest

from imageserver.errors import TrainingError
from imageserver.training import job


@pytest.mark.parametrize(
    ("pictures", "mnist", "sentence"),
    [
        (
            "absent",
            None,
            "the folder of labelled pictures named by --training-data cannot be read: No such file or directory",
        ),
        (None, "absent.npz", "the file absent.npz named by --mnist is not there"),
        (None, "broken.npz", "broken.npz is no .npz file with x_train, y_train, x_test and y_test"),
    ],
)
def test_data_that_cannot_be_read(tmp_path, pictures, mnist, sentence):
    (tmp_path / "broken.npz").write_bytes(b"PK no archive")
    options = argparse.Namespace(
        pictures=pictures and tmp_path / pictures, mnist=mnist and tmp_path / mnist, most_pictures=9
    )
    with pytest.raises(TrainingError) as caught:
        job.read_data(options)
    assert str(caught.value).startswith(sentence)
    assert str(tmp_path) not in str(caught.value)


def test_what_ends_a_training_is_told_in_a_line_without_a_path(tmp_path):
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "weights.npz"))
    assert job.reason(full) == "a file could not be read or written (No space left on device)"
    assert job.reason(MemoryError()) == "it took more memory than --worker-memory allows"
    assert job.reason(TrainingError("too\nfew")) == "too few"
