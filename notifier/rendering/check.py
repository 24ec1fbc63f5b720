"""Checking a template when it is saved, so that its mistakes meet the author, not a delivery."""

from collections.abc import Iterator, Mapping
from typing import Any

from jinja2 import nodes

from notifier.rendering.language import GLOBALS, Language
from notifier.rendering.template import RenderError, compile_template

_TEXT: dict[str, Any] = {"type": "string"}
_ENGINE: dict[str, Any] = {
    "recipient": {
        "properties": {
            "id": _TEXT,
            "external_id": _TEXT,
            "name": _TEXT,
            "locale": _TEXT,
            "timezone": _TEXT,
            "attributes": {},
        }
    },
    "event": {"properties": {"id": _TEXT, "type": _TEXT, "created_at": _TEXT}},
    "tenant": {"properties": {"id": _TEXT, "name": _TEXT}},
    "unsubscribe_url": _TEXT,
    "acknowledge_url": _TEXT,
}
"""The schema of what the engine adds to each payload."""

_SAME = frozenset({"default", "d", "list", "reverse", "select", "selectattr", "sort", "unique"})
"""Filters that hand on what they were given, as far as its fields go."""
_ITEM = frozenset({"first", "last", "max", "min"})

Schema = Mapping[str, Any]
ANYTHING: Schema = {}


def sample_context(
    payload: Mapping[str, Any],
    *,
    timezone: str = "Europe/London",
    locale: str = "en",
    unsubscribe_url: str | None = None,
    acknowledge_url: str | None = None,
) -> dict[str, Any]:
    """The context the engine would give for this payload and an invented recipient."""
    return {
        **payload,
        "recipient": {
            "id": "01940000-0000-7000-8000-000000000001",
            "external_id": "user-1",
            "name": "Sam Carter",
            "locale": locale,
            "timezone": timezone,
            "attributes": {},
        },
        "event": {
            "id": "01940000-0000-7000-8000-000000000002",
            "type": "sample",
            "created_at": "2026-03-02T09:30:00+00:00",
        },
        "tenant": {"id": "01940000-0000-7000-8000-000000000003", "name": "Acme"},
        "unsubscribe_url": unsubscribe_url,
        "acknowledge_url": acknowledge_url,
    }


def check_template(
    parts: Mapping[str, str], schema: Schema, sample: Mapping[str, Any]
) -> list[str]:
    """What is wrong with a template for payloads of `schema`; empty where nothing is.

    Its syntax; variables the schema does not declare; and, by rendering, what goes wrong with
    `sample` whole and reduced to its required fields (an optional field used unguarded).
    """
    problems = []
    for name, source in parts.items():
        try:
            # With a text, or one would be made of `html` here.
            compile_template({"text": "", name: source})
        except RenderError as error:
            problems.append(str(error))
            continue
        problems += [
            f"{name}, line {line}: {path} is not in the payload's schema"
            for line, path in undeclared(source, schema)
        ]
    if problems:
        return problems
    try:
        template = compile_template(parts)
    except RenderError as error:
        return [str(error)]
    for payload, which in (
        (sample, "with the example"),
        (required_only(sample, schema), "with the required fields only"),
    ):
        for link in (None, "https://example.com/u/1"):
            try:
                template.render(sample_context(payload, unsubscribe_url=link, acknowledge_url=link))
            except RenderError as error:
                problems.append(f"{error} ({which})")
                break
    return problems


def undeclared(source: str, schema: Schema) -> list[tuple[int, str]]:
    """Line and path of each variable in `source` that `schema` does not declare.

    Optional fields must be declared too: `{{ tittle | default('') }}` is always empty.
    """
    names = {**dict.fromkeys(GLOBALS, ANYTHING), **schema.get("properties", {}), **_ENGINE}
    tree = Language(autoescape=False).parse(source)
    return sorted(set(_Walk().statements(tree.body, names)))


class _Walk:
    """Follows the variables of a syntax tree through loops and assignments."""

    def statements(
        self, body: list[nodes.Node], names: dict[str, Schema]
    ) -> Iterator[tuple[int, str]]:
        names = dict(names)
        for node in body:
            match node:
                case nodes.For():
                    yield from self._used(node.iter, names)
                    inside = {**names, "loop": ANYTHING}
                    _bind(node.target, _items(_schema(node.iter, names)), inside)
                    if node.test:
                        yield from self._used(node.test, inside)
                    yield from self.statements(node.body, inside)
                    yield from self.statements(node.else_, names)
                case nodes.If():
                    yield from self._used(node.test, names)
                    for branch in (node.body, node.elif_, node.else_):
                        yield from self.statements(list(branch), names)
                        _keep_assigned(list(branch), names)
                case nodes.Assign():
                    yield from self._used(node.node, names)
                    _bind(node.target, _schema(node.node, names), names)
                case _:
                    yield from self._used(node, names)

    def _used(self, node: nodes.Node, names: dict[str, Schema]) -> Iterator[tuple[int, str]]:
        match node:
            case nodes.Name(name=name):
                if name not in names:
                    yield node.lineno, name
            case (
                nodes.Getattr(node=owner, attr=field)
                | nodes.Getitem(node=owner, arg=nodes.Const(value=str() as field))
            ):
                yield from self._used(owner, names)
                declared = (_schema(owner, names) or {}).get("properties")
                if declared is not None and field not in declared:
                    yield node.lineno, f"{_written(owner)}.{field}"
            case _:
                for child in node.iter_child_nodes():
                    yield from self._used(child, names)


def _schema(node: nodes.Node, names: dict[str, Schema]) -> Schema:
    """The schema of an expression's value; `ANYTHING` where it can not be told."""
    match node:
        case nodes.Name(name=name):
            return names.get(name, ANYTHING)
        case (
            nodes.Getattr(node=owner, attr=field)
            | nodes.Getitem(node=owner, arg=nodes.Const(value=str() as field))
        ):
            found: Schema = _schema(owner, names).get("properties", {}).get(field, ANYTHING)
            return found
        case nodes.Getitem(node=owner, arg=nodes.Const(value=int())):
            return _items(_schema(owner, names))
        case nodes.Getitem(node=owner, arg=nodes.Slice()):
            return _schema(owner, names)
        case nodes.Filter(node=nodes.Node() as inner, name=name) if name in _SAME:
            return _schema(inner, names)
        case nodes.Filter(node=nodes.Node() as inner, name=name, args=[], kwargs=[]) if (
            name in _ITEM
        ):
            return _items(_schema(inner, names))
    return ANYTHING


def _items(schema: Schema) -> Schema:
    items: Schema = schema.get("items", ANYTHING)
    return items


def _bind(target: nodes.Node, schema: Schema, names: dict[str, Schema]) -> None:
    if isinstance(target, nodes.Name):
        names[target.name] = schema
    else:
        for name in target.find_all(nodes.Name):
            names[name.name] = ANYTHING


def _keep_assigned(branch: list[nodes.Node], names: dict[str, Schema]) -> None:
    """Names set in a branch of an `if` stay known after it."""
    for node in branch:
        for assign in [node] if isinstance(node, nodes.Assign) else node.find_all(nodes.Assign):
            _bind(assign.target, ANYTHING, names)


def _written(node: nodes.Node) -> str:
    match node:
        case nodes.Name(name=name):
            return name
        case (
            nodes.Getattr(node=owner, attr=field)
            | nodes.Getitem(node=owner, arg=nodes.Const(value=str() as field))
        ):
            return f"{_written(owner)}.{field}"
    return "…"


def required_only(value: Any, schema: Schema) -> Any:
    """`value` without what `schema` does not require, lists at their shortest."""
    if isinstance(value, Mapping):
        properties = schema.get("properties", {})
        return {
            name: required_only(value[name], properties.get(name, ANYTHING))
            for name in schema.get("required", [])
            if name in value
        }
    if isinstance(value, list):
        kept = value[: schema.get("minItems", 0)]
        return [required_only(item, schema.get("items", ANYTHING)) for item in kept]
    return value
