"""A certificate with its key, as TLS needs them: read once, checked whole, and used only then."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import itertools
import os
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from imageserver import files
from imageserver.errors import SettingError

_STRANGERS = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")
"""What OpenSSL says of a key of another certificate, of the same kind or of another."""

MALFORMED = (
    ValueError,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
    UnsupportedAlgorithm,
)
"""What the library raises of certificates that break their own format, some of them only when a field is read."""

MOST_BYTES = 2**20
"""Of a file: chains have some kilobytes."""


@dataclass(frozen=True)
class Place:
    """Where a pair is. Without `key` both are in the file `cert`."""

    cert: Path
    key: Path | None

    def __str__(self) -> str:
        return f"{self.cert} and {self.key}" if self.key else str(self.cert)

    def stamp(self) -> tuple[object, ...]:
        """What differs once a file was written, replaced, or named by another link; blocks."""
        return tuple(_stamp(path) for path in (self.cert, self.key) if path)


def _stamp(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@dataclass(frozen=True)
class Pair:
    """A certificate with its key, which belong together; `context` shows them.

    `digest` is that of both files, `remarks` are sentences on what clients may stumble over.
    """

    place: Place
    context: ssl.SSLContext
    digest: bytes
    fingerprint: str
    """SHA-256, as browsers show it: `AB:CD:…`."""
    maker: str
    """The organization that it names."""
    begins: datetime.datetime
    ends: datetime.datetime
    names: tuple[str, ...]
    remarks: tuple[str, ...]

    def fault(self, now: datetime.datetime) -> str:
        """What keeps clients from believing it now; "" when nothing does."""
        if now >= self.ends:
            return f"expired on {day(self.ends)}"
        if now < self.begins:
            return f"is not valid before {day(self.begins)}"
        return ""


def day(moment: datetime.datetime) -> str:
    """A date with its time, as the log says it."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"


@dataclass(frozen=True)
class Content:
    """The bytes of the files of a place."""

    cert: bytes
    key: bytes

    @property
    def digest(self) -> bytes:
        """What differs between two of them."""
        return hashlib.sha256(self.cert).digest() + hashlib.sha256(self.key).digest()


def load(place: Place) -> Pair:
    """Read and check a pair; blocks. SettingError that says what is wrong with which file."""
    return check(place, read(place))


def read(place: Place) -> Content:
    """The bytes of both files; blocks. SettingError."""
    with _told(place):
        cert = files.read(place.cert, MOST_BYTES)
        return Content(cert, files.read(place.key, MOST_BYTES) if place.key else cert)


def check(place: Place, content: Content) -> Pair:
    """The pair of these bytes. SettingError: it is none, or one that cannot be used.

    What is checked is what is shown: OpenSSL takes files alone, and those of `place` may be others by now.
    """
    with _told(place):
        with _in_memory(content.cert) as cert, _in_memory(content.key) as key:
            context = _context()
            context.load_cert_chain(cert, key, password=_no_password)
        chain = x509.load_pem_x509_certificates(content.cert)
        first = chain[0]
        return Pair(
            place,
            context,
            content.digest,
            fingerprint=first.fingerprint(hashes.SHA256()).hex(":").upper(),
            maker=maker_of(first),
            begins=first.not_valid_before_utc,
            ends=first.not_valid_after_utc,
            names=tuple(_dns_names(first)),
            remarks=tuple(_remarks(place, chain)),
        )


@contextlib.contextmanager
def _told(place: Place) -> Iterator[None]:
    """Say in a sentence what is wrong with the files of `place`."""
    try:
        yield
    except FileNotFoundError as error:
        raise SettingError(
            f"there is no certificate {place.cert} or no key {place.key or place.cert}: "
            "name existing files with --cert and --key"
        ) from error
    except PermissionError as error:
        raise SettingError(
            f"{place.cert} or {place.key or place.cert} may not be read by this user: change its owner or rights"
        ) from error
    except (OSError, SettingError, *MALFORMED) as error:  # ssl.SSLError is an OSError
        wanted = (
            "they must be a PEM certificate and its key"
            if place.key
            else "name its key with --key, or put both into this file, as PEM"
        )
        raise SettingError(f"{place} cannot be used: {_reason(error)}; {wanted}") from error


def _context() -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/1.1."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    made.set_alpn_protocols(["http/1.1"])
    return made


@contextlib.contextmanager
def _in_memory(content: bytes) -> Iterator[str]:
    """The name of a file that no disk holds."""
    descriptor = os.memfd_create("pem", os.MFD_CLOEXEC)
    try:
        with open(descriptor, "wb", closefd=False) as stream:
            stream.write(content)
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)


def _no_password() -> str:
    raise SettingError("the key is protected by a password, and the server cannot ask for one")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        if error.reason in _STRANGERS:
            return "the key is not that of the certificate"
        # OpenSSL names no reason where a file is no PEM, or holds no such thing.
        return error.reason.replace("_", " ").lower() if error.reason else "there is no certificate, or no key"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def maker_of(certificate: x509.Certificate) -> str:
    """The organization that a certificate names; "" when there is none. One of `MALFORMED`."""
    makers = certificate.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    return str(makers[0].value) if makers else ""


def _dns_names(certificate: x509.Certificate) -> list[str]:
    with contextlib.suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.DNSName)
    return []


def _remarks(place: Place, chain: list[x509.Certificate]) -> Iterator[str]:
    first = chain[0]
    if len(chain) == 1 and first.issuer != first.subject:
        yield (
            f"{place.cert} holds no chain: clients that do not know its issuer {first.issuer.rfc4514_string()!r} "
            "refuse it; certbot's file with the chain is fullchain.pem"
        )
    for lower, upper in itertools.pairwise(chain):
        if lower.issuer != upper.subject:
            yield (
                f"the chain in {place.cert} is broken: {upper.subject.rfc4514_string()!r} stands behind a certificate "
                f"that {lower.issuer.rfc4514_string()!r} has issued; some clients refuse it"
            )
