"""Whether what another server says of its model fits the manifest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.inference.worker.remote.other_side import MANIFEST, make_model

from imageserver.errors import ModelError
from imageserver.inference.shared import manifest as manifests
from imageserver.inference.worker.remote.messages import ModelForm, TensorForm
from imageserver.inference.worker.remote.negotiation import Agreement, agree

NCHW = MANIFEST.replace("[output]", 'layout = "nchw"\n[output]')
BYTES = MANIFEST.replace("range = [0, 1]", "range = [0, 255]")


def form(*inputs: tuple[str, str, list[int]], outputs: Any = (("scores", "FP32", [-1, 2]),)) -> ModelForm:
    made = [tuple(TensorForm(name, kind, tuple(shape)) for name, kind, shape in side) for side in (inputs, outputs)]
    return ModelForm(*made)


def agreed(folder: Path, found: ModelForm, manifest: str = MANIFEST, more: str = "") -> Agreement:
    return agree(manifests.read(make_model(folder / "far", "http://a", manifest=manifest, more=more)), found)


GOOD: list[tuple[ModelForm, str, Agreement]] = [
    (form(("x", "FP32", [-1, 8, 8, 1])), MANIFEST, Agreement("x", "FP32", ("scores",))),
    (form(("x", "FP16", [-1, 1, 8, 8])), NCHW, Agreement("x", "FP16", ("scores",))),
    (form(("x", "UINT8", [-1, -1, -1, 1])), BYTES, Agreement("x", "UINT8", ("scores",))),
    (form(("x", "FP32", [1, 8, 8, 1])), MANIFEST, Agreement("x", "FP32", ("scores",), single=True)),
    (form(("x", "FP32", [8, 8, 1])), MANIFEST, Agreement("x", "FP32", ("scores",), single=True, batched=False)),
    (
        form(("x", "FP32", [-1, 8, 8, 1]), outputs=(("a", "BYTES", [-1]), ("b", "FP32", [-1, 2]))),
        MANIFEST,
        Agreement("x", "FP32", ("b",)),
    ),
]


@pytest.mark.parametrize(("found", "manifest", "expected"), GOOD)
def test_what_fits(tmp_path: Path, found: ModelForm, manifest: str, expected: Agreement) -> None:
    assert agreed(tmp_path, found, manifest) == expected


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (form(("x", "FP32", [-1, 9, 8, 1])), r"takes 'x' as FP32 \[-1, 9, 8, 1\], and the manifest says \[8, 8, 1\]"),
        (form(("x", "FP32", [-1, 1, 8, 8])), "nhwc"),
        (form(("x", "FP32", [-1, 64])), "manifest says"),
        (form(("x", "FP32", [5, 8, 8, 1])), "exactly 5 pictures"),
        (form(("x", "UINT8", [-1, 8, 8, 1])), "whole numbers"),
        (form(("x", "BYTES", [-1])), 'send = "picture"'),
        (form(("x", "FP32", [-1, 8, 8, 1]), ("y", "FP32", [1])), "takes 2 inputs"),
        (form(("x", "FP32", [-1, 8, 8, 1]), outputs=(("s", "FP32", [-1, 3]),)), "gives 3 scores"),
        (form(("x", "FP32", [-1, 8, 8, 1]), outputs=(("s", "FP32", [-1]), ("t", "FP32", [-1]))), "output.name"),
        (form(), "nothing of its inputs"),
    ],
)
def test_what_does_not_fit_is_said(tmp_path: Path, found: ModelForm, sentence: str) -> None:
    with pytest.raises(ModelError, match=sentence):
        agreed(tmp_path, found)


def test_encoded_pictures(tmp_path: Path) -> None:
    more = 'send = "picture"'
    assert agreed(tmp_path, form(("x", "BYTES", [-1])), more=more) == Agreement("x", "BYTES", ("scores",))
    image_server = form(
        ("image", "UINT8", [-1, -1, -1, 3]), outputs=(("scores", "FP32", [-1, 2]), ("label", "BYTES", [-1]))
    )
    assert agreed(tmp_path, image_server, more=more) == Agreement("image", "BYTES", ("scores",))
    with pytest.raises(ModelError, match="no encoded pictures"):
        agreed(tmp_path, form(("x", "FP32", [-1, 8, 8, 1])), more=more)
    with pytest.raises(ModelError, match="no output 'scores'"):
        agreed(tmp_path, form(("x", "BYTES", [-1]), outputs=(("a", "FP32", [-1]), ("b", "FP32", [-1]))), more=more)
