"""What the operations of HTTP declare of themselves, and the OpenAPI 3.1 document made of it.

    @operation("GET", "/<model:name>/about", tag="Networks", answers={200: "Text", 404: "Error"})
    def about(self, request, name): ...

The docstring's first sentence becomes the summary, the rest the description. Schemas: schemas/.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal, TypeVar

from imageserver.accounts import doors
from imageserver.accounts.doors import Door, Login
from imageserver.web import page_cookie
from imageserver.web.application import Route
from imageserver.web.schemas import snippets
from imageserver.web.schemas import tables as schemas

VERSION = "1.0.0"
"""Of this interface: the first number grows when a client may have to change."""

Models = Literal["all", "pictures", "trainable"]
View = TypeVar("View", bound=Callable[..., Any])

_COOKIE = "What /login gives to pages; over TLS its name begins with __Host-."
_VARIABLE = re.compile(r"<(?:\w+:)?(\w+)>")


@dataclass(frozen=True, eq=False)
class Operation:
    """One operation. `paths` as `Route` does: the first is the one to use, the others are old spellings."""

    method: str
    paths: tuple[str, ...]
    _: KW_ONLY
    tag: str
    summary: str
    description: str
    answers: dict[int, str | None]
    """Schema (or media, see schemas/) by status code; None: no body worth describing."""
    body: str = ""
    body_optional: bool = False
    query: tuple[str, ...] = ()
    models: Models = "all"
    """Which models' names it takes."""
    deprecated: bool = False
    """Whether another one is to be used in its place."""

    @property
    def door(self) -> Door:
        """Who may ask. KeyError: it has no row."""
        return doors.TABLE.http(self.method, self.paths[0])


def operation(method: str, *paths: str, **declared: Any) -> Callable[[View], View]:
    """Declare a view to be an operation, its attribute; `declared` are further fields of `Operation`."""

    def declare(view: View) -> View:
        first, _, description = inspect.cleandoc(view.__doc__ or "").partition("\n\n")
        summary = " ".join(first.split()).rstrip(".")
        found = Operation(method, paths, summary=summary, description=description, **declared)
        view.operation = found  # type: ignore[attr-defined]
        return view

    return declare


def declared(part: object) -> Iterator[tuple[Operation, Callable[..., Any]]]:
    """The operations of an object's methods, each with its view, in the order of the class."""
    for attribute in vars(type(part)).values():
        found: Operation | None = getattr(attribute, "operation", None)
        if found is not None:
            yield found, getattr(part, attribute.__name__)


def routes(part: object) -> Iterator[Route]:
    """The routes to an object's operations, for every spelling of their paths."""
    for found, view in declared(part):
        for path in found.paths:
            yield Route(found.method, path, view)


def operations(routes: Iterable[Route]) -> list[Operation]:
    """The operations that the views of `routes` declare, each once; what declares none is for no program to ask."""
    found = (getattr(route.view, "operation", None) for route in routes)
    return list(dict.fromkeys(each for each in found if each is not None))


def document(operations: Sequence[Operation], *, models: Mapping[Models, Sequence[str]], most: int) -> dict[str, Any]:
    """The OpenAPI document of `operations`, without the `servers` at which they are.

    Args:
        operations: What can be asked.
        models: Names of models by what they can do.
        most: Bytes of a body.
    """
    paths: dict[str, dict[str, Any]] = {}
    for each in operations:
        for index, path in enumerate(each.paths):
            described = _operation(each, path, models[each.models], most)
            if index:
                described["summary"] += f" (the same as {_braces(each.paths[0])})"
            paths.setdefault(_braces(path), {})[each.method.lower()] = described
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ImageServer",
            "version": VERSION,
            "description": "Neural networks by name, their training, the Open Inference Protocol (v2), pictures on "
            "demand, and all that streams. "
            f"A request body has at most {most:,} bytes. Every error is a JSON object with a sentence as its error.",
        },
        "tags": [{"name": tag} for tag in dict.fromkeys(each.tag for each in operations)],
        "paths": paths,
        "components": {
            "schemas": schemas.SCHEMAS,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer", "description": "A token, as userdb.py makes them."},
                "cookie": {"type": "apiKey", "in": "cookie", "name": page_cookie.NAME, "description": _COOKIE},
            },
        },
    }


def _braces(path: str) -> str:
    return _VARIABLE.sub(r"{\1}", path)


def _operation(each: Operation, path: str, models: Sequence[str], most: int) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": f"{each.method.lower()}{re.sub(r'[^a-z0-9]+', '_', _braces(path).lower())}".rstrip("_"),
        "tags": [each.tag],
        "summary": each.summary,
    }
    if each.deprecated:
        described["deprecated"] = True
    description, door = each.description, each.door
    if door.roles:
        roles = " or ".join(f"`{role}`" for role in sorted(door.roles))
        description += f"\n\nWhoever logged in needs the role {roles}."
    if description:
        described["description"] = description.strip()
    variables = _VARIABLE.findall(path)
    parameters = [_path_parameter(variable, models) for variable in variables] + [
        schemas.QUERY[name] for name in each.query
    ]
    if parameters:
        described["parameters"] = parameters
    if each.body:
        described["requestBody"] = {"required": not each.body_optional, "content": schemas.BODIES[each.body]}
    answers: dict[int, str | None] = {}
    if door.login is not Login.NEVER:
        optional: list[dict[str, Any]] = [] if door.login is Login.ALWAYS else [{}]  # only where there are users
        described["security"] = [{"basic": []}, {"bearer": []}, {"cookie": []}, *optional]
        answers |= {401: "Error", 429: "Error", 503: "Error"} | ({403: "Error"} if door.roles else {})
    if each.body:
        answers |= dict.fromkeys((400, 413, 415), "Error")
    if variables:
        answers[404] = "Error"
    answers |= {500: "Error"} | each.answers
    described["responses"] = {str(code): _answer(code, answers[code], most) for code in sorted(answers)}
    return described


def _path_parameter(name: str, models: Sequence[str]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    if name == "name":
        schema = {"type": "string", "enum": list(models)}
    elif name == "version":
        schema = {"type": "string", "const": "1"}
    elif name == "identity":
        schema = snippets.NUMBER
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": schemas.PATH_VARIABLES[name]}


def _answer(code: int, schema: str | None, most: int) -> dict[str, Any]:
    answer: dict[str, Any] = {"description": schemas.CODES[code].format(most=most)}
    if schema in schemas.MEDIA:
        answer["content"] = schemas.MEDIA[schema]
    elif schema is not None:
        answer["content"] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    if code == 401:
        answer["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return answer
