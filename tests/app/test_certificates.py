"""The certificates of HTTPS: which is taken, how a self-signed one is made, and what is said when none can be used."""

import datetime
import errno
import ipaddress
import os
import socket
import ssl
import subprocess
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from imageserver.app import certificates, tls
from imageserver.app.certificates import own
from imageserver.app.certificates.pair import MOST_BYTES, Place, load
from imageserver.config.table import Settings
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
    found = read(cert).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert found.get_values_for_type(x509.DNSName) == ["localhost", "camera-server"]
    assert found.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(name) for name in NAMES[2:]]
    assert sorted(entry.name for entry in (tmp_path / "tls").iterdir()) == ["ca.pem", "cert.pem", "key.pem"]


def test_it_is_made_anew_only_when_it_is_about_to_expire(tmp_path):
    said = []
    cert, _key = certificates.self_signed(tmp_path, said.append, NAMES, NOW)
    first = cert.read_bytes()
    certificates.self_signed(tmp_path, said.append, NAMES, NOW + datetime.timedelta(days=own.VALID_DAYS - 31))
    assert cert.read_bytes() == first
    certificates.self_signed(tmp_path, said.append, NAMES, NOW + datetime.timedelta(days=own.VALID_DAYS - 29))
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


def test_one_that_cannot_be_renewed_serves_on_while_it_is_valid(tmp_path, monkeypatch):
    said = []
    cert, key = certificates.self_signed(tmp_path, said.append, NAMES, NOW)
    first = cert.read_bytes()

    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(own.files, "replace", full)
    days = datetime.timedelta(days=own.VALID_DAYS)
    assert certificates.self_signed(tmp_path, said.append, NAMES, NOW + days - datetime.timedelta(days=9)) == (
        cert,
        key,
    )
    assert "No space left on device" in said[-1]
    assert cert.read_bytes() == first
    with pytest.raises(SettingError, match="make it writable"):
        certificates.self_signed(tmp_path, said.append, NAMES, NOW + days)


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


def test_the_names_of_the_certificate_become_known(tmp_path):
    known = []
    cert, key = certificates.self_signed(tmp_path, lambda _: None, ["cams.example.org", "*.example.net", "10.0.0.1"])
    settings = Settings(data=tmp_path, tls=True, cert=cert, key=key)
    tls.certificate(settings, log=lambda _: None, warn=lambda _: None, know=known.append)
    assert known == ["cams.example.org", "*.example.net"]


def test_the_operators_certificate_comes_first_then_that_beside_the_project(tmp_path, monkeypatch):
    monkeypatch.setattr(tls.folders, "PROJECT", tmp_path)
    beside = tmp_path / "ssl"
    certificates.self_signed(beside, lambda _: None, NAMES)
    cert, key = certificates.self_signed(tmp_path / "own", lambda _: None, NAMES)
    said = []
    options = {"log": said.append, "warn": said.append}
    tls.certificate(Settings(data=tmp_path / "data", https_port=0), **options)
    assert str(beside / "cert.pem") in said[0]
    tls.certificate(Settings(data=tmp_path / "data", https_port=0, cert=cert, key=key), **options)
    assert str(cert) in said[1]
    assert load(Place(cert, key)).fingerprint in said[1]
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    tls.certificate(Settings(data=tmp_path / "data", https_port=0, cert=both), **options)
    assert not (tmp_path / "data").exists()
    assert len(said[2].partition("SHA-256 ")[2].split(", ")[0].split(":")) == 32


def test_what_cannot_be_used_is_said_in_a_sentence(tmp_path):
    cert, key = certificates.self_signed(tmp_path, lambda _: None, NAMES)
    other = certificates.self_signed(tmp_path / "other", lambda _: None, NAMES)[1]
    (tmp_path / "text.pem").write_text("no certificate")
    (tmp_path / "large.pem").write_bytes(bytes(MOST_BYTES + 1))
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    (tmp_path / "locked.pem").write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    for wrong_cert, wrong_key, words in (
        (tmp_path / "absent.pem", key, "there is no certificate"),
        (cert, tmp_path / "absent.pem", "there is no certificate"),
        (cert, other, "key values mismatch"),
        (tmp_path / "text.pem", key, "cannot be used"),
        (tmp_path / "large.pem", key, "it is larger than"),
        (cert, tmp_path / "locked.pem", "password"),
    ):
        with pytest.raises(SettingError, match=words):
            load(Place(wrong_cert, wrong_key))
    cert.write_text("damaged")
    with pytest.raises(SettingError, match="damaged"):
        certificates.self_signed(tmp_path, lambda _: None, NAMES)


def test_a_chain_that_is_missing_or_broken_is_said(tmp_path):
    cert, key = certificates.self_signed(tmp_path, lambda _: None, NAMES)
    stranger = certificates.self_signed(tmp_path / "other", lambda _: None, NAMES)[0].read_bytes()
    assert load(Place(cert, key)).remarks == ()
    leaf = cert.read_bytes().split(b"-----END CERTIFICATE-----\n")[0] + b"-----END CERTIFICATE-----\n"
    cert.write_bytes(leaf)
    (remark,) = load(Place(cert, key)).remarks
    assert "holds no chain" in remark and "CN=ImageServer on camera-server" in remark
    cert.write_bytes(leaf + stranger)
    assert "is broken" in load(Place(cert, key)).remarks[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(SettingError, match="make it writable"):
        certificates.self_signed(tmp_path / "tls", lambda _: None, NAMES)


def test_settings_that_contradict_each_other_are_refused(tmp_path):
    said = []
    options = {"log": said.append, "warn": said.append}
    assert tls.certificate(Settings(data=tmp_path), **options) is None
    with pytest.raises(SettingError, match="give one of them"):
        tls.certificate(Settings(data=tmp_path, tls=True, https_port=0), **options)
    with pytest.raises(SettingError, match="add -s"):
        tls.certificate(Settings(data=tmp_path, cert=tmp_path / "cert.pem"), **options)
    with pytest.raises(SettingError, match="--key is given without --cert"):
        tls.certificate(Settings(data=tmp_path, tls=True, key=tmp_path / "key.pem"), **options)
    assert tls.certificate(Settings(data=tmp_path, https_port=0), **options) is not None
    assert not any("Android" in line for line in said)
    tls.certificate(Settings(data=tmp_path, tls=True), **options)
    assert "Android apps in the field need plain http; --https-port" in "".join(said)
