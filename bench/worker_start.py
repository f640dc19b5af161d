"""How long a worker takes until a converted model serves, and what it holds in memory.

Reference: importing TensorFlow alone.

python bench/worker_start.py [--model lenet] [--rounds 5] [--check]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]
import bootstrap

bootstrap.provide_package()

import psutil
from tests.inference.worker.worker_process import MODELS, WorkerProcess

from imageserver.inference.shared import conversion_cache

MOST_TIME = 0.6
"""Mark: seconds of a worker over seconds of the import."""

MOST_MEMORY = 200e6
"""Mark: resident bytes of a worker that serves one converted model."""

IMPORT = "import tensorflow, os; print(int(open('/proc/self/statm').read().split()[1]) * os.sysconf('SC_PAGE_SIZE'))"


def start_worker(model: str) -> tuple[float, float, str]:
    """Seconds until it is loaded, resident bytes then, its runtime."""
    start = time.perf_counter()
    with WorkerProcess(conversion_cache.cache_folder(), "--threads", "1") as worker:
        loaded = worker.load(MODELS / model)
        seconds = time.perf_counter() - start
        if loaded["op"] != "loaded":
            sys.exit(f"{model}: {loaded['error']}")
        return seconds, psutil.Process(worker.process.pid).memory_info().rss, loaded["runtime"]


def import_tensorflow() -> tuple[float, float]:
    start = time.perf_counter()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORT], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True, env=environment
    )
    return time.perf_counter() - start, float(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="lenet")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--check", action="store_true", help="exit code 1 when a mark is missed")
    options = parser.parse_args()
    start_worker(options.model)  # converts it if need be, and fills the page cache
    import_tensorflow()
    # In turn, so that both meet the same neighbours on this machine.
    pairs = [(start_worker(options.model), import_tensorflow()) for _round in range(options.rounds)]
    seconds = statistics.median(worker[0] for worker, _other in pairs)
    memory = max(worker[1] for worker, _other in pairs)
    reference = statistics.median(other[0] for _worker, other in pairs)
    ratio = seconds / reference
    print(
        f"a worker with {options.model} ({pairs[0][0][2]}): ready after {seconds:.2f} s, {memory / 1e6:.0f} MB resident"
    )
    print(f"importing TensorFlow alone: {reference:.2f} s, {pairs[0][1][1] / 1e6:.0f} MB")
    print(f"ratio of time: {ratio:.2f} (mark: {MOST_TIME}); memory mark: {MOST_MEMORY / 1e6:.0f} MB")
    return int(options.check and (ratio > MOST_TIME or memory > MOST_MEMORY))


if __name__ == "__main__":
    sys.exit(main())
