"""One budget of bytes for all that waits in the server: what of it an address, a user, or a stranger may have.

Whoever buffers something for a client has a `Charge` of that client's `Account`, and tells it how large the buffer is:

    charge = account.charge("bodies")
    if not charge.set(len(buffer) + more):
        ...                                     # refuse, and let go of what there is
    account.close()                             # at the latest with the connection

What somebody may look at later, but nobody waits for, is a `Spare`: it gives way to all that is needed.

Accounts of one owner, an address or a user who has logged in, have one share. Those who have not logged in where that
is asked for (`--auth`) have a small pool instead. Bytes are counted as they are kept, copies that are made of them
meanwhile included where these are many.
"""

from __future__ import annotations

import contextlib
import ipaddress
import math
import time
from collections.abc import Callable

from imageserver.limits import GIB, MIB, Limits, hit, option
from imageserver.transport.memory import memory_of_machine

SMALL = 64 * 1024
"""Bytes of a buffer up to which one is not counted where counting would be felt: a stream's frame, a queue of texts.
There is one of each for a connection, so the bound on connections is one on them."""

LEAST, MOST = 256 * MIB, 4 * GIB
"""Of the total, where it is an eighth of the machine's memory."""

FULL = "too much of what you sent, or have to fetch, waits in the server; try again in a few seconds"
"""What a client is told."""

ONE_STRANGER = 0.75
"""What one address may have of the pool of those who have not logged in."""

_LOG_SECONDS = 10.0
"""At most one line in that time says who was refused."""


class Budget:
    """The total, and who has how much of it.

    Args:
        limits: Those that begin with `memory_`.
        login_required: Whether who has not logged in is a stranger.
        log: Takes a line at a time.
        clock: Monotonic seconds.
        memory: Bytes that the machine, or the container, has.
    """

    def __init__(
        self,
        limits: Limits,
        *,
        login_required: bool = False,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        memory: Callable[[], int] = memory_of_machine,
    ) -> None:
        self.total: float = limits.memory_budget or min(max(memory() // 8, LEAST), MOST)
        self.share: float = limits.memory_share or self.total // 4
        self._strangers: float = limits.memory_strangers
        self.login_required = login_required
        self.used = 0
        self.used_by_strangers = 0
        self.used_for: dict[str, int] = {}
        """Bytes by the kind of buffer."""
        self._used_by: dict[str, int] = {}  # owner
        self._spares: dict[str, dict[Spare, None]] = {}  # by owner, the oldest first
        self._spare_by: dict[str, int] = {}  # their bytes, of those above, by owner
        self._spare = 0
        self._log, self._clock = log, clock
        self._refusals, self._logged = 0, -math.inf

    def account(self, address: str, *, admitted: bool = False) -> Account:
        """A new account of a client at `address`; `admitted`: it may have a share without a login."""
        return Account(self, owner_of(address), admitted or not self.login_required)

    # What accounts call.

    def fits(self, owner: str, admitted: bool, more: int) -> bool:
        """Whether `owner` may have so many bytes more; what is spare gives way. One who may not is counted."""
        limit, lacking = self._lacking(owner, admitted, more)
        if limit and lacking <= self._spare_for(owner, limit):
            while limit and (spare := self._oldest_spare(owner, limit)) is not None:
                spare.give_way()
                limit, lacking = self._lacking(owner, admitted, more)
        return not limit or self._refuse(owner, self._used_by.get(owner, 0) + more, limit)

    def has_spare_room(self, owner: str, admitted: bool, more: int) -> bool:
        """Whether `owner` may have so many bytes more of which nobody has need: nothing gives way or is counted."""
        return admitted and not self._lacking(owner, admitted, more)[0]

    def change(self, owner: str, admitted: bool, more: int) -> None:
        """Count bytes that `owner` has more, or less."""
        self.used += more
        if not admitted:
            self.used_by_strangers += more
        mine = self._used_by.get(owner, 0) + more
        if mine:
            self._used_by[owner] = mine
        else:
            self._used_by.pop(owner, None)

    def note_spare(self, owner: str, spare: Spare, more: int) -> None:
        """Count bytes among those that `owner` has, as ones that give way; a spare without any is forgotten."""
        self._spare += more
        mine = self._spare_by[owner] = self._spare_by.get(owner, 0) + more
        spares = self._spares.setdefault(owner, {})
        spares.pop(spare, None)
        if spare.size + more:
            spares[spare] = None
        if not mine:
            del self._spare_by[owner], self._spares[owner]

    def _lacking(self, owner: str, admitted: bool, more: int) -> tuple[str, float]:
        """Which limit is in the way of so many bytes more, and by how many bytes; "" where none is."""
        mine = self._used_by.get(owner, 0) + more
        # Nobody has more than is left for all others: a few who want all they can get leave room for the next one.
        left = self.total - self.used - more
        if mine > left:
            return "memory_budget", mine - left
        if admitted:
            return ("memory_share", mine - self.share) if mine > self.share else ("", 0)
        if mine > self._strangers * ONE_STRANGER or self.used_by_strangers + more > self._strangers:
            return "memory_strangers", math.inf  # nothing of theirs is spare
        return "", 0

    def _spare_for(self, owner: str, limit: str) -> int:
        """By how much it helps if everything gives way that can."""
        mine = self._spare_by.get(owner, 0)
        return mine if limit == "memory_share" else self._spare + mine  # what `owner` has less counts twice

    def _oldest_spare(self, owner: str, limit: str) -> Spare | None:
        """What gives way first: what the owner has itself, then what others have."""
        if owner not in self._spares and limit == "memory_share":
            return None
        return next(iter(self._spares.get(owner) or next(iter(self._spares.values()), ())), None)

    def _refuse(self, owner: str, wanted: int, limit: str) -> bool:
        hit(limit, owner)
        self._refusals += 1
        now = self._clock()
        if now - self._logged >= _LOG_SECONDS:
            others = f", and {self._refusals - 1} more were since the last such line" if self._refusals > 1 else ""
            self._log(f"{owner} was refused {wanted} bytes of memory{others} ({option(limit)})")
            self._refusals, self._logged = 0, now
        return False


class Account:
    """What waits for one connection, request or session. `owner`: whose it is, "user anna" or "address 10.0.0.7"."""

    __slots__ = ("_admitted", "_budget", "_closed", "_spares", "_used", "owner")

    def __init__(self, budget: Budget, owner: str, admitted: bool) -> None:
        self._budget, self.owner, self._admitted = budget, owner, admitted
        self._used: dict[str, int] = {}
        self._spares: dict[Spare, None] = {}
        self._closed = False

    @property
    def used(self) -> int:
        """Bytes that are charged to it."""
        return sum(self._used.values())

    def another(self) -> Account:
        """A new account of the same owner."""
        return Account(self._budget, self.owner, self._admitted)

    def charge(self, kind: str) -> Charge:
        """A new buffer, of which nothing is there yet; `kind` is a label of the figures."""
        return Charge(self, kind)

    def spare(self, kind: str, gone: Callable[[], None]) -> Spare:
        """The bytes of something that is kept while nobody needs the room; `gone` is called when it has to go."""
        return Spare(self, kind, gone)

    def fits(self, more: int) -> bool:
        """Whether there would be room for so many bytes more. Where there is none, that is counted."""
        return self._budget.fits(self.owner, self._admitted, more)

    def belongs_to(self, user: str) -> None:
        """The client has logged in: what it has is that user's from now on."""
        self._move(f"user {user}", admitted=True)

    def admit(self) -> None:
        """The client has shown something else than a password: it has a share, by its address."""
        self._move(self.owner, admitted=True)

    def join(self, other: Account) -> None:
        """This belongs to whomever `other` belongs to."""
        self._move(other.owner, admitted=other._admitted)

    def close(self) -> None:
        """Give everything back; nothing is charged to it any more."""
        self._drop_spares()
        for kind, size in list(self._used.items()):
            self.add(-size, kind)
        self._closed = True

    def add(self, more: int, kind: str) -> bool:
        """Charge `more` bytes, or give some back; False, and nothing changed, when there is no room for them."""
        if self._closed or (more > 0 and not self.fits(more)):
            return False
        self._count(more, kind)
        return True

    def add_spare(self, more: int, kind: str, spare: Spare) -> bool:
        """The same for bytes that give way; they take nobody's room."""
        budget = self._budget
        if self._closed or (more > 0 and not budget.has_spare_room(self.owner, self._admitted, more)):
            return False
        self._count(more, kind)
        budget.note_spare(self.owner, spare, more)
        if spare.size + more:
            self._spares[spare] = None
        else:
            self._spares.pop(spare, None)
        return True

    def _count(self, more: int, kind: str) -> None:
        budget = self._budget
        budget.change(self.owner, self._admitted, more)
        self._used[kind] = self._used.get(kind, 0) + more
        budget.used_for[kind] = budget.used_for.get(kind, 0) + more

    def _drop_spares(self) -> None:
        for spare in list(self._spares):
            spare.give_way()

    def _move(self, owner: str, *, admitted: bool) -> None:
        self._drop_spares()  # they come back with the next of their kind
        used = self.used
        self._budget.change(self.owner, self._admitted, -used)
        self.owner, self._admitted = owner, admitted
        self._budget.change(owner, admitted, used)


class Charge:
    """The bytes of one buffer: `size`, as far as its account was told."""

    __slots__ = ("_account", "_kind", "size")

    def __init__(self, account: Account, kind: str) -> None:
        self._account, self._kind, self.size = account, kind, 0

    @property
    def owner(self) -> str:
        """Whose it is."""
        return self._account.owner

    def fits(self, more: int) -> bool:
        """Whether there would be room for so many bytes more. Where there is none, that is counted."""
        return self._account.fits(more)

    def set(self, size: int) -> bool:
        """The buffer has so many bytes now, or is about to. False when there is no room for them: the size stays."""
        if size != self.size:
            if not self._account.add(size - self.size, self._kind):
                return False
            self.size = size
        return True


class Spare:
    """The bytes of what is kept only while nobody needs the room: `size`, 0 when it is not kept."""

    __slots__ = ("_account", "_gone", "_kind", "size")

    def __init__(self, account: Account, kind: str, gone: Callable[[], None]) -> None:
        self._account, self._kind, self._gone, self.size = account, kind, gone, 0

    def set(self, size: int) -> bool:
        """It has so many bytes now. False when there is no room: then it is not to be kept, and has none."""
        if size != self.size:
            if not self._account.add_spare(size - self.size, self._kind, self):
                self.set(0)
                return False
            self.size = size
        return True

    def give_way(self) -> None:
        """Somebody needs the room."""
        self.set(0)
        self._gone()


def owner_of(address: str) -> str:
    """Whose share a client at `address` has: with IPv6 that of its network, in which one client has every address."""
    address = address.removeprefix("::ffff:")
    if ":" in address:
        with contextlib.suppress(ValueError):  # what is none stands for itself
            address = str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))
    return f"address {address}"


def unlimited() -> Account:
    """An account that refuses nothing, for whoever is not a client."""
    return Budget(
        Limits(memory_budget=2**62, memory_share=2**62, memory_strangers=2**62), log=lambda _line: None
    ).account("")
