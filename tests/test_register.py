"""Registering event types: what is refused, and that nothing is written then."""

import re
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection

from notifier import register
from notifier.errors import InvalidTemplate, InvalidValue
from notifier.settings import Settings
from notifier.store import templates
from tests.conftest import Database
from tests.engine import configured

__all__ = ["configured"]

SCHEMA = {
    "type": "object",
    "required": ["number"],
    "properties": {"number": {"type": "string"}, "note": {"type": "string"}},
}
GOOD: dict[str, Any] = {
    "name": "invoice.ready",
    "schema": SCHEMA,
    "channels": ["email"],
    "example": {"number": "7", "note": "Thank you"},
    "texts": {"email": {"subject": "Invoice {{ number }}", "text": "{{ note | default('-') }}"}},
}


def invoices(database: Database) -> list[Any]:
    return database.query(
        "SELECT t.locale, t.version, t.parts FROM notifier.event_types e "
        "LEFT JOIN notifier.templates t ON t.event_type = e.name WHERE e.name = 'invoice.ready' "
        "ORDER BY t.version"
    )


def test_texts_are_kept_as_versions_and_the_example_beside_them(
    database: Database, connection: Connection
) -> None:
    later = {"email": {"subject": "Your invoice {{ number }}", "text": "It is there."}}
    for texts in (GOOD["texts"], GOOD["texts"], later):
        register.event_type(connection, **{**GOOD, "texts": texts})
    connection.commit()
    assert invoices(database) == [
        ("en", 1, GOOD["texts"]["email"]),
        ("en", 2, later["email"]),
    ]
    registered = templates.event_type(connection, "invoice.ready")
    assert registered == templates.EventType(SCHEMA, GOOD["example"], mutable=True, escalates=False)


def test_a_locale_is_stored_as_it_is_written(database: Database, connection: Connection) -> None:
    register.event_type(connection, **GOOD, locale="de_at")
    connection.commit()
    assert invoices(database) == [("de-AT", 1, GOOD["texts"]["email"])]


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"name": "invoice"}, "name"),
        ({"schema": {"type": "array"}}, "schema.type"),
        ({"schema": {"type": "object", "properties": {"tenant": {}}}}, "schema.properties.tenant"),
        ({"channels": ["email", "fax"]}, "channels[1]"),
        ({"lane": "express"}, "lane"),
        ({"locale": "deutsch!"}, "locale"),
        ({"example": {}}, "example.number"),
        ({"example": {"number": 7}}, "example.number"),
        ({"example": None}, "example"),
        ({"texts": {"fax": {"text": "x"}}}, "texts.fax"),
    ],
)
def test_what_is_wrong_is_named(
    database: Database, connection: Connection, changed: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidValue) as refusal:
        register.event_type(connection, **{**GOOD, **changed})
    connection.commit()
    assert refusal.value.field == field
    assert invoices(database) == []


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"subject": "s"}, "text or html is missing"),
        ({"subject": "s", "text": "x", "body": "x"}, "body is no part of email"),
        ({"subject": "s", "text": "{{ numbre }}"}, "text, line 1: numbre is not in the payload's"),
        ({"subject": "s", "text": "{{ note }}"}, "with the required fields only"),
        ({"subject": "{% if %}", "text": "x"}, "subject, line 1"),
        ({"subject": "{{ '' }}", "text": "x"}, "subject is empty"),
    ],
)
def test_a_text_that_would_fail_is_told_before_it_does(
    database: Database, connection: Connection, parts: dict[str, str], said: str
) -> None:
    with pytest.raises(InvalidTemplate) as refusal:
        register.event_type(connection, **{**GOOD, "texts": {"email": parts}})
    connection.commit()
    assert refusal.value.field == "texts.email"
    assert said in refusal.value.expected
    assert invoices(database) == []


def test_the_page_on_templates_shows_what_works(database: Database, configured: Settings) -> None:
    page = (Path(__file__).parents[1] / "docs" / "templates.md").read_text()
    (shown,) = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    exec(shown, {})
    assert sorted(
        {parts.get("title", parts.get("subject")) for _, _, parts in invoices(database)}
    ) == [
        "Invoice {{ number }}",
        "Your invoice {{ number }}",
    ]
