#!/usr/bin/env python3
"""A client for neural networks by name: asks an ImageServer over REST. Needs nothing but Python.

    clients/nn_client.py                                   a menu, for the server on this machine, port 5000
    clients/nn_client.py 10.0.0.5:8080 list_nn
    clients/nn_client.py 10.0.0.5:8080 lenet classify 7.png
    clients/nn_client.py https://10.0.0.5 lenet train other --ca cert.pem

Operations: list_nn, and for a network (lenet, …) about, classify [file], status, train [other], cancel. Without a
file, `classify` offers ten sample digits. `train` shows how far the training is; Ctrl-C leaves it running.

From Python: `ask("10.0.0.5:8080", "lenet", "classify", "7.png")` returns the server's answer, {"number": "7", …}.

Exit code: 0 when all went well, 1 when the server refuses, 2 when something given is wrong, 3 when there is no server,
130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import getpass
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from client_programs.command import add_trust_options, ended, trust_of
from client_programs.rest import OPERATIONS, RUNNING, Rest
from imageserver_client.connection import Trust
from imageserver_client.errors import Refused, Unreachable, Wrong

__all__ = ["Refused", "Unreachable", "Wrong", "ask", "main"]

DEFAULT_SERVER = "localhost:5000"
PORT = 5000
LOGIN = ("test_nn", "lenet")
PASSWORD_VARIABLE = "NN_PASSWORD"
NETWORK = "lenet"
SAMPLES = Path(__file__).resolve().parent / "samples" / "digits"


def ask(
    server: str = DEFAULT_SERVER,
    network: str = "list_nn",
    operation: str = "about",
    argument: str | os.PathLike[str] | None = None,
    *,
    login: tuple[str, str] = LOGIN,
    ca: str | os.PathLike[str] | None = None,
    insecure: bool = False,
) -> dict[str, Any]:
    """Ask once and return the answer.

    Args:
        server: `host`, `host:port` (5000 unless told) or a URL.
        network: "list_nn" or a network's name.
        operation: one of OPERATIONS.
        argument: the picture file to classify, or the training sample ("mnist" or "other").
        login: name and password.
        ca: a PEM file of certificates to trust; means HTTPS.
        insecure: trust any certificate; means HTTPS.

    Raises:
        Refused: with the server's own words, and HTTP's status in `status`.
        Unreachable: there is no such server, or none that can be trusted.
        Wrong: something given is wrong.
    """
    return Rest(server, login, Trust(ca, insecure), PORT).ask(network, operation, argument)


def show(answer: dict[str, Any]) -> None:
    """Print an answer."""
    text = answer.get("text")
    if isinstance(text, list):
        print("\n".join(text))
    elif text is not None:
        print(text)
    elif "accuracy" in answer:
        percent = "" if answer["accuracy"] == "unknown" else " %"
        print(f"accuracy {answer['accuracy']}{percent}, trained {answer['datetime']}")
        if "note" in answer:
            print(answer["note"])
    elif "label" in answer:
        score = answer.get("score")
        sure = f"  ({score:.1%})" if isinstance(score, float) else ""
        unlike = "  unlike its training pictures: this says nothing" if answer.get("input") == "unlike" else ""
        print(f"{answer.get('number', answer['label'])}{sure}{unlike}")
    else:
        print(json.dumps(answer, ensure_ascii=False))


def watch(server: Rest, network: str) -> int:
    """Show the training that runs until it ends; returns the exit code."""
    wide = sys.stdout.isatty()
    last = ""
    try:
        for event in server.follow(network):
            last = event["state"]
            if last == "training":
                done = (event["epoch"] - 1 + event["part"]) / event["epochs"]
                bar = f"[{'#' * round(30 * done):<30}] {done:4.0%}  {event['text']}"
                if wide:
                    bar = f"\r\033[K{bar[: os.get_terminal_size().columns - 1]}"
                print(bar, end="" if wide else "\n", flush=True)
            else:
                gap = "\n" if wide and last != "preparing" else ""
                print(f"{gap}{last}: {event['text']}", flush=True)
    except KeyboardInterrupt:
        print("\nstopped; the training goes on", file=sys.stderr)
        raise
    if not last or last in RUNNING:
        print(end="\n" if wide else "")
        raise Unreachable(f"{server.url} ended its report before the training's end: ask it for the status")
    return 0 if last == "completed" else 1


def samples() -> list[Path]:
    """The sample digits."""
    return sorted(SAMPLES.glob("*.png"))


def choose_sample(read: Callable[[str], str]) -> Path:
    """Offer the samples; a path may be typed as well. Wrong when there is no input."""
    found = samples()
    print("Which picture?")
    for number, path in enumerate(found):
        print(f"  {number}  {path.name}")
    try:
        typed = read(f"number, or the path of a picture [0-{len(found) - 1}]: ").strip()
    except EOFError:
        raise Wrong("there is no input to choose by") from None
    if typed.isdecimal() and int(typed) < len(found):
        return found[int(typed)]
    if not typed:
        raise Wrong("no picture was chosen")
    return Path(typed).expanduser()


def perform(server: Rest, network: str, operation: str, argument: str | Path | None, read: Callable[[str], str]) -> int:
    """One operation, with what people see of it; returns the exit code."""
    if operation == "classify" and argument is None:
        argument = choose_sample(read)
    show(server.ask(network, operation, argument))
    return watch(server, network) if operation == "train" else 0


MENU: tuple[tuple[str, str, str, str | None], ...] = (
    ("list the networks", "list_nn", "about", None),
    ("what is LeNet?", NETWORK, "about", None),
    ("classify a digit", NETWORK, "classify", None),
    ("how did the last training go?", NETWORK, "status", None),
    ("train on MNIST", NETWORK, "train", "mnist"),
    ("train on the server's own pictures", NETWORK, "train", "other"),
)


def menu(server: Rest, read: Callable[[str], str]) -> int:
    """Ask for operations until 0 or the end of the input."""
    while True:
        print(f"\n{server.url}")
        for number, (text, *_rest) in enumerate(MENU, 1):
            print(f"  {number}  {text}")
        print("  0  quit")
        try:
            typed = read("> ").strip()
        except EOFError:
            return 0
        if typed == "0":
            return 0
        if not (typed.isdecimal() and 1 <= int(typed) <= len(MENU)):
            print(f"type a number from 0 to {len(MENU)}")
            continue
        _text, network, operation, argument = MENU[int(typed) - 1]
        try:
            perform(server, network, operation, argument, read)
        except (Refused, Wrong) as error:
            print(error)


def split(words: Sequence[str]) -> tuple[str, str, str, str | None]:
    """Server, network, operation ("" for the menu) and argument from the words of the command line. Wrong."""
    rest = list(words)
    server = DEFAULT_SERVER
    if rest and rest[0] != "list_nn" and not (len(rest) > 1 and rest[1] in OPERATIONS):
        server = rest.pop(0)
    if not rest:
        return server, "", "", None
    if rest == ["list_nn"]:
        return server, "list_nn", "about", None
    known = len(rest) in (2, 3) and rest[1] in OPERATIONS
    if not known or (len(rest) == 3 and rest[1] not in ("classify", "train")):
        operations = ", ".join(OPERATIONS)
        raise Wrong(
            f"{' '.join(rest)!r} is not understood: it takes list_nn, or lenet and one of {operations}; -h tells more"
        )
    if rest[1] == "train" and rest[2:] not in ([], ["mnist"], ["other"]):
        raise Wrong(f"a training takes mnist or other, not {rest[2]!r}")
    return server, rest[0], rest[1], rest[2] if len(rest) == 3 else None


def main(arguments: Sequence[str] | None = None, read: Callable[[str], str] = input) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="nn_client.py",
        usage="%(prog)s [host:port] [list_nn | lenet about | lenet classify [file] | lenet status | "
        "lenet train [other] | lenet cancel]",
        description="Ask an ImageServer's neural networks by name.",
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--login", default=LOGIN[0], metavar="NAME", help="user name (default %(default)s)")
    parser.add_argument(
        "--password", help=f"default ${PASSWORD_VARIABLE}; else {LOGIN[1]} for {LOGIN[0]}, and asked for other users"
    )
    add_trust_options(parser)
    options = parser.parse_intermixed_args(arguments)
    return ended(lambda: run(options, read), parser.prog)


def run(options: argparse.Namespace, read: Callable[[str], str]) -> int:
    """Do what the options say; returns the exit code. ClientError."""
    address, network, operation, argument = split(options.words)
    password = options.password or os.environ.get(PASSWORD_VARIABLE)
    if password is None:
        password = LOGIN[1] if options.login == LOGIN[0] else getpass.getpass(f"Password of {options.login}: ")
    server = Rest(address, (options.login, password), trust_of(options), PORT)
    try:
        return perform(server, network, operation, argument, read) if operation else menu(server, read)
    except Refused as error:
        sentence = str(error)
        if error.status == 401:
            sentence = f"{sentence.rstrip('.')}: give --login NAME, and {PASSWORD_VARIABLE} or --password."
        print(f"nn_client.py: {sentence}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
