"""Which variables of the environment a jailed process is given. Settings of the server, secrets among them, are not."""

from __future__ import annotations

from collections.abc import Mapping

USUAL = (
    "PATH", "LD_LIBRARY_PATH", "LD_PRELOAD", "LANG", "LANGUAGE", "LC_*", "TZ", "TERM", "NO_COLOR", "HOME", "TMPDIR",
    "PYTHON*", "VIRTUAL_ENV", "MALLOC_*", "GLIBC_TUNABLES",
    # What the runtimes read: threads, devices, instruction sets, their own logs.
    "OMP_*", "GOMP_*", "KMP_*", "OPENBLAS_*", "MKL_*", "DNNL_*", "ONEDNN_*", "TBB_*", "OPENCV_*", "OV_*", "OPENVINO_*",
    "TF_CPP_*", "TF_NUM_*", "TF_ENABLE_*", "TF_DISABLE_*", "TF_FORCE_*", "TF_GPU_*", "TF_XLA_*", "TF_CUDNN_*",
    "TF_USE_*", "TF_DETERMINISTIC_*", "TF_CUDA_*", "XLA_*", "KERAS_BACKEND",
    "CUDA_*", "CUDNN_*", "NVIDIA_VISIBLE_DEVICES", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_TF32_OVERRIDE", "NCCL_*",
    "ROCR_*", "HIP_*",
)  # fmt: skip
"""Names; a `*` at the end stands for the rest. No shorter ones: `TF_VAR_…` and `NVIDIA_API_KEY` are others' secrets."""


def scrubbed(environment: Mapping[str, str], further: tuple[str, ...] = ()) -> dict[str, str]:
    """What passes of `environment`: the usual variables and those whose names are in `further`."""
    names = {name for name in (*USUAL, *further) if name[-1] != "*"}
    beginnings = tuple(name[:-1] for name in (*USUAL, *further) if name[-1] == "*")
    return {name: value for name, value in environment.items() if name in names or name.startswith(beginnings)}
