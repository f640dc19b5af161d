"""The certificate that the server makes itself: when, for which names, and what its key and its authority can do."""

import datetime
import ipaddress
import os
import socket
import ssl
import subprocess
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from imageserver.app import certificates
from imageserver.app.certificates import own
from imageserver.app.certificates.pair import Place, load
from imageserver.errors import SettingError

NAMES = ["localhost", "camera-server", "127.0.0.1", "::1", "192.0.2.7"]
NOW = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


def read(path):
    return x509.load_pem_x509_certificate(path.read_bytes())


def handshake(context, *, client):
    """Do a handshake over a socket pair; returns the client's view of the version. Raises what the client raises."""
    ours, theirs = socket.socketpair()

    def serve():
        try:
            context.wrap_socket(theirs, server_side=True).close()
        except OSError:
            theirs.close()

    server = threading.Thread(target=serve)
    server.start()
    try:
        with client.wrap_socket(ours, server_hostname="localhost") as secured:
            return secured.version()
    finally:
        ours.close()
        server.join(20)


def test_a_self_signed_certificate_is_made_once(tmp_path):
    said = []
    cert, key = certificates.self_signed(tmp_path / "tls", said.append, NAMES, NOW)
    first = cert.read_bytes()
    assert certificates.self_signed(tmp_path / "tls", said.append, NAMES, NOW) == (cert, key)
    assert cert.read_bytes() == first
    assert said == []
    assert key.stat().st_mode & 0o777 == 0o600
    # Apple's requirement for certificates of servers, by their own dates.
    assert read(cert).not_valid_after_utc - read(cert).not_valid_before_utc <= datetime.timedelta(days=825)
    found = read(cert).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["localhost", "camera-server"]
    assert found.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(name) for name in NAMES[2:]]
    assert sorted(entry.name for entry in (tmp_path / "tls").iterdir()) == ["ca.pem", "cert.pem", "key.pem"]


def test_it_is_made_anew_only_when_it_is_about_to_expire(tmp_path):
    said = []
    cert, _key = certificates.self_signed(tmp_path, said.append, NAMES, NOW)
    first = cert.read_bytes()
    certificates.self_signed(tmp_path, said.append, NAMES, NOW + datetime.timedelta(days=own.VALID_DAYS - 32))
    assert cert.read_bytes() == first
    certificates.self_signed(tmp_path, said.append, NAMES, NOW + datetime.timedelta(days=own.VALID_DAYS - 31))
    assert cert.read_bytes() != first
    assert "expires" in said[0]


def test_names_that_it_lacks_are_said(tmp_path):
    said = []
    certificates.self_signed(tmp_path, said.append, NAMES, NOW)
    certificates.self_signed(tmp_path, said.append, [*NAMES, "10.1.2.3"], NOW)
    assert "does not name 10.1.2.3" in said[0]


def test_own_names_hold_this_machine():
    names = own.own_names()
    assert {"localhost", "127.0.0.1", "::1"} <= set(names)
    assert len(set(names)) == len(names)


def openssl(*arguments):
    return subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)


def test_it_is_believed_for_its_names_by_who_trusts_either_file(tmp_path):
    cert, key = certificates.self_signed(tmp_path, lambda _: None, NAMES)
    context = load(Place(cert, key)).context
    for trusted in (cert, tmp_path / "ca.pem"):
        trusting = ssl.create_default_context(cafile=str(trusted))
        trusting.verify_flags |= ssl.VERIFY_X509_STRICT
        assert handshake(context, client=trusting) == "TLSv1.3"
        assert openssl("verify", "-x509_strict", "-CAfile", trusted, cert).returncode == 0
    old = ssl.create_default_context(cafile=str(cert))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(context, client=old) == "TLSv1.2"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, client=ssl.create_default_context())


def test_even_its_authority_could_name_no_other(tmp_path):
    """As if its key were not gone: the constraints alone hold back names and addresses that are not this machine's."""
    authority, signer = _authority(NAMES)
    (tmp_path / "ca.pem").write_bytes(authority.public_bytes(Encoding.PEM))
    for name, believed in (
        ("DNS:localhost", True),
        ("DNS:camera-server", True),
        ("IP:192.0.2.7", True),
        ("DNS:bank.example", False),
        ("IP:192.0.2.8", False),
        ("IP:2001:db8::1", False),
    ):
        (tmp_path / "leaf.pem").write_bytes(_leaf(authority, signer, name).public_bytes(Encoding.PEM))
        verified = openssl("verify", "-CAfile", tmp_path / "ca.pem", tmp_path / "leaf.pem")
        assert (verified.returncode == 0) is believed, (name, verified.stderr)


def _authority(names):
    """The authority that `own` makes, with another key in place of the one that it forgets."""
    authority, _leaf_of_it, _key = own._signed(names, datetime.datetime.now(datetime.UTC))
    signer = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateBuilder(
        authority.issuer,
        authority.subject,
        signer.public_key(),
        authority.serial_number,
        authority.not_valid_before_utc,
        authority.not_valid_after_utc,
        [
            e
            for e in authority.extensions
            if not isinstance(e.value, x509.SubjectKeyIdentifier | x509.AuthorityKeyIdentifier)
        ],
    )
    return builder.sign(signer, hashes.SHA256()), signer


def _leaf(authority, signer, name):
    kind, _, value = name.partition(":")
    alternative = x509.DNSName(value) if kind == "DNS" else x509.IPAddress(ipaddress.ip_address(value))
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.subject)
        .public_key(signer.public_key())
        .serial_number(7)
        .not_valid_before(authority.not_valid_before_utc)
        .not_valid_after(authority.not_valid_after_utc)
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=True)
        .sign(signer, hashes.SHA256())
    )


def test_a_pair_that_a_crash_left_half_made_is_made_anew(tmp_path):
    said = []
    cert, key = certificates.self_signed(tmp_path, said.append, NAMES)
    certificates.self_signed(tmp_path / "other", said.append, NAMES)
    key.write_bytes((tmp_path / "other" / "key.pem").read_bytes())
    certificates.self_signed(tmp_path, said.append, NAMES)
    assert "is not that of the key beside it: a new one is made" in said[0]
    load(Place(cert, key))


def test_one_that_cannot_be_renewed_serves_on_while_it_is_valid(tmp_path):
    said = []
    cert, key = certificates.self_signed(tmp_path, said.append, NAMES, NOW)
    first = cert.read_bytes() + key.read_bytes()
    (tmp_path / "ca.pem").unlink()
    (tmp_path / "ca.pem").mkdir()  # which no file can take the place of
    late = NOW + datetime.timedelta(days=own.VALID_DAYS)
    nine = datetime.timedelta(days=9)
    assert certificates.self_signed(tmp_path, said.append, NAMES, late - nine) == (cert, key)
    assert "a certificate cannot be written to" in said[-1] and "make it writable" in said[-1]
    assert cert.read_bytes() + key.read_bytes() == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ca.pem", "cert.pem", "key.pem"]
    with pytest.raises(SettingError, match="make it writable"):
        certificates.self_signed(tmp_path, said.append, NAMES, late)


def test_another_makers_certificate_in_its_place_is_left_alone(tmp_path):
    said = []
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    request = "req -x509 -newkey rsa:2048 -nodes -days 5 -subj /CN=cams"
    openssl(*request.split(), "-keyout", key, "-out", cert)
    first = cert.read_bytes()
    assert certificates.self_signed(tmp_path, said.append, NAMES) == (cert, key)
    assert cert.read_bytes() == first


def test_one_of_an_older_version_stays_and_what_it_may_is_said(tmp_path):
    said = []
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    request = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -addext subjectAltName=DNS:localhost"
    )
    openssl(*request.split(), "-subj", f"/CN=hub/O={own.MAKER}", "-keyout", key, "-out", cert)
    first = cert.read_bytes()
    certificates.self_signed(tmp_path, said.append, ["localhost"])
    assert cert.read_bytes() == first
    assert "is an authority for every name" in said[0] and "remove it and restart or reload" in said[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(SettingError, match="make it writable"):
        certificates.self_signed(tmp_path / "tls", lambda _: None, NAMES)
