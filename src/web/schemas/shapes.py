"""Pieces of JSON Schema 2020-12."""

from __future__ import annotations

from typing import Any

TEXT = {"type": "string"}
WHOLE = {"type": "integer"}
FLAG = {"type": "boolean"}


def record(properties: dict[str, Any], required: list[str] | None = None, **more: Any) -> dict[str, Any]:
    """An object; `required` are all of its properties unless they are named."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties) if required is None else required,
        **more,
    }


def array(items: Any, **more: Any) -> dict[str, Any]:
    """A list of `items`."""
    return {"type": "array", "items": items, **more}


def ref(name: str) -> dict[str, str]:
    """The schema of that name."""
    return {"$ref": f"#/components/schemas/{name}"}


def said(kind: str | list[str], description: str, **more: Any) -> dict[str, Any]:
    """A value of that type, and what it is."""
    return {"type": kind, **more, "description": description}


def example(name: str, value: Any) -> dict[str, Any]:
    """A body of JSON: the schema of that name, and an example."""
    return {"application/json": {"schema": ref(name), "example": value}}
