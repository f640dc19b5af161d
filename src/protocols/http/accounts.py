"""Users and tokens over HTTP: what userdb.py does at the machine itself, for admins, and tokens for their owners."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from imageserver import limits
from imageserver.accounts import cameras, shown
from imageserver.accounts.database import ROLES, ROTATIONS, Token, User
from imageserver.accounts.login import Logins
from imageserver.accounts.remote.asking import ask
from imageserver.accounts.store.users import MAX_CAMERAS, checked, checked_password
from imageserver.errors import LimitExceeded, NotAllowed, Refused, SettingError, UsersUnavailable
from imageserver.transport import fairness, hub
from imageserver.web import json_body, lists, query
from imageserver.web.openapi import operation
from imageserver.web.requests import Request, Response, answer

T = TypeVar("T")

_USERS, _TOKENS = "Users", "Tokens"
_LAST = 10**9
PIECE = 200
"""Rows that are written before the loop has its turn."""
_LONGEST = 1024
"""Characters of a text in a body that is looked at."""
_FIELDS = ("password", "roles", "model", "hz", "rotate", "only", "camera")
_TOKEN_FIELDS = ("user", "roles", "days", "name")


class Accounts:
    """The users as these views ask for them: in threads, with sentences for clients.

    Args:
        logins: Has them, and the turns in which passwords are hashed.
        list_rows: Rows in one answer of a list.
        log: Takes a line for the operator.
    """

    def __init__(self, logins: Logins, *, list_rows: int, log: Callable[[str], None]) -> None:
        self.logins, self.users = logins, logins.users
        self._list_rows, self._log = list_rows, log
        self._failed_after: int | None = None  # so many changes the users could not be changed; the log was told

    def ask(self, function: Callable[..., T], *args: object) -> T:
        """Call one that looks into the database or changes it.

        Raises:
            Refused: it does not take these values (400), or cannot be used now (503).
        """
        return self._told(lambda: ask(self.users, function, *args))

    def hash(self, request: Request, function: Callable[..., T], *args: object) -> T:
        """`ask` for one that hashes a password: when it is this client's turn. LimitExceeded."""
        address = request.environ.get("REMOTE_ADDR", "")
        return self._told(lambda: self.logins.hash(address, function, *args))

    def body(self, request: Request, known: Sequence[str] = ()) -> dict[str, Any]:
        """The JSON object that the request brings; Refused: 400, also for a field that is not `known`, if any are."""
        found = json_body.read(request)
        for name in found:
            if known and name not in known:
                raise Refused(400, f"{name[:64]!r} is not known here; there are: {', '.join(known)}")
        return found

    def page(self, request: Request, rows: Sequence[T], described: Callable[[T], dict[str, Any]]) -> Response:
        """A page of `rows`: those behind as many as `after` says."""
        after, wanted = query.whole(request, "after", 0, 0, _LAST), lists.asked(request, self._list_rows)
        upto = after + (wanted or self._list_rows)
        following = f"{quote(request.path)}?after={upto}&limit={upto - after}" if upto < len(rows) else ""
        texts = []
        for number, row in enumerate(rows[after:upto], 1):
            texts.append(lists.encode(described(row)))
            if number % PIECE == 0:
                fairness.pause()
        return lists.page(lists.array(texts), following, wanted)

    def _told(self, call: Callable[[], T]) -> T:
        try:
            found = call()
        except UsersUnavailable as error:
            if self._failed_after is None:
                self._log(f"users cannot be read or changed over HTTP: {error}")
            self._failed_after = self.users.committed
            sentence = "the users cannot be read or changed at this moment; the server's log says why"
            raise Refused(503, sentence, Retry_After="5") from None
        except SettingError as error:
            raise Refused(400, str(error)) from None
        failed_after = self._failed_after
        if failed_after is not None and failed_after < self.users.committed:  # they may be read and still not changed
            self._failed_after = None
            self._log("users can be read and changed again over HTTP")
        return found


class UserViews:
    """The views under /users/, for admins."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts, self._users = accounts, accounts.users
        self._changing = hub.Semaphore(1)  # who is the last admin is looked at, then changed

    @operation("GET", "/users/", tag=_USERS, query=("after", "limit"), answers={200: "UserList", 400: "Error"})
    def users(self, request: Request) -> Response:
        """All users by name, without their passwords, in pages."""
        return self._accounts.page(request, self._accounts.ask(self._users.list), shown.user)

    @operation(
        "PUT",
        "/users/<key:user>",
        tag=_USERS,
        body="UserChange",
        query=("force",),
        answers={200: "User", 201: "User", 409: "Error"},
    )
    def put(self, request: Request, user: str) -> Response:
        """Add a user, which takes a password, or change one: what is not said stays as it is.

        Another password, other roles or cameras end that user's connections within two seconds. Taking the role
        `admin` from yourself, or from the last who has it, takes `?force=yes`.
        """
        meant, wanted = query.choice(request, "force", ("no", "yes")) == "yes", self._accounts.body(request, _FIELDS)
        password = _text(wanted, "password") if "password" in wanted else None
        by = asker(request).name
        with self._changing:
            former = self._accounts.ask(self._users.get, user)
            changed = self._accounts.ask(_changed, former or User(user), wanted, password)
            if former is not None:
                if "admin" in former.roles - changed.roles and not meant:
                    self._refuse_to_lock_out(request, former)
                if changed != former:
                    self._accounts.ask(self._users.set, changed, by)
        # Hashing may have to wait, and nobody who removes somebody waits for that.
        if former is None:
            return self._add(request, changed, password)
        if password is not None:
            self._accounts.hash(request, self._users.passwd, changed.name, password, by)
        return answer(shown.user(changed))

    @operation(
        "DELETE",
        "/users/<key:user>",
        tag=_USERS,
        query=("force",),
        answers={200: "Removed", 400: "Error", 409: "Error"},
    )
    def remove(self, request: Request, user: str) -> Response:
        """Remove a user with all tokens and page sessions, and end its connections within two seconds.

        Removing yourself, or the last admin, takes `?force=yes`. The server does not open when nobody is left.
        """
        meant = query.choice(request, "force", ("no", "yes")) == "yes"
        with self._changing:
            former = self._accounts.ask(self._users.get, user)
            if former is None:
                raise Refused(404, f"there is no user {user!r}; /users/ lists them")
            if "admin" in former.roles and not meant:
                self._refuse_to_lock_out(request, former)
            self._accounts.ask(self._users.remove, former.name, asker(request).name)
        return answer({"name": former.name, "removed": True})

    def _add(self, request: Request, user: User, password: str | None) -> Response:
        if password is None:
            raise Refused(400, f"there is no user {user.name!r} yet, and a new one takes a password")
        settings = (user.roles, user.model, user.hz, user.rotate, user.only, asker(request).name)
        add = partial(self._users.add, camera=user.camera)
        found = self._accounts.hash(request, add, user.name, password, *settings)
        return answer(shown.user(found), 201)

    def _refuse_to_lock_out(self, request: Request, former: User) -> None:
        """Refuse with 409 what takes an admin away who is the last one, or who asks for it."""
        admins = [user.name for user in self._accounts.ask(self._users.list) if "admin" in user.roles]
        who = "yourself" if former.name == asker(request).name else "the last user who has it"
        if who == "yourself" or admins == [former.name]:
            raise Refused(409, f"this takes the role admin from {who}: let another admin do it, or ask with ?force=yes")


class TokenViews:
    """The views under /tokens/: admins see and make all of them, others their own."""

    def __init__(self, accounts: Accounts) -> None:
        self._accounts, self._users = accounts, accounts.users

    @operation("GET", "/tokens/", tag=_TOKENS, query=("after", "limit"), answers={200: "TokenList", 400: "Error"})
    def tokens(self, request: Request) -> Response:
        """Your tokens, without their secrets, in pages; for admins those of all users."""
        return self._accounts.page(request, self._accounts.ask(self._of, asker(request)), shown.token)

    @operation("POST", "/tokens/", tag=_TOKENS, body="TokenWish", answers={201: "NewToken", 403: "Error", 409: "Error"})
    def make(self, request: Request) -> Response:
        """Make a token for yourself, with all or some of your roles; an admin may for anybody.

        Its text is in this answer only. It goes wherever a password does, and as `Authorization: Bearer`. A token
        makes no tokens: log in with the password.
        """
        user, wanted = asker(request), self._accounts.body(request, _TOKEN_FIELDS)
        if user.credential.startswith("token"):
            raise Refused(403, "a token makes no tokens: log in with the password")
        owner = _text(wanted, "user") if "user" in wanted else user.name
        roles = _roles(wanted) if "roles" in wanted else frozenset()
        if "admin" not in user.roles:
            roles = roles or user.roles
            if owner != user.name or not roles <= user.roles:
                raise Refused(403, "a token for others, or with roles that are not yours, takes an admin")
        days = None if wanted.get("days") is None else _number(wanted, "days", 1e6)
        name = _text(wanted, "name") if "name" in wanted else ""
        try:
            made, text = self._accounts.ask(self._users.add_token, owner, roles, days, name, user.name)
        except LimitExceeded as error:
            raise Refused(409, limits.note(str(error), error.limit, request.account.owner)) from None
        return answer({**shown.token(made), "token": text}, 201)

    @operation("DELETE", "/tokens/<key:token>", tag=_TOKENS, answers={200: "Revoked"})
    def revoke(self, request: Request, token: str) -> Response:
        """End a token of yours, and its connections within two seconds; an admin may end anybody's."""
        if not self._accounts.ask(lambda: any(each.identity == token for each in self._of(asker(request)))):
            raise Refused(404, f"there is no token {token[:64]!r}; /tokens/ lists them by their ids")
        self._accounts.ask(self._users.revoke, token, asker(request).name)
        return answer({"id": token, "revoked": True})

    def _of(self, user: User) -> Sequence[Token]:
        """Whose tokens they see and revoke; blocks."""
        return self._users.tokens(None if "admin" in user.roles else user.name)


def asker(request: Request) -> User:
    """Who asks: these doors let nobody in who has not logged in."""
    assert request.user is not None
    return request.user


def _changed(user: User, wanted: dict[str, Any], password: str | None) -> User:
    """`user` with what is wanted of it, password aside, which is looked at all the same. SettingError, Refused: 400."""
    if password is not None:
        checked_password(password)
    new: dict[str, Any] = {}
    if "roles" in wanted:
        new["roles"] = _roles(wanted)
    if "model" in wanted:
        new["model"] = None if wanted["model"] is None else _text(wanted, "model")
    if "hz" in wanted:
        new["hz"] = None if wanted["hz"] is None else _number(wanted, "hz", 1e6)
    if "rotate" in wanted:
        if wanted["rotate"] not in ROTATIONS or not isinstance(wanted["rotate"], int):
            raise Refused(400, f"rotate is one of {', '.join(map(str, ROTATIONS))}")
        new["rotate"] = wanted["rotate"]
    if "only" in wanted:
        new["only"] = tuple(map(_camera, _texts(wanted, "only", MAX_CAMERAS)))
    if "camera" in wanted:
        new["camera"] = "" if wanted["camera"] is None else _camera(_text(wanted, "camera"))
    return checked(dataclasses.replace(user, **new))


def _camera(name: str) -> str:
    try:
        return cameras.checked(name)
    except NotAllowed as error:
        raise Refused(400, str(error)) from None


def _roles(wanted: dict[str, Any]) -> frozenset[str]:
    return frozenset(_texts(wanted, "roles", len(ROLES)))


def _texts(wanted: dict[str, Any], name: str, most: int) -> list[str]:
    found = wanted[name]
    if not isinstance(found, list) or len(found) > most or not all(isinstance(text, str) for text in found):
        raise Refused(400, f"{name} is a list of at most {most} texts")
    if any(len(text) > _LONGEST for text in found):
        raise Refused(400, f"{name} has a text of more than {_LONGEST} characters")
    return found


def _text(wanted: dict[str, Any], name: str) -> str:
    found = wanted[name]
    if not isinstance(found, str) or len(found) > _LONGEST:
        raise Refused(400, f"{name} is a text of at most {_LONGEST} characters")
    return found


def _number(wanted: dict[str, Any], name: str, most: float) -> float:
    found = wanted[name]
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 <= found <= most:
        raise Refused(400, f"{name} is a number from 0 to {most:g}")
    return float(found)
