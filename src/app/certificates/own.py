"""A certificate of the server's own making, for who has none, under `<data>/tls`.

`cert.pem` is no authority: its key can sign nothing. It was signed by the authority in `ca.pem`, since phones and some
browsers can be told to trust authorities alone, and refuse one that is shown by a server itself. That authority can
sign nothing either: its key was never written down and is gone, and its name constraints (RFC 5280, section 4.2.1.10)
name this machine's names and addresses alone.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import re
import socket
from collections.abc import Callable, Iterable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from imageserver import files
from imageserver.app.certificates.pair import MALFORMED, maker_of
from imageserver.config import addresses
from imageserver.errors import SettingError

VALID_DAYS = 825
"""The longest that present-day systems accept of a certificate that somebody has told them to trust."""

RENEW_DAYS = 30

MAKER = "ImageServer, self-signed"
"""By this organization's name those that the server has made are known."""

REMEDY = "remove it and restart or reload the server to have a new one made, which clients have to trust anew"

Log = Callable[[str], None]


def self_signed(
    folder: Path, log: Log, names: Iterable[str] | None = None, now: datetime.datetime | None = None
) -> tuple[Path, Path]:
    """Certificate and key in `folder`; made when they are missing or expire within `RENEW_DAYS`. SettingError.

    `names`: host names and addresses, by default this machine's. `now` with a time zone.
    """
    cert, key = folder / "cert.pem", folder / "key.pem"
    now = now or datetime.datetime.now(datetime.UTC)
    wanted = list(names) if names is not None else own_names()
    found = _read(cert) if cert.exists() and key.exists() else None
    why = _reason_to_renew(found, cert, key, now) if found else ""
    if found and not why:
        missing = sorted(set(wanted) - _names_in(found))
        if missing:
            log(f"the certificate {cert} does not name {', '.join(missing)}: {REMEDY}")
        if _is_authority(found):
            log(
                f"the certificate {cert}, which an older version made, is an authority for every name to whoever "
                f"trusts it, should its key be stolen: {REMEDY}"
            )
        return cert, key
    if why:
        log(f"the certificate {cert} {why}: a new one is made, which clients have to trust anew")
    try:
        make(folder, wanted, now)
    except SettingError as error:
        if not found or _fault(found, key, now):
            raise
        log(str(error))
    return cert, key


def expires(maker: str, ends: datetime.datetime, now: datetime.datetime) -> bool:
    """Whether a certificate with these fields is one of the server's own that is to be made anew."""
    return maker == MAKER and ends <= now + datetime.timedelta(days=RENEW_DAYS)


def own_names() -> list[str]:
    """This machine's host names and addresses."""
    host = socket.gethostname()
    hosts = ["localhost"]
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?", host):
        hosts += [host] if "." in host else [host, f"{host}.local"]
    return list(dict.fromkeys([*hosts, "127.0.0.1", "::1", *addresses.own()]))


def make(folder: Path, names: list[str], now: datetime.datetime) -> None:
    """Write `ca.pem`, `key.pem` and `cert.pem` into `folder`, which need not be there. SettingError.

    All are on the disk before the first gets its name, so that a full disk leaves what was there. The key comes before
    its certificate: what a crash leaves between them is known by it.
    """
    authority, leaf, private = _signed(names, now)
    pem, none = serialization.Encoding.PEM, serialization.NoEncryption()
    root = authority.public_bytes(pem)
    contents = {
        "ca.pem": (root, 0o644),
        "key.pem": (private.private_bytes(pem, serialization.PrivateFormat.PKCS8, none), 0o600),
        "cert.pem": (leaf.public_bytes(pem) + root, 0o644),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with files.making(folder, ".new-") as new:
            for name, (content, mode) in contents.items():
                files.replace(new / name, content, mode)
            for name in contents:
                (new / name).replace(folder / name)
        files.sync(folder)
    except OSError as error:
        remedy = "make it writable, or give --cert and --key"
        raise SettingError(f"a certificate cannot be written to {folder} ({error.strerror}): {remedy}") from error


def _read(cert: Path) -> x509.Certificate:
    """A certificate of which every field can be read. SettingError."""
    try:
        found = x509.load_pem_x509_certificate(cert.read_bytes())
        maker_of(found), found.public_key(), found.extensions
        return found
    except MALFORMED as error:
        raise SettingError(f"{cert} is damaged: remove it, and a new one is made") from error
    except OSError as error:
        raise SettingError(f"{cert} cannot be read ({error.strerror}): change its owner or rights") from error


def _reason_to_renew(found: x509.Certificate, cert: Path, key: Path, now: datetime.datetime) -> str:
    """What the log says of a certificate that a new one takes the place of; "" for one that stays."""
    if expires(maker_of(found), found.not_valid_after_utc, now):
        return "expires"
    return "is not that of the key beside it" if maker_of(found) == MAKER and not _matches(found, key) else ""


def _fault(found: x509.Certificate, key: Path, now: datetime.datetime) -> bool:
    return found.not_valid_after_utc <= now or not _matches(found, key)


def _matches(certificate: x509.Certificate, key: Path) -> bool:
    try:
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except OSError as error:
        raise SettingError(f"{key} cannot be read ({error.strerror}): change its owner or rights") from error
    except (ValueError, TypeError):
        return False
    return private.public_key() == certificate.public_key()


def _is_authority(certificate: x509.Certificate) -> bool:
    with contextlib.suppress(x509.ExtensionNotFound):
        of_its_own = maker_of(certificate) == MAKER
        return of_its_own and certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    return False


def _names_in(certificate: x509.Certificate) -> set[str]:
    with contextlib.suppress(x509.ExtensionNotFound):
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        return {str(name.value) for name in names}
    return set()


def _signed(
    names: list[str], now: datetime.datetime
) -> tuple[x509.Certificate, x509.Certificate, ec.EllipticCurvePrivateKey]:
    """An authority whose key is gone, the one certificate that it signed, and that one's key."""
    host = next((name for name in names if name != "localhost"), "localhost")
    signer, private = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    issuer, subject = _name(f"ImageServer on {host}, {now:%Y-%m-%d}"), _name(host)
    authority = (
        _begun(issuer, issuer, signer.public_key(), signer.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage("key_cert_sign"), critical=True)
        .add_extension(_constraints(names), critical=True)
        .sign(signer, hashes.SHA256())
    )
    leaf = (
        _begun(subject, issuer, private.public_key(), signer.public_key(), now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage("digital_signature"), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    return authority, leaf, private


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    signer: ec.EllipticCurvePublicKey,
    now: datetime.datetime,
) -> x509.CertificateBuilder:
    begins = now - datetime.timedelta(days=1)  # clocks of phones are not all right
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + datetime.timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
    )


def _name(common: str) -> x509.Name:
    attributes = {NameOID.COMMON_NAME: common[:64], NameOID.ORGANIZATION_NAME: MAKER}
    return x509.Name([x509.NameAttribute(kind, value) for kind, value in attributes.items()])


def _usage(what: str) -> x509.KeyUsage:
    kinds = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{kind: kind == what for kind in kinds})


def _constraints(names: list[str]) -> x509.NameConstraints:
    """These names and addresses, and no others: a kind of name of which nothing is said would be free."""
    found = [_general_name(name) for name in names]
    hosts: list[x509.GeneralName] = [
        x509.DNSName(name.value.removeprefix("*.")) for name in found if isinstance(name, x509.DNSName)
    ]
    networks: list[x509.GeneralName] = [
        x509.IPAddress(ipaddress.ip_network(name.value)) for name in found if isinstance(name, x509.IPAddress)
    ]
    nowhere = [x509.IPAddress(ipaddress.ip_network(network)) for network in ("0.0.0.0/0", "::/0")]
    return x509.NameConstraints(
        [*(hosts or [x509.DNSName("invalid")]), *networks], excluded_subtrees=None if networks else nowhere
    )


def _general_name(name: str) -> x509.DNSName | x509.IPAddress:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
