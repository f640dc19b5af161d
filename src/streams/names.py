"""Names of the cameras that send now, each given once: what people see of streams and sessions, and find them by.

The life of a name (`NameState`):

          the same camera connects again        it sends after all
    HELD ───────────────────────────────► LOST ───────────────────► HELD, with a number
      │                                     │
      └─────────────────────────────────────┴──── its last stream or session ends ──► ENDED

Who connects under the name of a camera that is here gets ` (2)` behind it, or the lowest number that is free. But the
same user with the same name from the same address is taken for that camera, whose connection was lost without a
word: it has its name at once. The former one is either dead, and its heartbeat will end it, or sends again, and then
it is another camera and gets a number in its turn.

All of it is bounded by the streams and sessions that are open; each step takes a few look-ups, however many.
"""

from __future__ import annotations

import re
import time
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Sequence
from enum import Enum, auto
from itertools import count, islice
from typing import TypeVar

_Key = TypeVar("_Key")
_Member = TypeVar("_Member")

LONGEST = 64
"""Characters of a name with its number; what cameras may say is no longer (accounts/cameras.py)."""
_COMPARED = 16
"""Cameras of one user, name and address of which the most silent one is looked for: more have themselves to blame."""
_TRIES = 500
"""Numbers that are looked at one after the other."""
_NUMBERED = re.compile(r"(.+) \(([2-9]|[1-9][0-9]{1,5})\)")
"""What somebody says that looks as if it had been given here."""


class NameState(Enum):
    """Where a name is in its life."""

    HELD = auto()  # it is seen, and found, under its text
    LOST = auto()  # its text is another one's by now
    ENDED = auto()  # for good


HELD, LOST, ENDED = NameState  # Python 3.11 calls a function for `NameState.LOST`


class CameraName:
    """What one camera is called while it sends. A stream and the sessions of its connection have it in common.

    Attributes:
        said: What its client said; "" for one without a name, which people see under its user's.
        base: The name that it counts under, where users are bound to cameras: `said`, or what an admin calls it.
        text: The name that people see: `base`, with a number where it would be somebody else's.
        heard: When it sent last, in monotonic seconds.
    """

    __slots__ = ("address", "base", "connection", "heard", "holders", "said", "series", "state", "text", "user")

    def __init__(self, said: str, user: str, address: str, connection: str, heard: float) -> None:
        self.said = self.base = said
        self.user, self.address, self.connection, self.heard = user, address, connection, heard
        self.text = ""
        self.state = HELD
        self.series: tuple[str, int] | None = None
        """Which number behind which name it takes."""
        self.holders: list[str] = []
        """The ids of its stream and sessions."""

    @property
    def camera(self) -> tuple[str, str, str]:
        """What the same camera has in common with itself before; nobody known is as good as any other such."""
        return self.base, "" if self.user == self.connection else self.user, self.address


class Called:
    """What has such a name: a stream, or a session.

    Attributes:
        user: Whose it is; the connection's id until somebody has authenticated.
        called: Its camera's name.
    """

    user: str
    called: CameraName

    @property
    def camera(self) -> str:
        """The camera's name as people see it; "" when it has none."""
        return self.called.text

    @property
    def name(self) -> str:
        """What people see: the camera's name, otherwise its user's."""
        return self.called.text or self.user

    @property
    def counts_as(self) -> str:
        """The name that users are bound to: the camera's without a number, otherwise its user's."""
        return self.called.base or self.user


class Names:
    """The names of all cameras.

    Args:
        reserved: Whether a text can be no name, since it is a route.
        clock: Monotonic seconds.

    Attributes:
        changed: Called with the ids of streams and sessions that go on under another name, or as another user's.
    """

    def __init__(
        self, reserved: Callable[[str], bool] = lambda _text: False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reserved, self._clock = reserved, clock
        self.changed: Callable[[Sequence[str]], None] = lambda _holders: None
        self._held: dict[str, CameraName] = {}
        self._by_holder: dict[str, CameraName] = {}
        self._by_connection: dict[tuple[str, str], CameraName] = {}  # and by what was said
        self._same: dict[tuple[str, str, str], dict[CameraName, None]] = {}
        self._series: dict[str, _Series] = {}
        self._users: dict[str, dict[str, None]] = {}
        """By users, the ids of those who have no name and are seen under theirs."""

    def take(self, holder: str, camera: str, *, user: str, address: str, connection: str) -> CameraName:
        """A name for a stream or session that begins.

        Args:
            holder: Its id.
            camera: What its client called it, "" for nothing.
            user: Whose it is; the connection's id where nobody has authenticated.
            address: Where it comes from.
            connection: The id of its connection.
        """
        name = self._by_connection.get((connection, camera)) if camera else None
        if name is None:
            name = CameraName(camera, user, address, connection, self._clock())
            if camera:
                self._by_connection[connection, camera] = name
                self._welcome(name)
        else:
            self._belong(name, user)
        name.holders.append(holder)
        self._by_holder[holder] = name
        if not name.base:
            self._users.setdefault(user, {})[holder] = None
        return name

    def sends(self, name: CameraName) -> None:
        """A camera whose name was lost to a newcomer sends after all: it is another one than that."""
        name.state = HELD
        self._give(name)
        self.changed(name.holders)

    def rename(self, name: CameraName, camera: str) -> bool:
        """Call a camera otherwise until its connection ends; False: it may not have that name, and nothing changes."""
        if not self.is_free(camera, name):
            return False
        if camera == name.text and name.state is HELD:
            return True
        self._leave(name)
        name.state, name.base = HELD, camera
        self._give(name)
        self.changed(name.holders)
        return True

    def release(self, holder: str) -> None:
        """A stream or session has ended. Harmless for one that has no name here."""
        name = self._by_holder.pop(holder, None)
        if name is None:
            return
        if not name.base:
            self._forget_user(name, holder)
        name.holders.remove(holder)
        if not name.holders:
            self._leave(name)
            name.state = ENDED
            self._by_connection.pop((name.connection, name.said), None)

    def find(self, text: str) -> list[str]:
        """The ids of the streams and sessions that people see under a name."""
        name = self._held.get(text)
        return [*(name.holders if name else ()), *self._users.get(text, ())]

    def is_free(self, text: str, name: CameraName | None = None) -> bool:
        """Whether a camera, that with `name`, may have a name: neither another one's, nor an id, nor a route.

        That of a user it may have: or else a number would tell cameras which users there are.
        """
        held = self._held.get(text)
        return (held is None or held is name) and not (text in self._by_holder or self._reserved(text))

    # ---- within -----------------------------------------------------------------------------------------------

    def _welcome(self, name: CameraName) -> None:
        """Give a newcomer its name: that of the same camera, of several that of the one that is silent for longest."""
        same = self._same.get(name.camera)
        if not same:
            self._give(name)
            return
        former = min(islice(same, _COMPARED), key=lambda one: one.heard)
        text, series = former.text, former.series
        self._leave(former)
        former.state = LOST
        self._hold(name, text, series)

    def _belong(self, name: CameraName, user: str) -> None:
        """Another stream or session of a connection begins: by now it may be known who is there."""
        _discard(self._same, name.camera, name)
        if user != name.connection:
            name.user = user
        if name.state is LOST:
            self.sends(name)
        else:
            self._same.setdefault(name.camera, {})[name] = None

    def _give(self, name: CameraName) -> None:
        """Let a camera be seen under its name, or under that with the lowest number that is free."""
        if self.is_free(name.base):
            said = _NUMBERED.fullmatch(name.base)
            self._hold(name, name.base, (said[1], int(said[2])) if said else None)
            return
        series = self._series.setdefault(name.base, _Series())
        for tried in count():
            if tried > _TRIES:  # cameras that say such names themselves: let them not hold the loop
                series.following += 2 ** (tried - _TRIES)
            number = series.lowest()
            text = numbered(name.base, number)
            if self.is_free(text):
                self._hold(name, text, (name.base, number))
                return

    def _hold(self, name: CameraName, text: str, series: tuple[str, int] | None) -> None:
        name.text, name.series = text, series
        self._held[text] = name
        self._same.setdefault(name.camera, {})[name] = None
        if series is not None:
            self._series.setdefault(series[0], _Series()).held += 1

    def _leave(self, name: CameraName) -> None:
        """A name is free; harmless for who has none, or has lost it."""
        if not name.base:
            for holder in name.holders:
                self._forget_user(name, holder)
        if self._held.get(name.text) is not name:
            return
        del self._held[name.text]
        _discard(self._same, name.camera, name)
        if name.series is not None:
            base, number = name.series
            series = self._series[base]
            series.give_back(number)
            if not series.held:
                del self._series[base]

    def _forget_user(self, name: CameraName, holder: str) -> None:
        _discard(self._users, name.user, holder)


class _Series:
    """The numbers behind one name, from 2 on: those below `following` are taken, or in `free`, in order."""

    def __init__(self) -> None:
        self.following, self.held = 2, 0
        self.free: list[int] = []

    def lowest(self) -> int:
        """The lowest number that is free, as far as is known here: a camera may have said it itself."""
        if self.free:
            return self.free.pop(0)
        self.following += 1
        return self.following - 1

    def give_back(self, number: int) -> None:
        """A number is free again."""
        self.held -= 1
        index = bisect_left(self.free, number)
        if number < self.following and self.free[index : index + 1] != [number]:
            self.free.insert(index, number)


def numbered(base: str, number: int) -> str:
    """A name with a number behind it, cut before that, between what people see as characters, to `LONGEST`."""
    suffix = f" ({number})"
    end = LONGEST - len(suffix)
    if len(base) > end:
        while end and _continues(base, end):
            end -= 1
        base = base[: end or LONGEST - len(suffix)].rstrip()  # where all of it is one character, through it
    return base + suffix


def _continues(text: str, index: int) -> bool:
    """Whether what people see as one character goes on at `index` (UAX #29, section 3, as far as names need it)."""
    before, character = text[index - 1], text[index]
    if before == _JOINER or character == _JOINER or unicodedata.category(character)[0] == "M":
        return True
    if _in(character, _MODIFIERS) or _in(character, _TAGS) or _in(character, _HANGUL_ENDS):
        return True
    if unicodedata.combining(before) == _VIRAMA and unicodedata.category(character) == "Lo":
        return True
    flags = 0
    while flags < index and _in(text[index - 1 - flags], _FLAGS):
        flags += 1
    return _in(character, _FLAGS) and flags % 2 == 1


_JOINER = "\u200d"
_VIRAMA = 9
"""The combining class of signs that join the consonants beside them."""
_MODIFIERS = ("\U0001f3fb", "\U0001f3ff")
"""Colours of skin."""
_TAGS = ("\U000e0020", "\U000e007f")
_HANGUL_ENDS = ("\u1160", "\u11ff")
_FLAGS = ("\U0001f1e6", "\U0001f1ff")
"""Two of these letters are a flag."""


def _in(character: str, span: tuple[str, str]) -> bool:
    return span[0] <= character <= span[1]


def _discard(table: dict[_Key, dict[_Member, None]], key: _Key, member: _Member) -> None:
    """Take a member out of one of many groups, and a group that has none out of the table."""
    group = table.get(key, {})
    group.pop(member, None)
    if not group:
        table.pop(key, None)
