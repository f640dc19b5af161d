"""Signatures, keys, and the files that say who may come in."""

from __future__ import annotations

import contextlib
import functools
import random
import struct
import tempfile
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from tests.accounts.signing import public, sign
from tests.fuzz.target import Defect, Target
from tests.passwords import CHEAP

from imageserver.accounts import ssh_signatures
from imageserver.accounts.database import UserDB
from imageserver.errors import NotAllowed, SettingError

NONCE = bytes(32)
TOKEN = "ist_" + "0" * 12 + "_" + "1" * 64
KEYS = (ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)), ec.derive_private_key(7, ec.SECP256R1()))


@functools.cache
def lines() -> tuple[bytes, ...]:
    """Lines of an authorized_keys file, one for each of `KEYS`."""
    form = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    return tuple(key.public_key().public_bytes(*form) for key in KEYS)


@functools.cache
def encoded_keys() -> frozenset[bytes]:
    return frozenset(public(key) for key in KEYS)


def signature(data: bytes) -> None:
    """A signature over a nonce: those of the keys pass, and no changed one does."""
    keys = encoded_keys()
    try:
        ssh_signatures.verify(data, NONCE, "imageserver", keys)
    except NotAllowed:
        return
    if b"SSH SIGNATURE" not in data and data[6:10] != struct.pack(">I", 1):
        raise Defect("no signature of this version")


def key(data: bytes) -> None:
    """A public key."""
    with contextlib.suppress(ValueError, UnsupportedAlgorithm):
        ssh_signatures.load_key(data)


def authorized_keys(data: bytes) -> None:
    """A file of keys: each line is a key or left out."""
    text = data.decode("utf-8", "replace")
    keys, left_out = ssh_signatures.parse_authorized_keys(text)
    if len(keys) + len(left_out) > len(text.splitlines()):
        raise Defect("more keys than lines")


def database() -> bytes:
    """A database with a user, a token and a page session."""
    with tempfile.TemporaryDirectory() as folder:
        users = UserDB(Path(folder) / "users.db", CHEAP)
        users.add("alice", "secret", ["camera"], only=["door"])
        users.add_token("alice", days=1)
        return (Path(folder) / "users.db").read_bytes()


def users(data: bytes) -> None:
    """Any bytes as the database: sentences, and nobody comes in with a wrong password."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        path = Path(folder) / "users.db"
        path.write_bytes(data)
        found = UserDB(path, CHEAP, patience=0.01)
        for call in (
            found.any,
            found.closed,
            found.list,
            found.revision,
            found.tokens,
            found.pages,
            lambda: found.changes(0),
            lambda: found.check_token(TOKEN),
            lambda: found.get("alice"),
        ):
            with contextlib.suppress(SettingError):
                call()
        if not found.closed():
            raise Defect("a damaged database opens the doors")
        with contextlib.suppress(SettingError):
            if found.check("alice", "wrong") is not None:
                raise Defect("a wrong password was right")


def damaged(chance: random.Random) -> bytes:
    """A database with some bytes changed, most of them where it says how it is laid out."""
    data = bytearray(SOUND)
    for _change in range(chance.choice((1, 2, 8, 60))):
        data[chance.randrange(100) if chance.random() < 0.2 else chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data[: chance.choice((len(data), len(data), chance.randrange(len(data))))])


SOUND = database()

TARGETS = [
    Target(
        name="ssh-signature",
        run=signature,
        seeds=tuple(sign(key, NONCE) for key in KEYS),
        covers=("accounts.ssh_signatures",),
        longest=2**14,
        words=(
            b"SSHSIG",
            b"\x00\x00\x00\x01",
            b"\x00\x00\x00\x0b",
            b"imageserver",
            b"ssh-ed25519",
            b"sha512",
            b"sha256",
            b"-----BEGIN SSH SIGNATURE-----\n",
            b"-----END SSH SIGNATURE-----",
            b"\xff\xff\xff\xff",
        ),
    ),
    Target(
        name="ssh-key",
        run=key,
        seeds=tuple(public(key) for key in KEYS),
        covers=("accounts.ssh_signatures",),
        longest=2**14,
        words=(
            b"\x00\x00\x00\x07ssh-rsa",
            b"\x00\x00\x00\x0bssh-ed25519",
            b"ecdsa-sha2-nistp521",
            b"nistp256",
            b"\xff\xff",
        ),
    ),
    Target(
        name="authorized-keys",
        run=authorized_keys,
        seeds=(
            b"# a comment\n\n" + lines()[0] + b" alice@door\n",
            b'restrict,command="a \\" b" ' + lines()[1],
            b'from="10.0.0.1" ' + lines()[0],
            b"ssh-rsa AAAA",
            b"cert-authority " + lines()[0] + b"\r\n" + lines()[1],
        ),
        covers=("accounts.ssh_signatures",),
        longest=2**16,
        byte_memory=200,
        words=(b'"', b'\\"', b"ssh-ed25519 ", b",", b'="', b"\xe2\x80\xa8", b"\x0c"),
    ),
    Target(
        name="users-database",
        run=users,
        seeds=(SOUND, b"", b"SQLite format 3\x00", SOUND[:4096]),
        covers=("accounts.store.file", "accounts.store.schema", "accounts.store.rows", "accounts.database"),
        shape=damaged,
        longest=2**16,
        seconds=0.08,
        memory=2**20,
    ),
]
