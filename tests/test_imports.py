"""Who may import whom: the arrows of docs/architecture.md, read from the source of every module.

Imports inside functions count like those at the top: a lazy import crosses the process wall as well as any.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
LOOP = {"eventlet", "engineio", "socketio", "greenlet"}
RUNTIMES = {"tensorflow", "keras", "openvino", "cv2"}
PROTOCOLS = {"camstream", "sessions", "legacy_tcp", "rest", "snap"}
"""Each may grow further modules that begin with its name: `rest_openapi`, or a package."""


def name_of(path):
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(SRC.rglob("*.py"))}
MODULES.pop("", None)


def imports_of(path):
    """Every name that a file imports, `from a import b` as both `a` and `a.b`, those for type checking alone as well.

    The package's own are named from src/ on: `imageserver.config.table` is `config.table`.
    """
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import; write it from imageserver on"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name.removeprefix("imageserver.") for name in found}


IMPORTS = {name: imports_of(path) for name, path in MODULES.items()}
OURS = {name: {target for target in targets if target in MODULES} for name, targets in IMPORTS.items()}
OUR_ROOTS = {target.split(".")[0] for target in MODULES}
FOREIGN = {name: {target.split(".")[0] for target in targets} - OUR_ROOTS for name, targets in IMPORTS.items()}


def reached_from(*starts):
    """The modules that importing `starts` may bring in, each with the way to it."""
    ways = {start: (start,) for start in starts if start in MODULES}
    queue = list(ways)
    while queue:
        name = queue.pop()
        for target in OURS[name]:
            if target not in ways:
                ways[target] = (*ways[name], target)
                queue.append(target)
    return ways


def leaves():
    """The modules that docs/architecture.md lets both sides import."""
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    paragraph = re.search(r"Leaves that either side may import: (.*?)\. `tests", text, re.DOTALL)
    return set(re.findall(r"`([a-z_.]+)`", paragraph[1]))


def protocol_of(name):
    return next((protocol for protocol in PROTOCOLS if name.split(".")[0] == protocol or name.startswith(protocol + "_")), None)


@pytest.mark.parametrize("name", MODULES)
def test_only_transport_knows_the_loop(name):
    if not name.startswith("transport"):
        assert not FOREIGN[name] & LOOP, f"{name} imports {FOREIGN[name] & LOOP}: use transport.hub"


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("transport")])
def test_transport_stands_alone(name):
    outside = {target for target in OURS[name] if not target.startswith("transport")} - {"errors", "metrics", "addresses"}
    assert not outside, f"{name} imports {outside}, which stand above or beside it"


def test_no_runtime_in_the_server_process():
    for name, way in reached_from("ImageServer").items():
        assert not FOREIGN[name] & RUNTIMES, f"the server process would load {FOREIGN[name] & RUNTIMES} by {' → '.join(way)}"


def test_below_the_wall_nothing_from_above():
    server = reached_from("ImageServer")
    for name, way in reached_from("inference.worker").items():
        assert name not in server or name in leaves() or name == "inference", (
            f"{' → '.join(way)} crosses the wall, since the server imports {' → '.join(server[name])}; "
            "it is none of the leaves that docs/architecture.md names"
        )
        assert not FOREIGN[name] & LOOP


@pytest.mark.parametrize("name", [name for name in MODULES if protocol_of(name)])
def test_protocols_do_not_know_each_other(name):
    others = {target for target in OURS[name] if protocol_of(target) not in (None, protocol_of(name))}
    assert not others, f"{name} imports {others}"


@pytest.mark.parametrize("name", [name for name in MODULES if protocol_of(name)])
def test_protocols_know_nothing_below_streams(name):
    # Training is no stream: rest.py starts and watches jobs of inference.training itself.
    allowed = leaves() | {"inference", "inference.training"}
    below = {target for target in OURS[name] if target.startswith("inference") and target not in allowed}
    assert not below, f"{name} imports {below}: streams.py stands between"


def test_the_hall_knows_no_protocol_and_the_engine_nothing_above_itself():
    above = {name for name in MODULES if protocol_of(name)} | {"events", "display", "ImageServer"}
    above |= {name for name in MODULES if name.startswith("dashboard")}
    assert not set(reached_from("streams")) & above
    engine = reached_from("inference.engine")
    assert not set(engine) & (above | {"streams"})
    assert not [name for name in engine if name.startswith("transport.") and name != "transport.hub"]


@pytest.mark.parametrize("name", ["errors", "metrics", "addresses", "bootstrap", "setting_kinds", "setting_sources", "settings", "userdb"])
def test_what_everything_stands_on(name):
    assert not [target for target in reached_from(name) if target.startswith(("transport", "inference", "streams"))]


def test_pure_modules_have_no_sockets():
    pure = {"inference.wire", "inference.batching", "inference.pictures"}
    pure |= {name for name in MODULES if name.endswith(("_v3", "_v4", "_packet", "_frames", "_machine"))}
    for name in pure & set(MODULES):
        assert not FOREIGN[name] & {"socket", "select", "asyncio", "threading", *LOOP}, name


IMPORT_ALL = """
import importlib, select, socket, ssl, sys, threading, time, warnings
warnings.simplefilter("ignore")
def primitives():
    return [socket.socket, socket.create_connection, socket.getaddrinfo, ssl.SSLSocket, select.select, select.epoll, time.sleep,
            threading.Thread, threading.Lock, threading.RLock, threading.local, threading.get_ident, threading.current_thread]
before = primitives()
for name in sys.argv[1:]:
    importlib.import_module(name)
assert before == primitives()
if "eventlet" in sys.modules:
    from eventlet import patcher
    assert not patcher.already_patched, patcher.already_patched
print(*sorted({name.split(".")[0] for name in sys.modules}))
"""


def import_in_a_fresh_process(*names):
    variables = {"PYTHONPATH": str(SRC), "TF_CPP_MIN_LOG_LEVEL": "3"}
    program = [sys.executable, "-c", IMPORT_ALL, *names]
    done = subprocess.run(program, cwd=SRC, env=variables, capture_output=True, text=True, timeout=110)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_importing_the_server_patches_nothing_and_loads_no_runtime():
    names = [name for name in reached_from("ImageServer") if name != "transport" and name != "inference"]
    assert not import_in_a_fresh_process(*names) & RUNTIMES


def test_importing_anything_patches_nothing():
    import_in_a_fresh_process(*(name for name in MODULES if name not in reached_from("ImageServer")))


def test_a_worker_starts_without_tensorflow():
    assert not import_in_a_fresh_process("inference.worker") & {"tensorflow", "keras", *LOOP}


TEXTS = [path for path in sorted(SRC.rglob("*")) if path.suffix in (".py", ".js", ".css", ".html")]


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(SRC)))
def test_no_file_is_longer_than_400_lines(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 400, f"{path.relative_to(ROOT)} has {lines} lines: it has found a second subject"


@pytest.mark.parametrize("name", MODULES)
def test_every_module_says_what_it_is(name):
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree) or not tree.body, f"{name} has no docstring"
