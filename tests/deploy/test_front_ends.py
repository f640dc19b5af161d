"""deploy/front-ends/ in nginx and HAProxy themselves, before three servers: who goes where."""

from __future__ import annotations

import contextlib
import re
import socket
import subprocess
from pathlib import Path

import pytest
import requests
from tests import redis_server
from tests.deploy.front_ends import HAPROXY, HERE, NAMES, PROXIES, FrontEnds, Proxy, SharedProxy, behind, leave, placed
from tests.faults import clients
from tests.nginx import NGINX, command, free_ports
from tests.protocols.legacy_tcp.old_client import OldClient
from tests.running import PATIENCE, Camera, Server, picture, until
from websocket import WebSocketTimeoutException, create_connection

STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
pytestmark = pytest.mark.skipif(not PROXIES, reason="needs nginx or HAProxy (scripts/apt-packages.sh)")


@pytest.fixture(params=PROXIES)
def kind(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    return found


def test_the_programs_say_nothing_against_their_files(kind: str, tmp_path: Path) -> None:
    ends = FrontEnds(tmp_path)
    if kind == "nginx":
        text = placed(HERE / "nginx.conf", ends, r"listen 80 ", f"listen 127.0.0.1:{free_ports(1)[0]} ")
        (tmp_path / "imageserver.conf").write_text(text)
        run = [*command(tmp_path, level="warn", connections=64), "-t", "-q"]
    else:
        assert HAPROXY is not None
        (tmp_path / "haproxy.cfg").write_text(placed(HERE / "haproxy.cfg", ends, r"bind :80\n", "bind :80\n"))
        run = [HAPROXY, "-c", "-f", str(tmp_path / "haproxy.cfg")]
    done = subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "[w" not in said.lower(), said


@pytest.mark.skipif(NGINX is None or not STREAM.exists(), reason="needs nginx with its module stream")
def test_nginx_says_nothing_against_the_file_for_legacy_tcp(tmp_path: Path) -> None:
    ends = FrontEnds(tmp_path)
    text = placed(HERE / "nginx-tcp.conf", ends, r"listen 50022 ", f"listen 127.0.0.1:{free_ports(1)[0]} ")
    (tmp_path / "imageserver.conf").touch()
    run = [*command(tmp_path, level="warn", connections=64), "-t", "-q"]
    with (tmp_path / "nginx.conf").open("r+") as file:
        whole = f"load_module {STREAM};\n{file.read()}{text}"
        file.seek(0)
        file.write(whole)
    done = subprocess.run(run, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.long
def test_every_real_client_keeps_its_front_end(kind: str, tmp_path: Path) -> None:
    """Polling of both generations, the upgrade from it, WebSockets; Snap, whose clients have to meet in one."""
    file = tmp_path / "picture.jpg"
    file.write_bytes(picture())
    with contextlib.ExitStack() as closing:
        ends, proxy = closing.enter_context(behind(kind, tmp_path))
        programs = []
        for name, line in clients.commands(proxy.port, file):
            if clients.is_here(line):
                programs.append(clients.Program(name, *line))
                closing.callback(programs[-1].end)
        for program in programs:
            until(lambda program=program: program.up_after(0.0) is not None, f"{program.name}: {program.lines}")
        # As many requests as go wrong for certain where each goes to any of three.
        before = len(proxy.statuses("/socket.io/"))
        until(lambda: len(proxy.statuses("/socket.io/")) > before + 200, "200 requests of polling")
        assert set(proxy.statuses("/socket.io/")) <= {200, 101}
        assert not [program.name for program in programs if any("down" in line for _at, line in program.lines)]
        used = [name for name, server in ends.servers.items() if frames(server)]
        assert used == list(NAMES), "all of them are used"
        rooms = [create_connection(f"ws://127.0.0.1:{proxy.port}/ws", timeout=PATIENCE) for _ in range(6)]
        for room in rooms:
            closing.callback(room.shutdown)
        rooms[0].send("snap")
        assert [room.recv() for room in rooms[1:]] == ["snap"] * 5


def frames(server: Server, protocol: str = "camstream") -> int:
    """Frames that it was sent."""
    text = server.get("/metrics")[1].decode()
    found = re.search(rf'imageserver_frames_received_total{{protocol="{protocol}"}} (\d+)', text)
    return int(found[1]) if found else 0


@pytest.mark.long
@pytest.mark.skipif(HAPROXY is None, reason="needs HAProxy")
def test_legacy_tcp_goes_to_those_that_are_there(tmp_path: Path) -> None:
    with behind("haproxy", tmp_path, "--preload", "chest") as (ends, proxy):
        for server in ends.servers.values():
            server.wait_for("models ready: echo, chest")

        def asked() -> bytes:
            with OldClient(socket.create_connection(("127.0.0.1", proxy.tcp_port), timeout=PATIENCE)) as client:
                assert client.command(b"MODE", b"VGG!") + client.file(picture(200)) == b"0000"
                return client.command(b"PRED") + client.read(1)

        assert [asked() for _ in range(6)] == [b"0P"] * 6
        leave(ends.servers["a"])
        assert [asked() for _ in range(6)] == [b"0P"] * 6


@pytest.mark.long
@pytest.mark.skipif(bool(redis_server.lacking()), reason=redis_server.lacking())
def test_where_snap_is_shared_it_outlives_any_front_end(kind: str, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "password").write_text(redis_server.PASSWORD)
    (tmp_path / "password").chmod(0o600)
    with redis_server.running() as redis:
        options = ("--redis", redis.address, "--redis-password", str(tmp_path / "password"))
        with (
            FrontEnds(tmp_path, *options, "--shared", str(tmp_path / "shared")) as ends,
            SharedProxy(kind, tmp_path, ends) as proxy,
        ):
            assert put(proxy, 1)

            def told() -> bool:
                """Whether all hear what the first one says."""
                rooms = [create_connection(f"ws://127.0.0.1:{proxy.port}/ws", timeout=2) for _ in range(6)]
                with contextlib.ExitStack() as ending:
                    for room in rooms:
                        ending.callback(room.shutdown)
                    rooms[0].send("snap")
                    with contextlib.suppress(WebSocketTimeoutException):
                        return [room.recv() for room in rooms[1:]] == ["snap"] * 5
                return False

            until(told, "a word that all hear")
            ends.servers["a"].process.kill()
            ends.servers["a"].process.wait(PATIENCE)
            until(lambda: put(proxy, 2), "a picture that is taken")
            until(told, "a word that all hear without the first front end")
            kept = requests.get(f"{proxy.url}/snippets/", timeout=PATIENCE).json()["snippets"]
            assert [each["id"] for each in kept] == [1, 2]


def put(proxy: Proxy, device: int) -> bool:
    """Put a picture of a device; whether it was taken."""
    headers = {"Content-Type": "image/jpeg"}
    return requests.put(f"{proxy.url}/snippets/{device}/", picture(), headers=headers, timeout=PATIENCE).ok


@pytest.mark.long
def test_one_user_sees_one_front_end_and_single_pictures_go_anywhere(kind: str, tmp_path: Path) -> None:
    with behind(kind, tmp_path) as (ends, proxy), Camera(ends.servers["b"]) as camera:
        camera.ask(picture())
        for user in ("anna", "bert", "carla", "dora"):
            found = [ask(proxy, "GET", "/streams/", user) for _ in range(9)]
            assert found.count(found[0]) == 9, "a page's requests meet in one"
        for number in range(12):
            ask(proxy, "POST", "/echo/classify", "anna", picture(number * 10))
        assert all(frames(server, "rest") for server in ends.servers.values()), "all of them are used"


def ask(proxy: Proxy, method: str, path: str, user: str, body: bytes = b"") -> str:
    """What somebody is answered."""
    answer = requests.request(method, proxy.url + path, data=body, auth=(user, "secret"), timeout=PATIENCE)
    assert answer.status_code == 200, answer.text
    return answer.text
