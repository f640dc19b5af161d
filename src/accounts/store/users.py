"""A user: name, roles and defaults, and what may stand in them. No database here."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from imageserver.accounts import cameras
from imageserver.errors import NotAllowed, SettingError

ROLES = ("camera", "viewer", "admin")
"""camera: send pictures, get their results; viewer: see what others send; admin: everything."""

ROTATIONS = (0, 90, 180, 270)
MAX_NAME = 128
"""Characters."""
MAX_PASSWORD = 1024
"""Bytes."""
MAX_CAMERAS = 256
"""Names of cameras that a user may be bound to."""
_LONGEST = MAX_PASSWORD * 3 // 2
"""Characters of a text that may have MAX_PASSWORD bytes once it is composed: no character has more parts for a byte."""


@dataclass(frozen=True)
class User:
    """Somebody who may come in, with what their streams have until they ask for something else."""

    name: str
    roles: frozenset[str] = frozenset({"camera"})
    model: str | None = None
    """None: the server's default."""
    hz: float | None = None
    """Most frames a second processed of each stream; None: the server's default."""
    rotate: int = 0
    """Clockwise degrees that turn this user's pictures upright."""
    only: tuple[str, ...] = ()
    """Names of the cameras that this user streams under and sees; (): not bound to any."""
    camera: str = ""
    """What this user's camera is called unless it says so itself; "": as its user."""
    stamp: str = field(default="", compare=False, repr=False)
    """Another one whenever password, roles or cameras change; "" for who is in no database."""
    credential: str = field(default="", compare=False)
    """What was shown: "password", "token <id>", "page <id>"; "": nobody proved anything."""

    def sees(self, camera: str) -> bool:
        """Whether a camera of this name is one of theirs."""
        return not self.only or camera in self.only

    def has(self, *roles: str) -> bool:
        """Whether they have one of `roles`. An admin has all of them, and where none is named anybody will do."""
        return not roles or "admin" in self.roles or not self.roles.isdisjoint(roles)


def checked(user: User) -> User:
    """`user` when all of it is allowed, with the names of cameras as they are kept; else SettingError."""
    name = user.name
    if (
        not name
        or len(name) > MAX_NAME
        or not name.isprintable()
        or not encodable(name)
        or name != name.strip()
        or ":" in name
    ):
        rule = f"it takes 1 to {MAX_NAME} visible characters, no colon, no space at either end"
        raise SettingError(f"{name[:MAX_NAME]!r} cannot be a user's name: {rule}")
    checked_roles(user.roles, "a user's")
    if user.model is not None and not _names_a_model(user.model):
        raise SettingError(f"{user.model[:MAX_NAME]!r} cannot be the name of a model")
    if user.hz is not None and not 0 <= user.hz <= 1000:
        raise SettingError(f"hz is {user.hz:g}, but it takes a number from 0 (no cap) to 1000")
    if user.rotate not in ROTATIONS:
        raise SettingError(f"rotate is {user.rotate}, but it takes one of {', '.join(map(str, ROTATIONS))}")
    if len(user.only) > MAX_CAMERAS:
        raise SettingError(f"{len(user.only)} names of cameras are too many for a user: at most {MAX_CAMERAS}")
    only, camera = _bound(user.only), _camera(user.camera)
    if camera and only and camera not in only:
        raise SettingError(f"{camera!r} cannot be the user's camera, who is bound to others: {', '.join(only)[:200]}")
    return replace(user, only=only, camera=camera)


def _names_a_model(text: str) -> bool:
    return 0 < len(text) <= MAX_NAME and text.isprintable() and " " not in text


def _bound(names: Iterable[str]) -> tuple[str, ...]:
    """Names of cameras as a user is bound to them, each once, else SettingError."""
    found = []
    for name in names:
        camera = _camera(name)
        if not camera or "," in camera:
            raise SettingError(f"{name!r} cannot be the name of a camera that a user is bound to: empty, or a comma")
        found.append(camera)
    return tuple(dict.fromkeys(found))


def _camera(name: str) -> str:
    """The name of a camera as it is kept, else SettingError."""
    try:
        return cameras.checked(name)
    except NotAllowed as error:
        raise SettingError(str(error)) from None


def checked_roles(roles: frozenset[str], whose: str) -> None:
    """Return when `roles` are some that there are, else SettingError; `whose` they are is said in it."""
    unknown = roles.difference(ROLES)
    if unknown or not roles:
        named = ", ".join(sorted(unknown))[:MAX_NAME] or "no role"
        raise SettingError(f"{named!r} cannot be {whose} roles: they are {', '.join(ROLES)}")


def checked_password(password: str) -> str:
    """`password` as it is hashed, when it is allowed, else SettingError."""
    password = normal(password)
    if not password or not encodable(password) or len(password.encode()) > MAX_PASSWORD:
        raise SettingError(f"a password takes 1 to {MAX_PASSWORD} bytes of text")
    return password


def in_order(roles: frozenset[str]) -> tuple[str, ...]:
    """Roles as lists show them, and as they are stored."""
    return tuple(role for role in ROLES if role in roles)


def taken(name: str) -> SettingError:
    """What to say of a new user whose name is another's."""
    return SettingError(f"there is a user {name!r} already: change it with passwd or set, or remove it first")


def missing(name: str) -> SettingError:
    """What to say of a user who is not there."""
    return SettingError(f"there is no user {name[:MAX_NAME]!r}; list shows them all")


def normal(text: str) -> str:
    """One form for what different keyboards compose differently (é as one character or two); "" for what is too long.

    Measured first: 100,000 accents on one letter take half a minute to compose, and nothing else runs meanwhile.
    """
    return unicodedata.normalize("NFC", text) if len(text) <= _LONGEST else ""


def encodable(text: str) -> bool:
    """Whether a database can hold it: no half of a surrogate pair, which JSON can bring, and no NUL."""
    return not any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)
