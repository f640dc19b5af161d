"""Fuzzes every target for some minutes in all: `make fuzz MINUTES=30`. See README.md beside this.

    run.py --minutes 30 [--jobs 2] [--hypothesis] [TARGET …]
    run.py --repeat FILE [TARGET]

Each target has a process of its own. Where atheris has wheels it follows which lines an input reaches and keeps those
that reach new ones in build/fuzz/corpus, also for the next time; elsewhere Hypothesis looks for inputs. What finds
something is made as small as it can be, told with the way to repeat it, and kept in build/fuzz/found.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import os
import re
import subprocess
import sys
import time
import zlib
from pathlib import Path
from random import Random
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]
import bootstrap

bootstrap.provide_package()

BUILD = ROOT / "build" / "fuzz"
FOUND = 77
"""Exit code of a target's process that found something."""
SLOWER = 12.0
"""Times as long that code may take while atheris follows its lines."""
FOLLOWED = ("imageserver", "socketio", "h11")
"""Packages whose lines atheris follows."""
MEMORY_EACH = 256
"""Inputs of which one has its memory measured."""
HANGS = 180.0
"""Seconds beyond three times its own that a target may take, for its imports and a slow machine."""
GROWTH_SHARE = 0.2
"""Of the time, for what grows."""


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz every parser.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help="names; all without one")
    parser.add_argument("--minutes", type=float, default=10.0, help="for all targets together")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="targets at the same time")
    parser.add_argument("--hypothesis", action="store_true", help="do without atheris")
    parser.add_argument("--repeat", type=Path, metavar="FILE", help="run one input that found something")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.repeat is not None:
        return repeat(options.repeat, *options.targets[:1])
    if options.one is not None:
        return one(options.one, options.targets[0], options.seconds, atheris=not options.hypothesis)
    return every(options)


def every(options: argparse.Namespace) -> int:
    """Fuzz the chosen targets, several at a time, and print a line for each."""
    from tests.fuzz import table

    targets = table.all_targets()
    if unknown := set(options.targets) - targets.keys():
        sys.exit(f"there is no target {min(unknown)!r}; there are {', '.join(targets)}")
    chosen = options.targets or list(targets)
    jobs = min(options.jobs, len(chosen))
    seconds = options.minutes * 60 * jobs / len(chosen)
    print(f"{len(chosen)} targets, {seconds:.0f} s each, {jobs} at the same time", flush=True)
    with concurrent.futures.ThreadPoolExecutor(jobs) as threads:
        running = [threads.submit(in_process, targets[name][0], name, seconds, options.hypothesis) for name in chosen]
        clean = [done.result() for done in concurrent.futures.as_completed(running)]
    print("nothing was found" if all(clean) else f"{clean.count(False)} targets found something", flush=True)
    return 0 if all(clean) else 1


def in_process(file: Path, name: str, seconds: float, hypothesis: bool) -> bool:
    """Fuzz one target in a process of its own; whether it found nothing."""
    command = [sys.executable, __file__, name, "--one", str(file), "--seconds", str(seconds)]
    command += ["--hypothesis"] if hypothesis else []
    log = BUILD / "log" / f"{name}.txt"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        try:
            code = process.wait(3 * seconds + HANGS)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
            said.write(b"\nFOUND that it hangs: py-spy dump shows where, with --jobs 1\n")
    text = log.read_text(errors="replace")
    print(f"{name}: {figures(text)}{'' if code == 0 else '; FOUND SOMETHING'}", flush=True)
    if code:
        told = text.partition("FOUND ")[2].partition("\n==")[0]
        print("    " + (told or text[-3000:]).replace("\n", "\n    "), flush=True)
    return code == 0


def figures(text: str) -> str:
    """What libFuzzer, or `one` in its place, said at the end: how much was run, and how many places were reached."""
    runs = re.findall(r"stat::number_of_executed_units: *(\d+)", text)
    reached = re.findall(r"cov: (\d+) ft: (\d+) corp: (\d+)", text)
    patterns = re.findall(r"^(\d+) patterns", text, re.MULTILINE)
    parts = [f"{int(runs[-1]):,} inputs" if runs else "ended early"]
    parts += [f"{reached[-1][0]} places reached, corpus of {reached[-1][2]}"] if reached else []
    parts += [f"{patterns[-1]} patterns of growth"] if patterns else []
    return ", ".join(parts)


def one(file: Path, name: str, seconds: float, *, atheris: bool) -> int:
    """Fuzz one target in this process. Does not return where atheris does it."""
    engine = None
    if atheris:
        try:
            import atheris as engine
        except ImportError:
            print("there is no atheris for this Python: Hypothesis takes its place")
    grow(target_in(file, name), seconds * GROWTH_SHARE)
    seconds *= 1 - GROWTH_SHARE
    if tpool := sys.modules.get("eventlet.tpool"):
        tpool.killall()  # its threads tell the hub of the modules that go now
    if engine is None:
        return with_hypothesis(target_in(file, name), seconds)
    for module in [module for module in sys.modules if module.partition(".")[0] in {"tests", *FOLLOWED}]:
        if module != "imageserver":  # which bootstrap.py has made
            del sys.modules[module]  # they were imported to be timed, without instruments
    with engine.instrument_imports(include=list(FOLLOWED)):
        target = target_in(file, name)
    return with_atheris(engine, target, seconds)


def target_in(file: Path, name: str) -> Any:
    """The target of that name, with nothing imported but its file."""
    from tests.fuzz import table

    return next(target for target in table.targets_in(file) if target.name == name)


def grow(target: Any, seconds: float) -> None:
    """Let patterns grow to the parser's limit, in an order of chance."""
    from tests.fuzz import growth

    patterns = list(growth.patterns(target))
    Random().shuffle(patterns)
    end, count = time.monotonic() + seconds, 0
    for pattern in patterns:
        if time.monotonic() >= end:
            break
        count += 1
        try:
            growth.check_growth(target, pattern, target.longest)
        except Exception as error:  # noqa: BLE001 - whatever a parser lets through is what is looked for
            tell(target, pattern.of(target.longest), error)
    print(f"{count} patterns", flush=True)


def with_atheris(atheris: Any, target: Any, seconds: float) -> int:
    """Fuzz with libFuzzer, guided by the lines that inputs reach; ends the process."""
    from tests.fuzz import table
    from tests.fuzz.mutate import some_input
    from tests.fuzz.target import check, check_memory

    corpus, seeds = BUILD / "corpus" / target.name, BUILD / "seeds" / target.name
    for folder in (corpus, seeds):
        folder.mkdir(parents=True, exist_ok=True)
    inputs = [*target.seeds, *table.kept(target)]
    for seed in inputs:
        (seeds / name_of(seed)).write_bytes(seed)
    count = 0

    def run(data: bytes) -> None:
        nonlocal count
        count += 1
        try:
            check(target, data, SLOWER)
            if count % MEMORY_EACH == 0:
                check_memory(target, data)
        except Exception as error:  # noqa: BLE001 - as in `grow`
            tell(target, smallest(target, data, error), error)

    def mutate(data: bytes, most: int, seed: int) -> bytes:
        random = Random(seed)
        if data and random.random() < 0.4:
            return atheris.Mutate(data, most)
        return some_input(target, random, [*inputs, data])[:most]

    options = [f"-max_total_time={max(1, int(seconds))}", "-timeout=60", "-rss_limit_mb=2048", "-print_final_stats=1"]
    options += [f"-max_len={min(target.longest, 4096)}", f"-artifact_prefix={BUILD}/{target.name}-", "-verbosity=1"]
    atheris.Setup([sys.argv[0], str(corpus), str(seeds), *options], run, custom_mutator=mutate)
    atheris.Fuzz()
    return 0


def with_hypothesis(target: Any, seconds: float) -> int:
    """Fuzz with Hypothesis, until the time is over."""
    import hypothesis
    from hypothesis import strategies
    from tests.fuzz import table
    from tests.fuzz.mutate import some_input
    from tests.fuzz.target import check, check_memory

    inputs = [*target.seeds, *table.kept(target)]
    chosen = strategies.randoms(use_true_random=False).map(lambda random: some_input(target, random, inputs))
    count, end = 0, time.monotonic() + seconds

    @hypothesis.settings(
        max_examples=500, deadline=None, database=None, suppress_health_check=list(hypothesis.HealthCheck),
        phases=[hypothesis.Phase.generate], report_multiple_bugs=False,
    )  # fmt: skip
    @hypothesis.given(strategies.one_of(strategies.binary(max_size=300), chosen))
    def run(data: bytes) -> None:
        nonlocal count
        count += 1
        try:
            check(target, data)
            if count % MEMORY_EACH == 0:
                check_memory(target, data)
        except Exception as error:  # noqa: BLE001 - as in `grow`
            tell(target, smallest(target, data, error), error)

    while time.monotonic() < end:
        run()
    print(f"stat::number_of_executed_units: {count}")
    return 0


def smallest(target: Any, data: bytes, error: Exception) -> bytes:
    """`data` without what is not needed to find the same, tried for ten seconds at most."""

    def fails(candidate: bytes) -> bool:
        try:
            target.run(candidate)
        except Exception as other:  # noqa: BLE001 - as in `grow`
            return place_of(other) == place_of(error)
        return False

    end = time.monotonic() + 10
    size = len(data) // 2
    while size and fails(data):
        at = 0
        while at < len(data) and time.monotonic() < end:
            candidate = data[:at] + data[at + size :]
            if fails(candidate):
                data = candidate
            else:
                at += size
        size //= 2
    return data


def place_of(error: Exception) -> tuple[str, int]:
    """Where an error was raised."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return (type(error).__name__, trace.tb_lineno if trace is not None else 0)


def tell(target: Any, data: bytes, error: Exception) -> None:
    """Keep an input that found something, say what, and end the process."""
    import traceback

    folder = BUILD / "found" / target.name
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name_of(data)
    path.write_bytes(data)
    shown = path.relative_to(ROOT)
    print(f"FOUND {shown}: {len(data)} bytes, {data[:200]!r}")
    print("".join(traceback.format_exception(error)[-12:]))
    print(f"to repeat it: .venv/bin/python tests/fuzz/run.py --repeat {shown}")
    print(
        f"to keep it once it is mended: cp {shown} tests/fuzz/corpus/{target.name}/a-name-that-says-what\n==",
        flush=True,
    )
    os._exit(FOUND)


def repeat(path: Path, name: str = "") -> int:
    """Run an input again; of the target that its folder is called."""
    from tests.fuzz import table
    from tests.fuzz.target import check, check_memory

    _, target = table.all_targets()[name or path.resolve().parent.name]
    check(target, path.read_bytes())
    check_memory(target, path.read_bytes())
    print("it finds nothing")
    return 0


def name_of(data: bytes) -> str:
    return f"{len(data)}-{zlib.crc32(data):08x}"


if __name__ == "__main__":
    sys.exit(main())
