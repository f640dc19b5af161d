"""Whether what an endpoint takes and gives fits the manifest, and how it is to be asked then. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from imageserver.errors import ModelError
from imageserver.inference.shared.elsewhere.open_inference import PICTURE
from imageserver.inference.shared.manifest import Manifest
from imageserver.inference.worker.remote.messages import NUMBERS, TEXTS, ModelForm, TensorForm

LEAST_RANGE = 8
"""Of values that are rounded to whole numbers: less would be left of a picture than anybody means."""
SCORES, RESULT = "scores", "result"
"""Outputs of another ImageServer."""


@dataclass(frozen=True)
class Agreement:
    """How a model is asked.

    Args:
        input: the name of its input.
        datatype: of that.
        outputs: the names of those that are read, in order; empty: all that come.
        single: it takes one picture at a time.
        batched: its tensors have a side for the batch.
        column: BYTES go as [n, 1] and not as [n].
    """

    input: str
    datatype: str
    outputs: tuple[str, ...]
    single: bool = False
    batched: bool = True
    column: bool = False


def agree(manifest: Manifest, form: ModelForm) -> Agreement:
    """ModelError: a sentence on what does not fit, which goes on behind the endpoint's address."""
    wanted = _input(manifest, form)
    if manifest.runtime.remote is not None and manifest.runtime.remote.send == PICTURE:
        return _pictures(manifest, form, wanted)
    return _tensors(manifest, form, wanted)


def _input(manifest: Manifest, form: ModelForm) -> TensorForm:
    names = [each.name for each in form.inputs]
    name = manifest.input.name or (names[0] if len(names) == 1 else "")
    if not names and name:  # it says nothing of itself: the manifest does
        return TensorForm(name, TEXTS if _sends_pictures(manifest) else "FP32", ())
    if len(names) > 1:
        raise ModelError(f"takes {len(names)} inputs ({', '.join(names)[:200]}), and one alone can be a picture")
    if name not in names:
        there = f"its input is called {names[0]!r}" if names else "it says nothing of its inputs"
        raise ModelError(f"has no input {name!r}: {there}; see input.name")
    return form.inputs[names.index(name)]


def _sends_pictures(manifest: Manifest) -> bool:
    return manifest.runtime.remote is not None and manifest.runtime.remote.send == PICTURE


def _pictures(manifest: Manifest, form: ModelForm, wanted: TensorForm) -> Agreement:
    of_pixels = wanted.datatype == "UINT8" and len(wanted.shape) == 4 and wanted.shape[1:3] == (-1, -1)
    if wanted.datatype != TEXTS and not of_pixels:
        raise ModelError(f"takes {_shown(wanted)}, and no encoded pictures: leave runtime.send out")
    usual = SCORES if manifest.kind == "classification" else RESULT
    names = [each.name for each in form.outputs]
    name = manifest.output.name or (names[0] if len(names) == 1 else usual)
    if names and name not in names:
        raise ModelError(f"gives no output {name!r}, only {', '.join(names)[:200]}; see output.name")
    _check_labels(manifest, next((each for each in form.outputs if each.name == name), None))
    return Agreement(wanted.name, TEXTS, (name,), column=len(wanted.shape) == 2)


def _tensors(manifest: Manifest, form: ModelForm, wanted: TensorForm) -> Agreement:
    if wanted.datatype not in NUMBERS or wanted.datatype == "BOOL":
        raise ModelError(f'takes {_shown(wanted)}: with runtime.send = "picture" it is sent encoded pictures')
    given = manifest.input
    expected = (given.height, given.width, given.channels)
    if given.layout == "nchw":
        expected = (given.channels, given.height, given.width)
    batched = len(wanted.shape) != 3
    sides = wanted.shape[1:] if batched else wanted.shape
    fits = len(sides) == 3 and all(side in (-1, want) for side, want in zip(sides, expected, strict=True))
    if wanted.shape and not fits:
        raise ModelError(
            f"takes {_shown(wanted)}, and the manifest says {list(expected)} for a picture ({given.layout}): "
            "see input.width, height, channels and layout"
        )
    low, high = given.range
    if not wanted.datatype.startswith("FP") and (high - low) / max(given.std or (1.0,)) < LEAST_RANGE:
        raise ModelError(f"takes {_shown(wanted)}, whole numbers, and input.range says {[low, high]}")
    first = wanted.shape[0] if wanted.shape and batched else -1
    if first not in (-1, 1):
        raise ModelError(f"takes exactly {first} pictures at once: serve it there with a free size of batches")
    numbers = [each for each in form.outputs if each.datatype in NUMBERS]
    if manifest.output.detection is None:
        numbers = _one(manifest, form, numbers)
        _check_labels(manifest, numbers[0] if numbers else None)
    names = tuple(each.name for each in numbers)
    return Agreement(wanted.name, wanted.datatype, names, single=first == 1 or not batched, batched=batched)


def _one(manifest: Manifest, form: ModelForm, numbers: list[TensorForm]) -> list[TensorForm]:
    """The output of a network that is no detector."""
    name = manifest.output.name or (numbers[0].name if len(numbers) == 1 else "")
    found = [each for each in numbers if each.name == name]
    if form.outputs and not found:
        names = ", ".join(each.name for each in form.outputs)[:200]
        raise ModelError(f"gives {names}: which of them holds the answer is output.name, and it must be of numbers")
    return found or ([TensorForm(name, "FP32", ())] if name else [])


def _check_labels(manifest: Manifest, output: TensorForm | None) -> None:
    labels = len(manifest.output.labels)
    if manifest.kind != "classification" or output is None or len(output.shape) != 2 or not labels:
        return
    columns = output.shape[1]
    if columns not in (-1, labels) and (columns, labels) != (1, 2):
        raise ModelError(f"gives {columns} scores as {output.name!r}, and the manifest has {labels} labels")


def _shown(form: TensorForm) -> str:
    return f"{form.name!r} as {form.datatype} {list(form.shape)}"
