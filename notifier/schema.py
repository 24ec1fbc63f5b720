"""Which payload schemas an event type may have: a closed subset of JSON Schema.

Payloads are checked in SQL, inside the producer's transaction, whatever face they come
through. So every keyword allowed here is one that SQL function implements, and any other
is refused when the type is registered, not silently ignored when an event is emitted.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

RESERVED = frozenset({"recipient", "event", "tenant", "unsubscribe_url", "acknowledge_url"})
"""Top-level names the engine adds to each template; payloads may not use them."""

TYPES = ("object", "string", "integer", "number", "boolean", "array", "null")
FORMATS = ("email", "uuid", "date", "date-time", "uri")
MAX_DEPTH = 8
"""Levels of nested objects and arrays, the payload itself being the first."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault of a schema: where (`schema.properties.task.minLenght`), and what is wanted."""

    path: str
    expected: str

    def __str__(self) -> str:
        return f"{self.path}: expected {self.expected}"


def check_schema(schema: object) -> list[Problem]:
    """What keeps `schema` from being an event type's payload schema; empty where it is one."""
    problems = list(_node(schema, "schema", 1))
    if isinstance(schema, Mapping):
        problems += _top_level(schema)
    return problems


def _top_level(schema: Mapping[str, Any]) -> Iterator[Problem]:
    if schema.get("type") != "object":
        yield Problem("schema.type", '"object"')
    for keyword in ("properties", "required"):
        names = schema.get(keyword)
        if isinstance(names, Mapping | list):
            for name in names:
                if isinstance(name, str) and name in RESERVED:
                    yield Problem(f"schema.{keyword}.{name}", "a name the engine has not reserved")


def _node(schema: object, path: str, depth: int) -> Iterator[Problem]:
    if not isinstance(schema, Mapping):
        yield Problem(path, "an object")
        return
    if depth > MAX_DEPTH:
        yield Problem(path, f"at most {MAX_DEPTH} nested levels")
        return
    for keyword, value in schema.items():
        here = f"{path}.{keyword}"
        if keyword == "properties":
            yield from _properties(value, here, depth)
        elif keyword == "items":
            yield from _node(value, here, depth + 1)
        elif keyword not in _KEYWORDS:
            yield Problem(here, f"one of the keywords {', '.join(_ALL)}")
        else:
            expected, accepts = _KEYWORDS[keyword]
            if not accepts(value):
                yield Problem(here, expected)
    yield from _contradictions(schema, path)


def _properties(value: object, path: str, depth: int) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield Problem(path, "an object of schemas")
        return
    for name, inner in value.items():
        if not isinstance(name, str) or not name:
            yield Problem(path, "property names of at least one character")
        else:
            yield from _node(inner, f"{path}.{name}", depth + 1)


def _contradictions(schema: Mapping[str, Any], path: str) -> Iterator[Problem]:
    """Schemas that no payload can pass: better told now than at each emit."""
    for low, high in (
        ("minLength", "maxLength"),
        ("minimum", "maximum"),
        ("minItems", "maxItems"),
    ):
        if (
            _is_number(schema.get(low))
            and _is_number(schema.get(high))
            and (schema[low] > schema[high])
        ):
            yield Problem(f"{path}.{high}", f"at least {low} ({schema[low]})")
    properties, required = schema.get("properties", {}), schema.get("required")
    closed = schema.get("additionalProperties") is False and isinstance(properties, Mapping)
    if closed and _is_names(required):
        for name in required or ():
            if name not in properties:
                yield Problem(f"{path}.required.{name}", "a name that `properties` declares")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_names(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(isinstance(name, str) for name in value)
        and len(set(value)) == len(value)
    )


def _is_type(value: object) -> bool:
    words = value if isinstance(value, list) else [value]
    return bool(words) and _is_names(words) and all(word in TYPES for word in words)


def _is_enum(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(
            member is None or isinstance(member, str | bool) or _is_number(member)
            for member in value
        )
    )


_SIZE = ("a whole number, 0 or more", _is_size)
_NUMBER = ("a number", _is_number)
_KEYWORDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "type": (f"one of {', '.join(TYPES)}, or a list of them", _is_type),
    "required": ("a list of different names", _is_names),
    "additionalProperties": ("true or false", lambda value: isinstance(value, bool)),
    "enum": ("a list of strings, numbers, booleans or nulls", _is_enum),
    "format": (
        f"one of {', '.join(FORMATS)}",
        lambda value: isinstance(value, str) and value in FORMATS,
    ),
    "minLength": _SIZE,
    "maxLength": _SIZE,
    "minItems": _SIZE,
    "maxItems": _SIZE,
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "description": ("a text", lambda value: isinstance(value, str)),
}
_ALL = sorted([*_KEYWORDS, "properties", "items"])
