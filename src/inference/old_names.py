"""The names that models and commands knew `inference.…` by before 0.2, each leading to its new one for one release.

    from inference.manifest import Manifest         a model written for 0.1; says once what to write now
    python -m inference.recipes.xray_training       a command, from src/

`install` makes them importable; workers do it before they load a model's code.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import CodeType, ModuleType

PACKAGES = ("inference", "inference.recipes")
"""What the old names lie in: nothing but names."""

NEW_NAMES = {
    "inference.digit": "imageserver.inference.worker.preprocessing.digit",
    "inference.face_tracking": "imageserver.inference.toolkit.face_tracking",
    "inference.images": "imageserver.inference.worker.decode",
    "inference.manifest": "imageserver.inference.shared.manifest",
    "inference.model": "imageserver.inference.worker.model_api",
    "inference.pictures": "imageserver.inference.shared.image_header",
    "inference.preprocessing": "imageserver.inference.worker.preprocessing.base",
    "inference.recipes.lenet_training": "imageserver.training.lenet.training",
    "inference.recipes.xray_figures": "imageserver.training.xray.figures",
    "inference.recipes.xray_layers": "imageserver.inference.toolkit.xray.layers",
    "inference.recipes.xray_training": "imageserver.training.xray.training",
    "inference.xray": "imageserver.inference.worker.preprocessing.xray",
}


class OldNames(MetaPathFinder, Loader):
    """Finds the modules of `NEW_NAMES`; importing an old name gives the very module of the new one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in NEW_NAMES and fullname not in PACKAGES:
            return None
        return ModuleSpec(fullname, self, is_package=fullname in PACKAGES)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        if spec.name in PACKAGES:
            return None
        module = importlib.import_module(_new_name(spec.name))
        spec.loader_state = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        """It ran under its new name, and keeps that name's spec, which importing has just replaced."""
        if module.__spec__ is not None and module.__spec__.loader_state is not None:
            module.__spec__ = module.__spec__.loader_state

    def get_code(self, fullname: str) -> CodeType:
        """For `python -m`: run the module under its new name."""
        program = f"import sys, {_new_name(fullname)} as command\nif __name__ == '__main__': sys.exit(command.main())"
        return compile(program, fullname, "exec")


def _new_name(old: str) -> str:
    """What `old` is called now, which standard error is told as well."""
    sys.stderr.write(f"{old} is now {NEW_NAMES[old]}; the old name goes with the next release\n")
    return NEW_NAMES[old]


def install() -> None:
    """Make the old names importable in this process."""
    if not any(isinstance(finder, OldNames) for finder in sys.meta_path):
        sys.meta_path.insert(0, OldNames())
