"""Whose pictures and news somebody gets, and in whose place they may put one. Pure.

What a role may at all stands in the table of doors; here is what depends on who put a picture, and with which camera.
Nobody who did not log in is asked anything: where that is possible, everything stands open.
"""

from __future__ import annotations

from imageserver.accounts.database import User
from imageserver.accounts.doors import ADMIN, VIEWER
from imageserver.errors import Refused
from imageserver.protocols.snap.pictures import ALL, NOBODY, Row, Sender, Sight


def watches(user: User | None) -> bool:
    """Whether they see what others put, and may command devices."""
    return user is None or user.has(VIEWER)


def sight(user: User | None) -> Sight:
    """What they see of lists."""
    if user is None:
        return ALL
    if watches(user):
        return Sight(None, user.only or None, names=True)
    return Sight(user.name, (*user.only, user.name) if user.only else None)


def sender(user: User | None, camera: str, identity: int) -> Sender:
    """Who puts a picture of this number."""
    if user is None:
        return NOBODY._replace(camera=camera)
    return Sender(user.name, camera, lambda newest: check_replaced(user, identity, newest))


def check_seen(user: User | None, identity: int, row: Row) -> None:
    """Refuse a number's picture: 404 where it is of a camera that they may not see, 403 where another put it."""
    if user is None:
        return
    if _hidden(user, row):
        raise nothing(identity)
    if row.owner != user.name and not watches(user):
        raise Refused(403, f"it was not you who put picture {identity}: others' take the role viewer or admin")


def check_unreadable(user: User | None, identity: int) -> None:
    """Refuse (404) a number of which nobody can say whose picture it has: it is for who may see those of all."""
    if user is not None and not (watches(user) and not user.only):
        raise nothing(identity)


def check_replaced(user: User, identity: int, newest: Row | None) -> None:
    """Refuse a picture in the place of another one, with codes as `check_seen`; what nobody known put is anybody's."""
    if newest is None or not newest.source:
        return
    if _hidden(user, newest):
        raise nothing(identity)
    if newest.owner not in ("", user.name) and not user.has(ADMIN):
        raise Refused(403, f"another user put picture {identity}: put yours under a number of its own")


def check_room(user: User | None, room: str) -> None:
    """Refuse a room (404) that has not the name of a camera of theirs; the common one is everybody's."""
    if user is not None and room and not user.sees(room):
        raise Refused(404, f"there is no room {room!r}")


def hears(user: User | None, owner: str, camera: str) -> bool:
    """Whether they are told of a picture that the user `owner` put, "" for nobody known."""
    if user is None or (owner and owner == user.name):
        return True
    return watches(user) and user.sees(camera or owner)


def nothing(identity: int) -> Refused:
    """There is no such picture, or none that they may know of."""
    return Refused(404, f"there is no picture {identity}; PUT one to this address")


def _hidden(user: User, row: Row) -> bool:
    """Whether it is of a camera that the user is not bound to. One's own stays one's own until it has another name."""
    own = row.owner == user.name and not row.camera
    return not own and not user.sees(row.source)
