"""Certificates for the tests: of any time, kind of key and issuer."""

from __future__ import annotations

import datetime
import hashlib
import os
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

NOW = datetime.datetime.now(datetime.UTC)


@dataclass(frozen=True)
class Made:
    """A certificate with its key, as PEM, and the SHA-256 that a client sees."""

    cert: bytes
    key: bytes
    seen: str

    def write(self, cert: Path, key: Path) -> None:
        """Each in one step, as careful programs do."""
        for path, content in ((key, self.key), (cert, self.cert)):
            new = path.with_name(path.name + ".new")
            new.write_bytes(content)
            os.replace(new, path)


def made(
    name: str = "localhost", *, begins: float = -1, ends: float = 90, now: datetime.datetime = NOW, kind: str = "ec"
) -> Made:
    """One that signed itself, valid from and until so many days from `now`."""
    key = ec.generate_private_key(ec.SECP256R1()) if kind == "ec" else rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    cert = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=begins))
        .not_valid_after(now + datetime.timedelta(days=ends))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain)
    return Made(cert.public_bytes(pem), private, cert.fingerprint(hashes.SHA256()).hex())


def shown(port: int) -> str:
    """The SHA-256 of the certificate that a port on this machine shows now."""
    context = ssl._create_unverified_context()
    with socket.create_connection(("127.0.0.1", port), 30) as plain, context.wrap_socket(plain) as secured:
        found = secured.getpeercert(True)
    assert found is not None
    return hashlib.sha256(found).hexdigest()
