"""Files of models on a node: by their content, checked, each once, and no more than may be."""

from __future__ import annotations

import errno
import os
import subprocess
from dataclasses import asdict
from pathlib import Path

import pytest
from tests.running import TEST_MODELS

from imageserver.errors import EndpointFailed, ModelError
from imageserver.inference.shared import manifest
from imageserver.inference.worker.cluster import bundle
from imageserver.inference.worker.cluster.bundle import Bundle, BundleFile
from imageserver.inference.worker.cluster.child import ChildWorker
from imageserver.inference.worker.cluster.node import LoadOrder, NodeWorker
from imageserver.inference.worker.cluster.store import NodeStore
from imageserver.jail.rules import Jail

MIB = 2**20


def bundle_of(folder: Path, most: int = 100 * MIB) -> Bundle:
    """Of a model that needs no conversion."""
    return bundle.of(manifest.read(folder), Path("/nowhere"), lambda _manifest: "no", lambda _text: None, most)


def deliver(store: NodeStore, found: Bundle) -> list[str]:
    """Send what lacks, as the server's machine does; the digests."""
    lacking = store.lacking(found.listing())
    for file in found.files:
        if file.sha256 in lacking:
            for data, last in file.pieces():
                store.receive(file.sha256, data, last)
    return lacking


def model(folder: Path, weights: bytes, name: str = "large") -> Path:
    """A model's folder with so many bytes beside the code."""
    made = folder / name
    made.mkdir(parents=True)
    (made / "model.toml").write_text((TEST_MODELS / "echo" / "model.toml").read_text())
    (made / "model.py").write_text((TEST_MODELS / "echo" / "model.py").read_text())
    (made / "sub").mkdir()
    (made / "sub" / "weights.bin").write_bytes(weights)
    (made / ".hidden").write_text("no")
    (made / "__pycache__").mkdir()
    (made / "__pycache__" / "model.pyc").write_text("no")
    (made / "empty").touch()
    return made


def test_a_model_arrives_once_and_whole(tmp_path: Path) -> None:
    found = bundle_of(model(tmp_path, os.urandom(3 * bundle.PIECE + 5)))
    assert [file.path for file in found.files] == [
        f"models/large/{name}" for name in ("empty", "model.py", "model.toml", "sub/weights.bin")
    ]
    store = NodeStore(tmp_path / "node", 100 * MIB)
    assert len(deliver(store, found)) == 4
    folder = store.open(found.digest, found.listing())
    for file in found.files:
        assert (folder / file.path).read_bytes() == file.source.read_bytes()
    assert (folder / bundle.CONVERTED).is_dir()
    other = NodeStore(tmp_path / "node", 100 * MIB)
    assert deliver(other, found) == []
    assert other.open(found.digest, found.listing()) == folder
    assert manifest.read(folder / "models" / "large").name == "large"


def test_a_new_version_takes_what_has_changed_alone(tmp_path: Path) -> None:
    made, store = model(tmp_path, b"w" * 1000), NodeStore(tmp_path / "node", 100 * MIB)
    before = bundle_of(made)
    deliver(store, before)
    (made / "model.py").write_text("changed")
    after = bundle_of(made)
    assert after.digest != before.digest
    assert len(deliver(store, after)) == 1


def test_what_is_not_what_it_should_be_is_refused(tmp_path: Path) -> None:
    store, good = NodeStore(tmp_path / "node", MIB), BundleFile("models/a/b", 3, "0" * 64)
    with pytest.raises(ModelError, match="has changed while it was sent"):
        store.receive(good.sha256, b"abc", last=True)
    assert store.lacking([["models/a/b", 3, good.sha256]]) == [good.sha256]
    assert not [*(tmp_path / "node" / "files").iterdir()]
    for digest in ("../../etc/passwd", "0" * 63, "A" * 64):
        with pytest.raises(ModelError):
            store.receive(digest, b"", last=True)


@pytest.mark.parametrize("path", ["/etc/x", "models/../../x", "", "a\0b"])
def test_no_file_lies_outside_its_folder(tmp_path: Path, path: str) -> None:
    store, digest = (
        NodeStore(tmp_path / "node", MIB),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    )
    store.receive(digest, b"abc", last=True)
    with pytest.raises(ModelError, match="outside its folder"):
        store.open("1" * 64, [[path, 3, digest]])


def test_what_nobody_uses_gives_way_the_oldest_first(tmp_path: Path) -> None:
    node = tmp_path / "node"
    bundles = [bundle_of(model(tmp_path / str(number), os.urandom(MIB))) for number in range(3)]
    for number, found in enumerate(bundles):
        store = NodeStore(node, 100 * MIB)
        deliver(store, found)
        store.open(found.digest, found.listing())
        store.close(found.digest)
        os.utime(node / "bundles" / f"{found.digest}.used", (number, number))
    used = NodeStore(node, 100 * MIB)
    used.open(bundles[0].digest, bundles[0].listing())
    os.utime(node / "bundles" / f"{bundles[0].digest}.used", (0, 0))
    NodeStore(node, 2 * MIB + MIB // 2).prune()
    there = [(node / "bundles" / found.digest).is_dir() for found in bundles]
    assert there == [True, False, True], "the first is in use, the second was the oldest"
    assert sum(path.stat().st_size for path in (node / "files").iterdir()) < 2 * MIB + MIB // 2
    used.close(bundles[0].digest)
    NodeStore(node, 0).prune()
    assert not [*(node / "files").iterdir()]


def test_what_a_replica_left_that_was_killed_goes(tmp_path: Path) -> None:
    store = NodeStore(tmp_path / "node", MIB)
    left = tmp_path / "node" / "files" / f".part-{'0' * 64}-1"
    left.write_bytes(b"half")
    store.prune()
    assert not left.exists()


def test_what_a_node_cannot_write_or_lost_is_a_fault_of_the_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    worker, found = NodeWorker(), bundle_of(model(tmp_path, b"w"))
    assert len(worker.ask("lacking", found.listing(), MIB)) == 4
    assert worker._store is not None
    deliver(worker._store, found)
    (taken,) = tmp_path.glob(f"cache/**/{found.files[-1].sha256}")
    taken.unlink()  # as another replica does, before this one has linked to it
    order = asdict(LoadOrder("large", found.digest, (), False, 0, 1.0))
    assert worker.ask("load", found.listing(), order) == {
        "fault": "the node cannot keep the model: No such file or directory"
    }

    def full(*_what: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(NodeStore, "receive", full)
    said = worker.ask("receive", found.files[0].sha256, b"", True)
    assert said == {"fault": "the node cannot keep the model: No space left on device"}


def test_a_node_that_can_start_no_process_is_at_fault_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_what: object, **_more: object) -> None:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", refused)
    with pytest.raises(EndpointFailed, match="no process can be started on the node"):
        ChildWorker([], Jail(enforced=False))


def test_a_model_that_is_too_large_is_told(tmp_path: Path) -> None:
    made = model(tmp_path, bytes(MIB))
    with pytest.raises(ModelError, match=r"has 4 files with 1 MiB; nodes of the cluster take 2000 and 1 MiB"):
        bundle_of(made, MIB)
