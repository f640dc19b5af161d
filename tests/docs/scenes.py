"""What the sessions of tests/docs take for granted, page by page, and which blocks are not run here and why.

test_blocks.py holds that nothing in these lists is out of date.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.running import ROOT

PHOTO = Path("clients/samples/photos/astronaut.jpg")
SEVEN = Path("clients/samples/digits/7.png")

XRAY = Path("tests/data/xray/normal-1.png")
AUDIT = """\
{"time":"2026-11-21T23:14:05.120+00:00","event":"login refused","outcome":"refused","user":"root",\
"address":"192.0.2.7","door":"authenticate","credential":"password","by":"","detail":"","count":1}
{"time":"2026-11-21T23:14:06.120+00:00","event":"login taken","outcome":"done","user":"ann",\
"address":"192.0.2.7","door":"authenticate","credential":"token 8c1f00a2b4d6","by":"","detail":"","count":1}
{"time":"2026-11-21T23:14:07.120+00:00","event":"limit hit","outcome":"refused","user":"",\
"address":"192.0.2.7","door":"","credential":"","by":"","detail":"--max-per-address","count":3}
"""

INSTALLED = """
mkdir ../machine && mount -t tmpfs none ../machine && cd ../machine
for folder in etc opt var/lib; do
    mkdir -p $folder/upper $folder/work
    mount -t overlay -o lowerdir=/$folder,upperdir=$PWD/$folder/upper,workdir=$PWD/$folder/work none /$folder
done
mkdir /etc/imageserver /opt/imageserver /var/lib/imageserver && cd ../imageserver
mount --bind . /opt/imageserver && cp deploy/imageserver.toml /etc/imageserver
printf '#!/bin/sh\ntest "$1" != -u || shift 2\nexec "$@"\n' > ../programs/sudo
printf '#!/bin/sh\n' > ../programs/systemctl
chmod +x ../programs/*
"""
"""The folders of a service that is installed, on this machine alone; who asks systemd for something gets no answer."""

ENDLESS = {
    r"python3 src/ImageServer\.py(?! check| plan| model| --print-config| -h| --help)|make run|imageserver( demo| -|$)":
        r"wsgi starting up on|The first prediction came",
    r"curl .*-N ": r"event: ",
    r"python3 clients/camera\.py .*--loop": r"\.jpg: ",
    r"python3 clients/capture\.py": r"Waiting for snap",
}  # fmt: skip
"""Lines whose program runs until Ctrl-C, and what it prints when it has begun."""

COPIED = {
    "ist_…": r'"token": ?"(ist_[^"]+)"',
    "39da1b909ca8": r"\b([0-9a-f]{12})\b",
    "edcd0bc02f6d": r"\b([0-9a-f]{12})\b",
}
"""What a reader copies from an answer: what stands in its place on a page, and what it looks like in the answer."""


@dataclass(frozen=True)
class Scene:
    """What the reader of a page has, and what is done otherwise than it stands there.

    Attributes:
        long: Whether it is left to `make test-long`.
        brings: Files that the page takes for granted: their text, or a file of the project.
        replaced: Words that are typed otherwise here, since this machine lacks something.
        before: What has been done on the reader's machine already, for the shell.
        patience: Seconds for each block.
    """

    long: bool = True
    brings: Mapping[str, str | Path] = field(default_factory=dict)
    replaced: Mapping[str, str] = field(default_factory=dict)
    before: str = ""
    patience: float = 120.0


SCENES = {
    "README.md": Scene(replaced={"SLIM=1": ""}),
    "clients/samples/README.md": Scene(),
    "docs/audit.md": Scene(long=False, brings={"audit.jsonl": AUDIT}),
    "docs/bring-your-model.md": Scene(
        before=f"{ROOT}/.venv/bin/python {ROOT}/tests/docs/nano.py yolox_nano.onnx", replaced={"SLIM=1": ""}
    ),
    "docs/command.md": Scene(long=False),
    "docs/legacy-tcp.md": Scene(
        brings={"picture.jpg": XRAY, "nonce": "0" * 32},
        before="mkdir ~/.ssh && ssh-keygen -q -t ed25519 -N '' -f ~/.ssh/id_ed25519",
    ),
    "docs/models.md": Scene(
        brings={
            "cats.keras": Path("clients/samples/cats.keras"),
            "labels.txt": Path("clients/samples/cats.txt"),
            "cat.jpg": Path("clients/samples/photos/chelsea.jpg"),
        },
    ),
    "docs/operations.md": Scene(long=False, before=INSTALLED),
    "docs/protocols.md": Scene(
        brings={"face.png": PHOTO},
        replaced={"capture.py --id 1 ": "capture.py --id 1 --source clients/samples/photos/coffee.jpg "},
    ),
    "docs/rest.md": Scene(brings={"7.png": SEVEN}),
    "models/mock_fast/README.md": Scene(
        replaced={"video.mp4": "clients/samples/digits", "mock_fast 0": "mock_fast clients/samples/photos"}
    ),
    "docs/users.md": Scene(long=False, brings={"password.txt": "of bob\n"}),
    "docs/write-a-model.md": Scene(
        replaced={
            "models/moves video.mp4": "models/moves clients/samples/digits",
            "models/moves 0": "models/moves clients/samples/photos",
            "session.py 0 --seconds 20": "session.py clients/samples/digits --seconds 2",
        },
    ),
}

_SERVICE = "needs systemd as the first process, and root: tests/deploy/test_service.py does it below a folder"
_POSTGRESQL = "needs a PostgreSQL: tests/accounts/postgresql has one of its own"
_RAY = "needs a cluster: tests/inference/test_cluster.py has one of its own"
_TRAINING = "a training takes hours, or pictures that are not here"
_PROGRAMS = "tests/clients/test_pages.py runs it"
_INTERNET = "needs the internet: tests/inference/getting/test_command.py has a mirror"

ELSEWHERE: dict[tuple[str, str], str] = {
    ("README.md", "sudo apt install make python3-venv"): "needs root and a network",
    ("docs/clients/python.md", "pip install build/wheels/imageserver_client-*.whl"):
        "pip has no index here: tests/clients/test_client_wheel.py installs the wheel",
    ("docs/clients/python.md", "from imageserver_client import Camera"): _PROGRAMS,
    ("docs/clients/python.md", "import cv2"): _PROGRAMS,
    ("docs/clients/javascript.md", 'import { readFile } from "node:fs/promises";'): _PROGRAMS,
    ("docs/clients/javascript.md", 'const { readFileSync } = require("fs");'): _PROGRAMS,
    ("docs/clients/javascript.md", "<!doctype html>"): _PROGRAMS,
    ("docs/clients/kotlin-java.md", "import io.socket.client.IO"): "nothing here compiles Kotlin",
    ("docs/clients/kotlin-java.md", "import io.socket.client.IO;"): _PROGRAMS,
    ("docs/clients/kotlin-java.md", "import com.github.nkzawa.socketio.client.IO;"): _PROGRAMS,
    ("docs/clients/kotlin-java.md", "import java.nio.file.Files;"): _PROGRAMS,
    ("docs/models.md", "python3 src/inference/add_model.py --get yolox-nano --try cat.jpg"): _INTERNET,
    ("docs/models.md", "python3 src/inference/add_model.py --get yolox-s --from /media/stick"): _INTERNET,
    ("docs/shared-users.md", "python3 src/userdb.py audit --last 500 --users postgresql://imageserver@db.lan/users"):
        _POSTGRESQL,
    ("docs/shared-users.md", "sudo -u postgres createuser imageserver --pwprompt"): _POSTGRESQL,
    ("docs/shared-users.md", "python3 src/ImageServer.py -a --users postgresql://imageserver@db.lan/users"):
        _POSTGRESQL,
    ("docs/shared-users.md", "python3 src/userdb.py copy --from users.db --users postgresql://imageserver@db.lan/users"):
        _POSTGRESQL,
    ("docs/operations.md", "sudo make install-service"): _SERVICE,
    ("docs/operations.md", "#!/bin/sh"): "needs a certificate of certbot, root, and the service's user",
    ("docs/operations.md", "docker build -f deploy/Dockerfile --target slim -t imageserver:slim ."):
        "needs a container engine: tests/deploy/test_images.py builds it and runs it where there is podman",
    ("docs/operations.md", "git pull"): _SERVICE,
    ("docs/several-front-ends.md", "printf '%s=%s\\n' POSTGRESQL_PASSWORD \"$(openssl rand -hex 16)\" REDIS_PASSWORD "
     "\"$(openssl rand -hex 16)\" GRAFANA_PASSWORD \"$(openssl rand -hex 16)\" > deploy/.env"):
        "needs Docker: tests/deploy/test_compose.py reads the file",
    ("docs/ray.md", 'make run RAY=1 ARGS="--cluster ray://head:10001"'): _RAY,
    ("docs/ray.md", "python3 -m venv /opt/imageserver/ray"): _RAY,
    ("docs/ray.md", "/opt/imageserver/ray/bin/ray start --head --port=6379 --ray-client-server-port=10001 --num-cpus=0 "
     "--include-dashboard=false"): _RAY,
    ("docs/rest.md", '<img src="http://192.168.1.20:8080/streams/front%20door.mjpeg?fps=5" alt="front door">'):
        "tests/protocols/http/watching/test_motion.py",
    ("docs/rest.md", "vlc 'http://ann:ist_…@192.168.1.20:8080/streams/front%20door.mjpeg'"):
        "needs a screen: tests/protocols/http/watching/test_real_clients.py looks with the library of both",
    ("docs/rest.md", "import numpy, tritonclient.http as triton"): "tests/protocols/http/test_v2.py",
    ("models/README.md", "python3 src/bootstrap.py training.xray.training --data pneumoniamnist.npz"): _TRAINING,
    ("models/README.md", "python3 src/bootstrap.py training.xray.figures --data pneumoniamnist.npz"): _TRAINING,
    ("models/README.md",
     "python3 src/bootstrap.py training.xray.input_check --data pneumoniamnist.npz --photographs FOLDER"): _TRAINING,
    ("models/lenet/README.md",
     "python3 src/bootstrap.py training.lenet.training --data mnist_8k.npz --out models/lenet"): _TRAINING,
    ("models/shapes/README.md", "python3 src/bootstrap.py training.shapes.training --out shapes.onnx"): _TRAINING,
    ("tests/fuzz/README.md", "def run(data: bytes) -> None:"): "the outline of a target: tests/fuzz/test_covers.py",
    ("docs/transport.md", "python tests/conformance/server.py 9001 &"): "needs Python 2.7 and Autobahn",
}  # fmt: skip
"""Page and first line of each block that no session runs, and why; a reason that names a file of tests: there it is."""
