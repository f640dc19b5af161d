"""Who may import whom, and how the rooms may be filled: the plan of docs/architecture.md, read from the source.

Imports inside functions and those for types count like any other: a lazy import crosses the process wall as well.
"""

import ast
import collections
import functools
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
LOOP = {"eventlet", "engineio", "socketio", "greenlet"}
RUNTIMES = {"tensorflow", "keras", "openvino", "cv2"}
CLIENTS = {"psycopg", "psycopg_pool", "ray", "redis"}
"""Clients of databases and clusters, which block: in processes of their own, and in commands."""

ABOVE_THE_WALL = (
    {"ImageServer", "userdb", "legacy_tcp"},
    {"commands"},
    {"app"},
    {"protocols.camstream", "protocols.sessions", "protocols.http", "protocols.legacy_tcp", "protocols.snap"}
    | {"monitoring", "display", "pages", "sinks", "sources"},
    {"web", "protocols.events"},
    {"peers"},
    {"streams", "accounts"},
    {"sidecar"},
    {"inference.server", "config"},
)
"""Rooms, from the highest floor to the lowest: each imports from lower floors only, and none of its own floor."""

BELOW_THE_WALL = (
    {"training_set"},
    {"training", "inference.add_model", "inference.bench_model", "inference.try_model"},
    {"inference.adding", "inference.alone", "inference.command"},
    {"inference.prepare"},
    {"inference.convert"},
    {"inference.worker"},
    {"inference.toolkit", "inference.getting", "inference"},
    {"inference.old_names"},
)
SHARED = (
    {"transport"},
    {"inference.shared"},
    {"limits", "lines"},
    {"errors", "metrics", "news", "bootstrap", "folders", "files", "clock", "jail"},
)
"""What both stacks stand on; `transport` is the upper one's alone."""


def name_of(path):
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in sorted(SRC.rglob("*.py"))}
MODULES.pop("", None)
TABLES = {"config.table", "limits.clients", "limits.table"}
"""A class of these is a table of settings, a field a row."""
FOLDERS = {name for name, path in MODULES.items() if path.name == "__init__.py"}


@functools.cache
def tree_of(name):
    """Parsed when it is asked for, since every worker of a run reads this file, and one runs its tests."""
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


@functools.cache
def imports_of(name):
    """Every name that a module imports, `from a import b` as both `a` and `a.b`.

    The package's own are named from src/ on: `imageserver.config.table` is `config.table`.
    """
    found = set()
    for node in ast.walk(tree_of(name)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"from {node.module} is a relative import; write it from imageserver on"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return {name.removeprefix("imageserver.") if name.startswith("imageserver.") else f"/{name}" for name in found}


def ours(name):
    """The modules of the package that a module imports."""
    return {target for target in imports_of(name) if target in MODULES} - {name}


def foreign(name):
    """The packages of others that a module imports."""
    return {target[1:].split(".")[0] for target in imports_of(name) if target[0] == "/"}


def room_of(name):
    """`protocols` and `inference` are houses of several rooms; elsewhere a room is a folder of src/ or a file in it."""
    first, *rest = name.split(".")
    return f"{first}.{rest[0]}" if rest and first in ("protocols", "inference") else first


def floors(stack):
    return {room: height for height, rooms in enumerate((*stack, *SHARED)) for room in rooms}


def reached_from(*starts):
    """The modules that importing `starts` may bring in, each with the way to it."""
    ways = {start: (start,) for start in starts if start in MODULES}
    queue = list(ways)
    while queue:
        name = queue.pop()
        for target in ours(name):
            if target not in ways:
                ways[target] = (*ways[name], target)
                queue.append(target)
    return ways


def of_each(things):
    """One test for all of them: thousands of tests cost more than what they do."""

    def decorate(check):
        def test():
            wrong = []
            for thing in things:
                try:
                    check(thing)
                except AssertionError as error:
                    wrong.append(f"{thing}: {error}")
            assert not wrong, "\n".join(wrong)

        test.__name__, test.__doc__ = check.__name__, check.__doc__
        return test

    return decorate


@of_each(MODULES)
def test_arrows_run_downwards(name):
    stack = ABOVE_THE_WALL if room_of(name) in floors(ABOVE_THE_WALL) else BELOW_THE_WALL
    height = floors(stack)
    room = room_of(name)
    assert room in height or name == "protocols", (
        f"src/{room} has no floor yet: give it one in this file and in docs/architecture.md"
    )
    for target in ours(name):
        other = room_of(target)
        if other != room and target not in ("protocols", "inference"):
            assert other in height, f"{name} imports {target}, on the other side of the process wall"
            assert height[room] < height[other], f"{name} imports {target}, which stands above or beside it"


def test_no_circles():
    """Types included: two modules that need each other are one module, or want a third."""
    done, path = set(), []

    def visit(name):
        if name in path:
            pytest.fail(" → ".join([*path[path.index(name) :], name]))
        if name not in done:
            path.append(name)
            for target in ours(name) - FOLDERS:
                visit(target)
            path.pop()
            done.add(name)

    for name in MODULES:
        visit(name)


@of_each(MODULES)
def test_only_transport_knows_the_loop(name):
    if room_of(name) != "transport":
        assert not foreign(name) & LOOP, f"{name} imports {foreign(name) & LOOP}: use transport.hub"


def test_no_runtime_in_the_server_process():
    for name, way in reached_from("ImageServer").items():
        assert not foreign(name) & (RUNTIMES | CLIENTS), (
            f"the server process would load {foreign(name) & (RUNTIMES | CLIENTS)} by {' → '.join(way)}"
        )


def test_pure_modules_have_no_sockets():
    """A wire format is bytes in, events out."""
    pure = {name for name in MODULES if name.split(".")[-1] in ("v3", "v4", "packet", "frames", "machine", "wire")}
    pure = {name for name in pure if name != "protocols.http.v2"} | {
        "inference.server.batching",
        "inference.shared.image_header",
    }
    for name in pure & set(MODULES):
        assert not foreign(name) & {"socket", "select", "asyncio", "threading", *LOOP}, name


IMPORT_ALL = """
import importlib, select, socket, ssl, sys, threading, time, warnings
warnings.simplefilter("ignore")
def primitives():
    return [socket.socket, socket.create_connection, socket.getaddrinfo, ssl.SSLSocket, select.select, select.epoll,
            time.sleep, threading.Thread, threading.Lock, threading.RLock, threading.local, threading.get_ident,
            threading.current_thread]
before = primitives()
import bootstrap
bootstrap.provide_package()
for name in sys.argv[1:]:
    importlib.import_module(f"imageserver.{name}")
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
    assert not import_in_a_fresh_process(*reached_from("ImageServer")) & RUNTIMES


def test_importing_anything_patches_nothing():
    lacking = {name for name in CLIENTS if importlib.util.find_spec(name) is None}  # extras, which need not be there
    import_in_a_fresh_process(
        *(
            name
            for name in MODULES
            if name not in reached_from("ImageServer") and not any(foreign(way) & lacking for way in reached_from(name))
        )
    )


def test_a_worker_starts_without_tensorflow():
    assert not import_in_a_fresh_process("inference.worker.main") & {"tensorflow", "keras", *LOOP}


def test_a_process_of_a_database_has_no_loop():
    assert not import_in_a_fresh_process("accounts.postgresql.process", "peers.redis.process", "sidecar.program") & LOOP


TEXTS = [path for path in sorted(SRC.rglob("*")) if path.suffix in (".py", ".js", ".css", ".html")]


@of_each(TEXTS)
def test_no_file_is_longer_than_400_lines(path):
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= 400, f"{path.relative_to(ROOT)} has {lines} lines: it has found a second subject"


def longer_than(lines, name, kind):
    return [
        f"{node.name} ({node.end_lineno - node.lineno + 1} lines)"
        for node in ast.walk(tree_of(name))
        if isinstance(node, kind) and node.end_lineno - node.lineno >= lines
    ]


@of_each(MODULES)
def test_a_function_fits_a_screen_and_a_class_has_one_subject(name):
    assert not longer_than(50, name, ast.FunctionDef)
    assert not longer_than(200, name, ast.ClassDef) or name in TABLES


def test_no_two_public_classes_have_one_name():
    found = collections.defaultdict(list)
    for name in MODULES:
        tree = tree_of(name)
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found[node.name].append(name)
    assert not {name: where for name, where in found.items() if len(where) > 1}


@of_each(MODULES)
def test_every_module_says_what_it_is(name):
    tree = tree_of(name)
    assert ast.get_docstring(tree) or not tree.body, f"{name} has no docstring"


def test_every_folder_is_a_package():
    """Or the wheel would lack it."""
    folders = {path.parent for path in SRC.rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


@of_each(sorted(FOLDERS))
def test_folders_instead_of_prefixes(folder):
    members = [path.stem for path in MODULES[folder].parent.glob("*.py") if path.name != "__init__.py"]
    assert len(members) <= 12, f"src/{folder} holds {len(members)} modules; at most a dozen fit a room"
    counts = collections.Counter(member.split("_")[0] for member in members)
    assert not [prefix for prefix, count in counts.items() if count > 1], f"a prefix in src/{folder} wants a folder"


@of_each([name for name in MODULES if name != "errors"])
def test_exceptions_are_in_the_one_tree(name):
    """errors.py draws them all; a private one of a module's own is that module's business."""
    for node in tree_of(name).body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            bases = {ast.unparse(base).split(".")[-1] for base in node.bases}
            assert not {base for base in bases if base.endswith(("Error", "Exception"))}, (
                f"{node.name} belongs into errors.py"
            )


def test_the_tree_of_exceptions_is_drawn():
    tree = tree_of("errors")
    drawn = re.findall(r"[├└]── (\w+)", ast.get_docstring(tree))
    assert sorted(drawn) == sorted(node.name for node in tree.body if isinstance(node, ast.ClassDef))
