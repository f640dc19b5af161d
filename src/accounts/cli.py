"""The command line of userdb.py: `imageserver user add alice --roles camera,viewer`."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import getpass
import json
import os
import pwd
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from imageserver import folders
from imageserver.accounts import shown
from imageserver.accounts.database import ROLES, ROTATIONS, PageSession, Token, User, UserDB
from imageserver.accounts.postgresql import audit, copying
from imageserver.accounts.remote.rights import LACKING
from imageserver.accounts.store.users import checked, in_order, missing, taken
from imageserver.config import database, reading
from imageserver.config.database import DatabaseAddress
from imageserver.errors import ImageServerError, SettingError
from imageserver.limits import Limits

_Row = TypeVar("_Row")

_SHORT = 8
_PATIENCE = 10.0
"""Seconds to wait for the server, or for another of these commands, while it writes."""
_ENDS = "connections that are open end within 2 seconds"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what `arguments` say; returns the exit code, 2 with one sentence on standard error when it cannot be done.

    None: those of the process.
    """
    known = parser()
    given = known.parse_args(arguments)
    try:
        options = [
            word for name in ("users", "data") if getattr(given, name) for word in (f"--{name}", getattr(given, name))
        ]
        found = reading.read(options, os.environ)
        if given.users and getattr(found.users, "has_password", False):
            _say(f"{database.SEEN}.")
        with _opened(found.users, found) as users:
            _COMMANDS[given.command](given, users)
            if users.copy:
                _say(f"The users were taken over from an older server; {users.copy} is what they were.")
        _warn_of_model(getattr(given, "model", None), found.models)
    except ImageServerError as error:
        print(f"{known.prog}: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, EOFError):
        print(f"{known.prog}: stopped, nothing was changed", file=sys.stderr)
        return 130
    return 0


@contextlib.contextmanager
def _opened(place: Path | DatabaseAddress, limits: Limits) -> Iterator[UserDB]:
    """The users in a file or in PostgreSQL. SettingError."""
    if isinstance(place, Path):
        yield UserDB(place, limits=limits, patience=_PATIENCE)
        return
    try:
        from imageserver.accounts.postgresql.database import PostgreSQL
    except ImportError as error:
        raise SettingError(LACKING.format(error)) from None
    opened = PostgreSQL(place)
    opened.begin()
    try:
        opened.wait(_PATIENCE)
        yield UserDB(opened, limits=limits)
    finally:
        opened.close()


def _warn_of_model(name: str | None, models: Path) -> None:
    """A user may come before the model does, so this is no error."""
    if name and not (models / name.strip()).is_dir():
        _say(f"There is no model {name.strip()!r} in {models}: until there is, the server's own default is used.")


def _add(given: argparse.Namespace, users: UserDB) -> None:
    if users.get(given.name) is not None:  # said before the password is asked for
        raise taken(given.name)
    new = _changed(User(given.name), given)
    settings = (new.roles, new.model, new.hz, new.rotate, new.only, _operator())
    users.add(new.name, _password(), *settings, camera=new.camera)
    print(f"Added to {users.path}: {_line(new)}")


def _passwd(given: argparse.Namespace, users: UserDB) -> None:
    user = _known(given.name, users)
    users.passwd(user.name, _password(), by=_operator())
    print(f"The password of {user.name} is changed; {_ENDS}.")


def _remove(given: argparse.Namespace, users: UserDB) -> None:
    user = _known(given.name, users)
    users.remove(user.name, by=_operator())
    print(f"Removed {user.name}; {_ENDS}.")
    if not users.any():
        _say(
            "That was the last user. The server stays closed until there is one again; to let anybody in without a "
            f"login, stop it, remove {users.path}, and start it without -a."
        )


def _set(given: argparse.Namespace, users: UserDB) -> None:
    user = _known(given.name, users)
    changed = _changed(user, given)
    users.set(changed, by=_operator())
    print(_line(changed))
    if (changed.roles, changed.only) != (user.roles, user.only):
        _say(f"What {user.name} may has changed: {_ENDS}.")


def _copy(given: argparse.Namespace, users: UserDB) -> None:
    place = reading.read(["--users", given.source], {}).users
    if place == users.path:
        raise SettingError(f"--from is {place}, which is where they are: name the other database with --users")
    if isinstance(place, Path) and not place.is_file():
        raise SettingError(f"--from is {place}, and there is no such file")
    with _opened(place, Limits()) as source:
        copied = copying.copy(source, users, by=_operator())
    print(f"Copied to {users.path}: {copied.users} users with their passwords, {copied.tokens} tokens.")


def _audit(given: argparse.Namespace, users: UserDB) -> None:
    if isinstance(users.path, Path | None):
        raise SettingError(f"{users.path} holds users alone: the audit of one server is in the file of its --audit")
    for line in audit.read(users, given.last):
        print(json.dumps(line, ensure_ascii=False))


def _list(given: argparse.Namespace, users: UserDB) -> None:
    _show(users.list(), given.json, shown.user, _line, f"No users in {users.path}.")


def _token(given: argparse.Namespace, users: UserDB) -> None:
    user = _known(given.name, users)
    days = None if given.days is None else _number(given.days, "--days", "a number of days, up to 3650")
    made, text = users.add_token(user.name, _roles(given.roles or ""), days, given.called, by=_operator())
    print(text)
    _say(
        f"This is shown once. Give it to one program, as Authorization: Bearer or as the password of {user.name}. "
        f"It has the roles {','.join(in_order(made.roles))}, {_until(made.expires)}; "
        f"to end it:  {folders.USERS_COMMAND} revoke {made.identity}"
    )


def _tokens(given: argparse.Namespace, users: UserDB) -> None:
    whose = _known(given.name, users).name if given.name else None
    _show(users.tokens(whose), given.json, shown.token, _line_of_token, f"No tokens in {users.path}.")


def _revoke(given: argparse.Namespace, users: UserDB) -> None:
    users.revoke(given.id, by=_operator())
    print(f"Revoked; {_ENDS}.")


def _sessions(given: argparse.Namespace, users: UserDB) -> None:
    whose = _known(given.name, users).name if given.name else None
    _show(
        users.pages(whose),
        given.json,
        shown.page,
        _line_of_page,
        f"Nobody is logged in on a page of {users.path}.",
    )


_COMMANDS: dict[str, Callable[[argparse.Namespace, UserDB], None]] = {
    "add": _add,
    "passwd": _passwd,
    "remove": _remove,
    "list": _list,
    "set": _set,
    "token": _token,
    "tokens": _tokens,
    "revoke": _revoke,
    "sessions": _sessions,
    "copy": _copy,
    "audit": _audit,
}


def _known(name: str, users: UserDB) -> User:
    user = users.get(name)
    if user is None:
        raise missing(name)
    return user


def _show(
    rows: Sequence[_Row], as_json: bool, fields: Callable[[_Row], object], line: Callable[[_Row], str], nothing: str
) -> None:
    """Print a list, for programs or for people."""
    if as_json:
        print(json.dumps([fields(row) for row in rows], ensure_ascii=False))
        return
    for row in rows:
        print(line(row))
    if not rows:
        _say(nothing)


def _line(user: User) -> str:
    parts = [user.name, ",".join(in_order(user.roles))]
    parts += [f"--only {shlex.quote(','.join(user.only))}"] if user.only else []
    parts += [f"--camera {shlex.quote(user.camera)}"] if user.camera else []
    parts += [f"--model {user.model}"] if user.model else []
    parts += [f"--hz {user.hz:g}"] if user.hz is not None else []
    parts += [f"--rotate {user.rotate}"] if user.rotate else []
    return " ".join(parts)


def _line_of_token(token: Token) -> str:
    used = "never used" if token.used is None else f"last used {_minute(token.used)}"
    parts = [token.identity, token.user, ",".join(in_order(token.roles)), _until(token.expires) + ",", used]
    return " ".join(parts) + (f", {token.name!r}" if token.name else "")


def _line_of_page(page: PageSession) -> str:
    return (
        f"{page.identity} {page.user} from {page.address} since {_minute(page.begun)}, last seen {_minute(page.seen)}"
    )


def _until(expires: float | None) -> str:
    if expires is None:
        return "without an end"
    return f"{'until' if expires > time.time() else 'expired'} {_minute(expires)}"


def _minute(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def _changed(user: User, given: argparse.Namespace) -> User:
    """`user` with what the options say; where they say nothing it stays."""
    if given.roles is not None:
        user = dataclasses.replace(user, roles=frozenset(_roles(given.roles)))
    if given.only is not None:
        user = dataclasses.replace(user, only=tuple(given.only.split(",")) if given.only.strip() else ())
    if given.camera is not None:
        user = dataclasses.replace(user, camera=given.camera)
    if given.model is not None:
        user = dataclasses.replace(user, model=given.model.strip() or None)
    if given.hz is not None:
        hz = _number(given.hz, "--hz", "a number from 0 (no cap) to 1000") if given.hz else None
        user = dataclasses.replace(user, hz=hz)
    if given.rotate is not None:
        user = dataclasses.replace(user, rotate=given.rotate)
    return checked(user)


def _roles(text: str) -> Iterable[str]:
    return text.replace(",", " ").split()


def _number(text: str, option: str, kind: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingError(f"{option} is {text!r}, but it takes {kind}") from None


def _operator() -> str:
    """Who types this, by the name that the operating system knows."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # in a container, perhaps
        return f"uid {os.getuid()}"


def _say(sentence: str) -> None:
    """To the person, not to what reads standard output."""
    print(sentence, file=sys.stderr)


def _password() -> str:
    """From the terminal, twice and unseen, or the first line of standard input."""
    if not sys.stdin.isatty():
        line = sys.stdin.readline().rstrip("\r\n")
        if not line:
            raise SettingError(
                "there is no password on standard input: run this in a terminal, or pipe the password into it"
            )
        return line
    password = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != password:
        raise SettingError("the two passwords differ; nothing was changed")
    if len(password) < _SHORT:
        _say(f"This password is short: {_SHORT} characters and more are hard to guess.")
    return password


def parser() -> argparse.ArgumentParser:
    """Of the command line; its name is what was typed."""
    parser = argparse.ArgumentParser(
        description="Who may use the server when it runs with -a. "
        "Passwords are asked for, or read from standard input.",
        allow_abbrev=False,
    )
    where, defaults = _options_of_place(), _options_of_user()
    name = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    name.add_argument("name", metavar="NAME")
    listing = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="as JSON")
    whose = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    whose.add_argument("name", metavar="NAME", nargs="?", help="of this user alone")
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(_COMMANDS))

    def command(verb: str, help: str, *parts: argparse.ArgumentParser) -> argparse.ArgumentParser:  # noqa: A002
        return commands.add_parser(verb, parents=[*parts, where], help=help, allow_abbrev=False)

    command("add", "a new user", name, defaults)
    command("passwd", "a new password for a user", name)
    command("remove", "let a user in no more", name)
    command("list", "show all users", listing)
    command("set", "change a user's roles, cameras and defaults", name, defaults)
    token = command("token", "print a new token, with which a program logs in as a user", name)
    token.add_argument("--roles", metavar="ROLES", help="some of the user's (default: all of them)")
    token.add_argument("--days", metavar="N", help="after which it ends (default: it does not)")
    token.add_argument("--name", dest="called", metavar="TEXT", default="", help="what it is for")
    command("tokens", "show tokens, without what is secret", whose, listing)
    command("revoke", "end a token, or a login on a page", _id_of_either())
    command("sessions", "show who is logged in on pages", whose, listing)
    copy = command("copy", "add all users and tokens of another database, with their passwords")
    noted = command("audit", "what several front ends have noted, a line of JSON each, with --users postgresql://…")
    noted.add_argument("--last", metavar="N", type=int, default=1000, help="so many lines (default: 1000)")
    copy.add_argument("--from", dest="source", metavar="PATH", required=True, help="a file, or postgresql://…")
    return parser


def _id_of_either() -> argparse.ArgumentParser:
    part = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    part.add_argument("id", metavar="ID", help="as tokens and sessions show it")
    return part


def _options_of_place() -> argparse.ArgumentParser:
    part = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    part.add_argument(
        "--users", metavar="PATH", help="file or postgresql://… of users (default: the server's, users.db in --data)"
    )
    part.add_argument("--data", metavar="DIR", help="the server's folder of state (default: the server's)")
    return part


def _options_of_user() -> argparse.ArgumentParser:
    part = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    part.add_argument(
        "--roles", metavar="ROLES", help=f"of {', '.join(ROLES)}, with commas between (a new user: camera)"
    )
    part.add_argument(
        "--only", metavar="NAMES", help="names of the cameras that are theirs, with commas between; '' for all"
    )
    part.add_argument(
        "--camera", metavar="NAME", help="what this user's camera is called unless it says so itself; '' for no name"
    )
    part.add_argument("--model", metavar="NAME", help="model for this user's streams; '' for the server's default")
    part.add_argument(
        "--hz", metavar="N", help="most frames a second processed of each stream, 0 no cap; '' for the server's default"
    )
    part.add_argument(
        "--rotate", type=int, choices=ROTATIONS, help="clockwise degrees that turn this user's pictures upright"
    )
    return part
