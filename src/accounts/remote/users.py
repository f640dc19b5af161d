"""The users in PostgreSQL, as the server asks for them: the methods of `UserDB`, answered by a process of its own.

They wait green, so they are called in the loop's thread (asking.py). While the database is gone every one of them
raises UsersUnavailable at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from imageserver.accounts.postgresql.operations import (
    change_of_row,
    page_of_row,
    row_of_user,
    token_of_row,
    user_of_row,
)
from imageserver.accounts.remote.link import UsersLink
from imageserver.accounts.store.changes import Change
from imageserver.accounts.store.pages import PageSession
from imageserver.accounts.store.tokens import Token
from imageserver.accounts.store.users import User


class RemoteUsers(UsersLink):
    """Users in PostgreSQL, their tokens and page sessions; every method is that of `UserDB`."""

    def closed(self) -> bool:
        """Whether there are users or ever were. UsersUnavailable: nobody knows."""
        return bool(self.ask("closed"))

    def any(self) -> bool:
        """Whether there is a user at all."""
        return bool(self.ask("any"))

    def check(self, name: str, password: str) -> User | None:
        """The user of that name when the password is right."""
        return _user(self.ask("check", name, password))

    def find(self, name: str) -> tuple[User, str] | None:
        """The user of that name and the stored hash."""
        found = self.ask("find", name)
        return None if found is None else (user_of_row(found[0]), found[1])

    def get(self, name: str) -> User | None:
        """The user of that name."""
        return _user(self.ask("get", name))

    def list(self) -> Sequence[User]:
        """All users by name."""
        return [user_of_row(row) for row in self.ask("list")]

    def add(
        self,
        name: str,
        password: str,
        roles: Iterable[str] = ("camera",),
        model: str | None = None,
        hz: float | None = None,
        rotate: int = 0,
        only: Iterable[str] = (),
        by: str = "",
        *,
        camera: str = "",
    ) -> User:
        """A new user."""
        settings = (sorted(roles), model, hz, rotate, tuple(only), by, camera)
        return user_of_row(self.change("add", name, password, *settings))

    def passwd(self, name: str, password: str, by: str = "") -> None:
        """A new password for a user."""
        self.change("passwd", name, password, by)

    def set(self, user: User, by: str = "") -> None:
        """Store everything of `user` but the password."""
        self.change("set", row_of_user(user), by)

    def remove(self, name: str, by: str = "") -> None:
        """Let that user in no more."""
        self.change("remove", name, by)

    def revoke(self, identity: str, by: str = "") -> None:
        """End the token or page session of that id."""
        self.change("revoke", identity, by)

    def current(self, users: Iterable[User]) -> Sequence[bool]:
        """Which of these logins hold still."""
        found: Sequence[bool] = self.ask("current", [(user.name, user.stamp, user.credential) for user in users])
        return found

    def revision(self) -> object:
        """Equal as long as nothing was changed."""
        return self.ask("revision")

    def changes(self, after: int, most: int = 1000) -> Sequence[Change]:
        """At most `most` of the changes that follow the number `after`."""
        return [change_of_row(row) for row in self.ask("changes", after, most)]

    def add_token(
        self, user: str, roles: Iterable[str] = (), days: float | None = None, name: str = "", by: str = ""
    ) -> tuple[Token, str]:
        """A new token of a user, and its text."""
        row, text = self.change("add_token", user, sorted(roles), days, name, by)
        return token_of_row(row), text

    def check_token(self, secret: str, user: str | None = None) -> User | None:
        """The user of that token."""
        return _user(self.ask("check_token", secret, user))

    def tokens(self, user: str | None = None) -> Sequence[Token]:
        """The tokens of a user, or all of them."""
        return [token_of_row(row) for row in self.ask("tokens", user)]

    def open_page(self, user: User, address: str) -> str:
        """Begin a page session; returns the value of its cookie."""
        return str(self.change("open_page", row_of_user(user), address))

    def check_page(self, value: str) -> User | None:
        """The user of the page session with that cookie."""
        return _user(self.ask("check_page", value))

    def pages(self, user: str | None = None) -> Sequence[PageSession]:
        """The page sessions of a user, or all of them."""
        return [page_of_row(row) for row in self.ask("pages", user)]


def _user(row: Sequence[Any] | None) -> User | None:
    return None if row is None else user_of_row(row)
