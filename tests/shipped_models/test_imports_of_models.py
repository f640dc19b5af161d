"""What a model's author may import is little, and the shipped models show it."""

import ast

import pytest
from tests.inference.worker.worker_process import MODELS

MAY_IMPORT = ("imageserver.inference.toolkit", "imageserver.inference.shared.manifest")
FILES = sorted(MODELS.glob("*/*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(MODELS)))
def test_a_model_imports_the_toolkit_and_the_manifest_only(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module)
    ours = {name for name in found if name.split(".")[0] in ("imageserver", "inference", "training")}
    assert not [name for name in ours if not f"{name}.".startswith(tuple(f"{may}." for may in MAY_IMPORT))]
