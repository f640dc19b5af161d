"""Signatures as ssh-keygen makes them, and everything that can be wrong with one."""

from __future__ import annotations

import base64
import os
import random
import shutil
import struct
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from tests.accounts.signing import sign, ssh_string

from imageserver.accounts import ssh_signatures
from imageserver.accounts.ssh_signatures import AuthorizedKeys, parse_authorized_keys, verify
from imageserver.errors import NotAllowed, SettingError

KEYGEN = shutil.which("ssh-keygen")
NONCE = bytes(range(32))
KINDS = ["ed25519", "rsa", "ecdsa-256", "ecdsa-384", "ecdsa-521"]


@pytest.fixture(scope="module")
def keys() -> dict[str, tuple[object, bytes, str]]:
    """Private key, encoded public key and line of an authorized_keys file, by kind."""
    made = {
        "ed25519": ed25519.Ed25519PrivateKey.generate(),
        "rsa": rsa.generate_private_key(65537, 2048),
        "rsa-1024": rsa.generate_private_key(65537, 1024),
        "ecdsa-256": ec.generate_private_key(ec.SECP256R1()),
        "ecdsa-384": ec.generate_private_key(ec.SECP384R1()),
        "ecdsa-521": ec.generate_private_key(ec.SECP521R1()),
        "other": ed25519.Ed25519PrivateKey.generate(),
    }
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    lines = {kind: key.public_key().public_bytes(*form).decode() for kind, key in made.items()}
    return {kind: (key, base64.b64decode(lines[kind].split()[1]), lines[kind]) for kind, key in made.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("hash_name", ["sha256", "sha512"])
def test_a_right_signature(keys, kind, hash_name):
    private, public, _line = keys[kind]
    blob = sign(private, NONCE, hash_name=hash_name)
    verify(blob, NONCE, "imageserver", {public})
    armored = b"-----BEGIN SSH SIGNATURE-----\n" + base64.encodebytes(blob) + b"-----END SSH SIGNATURE-----\n"
    verify(armored, NONCE, "imageserver", {public, keys["other"][1]})


@pytest.mark.skipif(KEYGEN is None, reason="needs ssh-keygen")
@pytest.mark.parametrize("kind", KINDS)
def test_what_ssh_keygen_signs(tmp_path: Path, kind: str) -> None:
    name, _dash, bits = kind.partition("-")
    key = tmp_path / "key"
    subprocess.run([KEYGEN, "-q", "-t", name, *(["-b", bits] if bits else []), "-N", "", "-f", key], check=True)
    made = subprocess.run(
        [KEYGEN, "-q", "-Y", "sign", "-n", "imageserver", "-f", key], input=NONCE, capture_output=True, check=True
    ).stdout
    listed, left_out = parse_authorized_keys((tmp_path / "key.pub").read_text())
    assert not left_out
    verify(made, NONCE, "imageserver", listed)
    verify(base64.b64decode(b"".join(made.splitlines()[1:-1])), NONCE, "imageserver", listed)
    with pytest.raises(NotAllowed, match="does not fit"):
        verify(made, NONCE[::-1], "imageserver", listed)
    with pytest.raises(NotAllowed, match="namespace b'imageserver', not 'file'"):
        verify(made, NONCE, "file", listed)


@pytest.mark.parametrize("kind", KINDS)
def test_another_nonce_key_or_namespace(keys, kind):
    private, public, _line = keys[kind]
    for blob, allowed, words in [
        (sign(private, NONCE[::-1]), {public}, "does not fit"),
        (sign(private, NONCE, namespace="file"), {public}, "namespace"),
        (sign(private, NONCE), {keys["other"][1]}, "not listed"),
        (sign(private, NONCE), set(), "not listed"),
        (
            sign(private, NONCE, claim=keys["other"][1]),
            {keys["other"][1]},
            "algorithm" if kind != "ed25519" else "does not fit",
        ),
        (sign(private, NONCE, signed_namespace="file"), {public}, "does not fit"),
        (sign(private, NONCE, reserved=b"x", signed_reserved=b"y"), {public}, "does not fit"),
        (sign(private, NONCE, hash_name="sha1"), {public}, "sha1"),
        (sign(private, NONCE, version=2), {public}, "version is 2"),
        (sign(private, NONCE, algorithm=b"ssh-rsa"), {public}, "algorithm"),
    ]:
        with pytest.raises(NotAllowed, match=words):
            verify(blob, NONCE, "imageserver", allowed)


def test_what_is_reserved_is_signed_too_and_otherwise_ignored(keys):
    private, public, _line = keys["ed25519"]
    verify(sign(private, NONCE, reserved=b"for later"), NONCE, "imageserver", {public})


def test_a_short_rsa_key_does_not_count(keys):
    private, public, line = keys["rsa-1024"]
    assert parse_authorized_keys(line) == (
        {},
        ["line 1 is left out: an RSA key of 1024 bits, where 2048 to 16384 are taken"],
    )
    with pytest.raises(NotAllowed, match="1024"):
        verify(sign(private, NONCE), NONCE, "imageserver", {public})


@pytest.mark.parametrize("kind", KINDS)
def test_a_blob_changed_anywhere_is_refused(keys, kind):
    private, public, _line = keys[kind]
    blob = sign(private, NONCE)
    chance = random.Random(3)
    for _ in range(150):
        at, bit = chance.randrange(len(blob)), 1 << chance.randrange(8)
        with pytest.raises(NotAllowed):
            verify(blob[:at] + bytes([blob[at] ^ bit]) + blob[at + 1 :], NONCE, "imageserver", {public})
    for end in range(0, len(blob), 7):
        with pytest.raises(NotAllowed):
            verify(blob[:end], NONCE, "imageserver", {public})
    with pytest.raises(NotAllowed, match="follows"):
        verify(blob + b"x", NONCE, "imageserver", {public})


def test_anything_else_is_refused_in_a_sentence(keys):
    public = keys["ed25519"][1]
    chance = random.Random(5)
    head = b"SSHSIG\0\0\0\1"
    strange = [
        b"",
        b"SSHSIG",
        b"\xff" * 100,
        head + b"\xff" * 8,
        head + ssh_string(public) * 5,
        b"-----BEGIN SSH SIGNATURE-----\n" + b"\n" * 16000,
    ]
    strange += [head + chance.randbytes(chance.randint(0, 200)) for _ in range(300)]
    strange += [
        head + ssh_string(public) + ssh_string(b"imageserver") + chance.randbytes(chance.randint(0, 80))
        for _ in range(300)
    ]
    for blob in strange:
        with pytest.raises(NotAllowed) as refused:
            verify(blob, NONCE, "imageserver", {public})
        assert "\n" not in str(refused.value)


# ---- the file -----------------------------------------------------------------------------------------------------


def test_the_file_in_all_its_forms(keys):
    lines = {kind: line for kind, (_private, _public, line) in keys.items()}
    text = f"""# apps that may come in

{lines["ed25519"]} the app of ward 3
   {lines["rsa"]}
restrict,command="echo \\"a, b\\" ssh-ed25519 x",no-pty {lines["ecdsa-256"]} with options
from="10.0.0.*" {lines["ecdsa-384"]}
cert-authority {lines["ecdsa-521"]}
ssh-ed25519 !!!!
ssh-ed25519
ssh-rsa {lines["ed25519"].split()[1]}
nonsense
ssh-dss {base64.b64encode(ssh_string(b"ssh-dss") + ssh_string(b"x")).decode()}
"""
    listed, left_out = parse_authorized_keys(text)
    assert listed == {keys["ed25519"][1]: 3, keys["rsa"][1]: 4, keys["ecdsa-256"][1]: 5}
    assert [sentence.split(":")[0] for sentence in left_out] == [
        f"line {number} is left out" for number in range(6, 13)
    ]
    assert "from cannot be honoured" in left_out[0]
    assert "cert-authority" in left_out[1]


def test_a_changed_file_counts_from_the_next_check(keys, tmp_path):
    file = tmp_path / "authorized_keys"
    file.write_text(keys["ed25519"][2])
    lines: list[str] = []
    known = AuthorizedKeys(file, "imageserver", lines.append)
    signature = sign(keys["ed25519"][0], NONCE)
    known.check(NONCE, signature)
    file.write_text("# nobody\n" + keys["other"][2])
    with pytest.raises(NotAllowed, match="not listed"):
        known.check(NONCE, signature)
    known.check(NONCE, sign(keys["other"][0], NONCE))
    file.unlink()
    with pytest.raises(NotAllowed, match="not listed"):
        known.check(NONCE, sign(keys["other"][0], NONCE))
    assert "cannot be read any more" in lines[-1]
    file.write_text(keys["other"][2])
    known.check(NONCE, sign(keys["other"][0], NONCE))


def test_a_file_that_cannot_be_read_stops_the_start(tmp_path):
    for path, words in [(tmp_path / "none", "No such file"), (tmp_path, "Is a directory|directory")]:
        with pytest.raises(SettingError, match=words):
            AuthorizedKeys(path, "imageserver", print)
    (tmp_path / "large").write_bytes(b"#" * (ssh_signatures.MAX_FILE + 1))
    with pytest.raises(SettingError, match="larger"):
        AuthorizedKeys(tmp_path / "large", "imageserver", print)
    (tmp_path / "binary").write_bytes(os.urandom(8) + b"\xff\xfe")
    with pytest.raises(SettingError):
        AuthorizedKeys(tmp_path / "binary", "imageserver", print)


def test_a_file_without_keys_is_worth_a_warning(tmp_path):
    (tmp_path / "empty").write_text("")
    lines: list[str] = []
    AuthorizedKeys(tmp_path / "empty", "imageserver", lines.append)
    assert "nobody can authenticate" in lines[0]


def test_numbers_are_of_four_bytes():
    assert ssh_string(b"ab") == struct.pack(">I", 2) + b"ab"


def test_a_line_whose_quote_never_ends_is_read_once(keys):
    """8 KB of it took 11 seconds."""
    for options in ('x"' + '\\"' * 100_000, 'restrict,"' + '\\",' * 100_000):
        begun = time.thread_time()
        listed, left_out = parse_authorized_keys(f"{options} {keys['ed25519'][2]}")
        assert time.thread_time() - begun < 2
        assert not listed and len(left_out) == 1


def test_a_key_of_a_kind_that_the_library_does_not_know_is_left_out(keys):
    encoded = bytearray(keys["ecdsa-256"][1])
    encoded[-65] = 2  # a compressed point
    line = f"ecdsa-sha2-nistp256 {base64.b64encode(encoded).decode()}"
    listed, (sentence,) = parse_authorized_keys(f"{line}\n{keys['ed25519'][2]}")
    assert len(listed) == 1 and sentence.startswith("line 1 is left out: ")
