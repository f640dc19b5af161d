"""What the hop to another server adds: LeNet asked over REST, once by a worker here and once at a second ImageServer.

    python bench/remote.py [--requests 400] [--check]

Both servers run on this machine, and the same one is asked for both models in turn, one request after the other, so
that whatever else the machine does meets both alike. The picture goes on as it came and is decoded there. `--check`
asks that the hop adds at most 5 ms at the 95th percentile.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIGIT = ROOT / "clients" / "samples" / "digits" / "7.png"
MOST = 5.0
"""Milliseconds."""
MANIFEST = """
kind = "classification"
[input]
width = 28
height = 28
channels = 1
[output]
labels = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
[runtime]
runtime = "open_inference"
endpoint = ["http://127.0.0.1:{port}"]
model = "lenet"
send = "picture"
"""


@contextlib.contextmanager
def served(folder: Path, *arguments: str) -> Iterator[int]:
    """A server over the models in `folder`, ready: its port."""
    command = [sys.executable, str(ROOT / "src" / "ImageServer.py"), "-i", "127.0.0.1", "-p", "0", "--tcp-port", "off"]
    said = folder / "said.txt"
    with said.open("wb") as output:
        places = ["--data", str(folder), "--models", str(folder / "models"), "--workers", "1"]
        server = subprocess.Popen([*command, *places, *arguments], stdout=output, stderr=subprocess.STDOUT)
    try:
        while "models ready: " not in said.read_text():
            if server.poll() is not None:
                raise SystemExit(said.read_text())
            time.sleep(0.1)
        yield int(said.read_text().partition("127.0.0.1:")[2].split()[0])
    finally:
        server.terminate()
        server.wait(20)


def asked(port: int, models: tuple[str, ...], requests: int) -> dict[str, list[float]]:
    """Milliseconds of each request to each model, in order of their size."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    picture, took = DIGIT.read_bytes(), {model: [0.0] * 0 for model in models}
    for number in range(requests + 20):
        for model in models:
            began = time.perf_counter()
            connection.request("POST", f"/{model}/classify", picture, {"Content-Type": "image/png"})
            answer = json.loads(connection.getresponse().read())
            if answer.get("label") != "7":
                raise SystemExit(f"{model} answers {answer}")
            if number >= 20:
                took[model].append((time.perf_counter() - began) * 1000)
    connection.close()
    return {model: sorted(times) for model, times in took.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=400, help="to each model")
    parser.add_argument("--check", action="store_true", help="fail when the mark is missed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as there, tempfile.TemporaryDirectory() as here:
        for folder in (there, here):
            Path(folder, "models").mkdir()
            Path(folder, "models", "lenet").symlink_to(ROOT / "models" / "lenet")
        with served(Path(there), "-m", "lenet") as port:
            Path(here, "models", "far").mkdir()
            Path(here, "models", "far", "model.toml").write_text(MANIFEST.format(port=port))
            with served(Path(here), "-m", "lenet", "--preload", "far") as front:
                took = asked(front, ("lenet", "far"), options.requests)
    print(f"{'':>10} {'p50 ms':>8} {'p95 ms':>8}")
    at = {share: int(options.requests * share) for share in (0.5, 0.95)}
    for model, name in (("lenet", "here"), ("far", "elsewhere")):
        print(f"{name:>10} {took[model][at[0.5]]:>8.1f} {took[model][at[0.95]]:>8.1f}")
    added = took["far"][at[0.95]] - took["lenet"][at[0.95]]
    print(f"the hop adds {added:.1f} ms at the 95th percentile; {MOST:g} are the mark")
    return 1 if options.check and added > MOST else 0


if __name__ == "__main__":
    sys.exit(main())
