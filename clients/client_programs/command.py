"""What the client programs share on their command lines: options, credentials, exit codes."""

from __future__ import annotations

import argparse
import contextlib
import getpass
import os
import sys
from collections.abc import Callable

from imageserver_client.connection import Token, Trust
from imageserver_client.errors import ClientError, Wrong

PASSWORD_VARIABLE = "CAMERA_PASSWORD"
TOKEN_VARIABLE = "CAMERA_TOKEN"
Login = tuple[str, str]


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Where the server is, who asks, whom to trust."""
    parser.add_argument(
        "-s", "--server", default="127.0.0.1:8080", metavar="ADDRESS", help="host:port or URL (default %(default)s)"
    )
    parser.add_argument("-u", "--user", metavar="NAME", help="name to authenticate with")
    parser.add_argument(
        "--password",
        metavar="WORD",
        help=f"password; other people of this machine can see it here, but not in {PASSWORD_VARIABLE} or at the prompt",
    )
    parser.add_argument(
        "--token",
        metavar="TEXT",
        help=f"token to show in place of a name and password; other people of this machine can see it here, "
        f"but not in {TOKEN_VARIABLE}",
    )
    add_trust_options(parser)


def add_name_option(parser: argparse.ArgumentParser) -> None:
    """What the camera is called."""
    parser.add_argument(
        "--name",
        metavar="NAME",
        default="",
        help="the camera's name, which answers carry (default: what is set for the user)",
    )


def add_trust_options(parser: argparse.ArgumentParser) -> None:
    """Whom to trust."""
    parser.add_argument(
        "--ca", metavar="FILE", help="certificate to trust, PEM: the server's own when it is self-signed; means HTTPS"
    )
    parser.add_argument("--insecure", action="store_true", help="trust any certificate; means HTTPS")


def add_stream_options(parser: argparse.ArgumentParser, timeout: float) -> None:
    """How long to go on, how long to wait for an answer (`timeout` seconds unless told), and for whom to print."""
    parser.add_argument("--count", type=int, default=0, metavar="N", help="stop after N frames; the source repeats")
    parser.add_argument("--seconds", type=positive, metavar="N", help="stop after N seconds; the source repeats")
    parser.add_argument(
        "--timeout",
        type=positive,
        default=timeout,
        metavar="N",
        help="seconds to wait for an answer (default %(default)g)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print every answer, and at the end the summary, as a line of JSON"
    )


def trust_of(options: argparse.Namespace) -> Trust:
    """What --ca and --insecure say. Wrong."""
    return Trust(options.ca, options.insecure)


def login_of(options: argparse.Namespace) -> Login | Token | None:
    """Name and password, or a token: from the command line, the environment, a password from a prompt as well.

    Returns:
        None when there is neither --user nor a token.

    Raises:
        Wrong: There are both, or the token can be none.
    """
    if options.user is not None:
        if options.token is not None:
            raise Wrong("A token stands for its user: give --token or --user, not both.")
        password = options.password if options.password is not None else os.environ.get(PASSWORD_VARIABLE)
        if password is None:
            password = getpass.getpass(f"Password of {options.user}: ") if sys.stdin.isatty() else ""
        return options.user, password
    text = options.token if options.token is not None else os.environ.get(TOKEN_VARIABLE)
    if not text:
        return None
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise Wrong("A token is one word, as userdb.py printed it: what was given is none.")
    return Token(text)


def positive(text: str) -> float:
    """A number above 0, for argparse."""
    with contextlib.suppress(ValueError):
        if 0 < (value := float(text)) <= 1e6:
            return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")


def ended(program: Callable[[], int], name: str = "") -> int:
    """Run a program and return its exit code; what ends it early is said in a sentence, after its `name` if given.

    Returns:
        The program's own code; that of a ClientError; 130 after Ctrl-C; 0 when nobody reads the output any more.
    """
    try:
        return program()
    except ClientError as error:
        print(f"{name}: {error}" if name else error, file=sys.stderr, flush=True)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
