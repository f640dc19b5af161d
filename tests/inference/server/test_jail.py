"""A model whose code attacks its jail, in real workers, as the user of the tests and as one without any right.

It reports what became of each attempt as its label: "refused" with the exception's name, or what it got.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.running import PATIENCE, ROOT, TEST_MODELS, alive, picture

from imageserver.inference.server.engine import Engine
from imageserver.inference.server.jails.rights import Jails
from imageserver.inference.shared.registry import Registry
from imageserver.jail import landlock, seccomp
from imageserver.limits import Limits
from imageserver.transport import hub

HELD = landlock.version() >= 6 and seccomp.available()
pytestmark = pytest.mark.skipif(not HELD, reason="this kernel has no means to hold it")

ATTACKS = """
import ctypes, fcntl, json, mmap, os, resource, signal, socket, struct, subprocess, sys, threading, time
from pathlib import Path

TARGETS = json.loads({targets!r})
LIBC = ctypes.CDLL(None, use_errno=True)
PARENT = os.getppid()

def checked(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result

def connect(family, address, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as made:
        made.settimeout(5)
        made.connect(address)
        made.send(b"stolen")

def fork():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)

def descriptors():
    opened = []
    try:
        for _ in range(100_000):
            opened.append(os.open("/dev/null", os.O_RDONLY))
    finally:
        for descriptor in opened:
            os.close(descriptor)

def take(size):
    return len(bytearray(size))

def share(size):
    with mmap.mmap(-1, size) as memory:
        return len(memory)

def grow():
    with open(os.environ["TMPDIR"] + "/large", "wb") as file:
        try:
            file.truncate(2**40)
            return "a terabyte"
        finally:
            os.unlink(file.name)

def lift(limit):
    resource.setrlimit(limit, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

def secrets():
    found = [name for name in os.environ if name.startswith(("IMAGESERVER", "SECRET"))]
    if not found:
        raise KeyError("none")
    return found

USERS, MODELS, DATA = TARGETS["users"], Path(TARGETS["models"]), Path(TARGETS["data"])
ATTEMPTS = {{
    "users by path": lambda: open(USERS).read(),
    "users by the server's root": lambda: open(f"/proc/{{PARENT}}/root{{USERS}}").read(),
    "users by the server's folder": lambda: open(f"/proc/{{PARENT}}/cwd/users.db").read(),
    "users by its own root": lambda: open(f"/proc/self/root{{USERS}}").read(),
    "users by a link": lambda: (os.symlink(USERS, os.environ["TMPDIR"] + "/link"),
                                open(os.environ["TMPDIR"] + "/link").read()),
    "users by a hard link": lambda: os.link(USERS, os.environ["TMPDIR"] + "/hard"),
    "users written": lambda: open(USERS, "w"),
    "users appended": lambda: open(USERS, "a"),
    "users cut": lambda: os.truncate(USERS, 0),
    "users for all": lambda: os.chmod(USERS, 0o666),
    "users given away": lambda: os.chown(USERS, 65534, 65534),
    "users aged": lambda: os.utime(USERS),
    "users removed": lambda: os.unlink(USERS),
    "users renamed": lambda: os.rename(USERS, USERS + "2"),
    "users locked": lambda: fcntl.flock(os.open(USERS, os.O_RDONLY), fcntl.LOCK_EX),
    "the folder of data listed": lambda: os.listdir(DATA),
    "passwords of the system": lambda: open("/etc/shadow").read(),
    "home of the server": lambda: os.listdir(TARGETS["home"]),
    "the server's environment": lambda: open(f"/proc/{{PARENT}}/environ").read(),
    "the server's memory": lambda: open(f"/proc/{{PARENT}}/mem", "rb"),
    "the server's memory mapped": lambda: open(f"/proc/{{PARENT}}/maps").read(),
    "the server's descriptors": lambda: os.listdir(f"/proc/{{PARENT}}/fd"),
    "everybody's connections": lambda: open("/proc/self/net/tcp").read(),
    "its first environment": lambda: open("/proc/self/environ").read(),
    "secrets in its environment": secrets,
    "a connection": lambda: connect(socket.AF_INET, ("127.0.0.1", TARGETS["port"])),
    "a connection over IPv6": lambda: connect(socket.AF_INET6, ("::1", TARGETS["port"])),
    "a datagram": lambda: connect(socket.AF_INET, ("127.0.0.1", TARGETS["port"]), socket.SOCK_DGRAM),
    "an abstract socket": lambda: connect(socket.AF_UNIX, "\\0" + TARGETS["abstract"]),
    "a socket by path": lambda: connect(socket.AF_UNIX, TARGETS["socket"]),
    "a raw socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW),
    "a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW),
    "io_uring": lambda: checked(LIBC.syscall(425, 8, ctypes.create_string_buffer(120))),
    "8 GB": lambda: take(8 * 10**9),
    "8 GB shared": lambda: share(8 * 10**9),
    "memory in a file": lambda: os.memfd_create("hidden"),
    "shared memory by name": lambda: open("/dev/shm/imageserver-test", "w"),
    "shared memory of System V": lambda: checked(LIBC.shmget(0, 4096, 0o1600)),
    "a terabyte in its folder": grow,
    "no limit of memory": lambda: lift(resource.RLIMIT_DATA),
    "no limit of files": lambda: lift(resource.RLIMIT_NOFILE),
    "100,000 descriptors": descriptors,
    "a fork": fork,
    "a program": lambda: subprocess.run(["/bin/sh", "-c", "true"], check=True),
    "a shell in its place": lambda: os.execv("/bin/sh", ["sh", "-c", "kill $PPID"]),
    "the server's end": lambda: os.kill(PARENT, signal.SIGKILL),
    "the end of the group": lambda: os.kill(0, signal.SIGWINCH),
    "a signal to all": lambda: os.kill(-1, signal.SIGWINCH),
    "the server traced": lambda: checked(LIBC.ptrace(16, PARENT, 0, 0)),
    "the server's last turn": lambda: os.setpriority(os.PRIO_PROCESS, PARENT, 19),
    "the server's processors": lambda: os.sched_setaffinity(PARENT, [0]),
    "the server's limits": lambda: resource.prlimit(PARENT, resource.RLIMIT_NOFILE, (10, 10)),
    "a life after the server": lambda: checked(LIBC.prctl(1, 0, 0, 0, 0)),
    "a group of its own": os.setsid,
    "not the first to go": lambda: open("/proc/self/oom_score_adj", "w").write("-1000"),
    "text typed for the operator": lambda: fcntl.ioctl(2, 0x5412, b"x"),
    "a mount": lambda: checked(LIBC.mount(b"none", os.environ["TMPDIR"].encode(), b"tmpfs", 0, None)),
    "a namespace": lambda: checked(LIBC.unshare(0x10000000)),
    "another root": lambda: os.chroot(os.environ["TMPDIR"]),
    "another user": lambda: os.setuid(12345),
    "a device": lambda: os.mknod(os.environ["TMPDIR"] + "/disk", 0o60600, os.makedev(8, 0)),
    "a model changed": lambda: open(MODELS / "echo" / "model.py", "a"),
    "a file beside it": lambda: open(Path(__file__).with_name("beside"), "w"),
    "a folder beside it": lambda: os.mkdir(MODELS / "planted"),
    "the cache": lambda: open(TARGETS["cache"] + "/planted", "w"),
    "the code": lambda: open(TARGETS["code"] + "/planted.py", "w"),
    "the folder of all": lambda: open("/tmp/planted-by-a-model", "w"),
}}
ALLOWED = {{
    "reads its code": lambda: len(open(__file__).read()) > 0,
    "reads other models": lambda: len(open(MODELS / "echo" / "model.py").read()) > 0,
    "writes its scratch": lambda: Path(os.environ["TMPDIR"], "own").write_text("mine"),
    "is at home there": lambda: os.path.expanduser("~") == os.environ["TMPDIR"],
    "begins threads": lambda: [thread.start() or thread.join() for thread in [threading.Thread(target=int)]],
    "signals itself": lambda: os.kill(os.getpid(), 0),
    "pairs of sockets": lambda: [end.close() for end in socket.socketpair()],
    "random numbers": lambda: len(os.urandom(8)),
    "processors": lambda: len(os.sched_getaffinity(0)),
    "first to go": lambda: LIBC and 1000,
}}

def outcomes(attempts):
    found = {{}}
    for name, attempt in attempts.items():
        try:
            found[name] = f"got {{str(attempt())[:60]}}"
        except BaseException as error:
            found[name] = f"refused {{type(error).__name__}}"
    return found

class Model:
    def __init__(self, folder, manifest):
        self.done = None

    def predict(self, batch):
        if self.done is None:
            self.done = {{"attacks": outcomes(ATTEMPTS), "allowed": outcomes(ALLOWED)}}
        return [{{"label": "done", "score": 1.0, "labels": [], **self.done}} for _picture in batch]
"""
MANIFEST = """
kind = "custom"
[input]
width = 16
height = 16
[runtime]
runtime = "python"
"""


def write_model(models: Path, name: str, code: str, more: str = "") -> None:
    (models / name).mkdir(parents=True)
    (models / name / "model.py").write_text(code)
    (models / name / "model.toml").write_text(MANIFEST + more)


class Ground:
    """A models folder with the attacker beside `echo`, what it attacks, and who listens to it."""

    def __init__(self, folder: Path) -> None:
        self.models, self.data, self.cache = folder / "models", folder / "data", folder / "cache"
        self.data.mkdir()
        self.users = self.data / "users.db"
        self.users.write_text("everybody's passwords")
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._sockets[0].getsockname()[1]
        if socket.has_ipv6:
            self._sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        self.abstract, self.path = f"imageserver-test-{os.getpid()}-{folder.name}", str(self.data / "socket")
        for address in ("\0" + self.abstract, self.path):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(address)
            listener.listen()
            self._sockets.append(listener)
        targets = {
            "users": str(self.users),
            "models": str(self.models),
            "data": str(self.data),
            "cache": str(self.cache),
            "code": str(ROOT / "src"),
            "home": str(Path.home()),
            "port": self.port,
            "abstract": self.abstract,
            "socket": self.path,
        }
        write_model(self.models, "attacker", ATTACKS.format(targets=json.dumps(targets)))
        (self.models / "echo").mkdir()
        for file in (TEST_MODELS / "echo").glob("*.*"):
            (self.models / "echo" / file.name).write_bytes(file.read_bytes())

    def close(self) -> None:
        for listener in self._sockets:
            listener.close()

    def untouched(self) -> bool:
        """Whether nothing was read from the sockets, changed or planted."""
        for listener in self._sockets:
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()
        planted = [path for path in self.models.rglob("*") if path.name in ("planted", "beside")]
        return self.users.read_text() == "everybody's passwords" and not planted


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Ground]:
    made = Ground(tmp_path)
    yield made
    made.close()


def engine_over(models: Path, cache: Path, lines: list[str], memory: int = 2**32, workers: int = 1) -> Engine:
    return Engine(
        Registry(models),
        workers=workers,
        worker_arguments=["--models-cache", str(cache)],
        jails=Jails([models], cache, memory=memory),
        time_limit=30.0,
        max_requests=10,
        limits=Limits(),
        log=lines.append,
        warn=lines.append,
    )


def held(answer: dict[str, Any]) -> None:
    """Fail, naming them, where attacks were not refused or what is allowed was."""
    got = {name: said for name, said in answer["attacks"].items() if not said.startswith("refused")}
    assert got == {}
    refused = {name: said for name, said in answer["allowed"].items() if not said.startswith("got")}
    assert refused == {}
    assert len(answer["attacks"]) > 60


def test_every_attack_is_refused_and_the_others_are_unharmed(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IMAGESERVER_SESSION_KEY", "secret")
    monkeypatch.setenv("SECRET_OF_SOMEBODY", "secret")
    lines: list[str] = []
    engine = engine_over(ground.models, ground.cache, lines)
    engine.start(["echo", "attacker"])
    assert engine.wait_ready("attacker"), lines
    try:
        pid = engine.worker_pids()[0]
        held(engine.ask("attacker", picture(), deadline=PATIENCE))
        assert engine.ask("echo", picture(200))["label"] == "200"
        assert engine.worker_pids() == [pid], lines
        assert Path(f"/proc/{pid}/oom_score_adj").read_text().strip() == "1000"
        assert ground.untouched()
    finally:
        engine.stop(1.0)


UNPRIVILEGED = """
import json, sys
sys.path.insert(0, {root!r})
from tests import conftest
from pathlib import Path
from tests.inference.server import test_jail
from tests.running import picture
lines = []
engine = test_jail.engine_over(Path({models!r}), Path({cache!r}), lines)
engine.start(["attacker"])
assert engine.wait_ready("attacker"), lines
answer = engine.ask("attacker", picture(), deadline=60)
engine.stop(1.0)
print(json.dumps(answer))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="the tests run without privileges anyway")
def test_it_holds_for_a_user_without_privileges(ground: Ground, tmp_path: Path) -> None:
    for path in (tmp_path, *tmp_path.rglob("*")):
        os.chown(path, 65534, 65534)
    for path in tmp_path.parents:
        if str(path).startswith(os.environ.get("TMPDIR", "/tmp") + "/"):
            path.chmod(path.stat().st_mode | 0o111)
    code = UNPRIVILEGED.format(root=str(ROOT), models=str(ground.models), cache=str(ground.cache))
    # It may read everything, since the interpreter may lie in somebody's home.
    drop = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"]
    drop += [f"--{kind}-caps=-all,+dac_read_search" for kind in ("inh", "ambient")]
    drop += ["--bounding-set=-all,+dac_read_search"]
    done = subprocess.run(
        [*drop, sys.executable, "-P", "-c", code], cwd=ground.data, capture_output=True, text=True, timeout=110
    )
    assert done.returncode == 0, done.stderr
    held(json.loads(done.stdout.splitlines()[-1]))
    assert ground.untouched()


ASKING = """
import json, mmap, os, socket, subprocess
class Model:
    def __init__(self, folder, manifest):
        self.attempts = {{
            "read": lambda: open({wished!r}).read(),
            "other": lambda: open({other!r}).read(),
            "network": lambda: socket.create_connection(("localhost", {port}), 5).close(),
            "processes": lambda: subprocess.run(["/bin/sh", "-c", "true"], check=True),
            "memory": lambda: mmap.mmap(-1, 1300 * 2**20, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close(),
        }}
    def predict(self, batch):
        got = []
        for name, attempt in self.attempts.items():
            try:
                attempt()
                got.append(name)
            except (OSError, MemoryError):
                pass
        return [{{"label": str(os.getpid()), "score": 1.0, "labels": [], "got": got}} for _picture in batch]
"""


class Asking:
    """An engine with `echo` and `asking`, whose manifest can be written anew."""

    def __init__(self, folder: Path) -> None:
        self.models, self.lines = folder / "models", [""]
        self.ground = Ground(folder)
        self.wished, self.other = folder / "faces" / "list", folder / "others" / "list"
        for file in (self.wished, self.other):
            file.parent.mkdir()
            file.write_text("names")
        self.port = self.ground.port
        self.write("")
        self.engine = engine_over(self.models, self.ground.cache, self.lines, memory=2**30)

    def write(self, more: str, name: str = "asking") -> None:
        folder = self.models / name
        folder.mkdir(exist_ok=True)
        code = ASKING.format(wished=str(self.wished), other=str(self.other), port=self.port)
        (folder / "model.py").write_text(code)
        (folder / "model.toml").write_text(MANIFEST + more)

    def answer(self, name: str = "asking") -> dict[str, Any]:
        return self.engine.ask(name, picture(), deadline=PATIENCE)


def green_until(condition: Any) -> None:
    for _ in range(int(PATIENCE / 0.02)):
        if condition():
            return
        hub.sleep(0.02)
    raise AssertionError("waited in vain")


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Asking]:
    made = Asking(tmp_path)
    yield made
    made.engine.stop(1.0)
    made.ground.close()


def test_what_a_manifest_asks_for_is_granted_to_that_model_alone_and_told(asking: Asking) -> None:
    asking.write(
        f"[jail]\nread = [{json.dumps(str(asking.wished.parent))}]\nnetwork = true\nprocesses = true\nmemory_gib = 2\n"
    )
    asking.write("", "modest")
    asking.engine.start(["echo", "asking", "modest"])
    assert asking.engine.wait_ready("asking"), asking.lines
    assert asking.engine.wait_ready("modest"), asking.lines
    answer, modest = asking.answer(), asking.answer("modest")
    assert answer["got"] == ["read", "network", "processes", "memory"]
    assert modest["got"] == []
    assert answer["label"] != modest["label"], "in a worker of its own"
    wishes = f"read {asking.wished.parent} and use the network and start programs and take 2 GiB of memory"
    assert [line for line in asking.lines if line.endswith(f"; its code may {wishes}")], asking.lines
    assert not [line for line in asking.lines if "modest" in line and "may" in line]
    assert asking.answer("echo")["label"] == "128"


def test_it_moves_when_its_manifest_changes(asking: Asking) -> None:
    asking.engine.start(["echo", "asking"])
    assert asking.engine.wait_ready("asking"), asking.lines
    shared = asking.answer()["label"]
    asking.write(f"[jail]\nread = [{json.dumps(str(asking.wished))}]\n")
    green_until(lambda: asking.answer()["label"] != shared)
    own = asking.answer()
    assert own["got"] == ["read"]
    asking.write("[jail]\n")
    green_until(lambda: asking.answer()["got"] == [])
    assert asking.answer()["label"] not in (shared, own["label"]), "an empty table asks for a worker of its own"
    asking.write("")
    green_until(lambda: asking.answer()["label"] == shared)
    green_until(lambda: asking.engine.worker_pids() == [int(shared)])
    assert not alive(int(own["label"]))


def test_its_own_worker_is_replaced_when_it_dies_and_ends_with_the_model(asking: Asking) -> None:
    asking.write("[jail]\n")
    asking.engine.start(["asking"])
    assert asking.engine.wait_ready("asking"), asking.lines
    first = int(asking.answer()["label"])
    os.kill(first, 9)
    green_until(lambda: not alive(first))
    assert int(asking.answer()["label"]) != first
    (asking.models / "asking" / "model.toml").unlink()
    green_until(lambda: len(asking.engine.worker_pids()) == 1)


def test_a_folder_that_is_linked_to_later_has_a_worker_of_its_own(asking: Asking, tmp_path: Path) -> None:
    asking.engine.start(["echo", "asking"])
    assert asking.engine.wait_ready("asking"), asking.lines
    elsewhere = tmp_path / "with blanks and ü" / "later"
    elsewhere.parent.mkdir()
    (asking.models / "asking").rename(elsewhere)
    (asking.models / "later").symlink_to(elsewhere)
    green_until(lambda: "later" in asking.engine.models)
    assert asking.answer("later")["label"] not in map(str, asking.engine.worker_pids()[:1])
    assert len(asking.engine.worker_pids()) == 2


def test_programs_that_a_model_started_end_with_it(asking: Asking) -> None:
    asking.write("[jail]\nprocesses = true\n")
    code = (asking.models / "asking" / "model.py").read_text()
    sleeper = 'self.child = subprocess.Popen(["sleep", "600"])\n        self.attempts'
    code = code.replace("self.attempts", sleeper, 1).replace("str(os.getpid())", "str(self.child.pid)")
    (asking.models / "asking" / "model.py").write_text(code)
    asking.engine.start(["asking"])
    assert asking.engine.wait_ready("asking"), asking.lines
    child = int(asking.answer()["label"])
    assert alive(child)
    os.kill(asking.engine.worker_pids()[-1], 9)
    green_until(lambda: not alive(child))


TAKING = """
import mmap, os, threading
class Model:
    def __init__(self, folder, manifest):
        self.kept = []
    def predict(self, batch):
        for picture in batch:
            if picture.any():
                {take}
        return [{{"label": "fine", "score": 1.0, "labels": []}} for _picture in batch]
"""


@pytest.mark.parametrize(
    ("take", "said"),
    [
        # Shared memory counts for no limit of a process, and stays below that of its addresses.
        (
            "self.kept.append(mmap.mmap(-1, 1200 * 2**20)); [self.kept[-1].write(bytes(2**20)) for _ in range(1100)]",
            "MiB of memory",
        ),
        ("[open(os.environ['TMPDIR'] + f'/{number}', 'w').close() for number in range(1200)]", "more than 1000 files"),
    ],
    ids=["shared memory", "files"],
)
def test_what_no_limit_counts_is_looked_at_and_costs_the_worker(tmp_path: Path, take: str, said: str) -> None:
    models, lines = tmp_path / "models", [""]
    write_model(models, "taking", TAKING.format(take=take))
    engine = engine_over(models, tmp_path / "cache", lines, memory=2**29 * 2)
    engine.start(["taking"])
    assert engine.wait_ready("taking"), lines
    try:
        first = engine.worker_pids()[0]
        engine.ask("taking", picture(200), deadline=PATIENCE)
        green_until(lambda: any(said in line for line in lines))
        assert "ended by signal SIGKILL after it " in "".join(line for line in lines if said in line)
        green_until(lambda: engine.worker_pids() not in ([], [first]))
    finally:
        engine.stop(1.0)
