"""A file of the index from a real server: gone on with, bounded, checked, and nothing of it opened before."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests import certificates
from tests.inference.getting.mirrors import Mirror, file_of, serving

from imageserver.errors import ModelError
from imageserver.inference.getting import fetching, origins
from imageserver.inference.getting.fetching import fetched
from imageserver.inference.getting.index import IndexedFile
from imageserver.inference.getting.origins import origin

CONTENT = hashlib.shake_256(b"a network").digest(700_000)
OTHER = hashlib.shake_256(b"another").digest(700_000)
WANTED = file_of(CONTENT)


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    with serving(Mirror(CONTENT)) as made:
        yield made


def get(cache: Path, place: str | None, wanted: IndexedFile = WANTED) -> bytes:
    with fetched(wanted, origin(place), cache) as file:
        assert file.name == wanted.name
        return file.read_bytes()


def fails(cache: Path, place: str | None, wanted: IndexedFile = WANTED) -> str:
    """The sentence."""
    with pytest.raises(ModelError) as said:
        get(cache, place, wanted)
    assert "\n" not in str(said.value)
    return str(said.value)


def part(cache: Path, wanted: IndexedFile = WANTED) -> Path:
    return cache / "downloads" / wanted.sha256 / "part"


def test_a_whole_file_and_its_progress(tmp_path: Path, mirror: Mirror) -> None:
    steps: list[float | None] = []
    shown = lambda _what: contextlib.nullcontext(lambda done, _text: steps.append(done))  # noqa: E731
    with fetched(WANTED, origin(mirror.address), tmp_path, shown) as file:
        assert file.read_bytes() == CONTENT
        assert file.stat().st_mode & 0o077 == 0 or file.parent.stat().st_mode & 0o077 == 0
    assert steps[-1] == 1.0
    assert mirror.seen[0][:2] == ("GET", "/models/net.onnx")
    assert mirror.asked("Range") == [None]
    assert list((tmp_path / "downloads").iterdir()) == []


def test_what_broke_off_is_gone_on_with(tmp_path: Path, mirror: Mirror) -> None:
    mirror.most = 300_000
    said = fails(tmp_path, mirror.address)
    assert "net.onnx could not be fetched from 127.0.0.1" in said
    assert "the connection broke off; 0.3 of 0.7 MB are here, and the same command goes on from there" in said
    assert "--from FOLDER or --from ADDRESS" in said
    mirror.most = None
    assert get(tmp_path, mirror.address) == CONTENT
    assert mirror.asked("Range") == [None, "bytes=300000-"]
    assert mirror.asked("If-Range") == [None, '"1"']


def test_what_has_changed_there_begins_anew(tmp_path: Path, mirror: Mirror) -> None:
    mirror.most = 300_000
    fails(tmp_path, mirror.address)
    mirror.most, mirror.tag = None, '"2"'
    assert get(tmp_path, mirror.address) == CONTENT
    assert len(mirror.seen) == 2


@pytest.mark.parametrize("tag", ["", 'W/"1"', '"a" "b"'])
def test_a_part_of_another_file_costs_an_attempt_at_most(tmp_path: Path, mirror: Mirror, tag: str) -> None:
    mirror.tag, mirror.content, mirror.most = tag, OTHER, 300_000
    fails(tmp_path, mirror.address)
    mirror.content, mirror.most = CONTENT, None
    assert get(tmp_path, mirror.address) == CONTENT
    assert mirror.asked("Range") == [None, "bytes=300000-", None]
    assert mirror.asked("If-Range") == [None] * 3


def test_a_server_without_ranges_and_a_part_too_long(tmp_path: Path, mirror: Mirror) -> None:
    mirror.parts = False
    part(tmp_path).parent.mkdir(parents=True)
    part(tmp_path).write_bytes(CONTENT[:1000])
    assert get(tmp_path, mirror.address) == CONTENT
    part(tmp_path).parent.mkdir(parents=True)
    part(tmp_path).write_bytes(CONTENT * 2)
    assert get(tmp_path, mirror.address) == CONTENT
    assert mirror.asked("Range") == ["bytes=1000-", None]


def test_other_bytes_are_refused_and_gone(tmp_path: Path, mirror: Mirror) -> None:
    mirror.content = OTHER
    said = fails(tmp_path, mirror.address)
    assert f"its SHA-256 is {hashlib.sha256(OTHER).hexdigest()}, and the index has {WANTED.sha256}" in said
    assert "nothing has opened it" in said
    assert not part(tmp_path).exists()


@pytest.mark.parametrize(("change", "sentence"), [
    ({"content": CONTENT + b"x"}, "it has 700,001 bytes there, where the index says 700,000"),
    ({"content": b"<html>sign in first</html>"}, "it has 26 bytes there"),
    ({"content": CONTENT * 2, "length": False}, "it has more than the 700,000 bytes that the index says"),
    ({"content": CONTENT[:-1], "length": False}, "the connection broke off; 0.7 of 0.7 MB are here"),
    ({"status": 404}, "it answers 404 Not Found"),
    ({"status": 302, "headers": {"Location": "http://127.0.0.1/x"}}, "it sends on to an address that is not https"),
    ({"status": 302, "headers": {"Location": "file:///etc/passwd"}}, "it answers 302 Found"),
    ({"status": 206, "headers": {"Content-Range": "bytes 5-9/10"}}, "it answers with another part than"),
])  # fmt: skip
def test_what_is_not_taken(tmp_path: Path, mirror: Mirror, change: dict[str, object], sentence: str) -> None:
    for name, value in change.items():
        setattr(mirror, name, value)
    assert sentence in fails(tmp_path, mirror.address)


def test_a_part_of_other_bytes_than_asked_for(tmp_path: Path, mirror: Mirror) -> None:
    mirror.most = 300_000
    fails(tmp_path, mirror.address)
    mirror.most, mirror.headers = None, {"Content-Range": "bytes 200000-699999/700000"}
    assert "it answers with another part than was asked for; 0.3 of 0.7 MB" in fails(tmp_path, mirror.address)


def test_a_server_that_says_nothing(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origins, "TIMEOUT", 0.1)
    mirror.silent = threading.Event()
    assert "nothing came for 0.1 s; bring it in a folder" in fails(tmp_path, mirror.address)


def test_a_server_that_drips(tmp_path: Path, mirror: Mirror) -> None:
    ticks = iter(range(0, 10_000, 61))
    slow = replace(WANTED, sha256="0" * 64)
    mirror.content = CONTENT[:30_000]
    slow = replace(slow, size=30_000)
    with (
        pytest.raises(ModelError, match=r"only [0-9,]+ bytes came within 60 s"),
        fetched(slow, origin(mirror.address), tmp_path, clock=lambda: next(ticks)),
    ):
        pass


def test_where_nobody_is(tmp_path: Path) -> None:
    assert "could not be fetched from 127.0.0.1:1: Connection refused; bring" in fails(tmp_path, "http://127.0.0.1:1/x")


def test_certificates_are_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificates.made().write(cert, key)
    with serving(Mirror(CONTENT), cert, key) as secured, serving(Mirror(b"")) as plain:
        wanted = file_of(CONTENT, f"{secured.address}/there")
        said = fails(tmp_path, None, wanted)
        assert "its certificate is not trusted (self-signed certificate)" in said
        assert "SSL_CERT_FILE may name a file" in said
        monkeypatch.setenv("SSL_CERT_FILE", str(cert))
        assert get(tmp_path, None, wanted) == CONTENT
        assert secured.seen[0][1] == "/models/there"
        plain.status, plain.headers = 302, {"Location": f"{secured.address}/elsewhere"}
        assert get(tmp_path, plain.address) == CONTENT


def test_the_proxy_of_the_environment(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", mirror.address.removesuffix("/models"))
    assert get(tmp_path, "http://mirror.invalid/models") == CONTENT
    assert mirror.seen[0][1] == "http://mirror.invalid/models/net.onnx"


def test_a_proxy_for_tls(tmp_path: Path, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    certificates.made().write(cert, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(cert))
    monkeypatch.setenv("https_proxy", mirror.address.removesuffix("/models"))
    with serving(Mirror(CONTENT), cert, key) as secured:
        assert get(tmp_path, None, file_of(CONTENT, f"{secured.address}/there")) == CONTENT
        assert mirror.seen[0][:2] == ("CONNECT", secured.address.split("/")[2])
        assert secured.seen[0][1] == "/models/there"


def test_a_folder(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(CONTENT)
    assert get(tmp_path / "cache", str(tmp_path)) == CONTENT
    (tmp_path / "net.onnx").write_bytes(OTHER)
    assert "its SHA-256 is" in fails(tmp_path / "cache", str(tmp_path))
    (tmp_path / "net.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 700000\n")
    assert "there is only a pointer of Git LFS in its place; `git lfs pull`" in fails(tmp_path / "c", str(tmp_path))
    (tmp_path / "net.onnx").unlink()
    said = fails(tmp_path / "cache", str(tmp_path))
    assert f"could not be fetched from {tmp_path}: there is none, and https://localhost/net.onnx has it" in said


@pytest.mark.parametrize("place", [
    "nowhere", "ftp://a/b", "http://", "https://me:secret@a/b", "http://a/b?c=d", "http://a/b#c", "http://a:b/", "http://[",
    "http://a/my models", "http://ä/",
])  # fmt: skip
def test_places_that_are_none(place: str) -> None:
    with pytest.raises(ModelError, match="--from"):
        origin(place)


@pytest.mark.parametrize("place", ["http://a", "https://a.example:8443/x/y/", "http://[::1]:80/m", "http://a/~me/%20"])
def test_places_that_are_mirrors(place: str) -> None:
    assert origin(place).name(WANTED) == place.split("/")[2]


def test_one_command_at_a_time(tmp_path: Path, mirror: Mirror) -> None:
    with fetched(WANTED, origin(mirror.address), tmp_path):
        assert "another command is getting net.onnx" in fails(tmp_path, mirror.address)


def test_a_file_that_could_not_be_added_is_kept(tmp_path: Path, mirror: Mirror) -> None:
    with (
        pytest.raises(ValueError, match="no model"),
        fetched(WANTED, origin(mirror.address), tmp_path),
    ):
        raise ValueError("no model")
    assert get(tmp_path, "http://127.0.0.1:1") == CONTENT


def test_a_cache_that_cannot_be_written(tmp_path: Path, mirror: Mirror) -> None:
    (tmp_path / "downloads").write_text("")
    assert f"net.onnx cannot be kept in {tmp_path}: " in fails(tmp_path, mirror.address)
    assert "--models-cache names another folder" in fails(tmp_path, mirror.address)
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    assert "can be written by other users" in fails(tmp_path / "open", mirror.address)


def test_megabytes() -> None:
    assert fetching.megabytes(3_659_407) == "3.7"
