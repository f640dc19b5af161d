"""All parts on one machine, built in the order in which they need each other, and taken down whatever happens."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests
from bench.rig import model
from bench.rig.beside import Snippets, Users, Viewer, session
from bench.rig.crowd import Crowd
from bench.rig.front_ends import NamespacedFrontEnds
from bench.rig.network import Network
from tests import ray_cluster, redis_server
from tests.deploy.front_ends import NAMES, SharedProxy
from tests.nginx import NGINX
from tests.passwords import CHEAP
from tests.postgresql import Cluster
from tests.postgresql import lacking as lacking_postgresql
from tests.ray_cluster import PYTHON, RayCluster
from tests.redis_server import RedisServer
from tests.running import until

from imageserver.accounts.database import UserDB
from imageserver.accounts.postgresql.database import PostgreSQL
from imageserver.config import database

HEALTH = {
    "RAY_health_check_initial_delay_ms": "5000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""Those that docs/ray.md has for a loss that is known after about three seconds."""
NODES = 3
HOUSES = 10
"""Users with a password, each of several elder cameras; of the newer ones each is a user with a token."""
PASSWORD = "a password of a house"
PATIENCE = 300.0
"""Seconds for a front end to be ready, its replicas among that."""


def lacking() -> str:
    """Why it cannot be built here; "" where it can."""
    if os.geteuid() != 0:
        return "namespaces of the network are root's to make"
    if missing := [name for name in ("ip", "nsenter") if shutil.which(name) is None]:
        return f"there is no {missing[0]}"
    if NGINX is None:
        return "nginx is not installed"
    if reason := redis_server.lacking() or lacking_postgresql() or ray_cluster.lacking():
        return reason
    found = list(PYTHON.parent.parent.glob("lib/python*/site-packages"))
    if not all(any((folder / name).exists() for folder in found) for name in ("psycopg", "redis")):
        return "the front ends run in build/ray: scripts/environment.sh build/ray requirements/front-ends.lock"
    return ""


class World:
    """Everything. `running` builds it.

    Attributes:
        started: When.
    """

    network: Network
    postgresql: Cluster
    redis: RedisServer
    ray: RayCluster
    ends: NamespacedFrontEnds
    proxy: SharedProxy
    crowd: Crowd
    users: UserDB
    added: Users
    snippets: Snippets
    viewer: Viewer
    asking: requests.Session
    """As an admin, by a token."""

    def __init__(self, cameras: int, hz: float, leave_time: float) -> None:
        self._count, self._hz, self._leave_time = cameras, hz, leave_time
        self.started = time.monotonic()

    @contextmanager
    def running(self) -> Iterator[World]:
        """It, ready."""
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rig-", ignore_cleanup_errors=True)))
            self._databases(stack)
            self._cluster(stack)
            self._front_ends(stack, folder)
            self._clients(stack)
            yield self

    # ---- the parts ----------------------------------------------------------------------------------------------

    def _databases(self, stack: ExitStack) -> None:
        self.network = stack.enter_context(Network(NAMES))
        self.postgresql = Cluster(self.network.address, self.network.network)
        stack.callback(self.postgresql.close)
        self.postgresql.start()
        self.postgresql.durable()
        self.redis = RedisServer(self.network.address)
        stack.callback(self.redis.close)
        self.redis.start()
        self._address = self.postgresql.database()
        opened = PostgreSQL(database.parsed(self._address))
        stack.callback(opened.close)
        opened.begin()
        opened.wait(PATIENCE)
        self.users = UserDB(opened)
        self._add_users(UserDB(opened, CHEAP))
        self.say("databases")

    def _add_users(self, cheap: UserDB) -> None:
        """`cheap`: for users of whom nobody shows the password."""
        for house in range(HOUSES):
            self.users.add(f"house-{house}", PASSWORD, ["camera"])
        elder = [[f"house-{house}", PASSWORD] for house in range(HOUSES)]
        newer = []
        for mark in range(self._count // 2 + 1, self._count + 1):
            cheap.add(f"camera-{mark}", PASSWORD, ["camera"])
            newer.append([f"camera-{mark}", cheap.add_token(f"camera-{mark}")[1]])
        self._logins = elder, newer
        cheap.add("root", PASSWORD, ["admin", "camera", "viewer"])
        self._token = cheap.add_token("root")[1]
        self.asking = session(self._token)

    def _cluster(self, stack: ExitStack) -> None:
        self.ray = RayCluster(self.network.address)
        self.ray.environment.update(HEALTH)
        stack.enter_context(self.ray)
        for _ in range(NODES):
            self.ray.add_node(1)
        self.say("cluster")

    def _front_ends(self, stack: ExitStack, folder: Path) -> None:
        model.write(folder / "models")
        (folder / "shared").mkdir()
        password = folder / "redis-password"
        password.write_text(redis_server.PASSWORD)
        password.chmod(0o600)
        options = ["-a", "--users", self._address, "--cluster", self.ray.address, "--shared", str(folder / "shared")]
        options += ["--redis", self.redis.address, "--redis-password", str(password)]
        options += ["--leave-time", str(self._leave_time)]
        self.ends = NamespacedFrontEnds(folder, self.network, folder / "models", *options)
        stack.callback(self.ends.__exit__)
        for name in NAMES:
            self.ends.start(name)
        for name in NAMES:
            self.ready(name)
        self.proxy = stack.enter_context(SharedProxy("nginx", folder, self.ends))
        self.say("front ends")

    def _clients(self, stack: ExitStack) -> None:
        self.crowd = stack.enter_context(Crowd(self.proxy.port, self._count, self._hz, self._logins))
        self.added = Users(self.proxy.url, self._token, 2.0)
        self.snippets = Snippets(self.proxy.url, self._token, 0.5)
        self.viewer = Viewer(self.ends.urls, self._token)
        for beside in (self.added, self.snippets, self.viewer):
            stack.enter_context(beside)
        begun = time.monotonic()
        until(lambda: self.viewer.sees_all_since(begun), "cameras of all front ends to be seen at one", PATIENCE)
        self.say("clients")

    def say(self, what: str) -> None:
        """That it is there."""
        print(f"        {what} after {time.monotonic() - self.started:.0f} s", flush=True)

    # ---- what is asked ------------------------------------------------------------------------------------------

    def ready(self, name: str) -> None:
        """Wait until a front end has its model, with all of its replicas."""
        server = self.ends.servers[name]
        until(lambda: server.get("/health/ready")[0] == 200, f"front end {name}\n{server.text[-3000:]}", PATIENCE, 0.3)
        until(lambda: self.replicas(name)[0] == model.REPLICAS, f"replicas of {name}", PATIENCE, 0.3)

    def begin(self, name: str) -> None:
        """Start a front end, and wait until it is ready."""
        self.ends.start(name)
        self.ready(name)

    def replicas(self, *names: str) -> tuple[int, int]:
        """Replicas of front ends that are ready, and how many have ended without being told to."""
        ready = ended = 0
        for name in names or NAMES:
            text = self.asking.get(f"{self.ends.urls[name]}/metrics", timeout=30).text
            about = rf'model="{model.NAME}"'
            ready += _sum(rf'^imageserver_cluster_replicas{{{about},state="ready"}} (\S+)$', text)
            ended += _sum(rf"^imageserver_cluster_ended_total{{{about}}} (\S+)$", text)
        return ready, ended

    def lacking(self) -> list[str]:
        """What front ends say that they lack."""
        told = [self.asking.get(f"{url}/health/ready", timeout=30).json() for url in self.ends.urls.values()]
        return [each["lacking"] for each in told if "lacking" in each]


def _sum(pattern: str, text: str) -> int:
    return sum(int(float(found)) for found in re.findall(pattern, text, re.MULTILINE))
