"""Which payload schemas are accepted, and what is said of the others."""

from typing import Any

import pytest

from notifier.schema import FORMATS, MAX_DEPTH, RESERVED, check_schema


def top(**keywords: Any) -> dict[str, Any]:
    return {"type": "object", **keywords}


def prop(**keywords: Any) -> dict[str, Any]:
    return top(properties={"a": keywords})


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels - 1):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    "schema",
    [
        top(),
        top(properties={}, required=[], additionalProperties=False),
        prop(type=["string", "null"], minLength=0, maxLength=5, description="x"),
        prop(type="array", items={"type": "object", "properties": {"b": {}}}, maxItems=3),
        prop(enum=["a", 1, None, True]),
        prop(type="number", minimum=-1.5, maximum=2),
        top(properties={"type": {"type": "string"}, "items": {}}),
        top(required=["not_declared"]),
        nested(MAX_DEPTH),
        *(prop(type="string", format=name) for name in FORMATS),
    ],
)
def test_the_subset_is_accepted(schema: dict[str, Any]) -> None:
    assert check_schema(schema) == []


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ([], "schema"),
        (None, "schema"),
        ({}, "schema.type"),
        ({"type": "string"}, "schema.type"),
        ({"type": ["object", "null"]}, "schema.type"),
        (prop(pattern="^a"), "schema.properties.a.pattern"),
        (top(oneOf=[]), "schema.oneOf"),
        ({"$ref": "#", "type": "object"}, "schema.$ref"),
        (prop(items={"type": "array", "items": {"uniqueItems": True}}),
         "schema.properties.a.items.items.uniqueItems"),
        (prop(type="text"), "schema.properties.a.type"),
        (prop(type=[]), "schema.properties.a.type"),
        (prop(type=["string", "string"]), "schema.properties.a.type"),
        (prop(format="ipv4"), "schema.properties.a.format"),
        (prop(format=["email"]), "schema.properties.a.format"),
        (prop(minLength=-1), "schema.properties.a.minLength"),
        (prop(minLength=True), "schema.properties.a.minLength"),
        (prop(maxItems=1.5), "schema.properties.a.maxItems"),
        (prop(minimum="1"), "schema.properties.a.minimum"),
        (prop(maximum=float("nan")), "schema.properties.a.maximum"),
        (prop(minLength=5, maxLength=4), "schema.properties.a.maxLength"),
        (prop(enum=[]), "schema.properties.a.enum"),
        (prop(enum=[{}]), "schema.properties.a.enum"),
        (prop(items=[{}]), "schema.properties.a.items"),
        (prop(description=1), "schema.properties.a.description"),
        (top(properties=[]), "schema.properties"),
        (top(properties={"": {}}), "schema.properties"),
        (top(properties={"a": True}), "schema.properties.a"),
        (top(required="a"), "schema.required"),
        (top(required=[1]), "schema.required"),
        (top(additionalProperties={}), "schema.additionalProperties"),
        (top(required=["a"], additionalProperties=False), "schema.required.a"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_with_its_path(schema: object, path: str) -> None:
    assert [problem.path for problem in check_schema(schema)] == [path]


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_names_the_engine_adds_can_not_be_the_payloads(name: str) -> None:
    schema = top(properties={name: {}}, required=[name])
    assert [problem.path for problem in check_schema(schema)] == [
        f"schema.properties.{name}",
        f"schema.required.{name}",
    ]
    assert check_schema(prop(type="object", properties={name: {}})) == []


def test_a_schema_nests_eight_levels() -> None:
    [problem] = check_schema(nested(MAX_DEPTH + 1))
    assert problem.path == "schema" + ".properties.a" * MAX_DEPTH
    assert str(problem) == f"{problem.path}: expected at most 8 nested levels"
