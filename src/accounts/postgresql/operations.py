"""What the server asks of the users in PostgreSQL, as it crosses the wall: questions by name, answers as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from imageserver.accounts.database import UserDB
from imageserver.accounts.store.changes import Change, ChangeKind
from imageserver.accounts.store.pages import PageSession
from imageserver.accounts.store.tokens import Token
from imageserver.accounts.store.users import User
from imageserver.errors import SidecarLost

Row = list[Any]


def row_of_user(user: User) -> Row:
    """A user as JSON."""
    return [
        user.name, sorted(user.roles), user.model, user.hz, user.rotate, user.only, user.camera, user.stamp,
        user.credential,
    ]  # fmt: skip


def user_of_row(row: Sequence[Any]) -> User:
    """The same backwards."""
    name, roles, model, hz, rotate, only, camera, stamp, credential = row
    return User(name, frozenset(roles), model, hz, rotate, tuple(only), camera, stamp, credential)


def token_of_row(row: Sequence[Any]) -> Token:
    """A token, of what `_row_of_token` gave."""
    identity, user, name, roles, created, expires, used = row
    return Token(identity, user, name, frozenset(roles), created, expires, used)


def page_of_row(row: Sequence[Any]) -> PageSession:
    """A page session, of its fields."""
    return PageSession(*row)


def change_of_row(row: Sequence[Any]) -> Change:
    """A change, of its fields."""
    number, when, kind, user, by, detail = row
    return Change(number, when, ChangeKind(kind), user, by, detail)


def _row_of_token(token: Token) -> Row:
    return [
        token.identity, token.user, token.name, sorted(token.roles), token.created, token.expires, token.used,
    ]  # fmt: skip


def _row_of_page(page: PageSession) -> Row:
    return [page.identity, page.user, page.address, page.begun, page.seen]


def _if_any(user: User | None) -> Row | None:
    return None if user is None else row_of_user(user)


def _found(users: UserDB, name: str) -> Row | None:
    found = users.find(name)
    return None if found is None else [row_of_user(found[0]), found[1]]


def _add(users: UserDB, *values: Any) -> Row:
    *settings, camera = values
    return row_of_user(users.add(*settings, camera=camera))


def _set(users: UserDB, row: Row, by: str) -> None:
    users.set(user_of_row(row), by)


def _current(users: UserDB, logins: Sequence[Sequence[str]]) -> Sequence[bool]:
    return users.current(User(name, stamp=stamp, credential=credential) for name, stamp, credential in logins)


def _add_token(users: UserDB, *values: Any) -> Row:
    token, text = users.add_token(*values)
    return [_row_of_token(token), text]


def _open_page(users: UserDB, row: Row, address: str) -> str:
    return users.open_page(user_of_row(row), address)


def _pages(users: UserDB, user: str | None) -> Iterator[Row]:
    return map(_row_of_page, users.pages(user))


OPERATIONS: dict[str, Callable[..., Any]] = {
    "check": lambda users, name, password: _if_any(users.check(name, password)),
    "find": _found,
    "get": lambda users, name: _if_any(users.get(name)),
    "list": lambda users: map(row_of_user, users.list()),
    "any": UserDB.any,
    "closed": UserDB.closed,
    "add": _add,
    "passwd": UserDB.passwd,
    "set": _set,
    "remove": UserDB.remove,
    "revoke": UserDB.revoke,
    "current": _current,
    "revision": UserDB.revision,
    "changes": lambda users, after, most: map(list, users.changes(after, most)),
    "add_token": _add_token,
    "check_token": lambda users, secret, user: _if_any(users.check_token(secret, user)),
    "tokens": lambda users, user: map(_row_of_token, users.tokens(user)),
    "open_page": _open_page,
    "check_page": lambda users, value: _if_any(users.check_page(value)),
    "pages": _pages,
}
"""Each is given the users and what belongs to the question; what it iterates over is sent in pieces."""


def answer(users: UserDB, what: str, values: Sequence[Any]) -> Any:
    """The answer to a question, for JSON. Raises what the method of `UserDB` does, and SidecarLost for none it has."""
    operation = OPERATIONS.get(what)
    if operation is None:
        raise SidecarLost(f"there is no question {what[:64]!r}")
    return operation(users, *values)
