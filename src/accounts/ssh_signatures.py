"""SSH signatures (SSHSIG) by the keys of an `authorized_keys` file.

The framing is OpenSSH's PROTOCOL.sshsig, version 1; keys and mathematics are the library `cryptography`. Keys:
ssh-ed25519, ssh-rsa from 2,048 bits on (signing with SHA-2), ecdsa-sha2-nistp256, -nistp384 and -nistp521.
A check takes up to a millisecond of processor time: call it from a native thread.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Callable, Collection
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from imageserver.errors import NotAllowed, SettingError

PublicKey = ed25519.Ed25519PublicKey | rsa.RSAPublicKey | ec.EllipticCurvePublicKey

MAGIC = b"SSHSIG"
SMALLEST_RSA = 2048  # bits
LARGEST_RSA = 16384  # bits; the time of a check grows with their square
MAX_FILE = 2**20  # bytes of an authorized_keys file
_ARMOR = re.compile(rb"-----BEGIN SSH SIGNATURE-----\r?\n([A-Za-z0-9+/=\s]+)-----END SSH SIGNATURE-----\s*")
_CURVES: dict[str, hashes.HashAlgorithm] = {
    "secp256r1": hashes.SHA256(),
    "secp384r1": hashes.SHA384(),
    "secp521r1": hashes.SHA512(),
}
_RSA_HASHES: dict[bytes, hashes.HashAlgorithm] = {b"rsa-sha2-256": hashes.SHA256(), b"rsa-sha2-512": hashes.SHA512()}

_NARROWING = ("cert-authority", "expiry-time", "from", "principals")
"""Options that say when or for what a key does not count. They cannot be honoured here, so such keys are left out."""


_QUOTED = r'"(?:\\.|[^"\\])*(?:"|\\?$)'
"""To its end, or to that of the line: what is looked at again and again takes time with the square of its length."""
_WORDS, _OPTIONS = re.compile(rf'(?:[^\s"]|{_QUOTED})+'), re.compile(rf'(?:[^,"]|{_QUOTED})+')


def verify(signature: bytes, message: bytes, namespace: str, keys: Collection[bytes]) -> None:
    """Return when `signature` is a right one over `message` by one of `keys` (their encoding, RFC 4253 6.6).

    `signature` is the blob, or what `ssh-keygen -Y sign` writes: the same in base64 between two lines.
    NotAllowed says in a sentence what is wrong with it.
    """
    try:
        armored = _ARMOR.fullmatch(signature)
        _verify(base64.b64decode(armored[1]) if armored else signature, message, namespace.encode(), keys)
    except InvalidSignature:
        raise NotAllowed("the signature does not fit what was to be signed, or its key") from None
    except (ValueError, UnsupportedAlgorithm) as error:
        raise NotAllowed(f"the signature cannot be read: {error}") from None


def _verify(blob: bytes, message: bytes, namespace: bytes, keys: Collection[bytes]) -> None:
    if not blob.startswith(MAGIC):
        raise ValueError("it does not begin with SSHSIG")
    reader = _Reader(blob[len(MAGIC) :])
    version = reader.number()
    if version != 1:
        raise ValueError(f"its version is {version}, not 1")
    encoded, its_namespace, reserved, hash_name, inner = (reader.string() for _ in range(5))
    reader.done()
    if its_namespace != namespace:
        raise NotAllowed(f"the signature is for the namespace {its_namespace[:40]!r}, not {namespace.decode()!r}")
    if encoded not in keys:
        raise NotAllowed("the signature's key is not listed in the authorized_keys file")
    if hash_name not in (b"sha256", b"sha512"):
        raise ValueError(f"it hashes with {hash_name[:40]!r}, not sha256 or sha512")
    digest = hashlib.new(hash_name.decode(), message).digest()
    signed = MAGIC + b"".join(
        struct.pack(">I", len(field)) + field for field in (namespace, reserved, hash_name, digest)
    )
    reader = _Reader(inner)
    algorithm, numbers = reader.string(), reader.string()
    reader.done()
    _check(load_key(encoded), algorithm, numbers, signed)


def _check(key: PublicKey, algorithm: bytes, signature: bytes, signed: bytes) -> None:
    if isinstance(key, rsa.RSAPublicKey):
        if algorithm not in _RSA_HASHES:
            raise ValueError(f"its algorithm is {algorithm[:40]!r}, not rsa-sha2-256 or rsa-sha2-512")
        key.verify(signature, signed, padding.PKCS1v15(), _RSA_HASHES[algorithm])
        return
    if isinstance(key, ed25519.Ed25519PublicKey):
        expected = b"ssh-ed25519"
    else:
        expected = b"ecdsa-sha2-nistp" + str(key.curve.key_size).encode()
    if algorithm != expected:
        raise ValueError(f"its algorithm is {algorithm[:40]!r}, not {expected.decode()}")
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, signed)
    else:
        reader = _Reader(signature)
        r_value, s_value = (int.from_bytes(reader.string(), "big") for _ in range(2))
        reader.done()
        key.verify(utils.encode_dss_signature(r_value, s_value), signed, ec.ECDSA(_CURVES[key.curve.name]))


def load_key(encoded: bytes) -> PublicKey:
    """A public key from its encoding. ValueError or UnsupportedAlgorithm when it is none that this module takes."""
    kind = _Reader(encoded).string()
    try:
        key = load_ssh_public_key(kind + b" " + base64.b64encode(encoded))
    except NotImplementedError as error:  # compressed points, which nobody writes
        raise ValueError(str(error)) from None
    if isinstance(key, rsa.RSAPublicKey):
        if not SMALLEST_RSA <= key.key_size <= LARGEST_RSA:
            raise ValueError(f"an RSA key of {key.key_size} bits, where {SMALLEST_RSA} to {LARGEST_RSA} are taken")
        return key
    plain = kind == b"ssh-ed25519" or kind.startswith(
        b"ecdsa-sha2-nistp"
    )  # signatures of hardware tokens (sk-…) differ
    if plain and isinstance(key, ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey):
        return key
    raise ValueError(f"keys of the kind {kind.decode(errors='replace')!r} are not taken")


class _Reader:
    """Numbers and strings as SSH writes them (RFC 4251, section 5). ValueError when they do not fit what is there."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def _take(self, count: int) -> bytes:
        part = self._data[self._at : self._at + count]
        if len(part) != count:
            raise ValueError("it is cut short")
        self._at += count
        return part

    def number(self) -> int:
        return int.from_bytes(self._take(4), "big")

    def string(self) -> bytes:
        return self._take(self.number())

    def done(self) -> None:
        if self._at != len(self._data):
            raise ValueError("something follows its end")


def parse_authorized_keys(text: str) -> tuple[dict[bytes, int], list[str]]:
    """Read the lines of an authorized_keys file (sshd(8), AUTHORIZED_KEYS FILE FORMAT).

    Returns:
        Encoded keys with the numbers of their lines, and a sentence for each line that is left out.
    """
    keys: dict[bytes, int] = {}
    left_out = []
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        try:
            keys.setdefault(_key_of_line(line), number)
        except (ValueError, UnsupportedAlgorithm) as error:
            left_out.append(f"line {number} is left out: {error}")
    return keys, left_out


def _key_of_line(line: str) -> bytes:
    words = _WORDS.findall(line)
    at = next((at for at, word in enumerate(words[:2]) if re.fullmatch(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+", word)), None)
    if at is None:
        raise ValueError("there is no key in it")
    if at == 1:
        names = [re.split("=", option, maxsplit=1)[0].lower() for option in _OPTIONS.findall(words[0])]
        narrowing = [name for name in names if name in _NARROWING]
        if narrowing:
            raise ValueError(f"its option {narrowing[0]} cannot be honoured here")
    try:
        encoded = base64.b64decode(words[at + 1], validate=True)
    except (IndexError, binascii.Error):
        raise ValueError("its key is not written in base64") from None
    if _Reader(encoded).string() != words[at].encode():
        raise ValueError(f"its key is no {words[at]} key")
    load_key(encoded)
    return encoded


class AuthorizedKeys:
    """An authorized_keys file, read again whenever it has changed.

    Blocks for file and processor: for native threads (two at a time do no harm).

    Args:
        path: The file.
        namespace: Of the signatures.
        log: Takes a sentence on each line that is left out, and on a file that has become unreadable: then no key
            counts.

    Raises:
        SettingError: The file cannot be read at the start.
    """

    def __init__(self, path: Path, namespace: str, log: Callable[[str], None]) -> None:
        self._path, self._namespace, self._log = path, namespace, log
        self._seen: tuple[int, int, int] | None = None
        self._keys: dict[bytes, int] = {}
        try:
            self._refresh()
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SettingError(
                f"--tcp-authorized-keys: {path} cannot be read ({reason}): name a file as ssh uses it"
            ) from error
        if not self._keys:
            log(f"{path} lists no key, so nobody can authenticate: add a line with a public key for each app")

    def check(self, nonce: bytes, signature: bytes) -> None:
        """Return when `signature` is by a listed key over `nonce`. NotAllowed."""
        try:
            self._refresh()
        except (OSError, ValueError) as error:
            self._seen, self._keys = None, {}
            self._log(f"{self._path} cannot be read any more ({error}), so nobody can authenticate")
        verify(signature, nonce, self._namespace, self._keys)

    def _refresh(self) -> None:
        status = self._path.stat()
        seen = (status.st_mtime_ns, status.st_size, status.st_ino)
        if seen == self._seen:
            return
        if status.st_size > MAX_FILE:
            raise ValueError(f"larger than {MAX_FILE} bytes")
        keys, left_out = parse_authorized_keys(self._path.read_text("utf-8"))
        for sentence in left_out:
            self._log(f"{self._path}: {sentence}")
        self._seen, self._keys = seen, keys
