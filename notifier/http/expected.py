"""What a field of a request may be, in words, out of the API's own description of itself."""

from collections.abc import Mapping, Sequence
from typing import Any

_PLAIN = {"boolean": "true or false", "object": "an object", "number": "a number"}
_FORMATS = {"uuid": "a UUID", "date-time": "a time with its offset (2026-05-01T09:00:00+02:00)"}


def at(
    document: Mapping[str, Any], operation: Mapping[str, Any], place: Sequence[int | str]
) -> str | None:
    """What is expected at a place of a request (`("body", "name")`); None where it is not said.

    document: of OpenAPI. operation: the one in it that was asked for.
    """
    schema: Any = None
    where, *inner = place
    if where == "body":
        content = operation.get("requestBody", {}).get("content", {})
        schema = content.get("application/json", {}).get("schema")
    else:
        name, *inner = inner
        for parameter in operation.get("parameters", ()):
            if (parameter["in"], parameter["name"]) == (where, name):
                schema = parameter["schema"]
    for step in inner:
        whole = _whole(document, schema)
        schema = whole.get("items") if isinstance(step, int) else _member(whole, step)
    return _said(_whole(document, schema))


def _member(schema: Mapping[str, Any], name: str) -> Any:
    return schema.get("properties", {}).get(name) or schema.get("additionalProperties")


def _whole(document: Mapping[str, Any], schema: Any) -> Mapping[str, Any]:
    """The schema with what it refers to, and without the null that an optional one may be."""
    if not isinstance(schema, dict):
        return {}
    for choice in schema.get("anyOf", ()):
        if choice.get("type") != "null":
            return {**_whole(document, choice), **schema}
    if "$ref" in schema:
        found: Mapping[str, Any] = document["components"]["schemas"][schema["$ref"].split("/")[-1]]
        return found
    return schema


def _said(schema: Mapping[str, Any]) -> str | None:
    kind = schema.get("type")
    if "enum" in schema:
        return f"one of {', '.join(map(str, schema['enum']))}"
    if "pattern" in schema:
        said: str | None = schema.get("description")
        return said
    if kind == "string":
        size = _bounds(schema, "minLength", "maxLength")
        return _FORMATS.get(schema.get("format", "")) or "text" + (size and f" of{size} characters")
    if kind == "integer":
        size = _bounds(schema, "minimum", "maximum")
        return "a whole number" + (size and (size if "at" in size else f" from{size}"))
    if kind == "array":
        size = _bounds(schema, "minItems", "maxItems")
        return "a list" + (size and f" of{size}")
    return _PLAIN.get(str(kind))


def _bounds(schema: Mapping[str, Any], least: str, most: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if low is not None and high is not None:
        return f" {low} to {high}"
    if high is not None:
        return f" at most {high}"
    return "" if low is None else f" at least {low}"
