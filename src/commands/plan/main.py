"""Plans machines for cameras: what was measured or given, the arithmetic with it, and how that is shown."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import json
import os
import sys
from pathlib import Path
from typing import Any

from imageserver.commands.plan import arithmetic, figures, measuring
from imageserver.commands.plan.arithmetic import Demand, Headroom, Machine, Plan
from imageserver.commands.plan.figures import FrontEndCost, Known, ModelCost
from imageserver.commands.plan.options import parser
from imageserver.config import reading
from imageserver.errors import ImageServerError, SettingError
from imageserver.inference.shared.registry import Registry
from imageserver.lines import printable

_FRONT = {"processor_ms": "front_ms", "memory_mb": "front_memory", "camera_kb": "camera_memory",
          "answer_bytes": "answer_bytes"}  # fmt: skip
_MODEL = {"processor_ms": "model_ms", "memory_mb": "model_memory", "pictures": "model_pictures"}
"""Fields of the figures, and the options that are given in their place."""


def main() -> int:
    """Exit code 0: there is a plan; 1: it could not be measured; 2: a sentence says what is wrong or lacks."""
    known = parser()
    given = known.parse_args()
    try:
        kept = figures.read(given.figures)
        if given.measure:
            _measure(kept, given)
            figures.write(given.figures, kept)
        front, model = _front_end(kept, given), _model(kept, given)
        machine, demand = _machine(given), Demand(given.cameras, given.hz, given.size, given.model)
        made = arithmetic.plan(demand, front, model, machine, Headroom(given.utilisation / 100, given.spare))
    except ImageServerError as error:
        print("\n".join(f"{known.prog}: {sentence}" for sentence in str(error).splitlines()), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    shown = _json(made, demand, machine, front, model) if given.json else _text(made, demand, machine, front, model)
    print(printable(shown) if given.json else "\n".join(map(printable, shown.splitlines())))
    return 0


def _measure(kept: Known, given: argparse.Namespace) -> None:
    """Measure what the plan needs, and put it among what is kept. ImageServerError."""
    options = [f"--models={given.models}"] if given.models else []
    settings = reading.read(options, os.environ)
    registry = Registry(settings.models, settings.data / "models")
    registry.scan()
    manifest = registry.manifests.get(given.model)
    if manifest is None:
        raise SettingError(
            registry.errors.get(given.model)
            or f"there is no model {given.model!r} to be measured in {settings.models}: add it (imageserver model "
            "add), name another folder with --models, or give --model-ms and --model-memory"
        )
    if manifest.stateful:
        raise SettingError(
            f"{given.model!r} keeps state for a session, and has a worker of its own: a plan is of models that answer "
            "each picture by itself"
        )
    when = f"{datetime.date.today().isoformat()} on {machine_name()}"  # noqa: DTZ011 - a day here
    _say(f"Measuring {given.model}: for {given.seconds:g} s at each size of batches …")
    kept.models[given.model] = measuring.model(manifest.folder, given.picture, given.seconds, when)
    _say(f"Measuring a front end, with frames of {given.size:,} bytes: about {5 * given.seconds + 10:.0f} s …")
    kept.front_ends[given.size] = measuring.front_end(given.size, given.seconds, when)


def machine_name() -> str:
    """This machine's processors, as the kernel calls them."""
    name = "a machine"
    for line in Path("/proc/cpuinfo").read_text(errors="replace").splitlines():
        key, _colon, value = line.partition(":")
        if key.strip() in ("model name", "Model"):
            name = " ".join(value.split())[:80]
            break
    return f"{name}, {os.cpu_count()} processors"


def _front_end(kept: Known, given: argparse.Namespace) -> FrontEndCost:
    """Measured or given. SettingError says how to come by what lacks."""
    known = kept.front_end(given.size)
    if known is None and (given.front_ms is None or given.front_memory is None):
        smaller = f" (but of {max(kept.front_ends):,}, which is less)" if kept.front_ends else ""
        raise SettingError(
            f"there are no figures of a front end at frames of {given.size:,} bytes in {given.figures}{smaller}: "
            "measure it here with --measure, or give --front-ms and --front-memory"
        )
    if known is None:
        known = FrontEndCost(0, 0, 30.0, 300.0, 0, "30 KB a camera and 300 bytes an answer assumed")
    return dataclasses.replace(known, **_instead(_FRONT, given, known.measured))


def _model(kept: Known, given: argparse.Namespace) -> ModelCost:
    """The same of the model."""
    known = kept.models.get(given.model)
    needed = ["model_ms", "model_memory", *(["model_pictures"] if given.accelerator else [])]
    lacking = [f"--{name.replace('_', '-')}" for name in needed if getattr(given, name) is None]
    if known is None and lacking:
        have = f" (of {', '.join(sorted(kept.models))} there are)" if kept.models else ""
        raise SettingError(
            f"there are no figures of the model {given.model!r} in {given.figures}{have}: measure it with --measure "
            f"on a machine that has it, or give {' and '.join(lacking)}"
        )
    known = known or ModelCost(0, 0, 0, 1, "")
    return dataclasses.replace(known, **_instead(_MODEL, given, known.measured))


def _instead(options: dict[str, str], given: argparse.Namespace, measured: str) -> dict[str, Any]:
    """The fields that were given, with what says so."""
    found = {field: getattr(given, option) for field, option in options.items() if getattr(given, option) is not None}
    if found:
        names = ", ".join(f"--{options[field].replace('_', '-')}" for field in found)
        found["measured"] = f"{names} as given{'; else ' if measured else ''}{measured}"
    return found


def _machine(given: argparse.Namespace) -> Machine:
    memory = given.memory or os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    processors = given.processors or os.cpu_count() or 1
    return Machine(processors, memory, given.network * 1e9, given.max_connections, given.accelerator)


def _json(made: Plan, demand: Demand, machine: Machine, front: FrontEndCost, model: ModelCost) -> str:
    said = dataclasses.asdict(made)
    said["demand"], said["machine"] = dataclasses.asdict(demand), dataclasses.asdict(machine)
    said["front_end"], said["model"] = dataclasses.asdict(front), dataclasses.asdict(model)
    return json.dumps(said)


def _text(made: Plan, demand: Demand, machine: Machine, front: FrontEndCost, model: ModelCost) -> str:
    spare = made.machines - made.needed
    rows = [
        (line.name, f"{arithmetic.short(line.value)} {line.unit}".rstrip(), line.formula) for line in made.lines
    ]  # fmt: skip
    wide = [max(len(row[column]) for row in rows) for column in (0, 1)]
    batch = f" ({model.batch} at a time)" if model.batch > 1 else ""
    return "\n".join(
        [
            f"{demand.cameras:,} cameras, {demand.hz:g} frames a second each, {demand.size:,} bytes a frame, model "
            f"{demand.model}: {made.machines:,} machines, {spare} of them to spare; "
            f"{made.decided_by} decide{'' if made.decided_by.endswith('s') else 's'}.",
            "",
            *(f"{name:{wide[0]}}  {value:{wide[1]}}  {formula}" for name, value, formula in rows),
            "",
            f"A machine: {machine.processors} processors, {machine.memory / 1e9:.1f} GB, {machine.network / 1e9:g} "
            "Gbit/s each way.",
            f"Front end: {front.processor_ms:g} ms a frame, {front.memory_mb:g} MB, {front.camera_kb:g} KB a camera, "
            f"answers of {front.answer_bytes:g} bytes: {front.measured}.",
            f"Model: {model.processor_ms:g} ms a picture{batch}, {model.memory_mb:g} MB a process: {model.measured}.",
        ]
    )


def _say(sentence: str) -> None:
    print(printable(sentence), file=sys.stderr, flush=True)
