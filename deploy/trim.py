"""For the images: remove from this Python's packages what nothing here loads, and say how much that was.

    .venv/bin/python deploy/trim.py [FOLDER]

Kept of OpenVINO are what runs a model on the processor (CPU, and AUTO, HETERO and BATCH, which are how code that names
no device gets to it) and what reads the formats that the server takes: its own, ONNX, TensorFlow, TensorFlow Lite.
A package that brings none of a row, as on ARM64, or that a lock does not name, is no fault.
"""

import shutil
import sys
import sysconfig
from pathlib import Path

UNUSED = {
    "openvino/libs/libopenvino_intel_gpu_plugin.*": "Intel's graphics: a container has none",
    "openvino/libs/cache.json": "the same: its kernels, tuned",
    "openvino/libs/libopenvino_intel_npu_plugin.*": "Intel's NPU: a container has none",
    "openvino/libs/libopenvino_pytorch_frontend.*": "reads models of PyTorch, which is not installed",
    "openvino/libs/libopenvino_jax_frontend.*": "reads models of JAX, which is not installed",
    "openvino/libs/libopenvino_paddle_frontend.*": "reads models of PaddlePaddle, which the server does not take",
    "openvino/libs/libopenvino_gguf_frontend.*": "reads language models",
    "openvino/include": "headers, for compiling against it",
    "openvino/cmake": "the same",
    "tensorflow/include": "headers, for compiling against it",
    "clang": "libclang, which TensorFlow's package names and nothing loads",
    "numpy/**/tests": "NumPy's own tests",
}
"""What goes, by patterns below the folder of packages, and why."""


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.lstat().st_size for file in files if not file.is_dir() or file.is_symlink())


def trim(packages: Path) -> dict[str, int]:
    """Remove what is unused; returns how many bytes each pattern was, 0 where there was nothing."""
    freed = dict.fromkeys(UNUSED, 0)
    for pattern in UNUSED:
        for path in sorted(packages.glob(pattern)):
            freed[pattern] += size(path)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return freed


def main() -> None:
    packages = Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("purelib"))
    freed = trim(packages)
    for pattern, count in freed.items():
        print(f"{count / 1e6:8.1f} MB  {pattern}: {UNUSED[pattern]}")
    print(f"{sum(freed.values()) / 1e6:8.1f} MB removed, {size(packages) / 1e6:.1f} MB left")


if __name__ == "__main__":
    main()
