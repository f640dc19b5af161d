"""The certificate that HTTPS shows: the operator's, or a self-signed one made once and kept.

The first of these that is there: `--cert` and `--key`; `ssl/cert.pem` and `ssl/key.pem` beside the project; a
self-signed one under `<data>/tls`, with this machine's names and addresses, made anew only when it is about to expire.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import re
import socket
import ssl
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from imageserver import files
from imageserver.config import addresses
from imageserver.errors import SettingError

VALID_DAYS = 825
"""The longest that present-day systems accept of a certificate that somebody has told them to trust."""

RENEW_DAYS = 30

Log = Callable[[str], None]


def context(
    cert: Path | None,
    key: Path | None,
    *,
    project: Path,
    data: Path,
    log: Log,
    know: Callable[[str], None] = lambda _name: None,
) -> ssl.SSLContext:
    """What a TLS server needs: TLS 1.2 or newer, HTTP/1.1. SettingError.

    Logs which certificate it is; `know` is told each DNS name in it, `*.example.org` among them.
    """
    if cert is None and key is not None:
        raise SettingError("--key is given without --cert: give both, or neither for a self-signed certificate")
    if cert is None:
        cert, key = project / "ssl" / "cert.pem", project / "ssl" / "key.pem"
        if not (cert.exists() and key.exists()):
            cert, key = self_signed(data / "tls", log)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    made.set_alpn_protocols(["http/1.1"])
    try:
        made.load_cert_chain(cert, key, password=_no_password)
    except FileNotFoundError as error:
        raise SettingError(
            f"there is no certificate {cert} or no key {key or cert}: name existing files with --cert and --key"
        ) from error
    except PermissionError as error:
        raise SettingError(
            f"{cert} or {key or cert} may not be read by this user: change its owner or rights"
        ) from error
    except (ssl.SSLError, OSError, SettingError) as error:
        which = f"{cert} and {key}" if key else str(cert)
        wanted = (
            "they must be a PEM certificate and its key"
            if key
            else "name its key with --key, or put both into this file, as PEM"
        )
        raise SettingError(f"{which} cannot be used: {_reason(error)}; {wanted}") from error
    log(f"TLS certificate {cert}, SHA-256 {fingerprint(cert)}")
    for name in dns_names(cert):
        know(name)
    return made


def _no_password() -> str:
    raise SettingError("the key is protected by a password, and the server cannot ask for one")


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        # OpenSSL names no reason where a file is no PEM, or holds no such thing.
        return error.reason.replace("_", " ").lower() if error.reason else "there is no certificate, or no key"
    return error.strerror or str(error) if isinstance(error, OSError) else str(error)


def fingerprint(cert: Path) -> str:
    """SHA-256 of the first certificate in a PEM file, as browsers show it: `AB:CD:…`."""
    found = x509.load_pem_x509_certificate(cert.read_bytes())
    return found.fingerprint(hashes.SHA256()).hex(":").upper()


def dns_names(cert: Path) -> list[str]:
    """The DNS names of the first certificate in a PEM file."""
    with contextlib.suppress(x509.ExtensionNotFound):
        found = x509.load_pem_x509_certificate(cert.read_bytes())
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return names.get_values_for_type(x509.DNSName)
    return []


def self_signed(
    folder: Path, log: Log, names: Iterable[str] | None = None, now: datetime.datetime | None = None
) -> tuple[Path, Path]:
    """Certificate and key in `folder`; made when they are missing or expire within `RENEW_DAYS`. SettingError.

    `names`: host names and addresses, by default this machine's. `now` with a time zone.
    """
    cert, key = folder / "cert.pem", folder / "key.pem"
    now = now or datetime.datetime.now(datetime.UTC)
    wanted = list(names) if names is not None else own_names()
    if cert.exists() and key.exists():
        try:
            found = x509.load_pem_x509_certificate(cert.read_bytes())
        except ValueError as error:
            raise SettingError(f"{cert} is damaged: remove it, and a new one is made") from error
        if found.not_valid_after_utc > now + datetime.timedelta(days=RENEW_DAYS):
            missing = sorted(set(wanted) - _names_in(found))
            if missing:
                names = ", ".join(missing)
                log(f"the certificate {cert} does not name {names}: remove it to have a new one made that does")
            return cert, key
        log(f"the certificate {cert} expires: a new one is made")
    try:
        _make(cert, key, wanted, now)
    except OSError as error:
        remedy = "make it writable, or give --cert and --key"
        raise SettingError(f"a certificate cannot be written to {folder} ({error.strerror}): {remedy}") from error
    return cert, key


def own_names() -> list[str]:
    """This machine's host names and addresses."""
    host = socket.gethostname()
    hosts = ["localhost"]
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?", host):
        hosts += [host] if "." in host else [host, f"{host}.local"]
    return list(dict.fromkeys([*hosts, "127.0.0.1", "::1", *addresses.own()]))


def _names_in(cert: x509.Certificate) -> set[str]:
    with contextlib.suppress(x509.ExtensionNotFound):
        names = cert.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return {str(name.value) for name in names}
    return set()


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _make(cert: Path, key: Path, names: list[str], now: datetime.datetime) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    public = private.public_key()
    host = next((name for name in names if name != "localhost"), "localhost")
    subject = x509.Name(
        [
            x509.NameAttribute(NameOID.COMMON_NAME, host[:64]),
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, "ImageServer, self-signed"),
        ]
    )
    unused = (
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    usage = dict.fromkeys(unused, False)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))  # clocks of phones are not all right
        .not_valid_after(now + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        # Its own authority, so that it can be installed as trusted, which Android allows for authorities only.
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.KeyUsage(digital_signature=True, key_cert_sign=True, **usage), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(private, hashes.SHA256())
    )
    cert.parent.mkdir(parents=True, exist_ok=True)
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    files.replace(key, private.private_bytes(pem, serialization.PrivateFormat.PKCS8, none), 0o600)
    files.replace(cert, made.public_bytes(pem), 0o644)
