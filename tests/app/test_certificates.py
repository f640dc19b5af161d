"""The certificates of HTTPS: which is taken, how a self-signed one is made, and what is said when none can be used."""

import datetime
import ipaddress
import os
import socket
import ssl
import threading

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from imageserver.app import certificates, tls
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
    assert sorted(entry.name for entry in (tmp_path / "tls").iterdir()) == ["cert.pem", "key.pem"]


def test_it_is_made_anew_only_when_it_is_about_to_expire(tmp_path):
    said = []
    cert, _key = certificates.self_signed(tmp_path, said.append, NAMES, NOW)
    first = cert.read_bytes()
    certificates.self_signed(tmp_path, said.append, NAMES, NOW + datetime.timedelta(days=certificates.VALID_DAYS - 31))
    assert cert.read_bytes() == first
    certificates.self_signed(tmp_path, said.append, NAMES, NOW + datetime.timedelta(days=certificates.VALID_DAYS - 29))
    assert cert.read_bytes() != first
    assert "expires" in said[0]


def test_names_that_it_lacks_are_said(tmp_path):
    said = []
    certificates.self_signed(tmp_path, said.append, NAMES, NOW)
    certificates.self_signed(tmp_path, said.append, [*NAMES, "10.1.2.3"], NOW)
    assert "does not name 10.1.2.3" in said[0]


def test_own_names_hold_this_machine():
    names = certificates.own_names()
    assert {"localhost", "127.0.0.1", "::1"} <= set(names)
    assert len(set(names)) == len(names)


def test_the_context_speaks_tls_of_today_and_prints_the_fingerprint(tmp_path):
    said = []
    context = certificates.context(None, None, project=tmp_path, data=tmp_path / "data", log=said.append)
    cert = tmp_path / "data" / "tls" / "cert.pem"
    assert certificates.fingerprint(cert) in said[0]
    assert len(certificates.fingerprint(cert).split(":")) == 32
    trusting = ssl.create_default_context(cafile=str(cert))
    trusting.verify_flags |= ssl.VERIFY_X509_STRICT
    assert handshake(context, client=trusting) == "TLSv1.3"
    old = ssl.create_default_context(cafile=str(cert))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    assert handshake(context, client=old) == "TLSv1.2"
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(context, client=ssl.create_default_context())


def test_the_names_of_the_certificate_become_known(tmp_path):
    folder, known = tmp_path / "tls", []
    cert, key = certificates.self_signed(folder, lambda _: None, ["cams.example.org", "*.example.net", "10.0.0.1"], NOW)
    options = {"project": tmp_path, "data": tmp_path, "log": lambda _: None, "know": known.append}
    certificates.context(cert, key, **options)
    assert known == ["cams.example.org", "*.example.net"]


def test_the_operators_certificate_comes_first_then_that_beside_the_project(tmp_path):
    beside = tmp_path / "ssl"
    certificates.self_signed(beside, lambda _: None, NAMES)
    cert, key = certificates.self_signed(tmp_path / "own", lambda _: None, NAMES)
    said = []
    certificates.context(None, None, project=tmp_path, data=tmp_path / "data", log=said.append)
    assert str(beside / "cert.pem") in said[0]
    certificates.context(cert, key, project=tmp_path, data=tmp_path / "data", log=said.append)
    assert str(cert) in said[1]
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + cert.read_bytes())
    certificates.context(both, None, project=tmp_path, data=tmp_path / "data", log=said.append)
    assert not (tmp_path / "data").exists()


def test_what_cannot_be_used_is_said_in_a_sentence(tmp_path):
    cert, key = certificates.self_signed(tmp_path, lambda _: None, NAMES)
    other = certificates.self_signed(tmp_path / "other", lambda _: None, NAMES)[1]
    (tmp_path / "text.pem").write_text("no certificate")
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    (tmp_path / "locked.pem").write_bytes(
        private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    )
    for wrong_cert, wrong_key, words in (
        (tmp_path / "absent.pem", key, "there is no certificate"),
        (cert, tmp_path / "absent.pem", "there is no certificate"),
        (None, key, "--key is given without --cert"),
        (cert, other, "key values mismatch"),
        (tmp_path / "text.pem", key, "cannot be used"),
        (cert, tmp_path / "locked.pem", "password"),
    ):
        with pytest.raises(SettingError, match=words):
            certificates.context(wrong_cert, wrong_key, project=tmp_path / "none", data=tmp_path, log=lambda _: None)
    cert.write_text("damaged")
    with pytest.raises(SettingError, match="damaged"):
        certificates.self_signed(tmp_path, lambda _: None, NAMES)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(SettingError, match="make it writable"):
        certificates.self_signed(tmp_path / "tls", lambda _: None, NAMES)


def test_settings_that_contradict_each_other_are_refused(tmp_path):
    said = []
    assert tls.context(Settings(data=tmp_path), log=said.append) is None
    with pytest.raises(SettingError, match="give one of them"):
        tls.context(Settings(data=tmp_path, tls=True, https_port=0), log=said.append)
    with pytest.raises(SettingError, match="add -s"):
        tls.context(Settings(data=tmp_path, cert=tmp_path / "cert.pem"), log=said.append)
    assert tls.context(Settings(data=tmp_path, https_port=0), log=said.append) is not None
    assert not any("Android" in line for line in said)
    tls.context(Settings(data=tmp_path, tls=True), log=said.append)
    assert "Android apps in the field need plain http; --https-port" in "".join(said)
