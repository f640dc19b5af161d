"""The guard before every check of a password, a token, a key or a signature. Pure; the clock is passed in.

An attempt is reserved before it is checked, and settled by what came out:

    reserve ──► (wait for earlier ones) ──► reserved ──► right | wrong | released (nobody could tell)
       └──────► LoginPaused

For an address, attempts that are being checked and those that failed are together never more than `login_attempts` in
a minute; what is more waits for the earlier ones, and is refused once these were wrong. From then on each failure
brings a pause, twice as long each time. For a name over all addresses the same number holds, but there only addresses
that have failed for that name pause. Who was right lately at an address (`login_trust`) has a quarter of that number
at that address for its own, whatever others did there.
"""

from __future__ import annotations

import functools
import math
import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from imageserver.accounts.guard.records import FIRST_PAUSE, FailureRecord, FailureRecords
from imageserver.errors import LoginPaused
from imageserver.limits import Limits, hit, option

_OPTION = option("login_attempts")


class Claim(NamedTuple):
    """Who wants to be checked."""

    owner: str
    """Address or network, as `transport.budget.owner_of` has it."""
    name: str
    """Of a user, whether there is one or not, or of a key; "" is nobody's."""


class ClaimState(NamedTuple):
    """All that counts for a claim, for whoever keeps it elsewhere. Times are those of the guard's clock."""

    address: FailureRecord | None = None
    name: FailureRecord | None = None
    pair: FailureRecord | None = None
    flying_from_address: int = 0
    """Attempts that are being checked now."""
    flying: int = 0
    """Those of this claim among them."""
    right_until: float = 0.0
    """How long it is trusted."""


class Guard:
    """Who may be checked now.

    Args:
        limits: Those that begin with `login_`.
        clock: Monotonic seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._often, self._clock = limits.login_attempts, clock
        self._most, self._trust = limits.login_records, limits.login_trust
        self._quarter = max(1, limits.login_attempts // 4)
        kept = functools.partial(FailureRecords, most=limits.login_records, longest=limits.login_pause, clock=clock)
        self._addresses: FailureRecords[str] = kept(often=max(1, self._often), strict=True)
        self._names: FailureRecords[str] = kept(often=max(1, self._often))
        self._pairs: FailureRecords[Claim] = kept(often=self._quarter)
        self._flying: Counter[str | Claim] = Counter()  # what is being checked now, of an address and of a pair
        self._right: OrderedDict[Claim, float] = OrderedDict()  # until when, whoever was right last stands last

    def trusts(self, claim: Claim) -> bool:
        """Whether this name was right at this address lately."""
        return self._right.get(claim, 0.0) > self._clock()

    def doubts(self, claim: Claim) -> bool:
        """Whether something failed at this address lately, and this name was not right there."""
        return self._addresses.get(claim.owner) is not None and not self.trusts(claim)

    def reserve(self, claim: Claim) -> bool:
        """Ask for an attempt; one that is reserved has to be settled: `right`, `wrong` or `release`.

        Returns:
            Whether it is reserved; if not, earlier ones decide: ask again when one of these is settled.

        Raises:
            LoginPaused: Not before so many seconds.
        """
        if not self.may(claim):
            return False
        self.add_flying(claim)
        return True

    def may(self, claim: Claim) -> bool:
        """What `reserve` would say, without doing it."""
        if not self._often:
            return True
        own = self._own(claim)
        if own > self._flying[claim]:
            return True
        seconds = self._until(claim) - self._clock()
        if seconds <= 0:
            return self._fits(claim.owner)
        if not own:
            raise LoginPaused(seconds)
        return False  # those of its own are all being checked, and may be right

    def right(self, claim: Claim) -> None:
        """It was right."""
        self.release(claim)
        self._right.pop(claim, None)
        self._right[claim] = self._clock() + self._trust
        if len(self._right) > self._most:
            self._right.popitem(last=False)
            hit("login_records")

    def wrong(self, claim: Claim) -> list[str]:
        """It was wrong. Returns what there is to say in the log: that a pause begins."""
        self.release(claim)
        if not self._often:
            return []
        lines = []
        if claim.name:
            attacked, begins = self._names.fail(claim.name)
            self._pairs.fail(claim, pause=attacked.pauses > 0)
            if begins and attacked.pauses == 1:
                lines.append(
                    f"too many logins as {claim.name!r} failed: addresses where they did have to pause ({_OPTION})"
                )
        record, begins = self._addresses.fail(claim.owner)
        if begins:
            seconds = math.ceil(record.until - self._clock())
            lines.append(f"too many logins from {claim.owner} failed: it has to pause for {seconds} s ({_OPTION})")
        return lines

    def release(self, claim: Claim) -> None:
        """Nobody could tell: it counts for nothing."""
        for key in (claim.owner, claim):
            self._flying[key] -= 1
            if not self._flying[key]:
                del self._flying[key]

    def add_flying(self, claim: Claim) -> None:
        """Count an attempt that was reserved elsewhere; it has to be settled."""
        self._flying.update((claim.owner, claim))

    def restore(self, claim: Claim, state: ClaimState) -> None:
        """Go on with what `state` gave; for a guard that knows nothing of the claim."""
        kept = ((self._addresses, claim.owner, state.address), (self._names, claim.name, state.name))
        for records, key, record in kept:
            if record is not None:
                records.put(key, record)
        if state.pair is not None:
            self._pairs.put(claim, state.pair)
        self._flying[claim.owner], self._flying[claim] = state.flying_from_address, state.flying
        self._right[claim] = state.right_until

    def state(self, claim: Claim) -> ClaimState:
        """What counts for a claim."""
        return ClaimState(
            self._addresses.get(claim.owner),
            self._names.get(claim.name) if claim.name else None,
            self._pairs.get(claim),
            self._flying[claim.owner],
            self._flying[claim],
            self._right.get(claim, 0.0),
        )

    def _own(self, claim: Claim) -> int:
        """How many attempts it may have whatever others did: of those who were right lately a quarter."""
        if not self.trusts(claim):
            return 0
        record = self._pairs.get(claim)
        if record is None:
            return self._quarter
        if record.pauses:
            return int(record.until <= self._clock())  # at a time
        return self._quarter - record.within(self._clock())

    def _until(self, claim: Claim) -> float:
        """When the pauses end that hold for this address, and for this name there."""
        address = self._addresses.get(claim.owner)
        until = address.until if address is not None else 0.0
        attacked, pair = self._names.get(claim.name), self._pairs.get(claim)
        if attacked is not None and attacked.pauses and pair is not None:
            until = max(until, pair.until if pair.pauses else pair.last + FIRST_PAUSE)
        return until

    def _fits(self, owner: str) -> bool:
        """Whether the address has room for one more beside those that are being checked."""
        record, flying = self._addresses.get(owner), self._flying[owner]
        if record is None:
            return flying < self._often
        if record.pauses:
            return flying < 1
        return flying + record.within(self._clock()) < self._often
