#!/usr/bin/env python3
"""A client for neural networks by name: asks an ImageServer over REST. Needs nothing but Python.

    clients/nn_client.py                                   a menu, for the server on this machine, port 5000
    clients/nn_client.py 10.0.0.5:8080 list_nn
    clients/nn_client.py 10.0.0.5:8080 lenet classify 7.png
    clients/nn_client.py https://10.0.0.5 lenet train other --ca cert.pem

Operations: list_nn, and for a network (lenet, …) about, classify [file], status, train [other], cancel. Without a file,
`classify` offers ten sample digits. `train` shows how far the training is; Ctrl-C leaves it running.

From Python: `ask("10.0.0.5:8080", "lenet", "classify", "7.png")` returns the server's answer, {"number": "7", …}.

Exit code: 0 when all went well, 1 when the server refuses, 2 when something given is wrong, 3 when there is no server,
130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import getpass
import http.client
import json
import os
import re
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

DEFAULT_SERVER = "localhost:5000"
PORT = 5000
LOGIN = ("test_nn", "lenet")
PASSWORD_VARIABLE = "NN_PASSWORD"
NETWORK = "lenet"
OPERATIONS = ("about", "classify", "status", "train", "cancel")
RUNNING = ("preparing", "training", "evaluating")
"""States of a training that goes on."""
SAMPLES = Path(__file__).resolve().parent / "samples" / "digits"
TIMEOUT = 60.0
"""Seconds without an answer after which the server counts as gone."""


class Refused(Exception):
    """The server's own words, with its HTTP status in `status`."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


class Unreachable(Exception):
    """There is no server at that address, or none that can be trusted."""


class Wrong(Exception):
    """Something given is wrong: one sentence."""


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

    `network` is "list_nn" or a network's name, `operation` one of OPERATIONS, `argument` the picture file to classify or
    the training sample ("mnist" or "other"). `ca`: a PEM file to trust; `insecure`: trust anybody. Raises Refused,
    Unreachable, Wrong.
    """
    return Server(server, login, ca=ca, insecure=insecure).ask(network, operation, argument)


class Server:
    """An ImageServer: `host`, `host:port` or a URL; HTTPS with `https://`, or when `ca` or `insecure` is given."""

    def __init__(
        self,
        server: str,
        login: tuple[str, str] = LOGIN,
        *,
        ca: str | os.PathLike[str] | None = None,
        insecure: bool = False,
    ) -> None:
        self.url = url_of(server, secure=bool(ca) or insecure)
        token = base64.b64encode(":".join(login).encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Accept": "application/json"}
        handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler({})]
        if self.url.startswith("https:"):
            try:
                context = ssl.create_default_context(cafile=os.fspath(ca) if ca else None)
            except (OSError, ssl.SSLError) as error:
                raise Wrong(f"{ca} is no PEM file with a certificate: {error}") from error
            if insecure:
                context.check_hostname = False
                context.verify_mode = ssl.CERT_NONE
            handlers.append(urllib.request.HTTPSHandler(context=context))
        self._opener = urllib.request.build_opener(*handlers)

    def ask(
        self, network: str, operation: str = "about", argument: str | os.PathLike[str] | None = None
    ) -> dict[str, Any]:
        """See `ask` above."""
        if network == "list_nn":
            return self._json("GET", "/list_nn")
        path = f"/{urllib.parse.quote(network, safe='')}"
        if operation == "about":
            return self._json("GET", f"{path}/about")
        if operation == "status":
            return self._json("GET", f"{path}/train/status")
        if operation == "train":
            return self._json(
                "GET", f"{path}/train?training_sample={urllib.parse.quote(str(argument or 'mnist'), safe='')}"
            )
        if operation == "cancel":
            return self._json("POST", f"{path}/train/cancel", b"")
        if operation != "classify":
            raise Wrong(f"there is no operation {operation!r}: there are list_nn, {', '.join(OPERATIONS)}")
        if argument is None:
            raise Wrong("classify needs a picture file")
        try:
            picture = Path(argument).read_bytes()
        except OSError as error:
            raise Wrong(f"{argument} cannot be read: {error.strerror}") from error
        body = json.dumps({"image": base64.b64encode(picture).decode()}).encode()
        return self._json("POST", f"{path}/classify", body)

    def follow(self, network: str) -> Iterator[dict[str, Any]]:
        """What happens in the network's training, event by event, until it ends."""
        with self._open("GET", f"/{urllib.parse.quote(network, safe='')}/train/events") as stream:
            for line in stream:
                if line.startswith(b"data:"):
                    event = json.loads(line[5:])
                    yield event
                    if event["state"] not in RUNNING:
                        return

    def _json(self, method: str, path: str, body: bytes | None = None) -> dict[str, Any]:
        with self._open(method, path, body) as stream:
            try:
                found: dict[str, Any] = json.load(stream)
            except ValueError as error:
                raise Refused(200, f"{self.url} answers with something else than JSON: it is no ImageServer") from error
            return found

    @contextlib.contextmanager
    def _open(self, method: str, path: str, body: bytes | None = None) -> Iterator[Any]:
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        request = urllib.request.Request(self.url + path, body, headers, method=method)
        try:
            with self._opener.open(request, timeout=TIMEOUT) as stream:
                yield stream
        except urllib.error.HTTPError as error:
            with error:
                raise Refused(error.code, _sentence(error)) from None
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                why = "its certificate is not trusted: give its certificate with --ca, or --insecure to trust it unseen"
                raise Unreachable(f"{self.url}: {why}") from error
            if isinstance(error.reason, ssl.SSLError):
                why = "write http:// before the address and leave out --ca and --insecure, or start the server with -s"
                raise Unreachable(
                    f"{self.url} does not speak HTTPS ({error.reason.reason or error.reason}): {why}"
                ) from error
            raise Unreachable(f"there is no server at {self.url}: {error.reason}") from error
        except (OSError, http.client.HTTPException) as error:
            hint = "" if self.url.startswith("https:") else "; if it speaks HTTPS, write https:// before the address"
            raise Unreachable(f"{self.url} gives no answer: {error}{hint}") from error


def _sentence(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"{error.code} {error.reason}"


def url_of(server: str, *, secure: bool = False) -> str:
    """`host`, `host:port`, `[::1]:port` or a URL, as a URL with a port and no path. Wrong."""
    text = server if "://" in server else f"{'https' if secure else 'http'}://{server}"
    try:
        parts = urllib.parse.urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = None
    if host is None or parts.scheme not in ("http", "https") or parts.path not in ("", "/") or re.search(r"\s", server):
        raise Wrong(f"{server!r} is no address: give host:port, such as 192.168.1.20:8080")
    return f"{parts.scheme}://{f'[{host}]' if ':' in host else host}:{port or PORT}"


# ---- for people -------------------------------------------------------------------------------------------------


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
        print(f"{answer.get('number', answer['label'])}" + (f"  ({score:.1%})" if isinstance(score, float) else ""))
    else:
        print(json.dumps(answer, ensure_ascii=False))


def watch(server: Server, network: str) -> int:
    """Show the training that runs until it ends; returns the exit code."""
    wide = sys.stdout.isatty()
    last = ""
    for event in server.follow(network):
        if event["state"] == "training":
            done = (event["epoch"] - 1 + event["part"]) / event["epochs"]
            bar = f"[{'#' * round(30 * done):<30}] {done:4.0%}  {event['text']}"
            if wide:
                columns = os.get_terminal_size().columns
                print(f"\r\033[K{bar[: columns - 1]}", end="", flush=True)
            else:
                print(bar, flush=True)
        else:
            print(
                f"{chr(10) if wide and event['state'] != 'preparing' else ''}{event['state']}: {event['text']}",
                flush=True,
            )
        last = event["state"]
    if not last or last in RUNNING:
        print(end="\n" if wide else "")
        raise Unreachable(f"{server.url} ended its report before the training's end: ask it for the status")
    return 0 if last == "completed" else 1


def samples() -> list[Path]:
    """The sample digits."""
    return sorted(
        path for path in SAMPLES.glob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff")
    )


def choose_sample(read: Callable[[str], str]) -> Path:
    """Offer the samples; a path may be typed as well. Wrong when there is no input."""
    found = samples()
    print("Which picture?")
    for number, path in enumerate(found):
        print(f"  {number}  {path.name}")
    typed = read(f"number, or the path of a picture [0-{len(found) - 1}]: ").strip()
    if typed.isdecimal() and int(typed) < len(found):
        return found[int(typed)]
    if not typed:
        raise Wrong("no picture was chosen")
    return Path(typed).expanduser()


def perform(
    server: Server, network: str, operation: str, argument: str | Path | None, read: Callable[[str], str]
) -> int:
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


def menu(server: Server, read: Callable[[str], str]) -> int:
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
        except EOFError:
            return 0


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
    if (
        len(rest) < 2
        or rest[1] not in OPERATIONS
        or len(rest) > 3
        or (len(rest) == 3 and rest[1] not in ("classify", "train"))
    ):
        raise Wrong(
            f"{' '.join(rest)!r} is not understood: it takes list_nn, or lenet and one of {', '.join(OPERATIONS)}; -h tells more"
        )
    if rest[1] == "train" and rest[2:] not in ([], ["mnist"], ["other"]):
        raise Wrong(f"a training takes mnist or other, not {rest[2]!r}")
    return server, rest[0], rest[1], rest[2] if len(rest) == 3 else None


def main(arguments: Sequence[str] | None = None, read: Callable[[str], str] = input) -> int:
    """The program; returns its exit code."""
    usage = "%(prog)s [host:port] [list_nn | lenet about | lenet classify [file] | lenet status | lenet train [other] | lenet cancel]"
    parser = argparse.ArgumentParser(
        prog="nn_client.py", usage=usage, description="Ask an ImageServer's neural networks by name."
    )
    parser.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    parser.add_argument("--login", default=LOGIN[0], metavar="NAME", help="user name (default %(default)s)")
    parser.add_argument(
        "--password", help=f"default ${PASSWORD_VARIABLE}; else {LOGIN[1]} for {LOGIN[0]}, and asked for other users"
    )
    parser.add_argument(
        "--ca", metavar="FILE", help="certificate to trust, PEM: the server's own when it is self-signed; means HTTPS"
    )
    parser.add_argument("--insecure", action="store_true", help="trust any certificate; means HTTPS")
    options = parser.parse_intermixed_args(arguments)
    try:
        address, network, operation, argument = split(options.words)
        password = options.password or os.environ.get(PASSWORD_VARIABLE)
        if password is None:
            password = LOGIN[1] if options.login == LOGIN[0] else getpass.getpass(f"Password of {options.login}: ")
        server = Server(address, (options.login, password), ca=options.ca, insecure=options.insecure)
        return perform(server, network, operation, argument, read) if operation else menu(server, read)
    except Refused as error:
        print(f"nn_client.py: {error}", file=sys.stderr)
        return 1
    except (Wrong, EOFError) as error:
        print(
            f"nn_client.py: {error if isinstance(error, Wrong) else 'there is no input to choose by'}", file=sys.stderr
        )
        return 2
    except Unreachable as error:
        print(f"nn_client.py: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("\nstopped; a training that was begun goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
