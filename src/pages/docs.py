"""The API page: the OpenAPI document for people, to read as it is, and with script to try."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from imageserver.web.openapi import operation
from imageserver.web.requests import Request, Response

FAILURES = 400
"""Status codes from here on mean the same of every operation, and are said once."""


class Docs:
    """The view of `/docs`.

    Args:
        page: Makes a page of a template (site.py).
        describe: Gives the document for whoever asks.
    """

    def __init__(self, page: Callable[..., Response], describe: Callable[[Request], dict[str, Any]]) -> None:
        self._page, self._describe = page, describe

    @operation("GET", "/docs", tag="About this service", answers={200: "Html"})
    def docs(self, request: Request) -> Response:
        """This interface as a page."""
        document = self._describe(request)
        return self._page(
            "docs.html",
            request,
            document=document,
            codes=_codes(document),
            curl=_curl,
            good=_good,
            pretty=_pretty,
            words=_words,
        )


def _codes(document: dict[str, Any]) -> dict[str, str]:
    """What the status codes of failures mean."""
    found: dict[str, str] = {}
    for operations in document["paths"].values():
        for each in operations.values():
            found |= {code: answer["description"] for code, answer in each["responses"].items()}
    return {code: found[code] for code in sorted(found) if int(code) >= FAILURES}


def _good(responses: dict[str, Any]) -> list[tuple[str, str, str]]:
    """What an operation answers when all is well: code, type and the name of its schema, "" for none."""
    found = []
    for code, answer in responses.items():
        if int(code) < FAILURES:
            kinds = answer.get("content") or {"": {}}
            found += [(code, kind, _schema(body)) for kind, body in kinds.items()]
    return found


def _schema(body: dict[str, Any]) -> str:
    name: str = body.get("schema", {}).get("$ref", "")
    return name.rpartition("/")[2]


def _curl(server: str, path: str, method: str, each: dict[str, Any]) -> str:
    """A line that asks for the operation; docs.js writes what was chosen in its place."""
    for parameter in each.get("parameters", ()):
        if parameter["in"] == "path":
            values = parameter["schema"].get("enum") or [parameter["schema"].get("const", "1")]
            path = path.replace(f"{{{parameter['name']}}}", str(values[0]))
    words = ["curl"]
    if each.get("security"):
        words += ["-u", "name:password"]
    content = each.get("requestBody", {}).get("content", {})
    if method != ("post" if content else "get"):
        words += ["-X", method.upper()]
    if "image/png" in content:
        words += ["--data-binary", "@picture.png"]
    elif content:
        words += ["-H", "Content-Type: application/json", "--data", "@request.json"]
    return shlex.join([*words, server + path])


def _words(text: str) -> Markup:
    """A paragraph of a docstring, what is in backticks as code."""
    parts = enumerate(text.split("`"))
    return Markup("").join(Markup("<code>{}</code>").format(part) if number % 2 else part for number, part in parts)


def _pretty(schema: Any) -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False)
