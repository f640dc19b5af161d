"""The command line of userdb.py: `python3 src/userdb.py add alice --roles camera,viewer`."""

from __future__ import annotations

import argparse
import dataclasses
import getpass
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from imageserver.accounts.database import ROLES, ROTATIONS, User, UserDB
from imageserver.accounts.store.users import checked, missing, taken
from imageserver.config import table
from imageserver.errors import SettingError

_SHORT = 8


def main(arguments: Sequence[str]) -> int:
    """Do what `arguments` say; returns the exit code, 2 with one sentence on standard error when it cannot be done."""
    given = _parser().parse_args(arguments)
    try:
        options = [
            word for name in ("users", "data") if getattr(given, name) for word in (f"--{name}", getattr(given, name))
        ]
        found = table.read(options, os.environ)
        _run(given, UserDB(found.users))
        _warn_of_model(getattr(given, "model", None), found.models)
    except SettingError as error:
        print(f"userdb.py: {error}", file=sys.stderr)
        return 2
    except (KeyboardInterrupt, EOFError):
        print("userdb.py: stopped, nothing was changed", file=sys.stderr)
        return 130
    return 0


def _warn_of_model(name: str | None, models: Path) -> None:
    """A user may come before the model does, so this is no error."""
    if name and not (models / name.strip()).is_dir():
        print(
            f"There is no model {name.strip()!r} in {models}: until there is, the server's own default is used.",
            file=sys.stderr,
        )


def _run(given: argparse.Namespace, users: UserDB) -> None:
    if given.command == "list":
        _list(users, given.json)
        return
    user = users.get(given.name)
    # Said before the password is asked for.
    if given.command == "add":
        if user is not None:
            raise taken(given.name)
        new = _changed(User(given.name), given)
        users.add(new.name, _password(), new.roles, new.model, new.hz, new.rotate)
        print(f"Added to {users.path}: {_line(new)}")
        return
    if user is None:
        raise missing(given.name)
    if given.command == "passwd":
        users.passwd(user.name, _password())
        print(f"The password of {user.name} is changed.")
    elif given.command == "remove":
        users.remove(user.name)
        print(f"Removed {user.name}. Connections that are open stay until they end.")
    else:
        changed = _changed(user, given)
        users.set(changed)
        print(_line(changed))


def _list(users: UserDB, as_json: bool) -> None:
    found = users.list()
    if as_json:
        print(json.dumps([_shown(user) for user in found], ensure_ascii=False))
    else:
        for user in found:
            print(_line(user))
        if not found:
            print(f"No users in {users.path}.", file=sys.stderr)


def _shown(user: User) -> dict[str, object]:
    """What there is to see of a user, for JSON."""
    shown = {**dataclasses.asdict(user), "roles": _roles(user)}
    return {name: value for name, value in shown.items() if name not in ("stamp", "credential")}


def _roles(user: User) -> list[str]:
    return [role for role in ROLES if role in user.roles]


def _line(user: User) -> str:
    parts = [user.name, ",".join(_roles(user))]
    parts += [f"--model {user.model}"] if user.model else []
    parts += [f"--hz {user.hz:g}"] if user.hz is not None else []
    parts += [f"--rotate {user.rotate}"] if user.rotate else []
    return " ".join(parts)


def _changed(user: User, given: argparse.Namespace) -> User:
    """`user` with what the options say; where they say nothing it stays."""
    if given.roles is not None:
        user = dataclasses.replace(user, roles=frozenset(given.roles.replace(",", " ").split()))
    if given.model is not None:
        user = dataclasses.replace(user, model=given.model.strip() or None)
    if given.hz is not None:
        user = dataclasses.replace(user, hz=_number(given.hz) if given.hz else None)
    if given.rotate is not None:
        user = dataclasses.replace(user, rotate=given.rotate)
    return checked(user)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise SettingError(f"--hz is {text!r}, but it takes a number from 0 (no cap) to 1000") from None


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
        print(f"This password is short: {_SHORT} characters and more are hard to guess.", file=sys.stderr)
    return password


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="userdb.py",
        description="Who may use the server when it runs with -a. "
        "Passwords are asked for, or read from standard input.",
        allow_abbrev=False,
    )
    where = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    where.add_argument("--users", metavar="PATH", help="database of users (default: the server's, users.db in --data)")
    where.add_argument("--data", metavar="DIR", help="the server's folder of state (default: the server's)")
    name = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    name.add_argument("name", metavar="NAME")
    defaults = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    defaults.add_argument(
        "--roles", metavar="ROLES", help=f"of {', '.join(ROLES)}, with commas between (a new user: camera)"
    )
    defaults.add_argument("--model", metavar="NAME", help="model for this user's streams; '' for the server's default")
    defaults.add_argument(
        "--hz", metavar="N", help="most frames a second processed of each stream, 0 no cap; '' for the server's default"
    )
    defaults.add_argument(
        "--rotate", type=int, choices=ROTATIONS, help="clockwise degrees that turn this user's pictures upright"
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="add|passwd|remove|list|set")
    commands.add_parser("add", parents=[name, defaults, where], help="a new user", allow_abbrev=False)
    commands.add_parser("passwd", parents=[name, where], help="a new password for a user", allow_abbrev=False)
    commands.add_parser("remove", parents=[name, where], help="let a user in no more", allow_abbrev=False)
    commands.add_parser(
        "set", parents=[name, defaults, where], help="change a user's roles and defaults", allow_abbrev=False
    )
    listing = commands.add_parser("list", parents=[where], help="show all users", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="as JSON")
    return parser
