"""Names src/ `imageserver` for all tests, as bootstrap.py does for what is started as a file; decides on their order.

With several workers (`make test`, `make test-long`) the files are what is handed out: those with fast tests alone
first, then the longest, and at the end those with a test marked `alone`, beside which no other test runs.
"""

from __future__ import annotations

import compileall
import contextlib
import fcntl
import gc
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))
import bootstrap

bootstrap.provide_package()

# Hundreds of processes import the package: none is to compile it, as each would whose jail cannot write here, or whose
# shell says PYTHONDONTWRITEBYTECODE.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
if "PYTEST_XDIST_WORKER" not in os.environ:
    compileall.compile_dir(ROOT / "src", quiet=2)

# What is imported and collected stays to the end, and makes a third of the garbage collector's work while it comes.
gc.disable()

from tests import large_sends, running, selection
from tests.pages import covered
from tests.prepared import Prepared

LONGEST = (
    "transport/test_churn.py",
    "protocols/http/test_training.py",
    "inference/test_add_model.py",
    "protocols/http/test_v2.py",
    "docs/test_commands.py",
    "accounts/test_every_door.py",
    "pages/test_camera.py",
    "pages/test_live_page.py",
    "pages/test_every_page.py",
    "inference/server/test_engine.py",
    "clients/test_sentences.py",
    "test_wheel.py",
    "test_doors.py",
    "clients/test_matrix.py",
    "app/test_server.py",
    "inference/convert/test_convert.py",
    "pages/test_live.py",
    "conformance/test_engineio.py",
    "protocols/snap/test_snap.py",
    "transport/http/test_http.py",
    "transport/http/test_table.py",
    "inference/server/test_jail.py",
    "inference/server/test_stateful.py",
    "protocols/test_sessions.py",
    "pages/test_docs.py",
    "clients/test_camera.py",
    "pages/test_linked.py",
    "streams/test_session_memory.py",
    "fuzz/test_fuzz.py",
    "inference/worker/test_ensemble.py",
    "inference/server/test_costly.py",
    "protocols/legacy_tcp/test_server.py",
    "app/test_takeover.py",
    "accounts/test_every_event.py",
    "training/xray/test_xray_training.py",
)
"""Files that take longest, the longest first: begun late, one would keep all others waiting for its end."""

STARTS_A_PROCESS = ("subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system")
"""Names of audit events."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what is slow, and put the files into the order in which they are handed out."""
    for item in items:
        if selection.is_slow(item.path, item.nodeid.split("::")[1].partition("[")[0]):
            item.add_marker(pytest.mark.slow)
    quick = "not long" in config.option.markexpr
    order: dict[Path, int] = {}
    for item in items:
        if not (quick and item.get_closest_marker("long")):
            order[item.path] = max(order.get(item.path, 0), _rank(item))
    items.sort(key=lambda item: order.get(item.path, 0))


def _rank(item: pytest.Item) -> int:
    """The higher, the later its file has its turn."""
    name = str(item.path.relative_to(selection.TESTS))
    if item.get_closest_marker("alone"):
        return len(LONGEST) + 2
    if name in LONGEST:
        return LONGEST.index(name) + 1
    return len(LONGEST) + 1 if item.get_closest_marker("slow") else 0


def pytest_collection_finish() -> None:
    """From now on garbage is looked for, though not among the hundred thousands of objects that are no garbage."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two more than processors, since tests wait more than they compute."""
    return min(2 + (os.cpu_count() or 1), 8)


@pytest.hookimpl(tryfirst=True, wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Wait for the test's turn. Before pytest-timeout's clock begins: this wraps it."""
    _running.append(item)
    try:
        with _turn(item.get_closest_marker("alone") is not None):
            return (yield)
    finally:
        _running.pop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    """What a test lets this process ignore, all programs ignore that later tests start here: Ctrl-C above all."""
    yield
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        pytest.fail(f"{item.nodeid} has left SIGINT ignored: monkeypatch what ignores it")


@contextlib.contextmanager
def _turn(alone: bool) -> Iterator[None]:
    """Beside the tests of other workers, or alone. Who waits to be alone holds the gate, so that nobody comes past."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        yield
        return
    (ROOT / "build").mkdir(exist_ok=True)
    with open(ROOT / "build/tests.lock", "w") as lock:
        with open(ROOT / "build/tests-gate.lock", "w") as gate:
            fcntl.flock(gate, fcntl.LOCK_EX)
            fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        yield


_running: list[pytest.Item] = []


def pytest_configure(config: pytest.Config) -> None:
    """Watch servers' loops, what pages run, and that no test starts a process unless it is marked as slow."""
    config.pluginmanager.register(large_sends.LargeSends(), "large-sends")
    signal.signal(signal.SIGINT, signal.default_int_handler)  # also where a shell began this behind an `&`
    if "not long" in config.option.markexpr:
        running.prepared = prepared = Prepared()
        config.add_cleanup(prepared.close)
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(covered.EveryFunction(), "every-function")
    sys.addaudithook(_refuse_processes)


def _refuse_processes(event: str, _arguments: tuple[object, ...]) -> None:
    if _running and event in STARTS_A_PROCESS and not any(map(_running[-1].get_closest_marker, ("slow", "long"))):
        pytest.fail(f"{_running[-1].nodeid} starts a process, which tests/selection.py did not see: mark it slow")
