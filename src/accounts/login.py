"""Checking who is there, for every door: guarded, off the loop, bounded, counted.

Hashing a password costs tens of milliseconds and megabytes, so only a few run at once, in turns by address, and a
bounded number may wait. Whether somebody may try at all, the guard says (guard/guard.py).
"""

from __future__ import annotations

import contextlib
import functools
import time
import unicodedata
from collections.abc import Callable, Iterator
from typing import TypeVar

from imageserver import metrics, news
from imageserver.accounts.audit import NO_AUDIT, Audit, AuditEvent
from imageserver.accounts.credentials import CredentialKind, Credentials
from imageserver.accounts.database import MAX_NAME, User, Verifier, is_token
from imageserver.accounts.doors import Login
from imageserver.accounts.guard.guard import Claim, Guard
from imageserver.accounts.guard.turns import Turns
from imageserver.accounts.live import LiveLogins
from imageserver.accounts.remote.asking import Users, ask
from imageserver.accounts.remote.remembered import Remembered
from imageserver.accounts.remote.users import RemoteUsers
from imageserver.errors import LimitExceeded, LoginPaused, SettingError, UsersUnavailable
from imageserver.limits import Limits, hit
from imageserver.news import NewsKind
from imageserver.transport.budget import owner_of

T = TypeVar("T")

LOOKED_UP_AT_ONCE = 8
"""Attempts that cost a look-up only: tokens, keys, pages, and what was right a moment ago. While another program holds
the users each waits in its thread, of which others need some, too."""
_LOG_SECONDS = 60.0
"""At most one line in that time says that the users cannot be read, and none while the reason is the same."""
WRONG = "unknown name or wrong password"


class Attempt:
    """One attempt to show who one is, from the wish to try until it is known what came out.

    Args:
        guard: Says whether it may be tried now.
        claim: Who tries.
        address: From where.
        door: Where.
        log: Takes a line.
        audit: Where what comes out is noted.
        shared: Knows what failed at other front ends; None: there are none.
    """

    def __init__(
        self,
        guard: Guard,
        claim: Claim,
        address: str,
        door: str,
        log: Callable[[str], None],
        audit: Audit,
        shared: RemoteUsers | None = None,
    ) -> None:
        self._guard, self._claim, self._log = guard, claim, log
        self._note = functools.partial(audit.note, address=address, door=door)
        self.trusted = guard.trusts(claim)
        # With trust, a party of its own: it need not wait for what others try at the same address.
        self._party = claim if self.trusted else claim.owner
        self._reserved = False
        self._shared, self._reserved_by_all = shared, False
        self._turn = contextlib.ExitStack()

    def take(self, turns: Turns) -> None:
        """Wait green for a turn, and for leave to try where that has not been given before; ends a turn that it has.

        Raises:
            LimitExceeded: Too many wait.
            LoginPaused: Too many failed.
        """
        self._turn.close()
        try:
            if not self._reserved:
                self._guard.may(self._claim)  # who has to pause need not wait for a turn to be told
            self._turn.enter_context(turns.turn(self._party, self._reserve, self._doubtful))
            # Of a crowd with one name and address the first was right meanwhile: the others need no hash each.
            self.trusted = self.trusted or self._guard.trusts(self._claim)
            self._reserve_by_all()
        except LoginPaused:
            hit("login_attempts", self._claim.owner)
            metrics.LOGINS.inc("paused")
            raise

    def right(self, user: str = "", credential: str = "", *, note: bool = True) -> None:
        """It was right.

        Args:
            user: Whose name or token it was.
            credential: What was shown, as `User.credential` has it.
            note: Whether to note it in the audit.
        """
        if self._reserved:
            self._reserved = False
            self._guard.right(self._claim)
            self._settle_by_all("right")
            metrics.LOGINS.inc("accepted")
            if note:
                self._note(AuditEvent.LOGIN_TAKEN, user=user, credential=credential)

    def failed(self, sentence: str, user: str = "") -> None:
        """It was wrong; `sentence` says it in the log. `user`: whose name was shown."""
        if self._reserved:
            self._reserved = False
            metrics.LOGINS.inc("refused")
            self._log(sentence)
            news.tell(NewsKind.LOGIN_REFUSED, sentence, self._claim.owner)
            self._note(AuditEvent.LOGIN_REFUSED, user=user)
            for line in self._guard.wrong(self._claim):
                self._log(line)
                self._note(AuditEvent.LOGIN_PAUSED, user=user, detail=line)
            self._settle_by_all("wrong")

    def close(self) -> None:
        """Whatever came out, it is over: what is not known to be right or wrong counts for nothing."""
        if self._reserved:
            self._reserved = False
            self._guard.release(self._claim)
        self._turn.close()
        self._settle_by_all("released")

    def _doubtful(self) -> bool:
        return self._guard.doubts(self._claim)

    def _reserve(self) -> bool:
        self._reserved = self._reserved or self._guard.reserve(self._claim)
        return self._reserved

    def _reserve_by_all(self) -> None:
        """Ask the guard that front ends share; who was right here lately need not. LoginPaused."""
        if self._shared is None or self.trusted or self._reserved_by_all:
            return
        seconds = self._shared.reserve(*self._claim)
        if seconds:
            raise LoginPaused(seconds)
        self._reserved_by_all = seconds is not None

    def _settle_by_all(self, outcome: str) -> None:
        """Tell that guard what came out. What was wrong counts there whoever it was."""
        if self._shared is not None and (self._reserved_by_all or (outcome == "wrong" and self.trusted)):
            self._reserved_by_all = False
            self._shared.settle(*self._claim, outcome)


class Logins:
    """The one check of names, passwords, tokens and keys that every door shares.

    Args:
        users: Where names and passwords are.
        limits: Those that begin with `login_`.
        required: Whether credentials are asked for everywhere (`--auth`).
        log: Takes a line for the log.
        clock: Monotonic seconds.
        audit: Where logins are noted, and what else doors that have a `Logins` have to note.

    Attributes:
        live: Where connections are registered that live on a login; it has to `run`.
    """

    def __init__(
        self,
        users: Users,
        limits: Limits,
        *,
        required: bool,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        audit: Audit = NO_AUDIT,
    ) -> None:
        self.users, self.required, self.audit = users, required, audit
        self._shared = users if isinstance(users, RemoteUsers) else None
        self._remembered = Remembered(limits.login_memory if self._shared else 0.0, clock)
        self.live = LiveLogins(users, log, audit, self._remembered)
        self._log, self._clock = log, clock
        self._verifier = Verifier(users, clock=clock)
        self._guard = Guard(limits, clock)
        self._hashing = Turns(limits.login_threads, limits.login_queue)
        self._looking = Turns(LOOKED_UP_AT_ONCE, limits.login_queue)
        self._closed = required
        self._logged = -_LOG_SECONDS
        self._told = ""  # in the log: why the users cannot be read

    def asked(self, login: Login) -> bool:
        """Whether a door with this row asks for a login now; of SESSION and PROGRAMS a key or a page is seen to there.

        Raises:
            UsersUnavailable: Nobody knows whether there are users.
        """
        if login in (Login.NEVER, Login.KEY):
            return False
        if login in (Login.AUTH, Login.SESSION):
            return self.required
        return login is Login.ALWAYS or self.closed()

    def closed(self) -> bool:
        """Whether there are users or were any: then it stays so, whoever is removed. UsersUnavailable."""
        if not self._closed:
            self._closed = self._in_thread(self.users.closed)
        return self._closed

    def check(self, shown: Credentials, address: str, door: str = "", *, each: bool = True) -> User | None:
        """Who this is, or None when the credentials are wrong; waits green.

        Args:
            shown: What the client shows.
            address: The client's.
            door: Where it does.
            each: Whether every time is a login to be noted; False for requests, which bring their credentials along.

        Raises:
            LoginPaused: Too many from this address, or for this name, were wrong.
            LimitExceeded: Too many logins wait.
            UsersUnavailable: The users cannot be read; it counts against nobody.
        """
        if shown.kind is CredentialKind.PAGE:
            # Nobody guesses its random bits, and a page goes on asking when its session has ended.
            with self._looking.turn(owner_of(address), lambda: True, lambda: False):
                return self._remember(shown, lambda: self._in_thread(self.users.check_page, shown.secret))
        attempt = Attempt(self._guard, _claim(shown, address), address, door, self._log, self.audit, self._shared)
        try:
            user = self._remember(shown, lambda: self._verify(attempt, shown))
            if user is None:
                attempt.failed(_refused(shown, address), shown.name[:MAX_NAME])
            else:
                attempt.right(user.name, user.credential, note=each or not attempt.trusted)
        finally:
            attempt.close()
            self._look_again()
        return user

    def identify(self, shown: Credentials, address: str, door: str = "", *, each: bool = True) -> User | None:
        """`check`, with the same arguments, at a door that asks nobody: None whenever it cannot be told who this is."""
        with contextlib.suppress(LimitExceeded, UsersUnavailable):
            if self.closed():
                return self.check(shown, address, door, each=each)
        return None

    @contextlib.contextmanager
    def attempt(self, address: str, door: str) -> Iterator[Attempt]:
        """Around the check of a key or a signature: `failed` says that it was wrong; without that it was right.

        Args:
            address: The client's.
            door: Which key it is; those of one door count together, as a user's do.

        Raises:
            LoginPaused: Too many from this address, or at this door, were wrong.
            LimitExceeded: Too many wait.
        """
        claim = Claim(owner_of(address), f"key at {door}")
        attempt = Attempt(self._guard, claim, address, door, self._log, self.audit, self._shared)
        try:
            attempt.take(self._looking)
            yield attempt
            attempt.right()
        finally:
            attempt.close()
            self._look_again()

    def known(self, name: str) -> User | None:
        """The user of that name, for whoever need not prove to be that one; None, too, when nobody can be read."""
        with contextlib.suppress(UsersUnavailable):
            return self._in_thread(self.users.get, name)
        return None

    def nobody(self) -> bool:
        """Whether there is no user who could log in. UsersUnavailable."""
        return not self._in_thread(self.users.any)

    def hash(self, address: str, function: Callable[..., T], *args: object) -> T:
        """Call what hashes a new password, in a thread, when it is this address's turn; raises what it does.

        Raises:
            LimitExceeded: Too many passwords wait to be hashed.
        """
        with self._hashing.turn(owner_of(address), lambda: True, lambda: False):
            return ask(self.users, function, *args)

    # ---- within -------------------------------------------------------------------------------------------------

    def _remember(self, shown: Credentials, look_up: Callable[[], User | None]) -> User | None:
        """Whose credentials these are; while the database of several front ends is gone, whose they were lately."""
        try:
            user = look_up()
        except UsersUnavailable:
            if (user := self._remembered.recall(shown)) is None:
                raise
            metrics.LOGINS_REMEMBERED.inc()
            return user
        self._remembered.note(shown, user)
        return user

    def _verify(self, attempt: Attempt, shown: Credentials) -> User | None:
        """Whose credentials these are."""
        if shown.kind is CredentialKind.TOKEN or is_token(shown.secret):
            attempt.take(self._looking)
            return self._in_thread(self.users.check_token, shown.secret, shown.name or None)
        for turns in (self._looking, self._hashing) if attempt.trusted else (self._hashing,):
            attempt.take(turns)
            # Clients of REST show their password with every request: what was right a moment ago is not hashed again.
            # It is looked up for everybody, or the time would tell who logged in at this address.
            lately = self._in_thread(self._verifier.recall, shown.name, shown.secret)
            if attempt.trusted and lately is not None:
                return lately
        return self._in_thread(self._verifier.prove, shown.name, shown.secret)

    def _look_again(self) -> None:
        """An attempt is settled: others from its address may have waited for that."""
        self._hashing.look_again()
        self._looking.look_again()

    def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        """Ask the users. UsersUnavailable, whose text is for clients; the log is told why."""
        try:
            found = ask(self.users, function, *args)
        except SettingError as error:
            if str(error) != self._told and self._clock() - self._logged >= _LOG_SECONDS:
                self._logged, self._told = self._clock(), str(error)
                self._log(f"nobody can log in: {error}")
            raise UsersUnavailable("the users cannot be read at this moment; the server's log says why") from None
        if self._told:
            self._told = ""
            self._log("users can log in again")
        return found


def _claim(shown: Credentials, address: str) -> Claim:
    """Who tries, as the guard counts it."""
    name = shown.name
    if shown.kind is CredentialKind.TOKEN:
        name = _token(shown.secret)
    elif is_token(name):
        name = _token(name)
    elif len(name) > MAX_NAME:
        name = ""  # nobody's
    else:
        name = "user " + unicodedata.normalize("NFC", name)
    return Claim(owner_of(address), name)


def _token(text: str) -> str:
    """What may be said of a token: all but its secret."""
    return "token " + text.partition("_")[2].partition("_")[0][:MAX_NAME]


def _refused(shown: Credentials, address: str) -> str:
    """For the log: what was refused."""
    if shown.kind is CredentialKind.TOKEN:
        return f"a token from {address} refused: unknown, revoked or expired"
    if is_token(shown.name):  # as some programs show them; no line of the log may hold one
        return f"login from {address} refused: a token stands in place of the name, and belongs in that of the password"
    return f"login of {shown.name[:64]!r} from {address} refused: {WRONG}"
