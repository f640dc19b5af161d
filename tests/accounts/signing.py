"""SSH signatures made by hand from PROTOCOL.sshsig, right ones and wrong ones."""

from __future__ import annotations

import hashlib
import struct

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils


def ssh_string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def mpint(number: int) -> bytes:
    return ssh_string(number.to_bytes(number.bit_length() // 8 + 1, "big"))


def public(key) -> bytes:
    """The encoded public key of a private key."""
    import base64

    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    return base64.b64decode(line.split()[1])


def sign(
    key,
    message: bytes,
    *,
    namespace: str = "imageserver",
    signed_namespace: str | None = None,
    reserved: bytes = b"",
    signed_reserved: bytes | None = None,
    hash_name: str = "sha512",
    version: int = 1,
    claim: bytes | None = None,
    algorithm: bytes | None = None,
) -> bytes:
    """An SSHSIG blob; `signed_…` go into what is signed in place of what the blob says, `claim` is the key it names."""
    digest = hashlib.new(hash_name, message).digest()
    inside = (
        (signed_namespace or namespace).encode(),
        reserved if signed_reserved is None else signed_reserved,
        hash_name.encode(),
        digest,
    )
    signed = b"SSHSIG" + b"".join(map(ssh_string, inside))
    if isinstance(key, ed25519.Ed25519PrivateKey):
        name, signature = b"ssh-ed25519", key.sign(signed)
    elif isinstance(key, rsa.RSAPrivateKey):
        name, signature = b"rsa-sha2-512", key.sign(signed, padding.PKCS1v15(), hashes.SHA512())
    else:
        bits = key.curve.key_size
        chosen = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[bits]
        r, s = utils.decode_dss_signature(key.sign(signed, ec.ECDSA(chosen)))
        name, signature = b"ecdsa-sha2-nistp%d" % bits, mpint(r) + mpint(s)
    inner = ssh_string(algorithm or name) + ssh_string(signature)
    outside = claim or public(key), namespace.encode(), reserved, hash_name.encode(), inner
    return b"SSHSIG" + struct.pack(">I", version) + b"".join(map(ssh_string, outside))
