"""Files for --cert and --key that are none: the operator reads which one and what to do, no words of OpenSSL's code."""

import base64

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from imageserver.app import certificates
from imageserver.app.certificates.pair import MOST_BYTES, Content, Place, check, load, read
from imageserver.errors import SettingError

NAMES = ["localhost", "camera-server", "127.0.0.1", "::1", "192.0.2.7"]


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("cert.pem", None, r"cert\.pem cannot be used: there is no certificate, or no key; name its key with --key"),
        ("text.pem", None, r"text\.pem cannot be used: there is no certificate, or no key; name its key with --key"),
        (
            "text.pem",
            "key.pem",
            r"text\.pem and \S+key\.pem cannot be used: there is no certificate, or no key; they must be",
        ),
        ("folder", "key.pem", r"folder and \S+key\.pem cannot be used: it is no regular file; they must be"),
    ],
)
def test_files_that_are_no_certificate_and_key(tmp_path, cert, key, words):
    certificates.self_signed(tmp_path, lambda _: None, ["localhost"])
    (tmp_path / "text.pem").write_text("no certificate")
    (tmp_path / "folder").mkdir()
    with pytest.raises(SettingError, match=words):
        load(Place(tmp_path / cert, tmp_path / key if key else None))


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
        (cert, other, "the key is not that of the certificate"),
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


@pytest.mark.filterwarnings("ignore")
def test_what_breaks_the_format_of_a_certificate_is_a_sentence(tmp_path):
    """Each byte of it in turn is another: what can be loaded can be read in every field."""
    cert, key = certificates.self_signed(tmp_path, lambda _: None, ["localhost"])
    place, good = Place(cert, key), read(Place(cert, key))
    body = bytearray(base64.b64decode(b"".join(good.cert.split(b"-----END")[0].splitlines()[1:])))
    refused = 0
    for position in range(len(body)):
        former, body[position] = body[position], body[position] ^ 0x05
        pem = b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(body) + b"-----END CERTIFICATE-----\n"
        body[position] = former
        try:
            check(place, Content(pem, good.key))
        except SettingError:
            refused += 1
    assert refused > 100
