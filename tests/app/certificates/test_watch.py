"""Files that change under a server: which pair is shown, and what the log says, by the test's own clock."""

from __future__ import annotations

import datetime
import os
import ssl
from pathlib import Path
from unittest import mock

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
from tests.certificates import NOW, Made, made

from imageserver import metrics
from imageserver.app.certificates import own, self_signed
from imageserver.app.certificates.pair import Place
from imageserver.app.certificates.watch import CertificateWatch


class Listener:
    ssl_context: ssl.SSLContext | None = None


class Watched:
    """A watch over files that a test changes."""

    def __init__(self, folder: Path, first: Made | None = None, *, now: datetime.datetime = NOW) -> None:
        self.cert, self.key, self.now = folder / "cert.pem", folder / "key.pem", now
        self.lines: list[str] = []
        self.names: list[str] = []
        if first:
            first.write(self.cert, self.key)
        else:
            self_signed(folder, self.lines.append, ["localhost"], now)
        self.listener = Listener()
        self.watch = CertificateWatch(
            Place(self.cert, self.key),
            self_made=first is None,
            log=self.lines.append,
            warn=lambda line: self.lines.append(f"warning: {line}"),
            know=self.names.append,
            clock=lambda: self.now,
        )
        self.watch.show_on(self.listener)
        self._context = self.listener.ssl_context
        self.lines.clear()

    def look(self, *, asked: bool = False, days: float = 0) -> list[str]:
        """What the log says of a look, so many days later."""
        self.now += datetime.timedelta(days=days)
        self.watch.look(asked=asked)
        said = self.lines[:]
        self.lines.clear()
        return said

    def swapped(self) -> bool:
        """Whether the listener got another context since the last question."""
        before, self._context = self._context, self.listener.ssl_context
        return before is not self._context


def loads(result: str) -> float:
    return metrics.CERTIFICATE_LOADS.child(result).value


def test_one_file_after_the_other(tmp_path: Path) -> None:
    first, second = made(), made("cams.example.org", kind="rsa")
    files = Watched(tmp_path, first)
    refused, loaded = loads("refused"), loads("loaded")
    assert files.look() == [] and not files.swapped()
    files.key.write_bytes(second.key)
    (line,) = files.look()
    assert line.startswith(
        f"warning: {files.cert} and {files.key} cannot be used: the key is not that of the certificate;"
    )
    assert "the certificate loaded before, valid until" in line and line.endswith("serves on")
    assert files.look() == [] and not files.swapped()
    assert files.look(asked=True) == ["warning: " + line.removeprefix("warning: ")]
    files.cert.write_bytes(second.cert)
    (line,) = files.look()
    assert "SHA-256" in line and line.split("SHA-256 ")[1].split(",")[0].replace(":", "").lower() == second.seen
    assert files.swapped() and files.look() == []
    assert files.names == ["localhost", "cams.example.org"]
    assert (loads("refused"), loads("loaded")) == (refused + 1, loaded + 1)
    assert metrics.CERTIFICATE_EXPIRY.child().value == pytest.approx(
        (NOW + datetime.timedelta(days=90)).timestamp(), abs=2
    )


def test_what_is_put_back_is_said_once(tmp_path: Path) -> None:
    first = made()
    files = Watched(tmp_path, first)
    files.cert.write_bytes(b"")
    assert "cannot be used" in files.look()[0]
    first.write(files.cert, files.key)
    assert files.look() == [f"TLS certificate {files.cert} is the one in use: there is nothing to load"]
    assert files.look() == [] and not files.swapped()
    assert files.look(asked=True) == [f"TLS certificate {files.cert} is the one in use: there is nothing to load"]


def test_links_are_followed(tmp_path: Path) -> None:
    """As Kubernetes does: one link is replaced, and both files are others."""
    pairs = [made(), made()]
    for number, pair in enumerate(pairs):
        (tmp_path / f"v{number}").mkdir()
        pair.write(tmp_path / f"v{number}" / "cert.pem", tmp_path / f"v{number}" / "key.pem")
    (tmp_path / "data").symlink_to("v0")
    (tmp_path / "tls").mkdir()
    for name in ("cert.pem", "key.pem"):
        (tmp_path / "tls" / name).symlink_to(f"../data/{name}")
    said: list[str] = []
    place = Place(tmp_path / "tls" / "cert.pem", tmp_path / "tls" / "key.pem")
    watch = CertificateWatch(place, self_made=False, log=said.append, warn=said.append)
    (tmp_path / "new").symlink_to("v1")
    os.replace(tmp_path / "new", tmp_path / "data")
    watch.look()
    assert len(said) == 2 and pairs[1].seen == said[1].split("SHA-256 ")[1].split(",")[0].replace(":", "").lower()


def test_a_key_with_a_password_and_one_file_for_both(tmp_path: Path) -> None:
    files = Watched(tmp_path, made())
    second = made()
    key = serialization.load_pem_private_key(second.key, None)
    locked = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    Made(second.cert, locked, second.seen).write(files.cert, files.key)
    assert "protected by a password" in files.look()[0]
    second.write(files.cert, files.key)
    assert files.look() and files.swapped()


def test_one_that_clients_would_not_believe_waits(tmp_path: Path) -> None:
    files = Watched(tmp_path, made(ends=60))
    made(begins=3).write(files.cert, files.key)
    assert "is not valid before" in files.look()[0] and not files.swapped()
    assert files.look(days=2) == []
    assert "SHA-256" in files.look(days=2)[0] and files.swapped()
    made(begins=-9, ends=-1).write(files.cert, files.key)
    assert "expired on" in files.look()[0] and not files.swapped()


def test_of_two_that_nobody_believes_the_newer_is_shown(tmp_path: Path) -> None:
    files = Watched(tmp_path, made(begins=-99, ends=-9))
    made(begins=-99, ends=-1).write(files.cert, files.key)
    assert "SHA-256" in files.look()[0] and files.swapped()


def test_the_end_is_told_in_time_and_not_too_often(tmp_path: Path) -> None:
    files = Watched(tmp_path, made(begins=0, ends=200))
    told = [day for day in range(1, 204) if files.look(days=1)]
    assert told == [170, 186, 193, 199, 200, 201, 202, 203]
    assert "has expired" in (files.look(days=1) or [""])[0]
    short = Watched(tmp_path, made(begins=-1, ends=5))
    assert [hour for hour in range(1, 24 * 5) if short.look(days=1 / 24)] == [84, 96]


def test_its_own_is_renewed_by_itself(tmp_path: Path) -> None:
    files = Watched(tmp_path)
    first = files.cert.read_bytes()
    assert files.look(days=own.VALID_DAYS - own.RENEW_DAYS - 2) == [] and files.cert.read_bytes() == first
    why, line = files.look(days=2)
    assert "a new one was made, which clients have to trust anew" in why
    assert "SHA-256" in line and files.swapped() and files.cert.read_bytes() != first
    assert files.look() == []


def test_a_renewal_that_fails_is_told_once_and_done_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Watched(tmp_path)
    (tmp_path / "ca.pem").unlink()
    (tmp_path / "ca.pem").mkdir()  # which no file can take the place of
    said = files.look(days=own.VALID_DAYS - 20)
    assert "a certificate cannot be written to" in said[0] and "serves on" in said[0]
    monkeypatch.setattr(own, "make", mock.Mock(wraps=own.make))
    assert [files.look(days=2 / 86400) for _look in range(20)] == [[]] * 20 and not files.swapped()
    assert own.make.call_count == 0, "two keys each time"
    (tmp_path / "ca.pem").rmdir()
    assert "SHA-256" in files.look(days=1 / 1440)[-1] and files.swapped()


def test_who_asks_while_it_is_written_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = Watched(tmp_path, made())
    monkeypatch.setattr(Place, "stamp", lambda _place: (object(),))
    assert files.look() == []
    assert files.look(asked=True) == [
        f"{files.cert} and {files.key} are being written: they are looked at again in 2 s"
    ]


def test_its_own_that_was_removed_is_made_when_somebody_asks(tmp_path: Path) -> None:
    files = Watched(tmp_path)
    files.cert.unlink()
    assert "are not both there: put them back, or reload the server for new ones" in files.look()[0]
    assert files.look() == []
    assert not files.cert.exists() and not files.swapped()
    assert "SHA-256" in files.look(asked=True)[-1] and files.swapped()
