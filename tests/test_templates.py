"""Which text a delivery takes, and what a tenant may save as its own."""

import threading
import uuid
from collections.abc import Mapping
from typing import Any

import pytest
from sqlalchemy import Connection

from notifier import emit, register, templates
from notifier.errors import (
    InvalidPayload,
    InvalidTemplate,
    InvalidValue,
    NotFoundError,
    Refused,
    UnknownEventType,
)
from notifier.settings import Settings
from notifier.store import audience
from notifier.store import templates as store
from notifier.store.engine import engine_for
from notifier.words import Channel, locale_tag
from tests.conftest import Database
from tests.engine import Scripted, accept, configured, run_due, sound, to, worker
from tests.test_emit import TASK

__all__ = ["configured", "sound"]

TYPE = "task.due_soon"
COUNTED = {"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}}


def save(
    database: Database,
    tenant: uuid.UUID,
    channel: str = "sms",
    locale: str = "en",
    *,
    event_type: str = TYPE,
    payload: Mapping[str, Any] | None = None,
    **parts: str,
) -> store.Version:
    with database.pool.begin() as connection:
        return templates.save(connection, tenant, event_type, channel, locale, parts, payload)


def save_parts(
    database: Database, tenant: uuid.UUID, channel: str, parts: Mapping[str, str]
) -> store.Version:
    with database.pool.begin() as connection:
        return templates.save(connection, tenant, TYPE, channel, "en", parts)


def speak(connection: Connection, tenant: uuid.UUID, locale: str) -> None:
    """Make ada a recipient of that locale."""
    audience.upsert_recipients(connection, tenant, [{"external_id": "ada", "locale": locale}])
    connection.commit()


def sent(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    channel: str = "sms",
) -> Mapping[str, str]:
    """The parts of a message that ada is sent."""
    to(connection, tenant, ["ada"], channel)
    provider = Scripted(accept)
    run_due(database, worker(configured, provider))
    (message,) = provider.given
    return message.parts


@pytest.mark.parametrize(
    ("locale", "expected"),
    [
        ("de-AT", "austria"),
        ("de_at", "austria"),
        ("de-CH", "german"),
        ("DE", "german"),
        ("fr", "english"),
        ("en-GB", "english"),
    ],
)
def test_a_locale_takes_its_own_text_then_its_languages_then_english(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    locale: str,
    expected: str,
) -> None:
    save(database, tenant, locale="en", text="english")
    save(database, tenant, locale="de", text="german")
    save(database, tenant, locale="de_at", text="austria")
    speak(connection, tenant, locale)
    assert sent(database, connection, tenant, configured)["text"] == expected


def test_a_tenants_text_is_its_own_and_others_keep_the_shared_one(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    other = audience.create_tenant(connection, "other")
    connection.commit()
    save(database, other, text="theirs")
    assert sent(database, connection, tenant, configured)["text"].startswith("Due ")
    save(database, tenant, text="ours: {{ task.title }}")
    said = sent(database, connection, tenant, configured)["text"]
    assert said == f"ours: {TASK['task']['title']}"


def test_a_text_in_one_language_leaves_the_others_the_shared_one(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    save(database, tenant, locale="de", text="fällig")
    speak(connection, tenant, "fr")
    assert sent(database, connection, tenant, configured)["text"].startswith("Due ")
    speak(connection, tenant, "de")
    assert sent(database, connection, tenant, configured)["text"] == "fällig"


def test_a_short_text_serves_the_channels_that_have_none(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    save(database, tenant, "short", text="short")
    assert sent(database, connection, tenant, configured, "sms") == {"text": "short"}
    assert sent(database, connection, tenant, configured, "email")["subject"]
    save(database, tenant, text="sms")
    assert sent(database, connection, tenant, configured, "sms") == {"text": "sms"}


def test_what_was_fanned_out_keeps_the_version_it_was_promised(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    first = save(database, tenant, text="first")
    to(connection, tenant, ["ada"], "sms")
    second = save(database, tenant, text="second")
    assert (first.version, second.version) == (1, 2)
    to(connection, tenant, ["bob"], "sms")
    provider = Scripted(accept)
    run_due(database, worker(configured, provider))
    assert sorted(message.parts["text"] for message in provider.given) == ["first", "second"]


def test_the_same_parts_again_are_the_same_version(database: Database, tenant: uuid.UUID) -> None:
    assert save(database, tenant, text="a") == save(database, tenant, text="a")
    assert save(database, tenant, text="b").version == 2
    assert save(database, tenant, text="a").version == 3


def test_versions_saved_at_once_are_counted_one_by_one(
    database: Database, tenant: uuid.UUID
) -> None:
    threads = [
        threading.Thread(target=save, args=(database, tenant), kwargs={"text": f"text {n}"})
        for n in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = database.query(
        "SELECT version FROM notifier.templates WHERE tenant_id = %s ORDER BY version", tenant
    )
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5]


def test_an_earlier_version_and_a_shared_one_can_be_taken_back(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    first = save(database, tenant, "inapp", title="first", message="m")
    save(database, tenant, "inapp", title="second", message="m")
    back = templates.restore(connection, tenant, first.id)
    assert (back.version, templates.find(connection, tenant, back.id)[1]["title"]) == (3, "first")
    shared = next(
        version
        for version in templates.listed(connection, tenant, TYPE)
        if version.channel == "inapp" and not version.is_own
    )
    again = templates.restore(connection, tenant, shared.id)
    assert (again.version, again.is_own) == (4, True)
    assert (
        templates.find(connection, tenant, again.id)[1]
        == (templates.find(connection, tenant, shared.id)[1])
    )


def test_another_tenants_version_is_not_found(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    other = audience.create_tenant(connection, "other")
    connection.commit()
    theirs = save(database, other, text="theirs")
    for act in (templates.find, templates.restore):
        with pytest.raises(NotFoundError):
            act(connection, tenant, theirs.id)
    assert not any(v.is_own for v in templates.listed(connection, tenant, TYPE))


def test_the_newest_versions_are_listed_the_tenants_own_first(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    for n in range(templates.LISTED + 2):
        save(database, tenant, "push", "de", text=f"text {n}")
    save(database, tenant, "push", text="english")
    found = templates.listed(connection, tenant, TYPE)
    push = [(v.locale, v.is_own, v.version) for v in found if v.channel == "push"]
    newest = [("de", True, n) for n in range(templates.LISTED + 2, 2, -1)]
    assert push == [*newest, ("en", True, 1), ("en", False, 1)]
    assert {v.channel for v in found} == {*Channel, "short"} - {"sms", "webhook"}


@pytest.mark.parametrize(
    ("channel", "parts", "told"),
    [
        ("sms", {"text": "\n{{ task.titel }}"}, "text, line 2: task.titel is not in the payload's"),
        ("sms", {"text": "{% if %}"}, "text, line 1: "),
        ("sms", {"text": "{{ task.project }}"}, "task.project is missing (with the required fie"),
        ("sms", {"text": "{{ task.title | dtae }}"}, "text, line 1: there is no filter dtae"),
        ("sms", {"text": "", "title": "x"}, "title is no part of sms, which has text"),
        ("sms", {"text": " {# nothing #} "}, "text is empty"),
        ("sms", {"text": "x" * 1531}, "text takes 11 segments by SMS, and 10 is the most"),
        ("sms", {"text": "ж" * 671}, "text takes 11 segments by SMS, and 10 is the most"),
        ("short", {"text": "x" * 1531}, "text takes 11 segments by SMS"),
        ("email", {"subject": "s"}, "text or html is missing"),
        ("email", {"html": "<p>"}, "subject is missing"),
        ("email", {"subject": "s", "text": "t", "bdy": "b"}, "bdy is no part of email"),
        ("inapp", {"title": "t"}, "message is missing: inapp has title and message"),
        ("push", {"text": "t", "url": "javascript:alert(1)"}, "url: expected a link starting with"),
        ("push", {"text": "t", "url": "{{ task.title }}"}, "url: expected a link starting with"),
        ("voice", {}, "text is missing"),
    ],
)
def test_a_faulty_template_is_refused_with_part_and_line(
    database: Database, tenant: uuid.UUID, channel: str, parts: Mapping[str, str], told: str
) -> None:
    with pytest.raises(InvalidTemplate) as refusal:
        save_parts(database, tenant, channel, parts)
    assert str(refusal.value).startswith("parts: expected a template without faults (")
    assert told in str(refusal.value)
    assert database.one("SELECT count(*) FROM notifier.templates WHERE tenant_id IS NOT NULL") == 0


@pytest.mark.parametrize(
    ("channel", "parts"),
    [
        ("email", {"subject": "s", "text": "t"}),
        ("email", {"subject": "s", "text": "t", "html": "<p>{{ task.title }}</p>"}),
        ("sms", {"text": "x" * 1530}),
        ("sms", {"text": "ж" * 670}),
        ("push", {"text": "t", "title": "t", "url": "{{ url | link if url|default }}"}),
        ("slack", {"text": "t"}),
        ("teams", {"text": "t", "url": "mailto:a@example.com"}),
        ("apprise", {"text": "t"}),
        ("voice", {"text": "{{ task.due_at | time('%H') }}"}),
    ],
)
def test_a_sound_template_is_saved(
    database: Database, tenant: uuid.UUID, channel: str, parts: Mapping[str, str]
) -> None:
    assert save_parts(database, tenant, channel, parts).version == 1


@pytest.mark.parametrize(
    ("given", "kind", "field"),
    [
        ({"event_type": "no.such"}, UnknownEventType, "event_type"),
        ({"channel": "fax"}, InvalidValue, "channel"),
        ({"channel": "webhook"}, InvalidValue, "channel"),
        ({"locale": "german!"}, InvalidValue, "locale"),
        ({"locale": ""}, InvalidValue, "locale"),
        ({"locale": "de" + "-abcdefgh" * 4}, InvalidValue, "locale"),
        ({"payload": {"task": {"title": "t"}}}, InvalidPayload, "payload.task.due_at"),
    ],
)
def test_what_else_is_wrong_is_named(
    database: Database,
    tenant: uuid.UUID,
    given: dict[str, Any],
    kind: type[Refused],
    field: str,
) -> None:
    with pytest.raises(kind) as refusal:
        save(database, tenant, **given, text="x")
    assert refusal.value.field == field


def test_an_event_type_that_has_no_example_needs_one(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    register.event_type(connection, "shop.sold", schema=COUNTED, channels=["sms"])
    # A shipped name with another schema: its example is of no use any more.
    register.event_type(connection, "quota.warning", schema=COUNTED, channels=["sms"])
    connection.commit()
    for name in ("shop.sold", "quota.warning"):
        with pytest.raises(InvalidValue, match="payload: expected an example"):
            save(database, tenant, event_type=name, text="{{ n }}")
        assert save(database, tenant, event_type=name, text="{{ n }}", payload={"n": 1}).version
        with pytest.raises(InvalidValue, match="payload: expected an example"):
            templates.preview(connection, tenant, name, "sms")
        shown = templates.preview(connection, tenant, name, "sms", payload={"n": 7})
        assert shown.parts == {"text": "7"}


def test_a_preview_is_what_a_recipient_would_get(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    mail = templates.preview(
        connection, tenant, TYPE, "email", locale="en-US", timezone="America/New_York"
    )
    assert mail.parts["subject"] == "Due soon: Send the signed contract"
    assert "Fri, Jun 5, 2026, 11:00 AM EDT" in mail.parts["text"]
    assert "Sent by acme" in mail.parts["text"]
    assert "Unsubscribe" in mail.parts["html"]
    assert mail.sms is None
    assert mail.template is not None
    assert (mail.template.is_own, mail.template.version) == (False, 1)
    saved = save(database, tenant, locale="de", text="Fällig: {{ task.title }} ✓ {{ event.type }}")
    text = templates.preview(connection, tenant, TYPE, "sms", locale="de-CH", payload=TASK)
    assert text.parts == {"text": f"Fällig: {TASK['task']['title']} ✓ task.due_soon"}
    assert text.template == saved
    assert text.sms is not None
    assert (text.sms.encoding, text.sms.segments) == ("UCS-2", 1)


def test_a_preview_of_given_parts_is_checked_and_writes_nothing(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    shown = templates.preview(connection, tenant, TYPE, "short", parts={"text": "x" * 200})
    assert shown.template is None
    assert shown.sms is not None
    assert (shown.sms.encoding, shown.sms.units, shown.sms.segments) == ("GSM-7", 200, 2)
    with pytest.raises(InvalidTemplate, match=r"text, line 1: x is not"):
        templates.preview(connection, tenant, TYPE, "sms", parts={"text": "{{ x }}"})
    assert database.one("SELECT count(*) FROM notifier.templates WHERE tenant_id IS NOT NULL") == 0


def test_a_preview_that_can_not_be_says_why(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    with pytest.raises(InvalidValue, match="timezone: expected an IANA time zone"):
        templates.preview(connection, tenant, TYPE, "sms", timezone="Mars/Olympus")
    register.event_type(
        connection,
        "shop.sold",
        schema=COUNTED,
        channels=["sms"],
        example={"n": 1},
        texts={"email": {"subject": "s", "text": "{{ 10 // n }}"}},
    )
    with pytest.raises(NotFoundError, match="channel: expected one that"):
        templates.preview(connection, tenant, "shop.sold", "sms")
    assert templates.preview(connection, tenant, "shop.sold", "email").parts["text"] == "10"
    with pytest.raises(InvalidTemplate, match="ZeroDivisionError"):
        templates.preview(connection, tenant, "shop.sold", "email", payload={"n": 0})


def test_emitting_through_the_api_role_takes_the_tenants_text(
    database: Database, tenant: uuid.UUID, configured: Settings
) -> None:
    saved = save(database, tenant, text="ours")
    api = engine_for(database.api_url)
    with api.begin() as connection:
        emit(
            connection,
            TYPE,
            TASK,
            tenant=tenant,
            to={"recipients": ["ada"], "channels": ["sms"]},
        )
    api.dispose()
    found = database.one("SELECT template_id FROM notifier.notification_deliveries")
    assert found == saved.id


@pytest.mark.parametrize(
    ("given", "tag"),
    [("de_at", "de-AT"), ("EN", "en"), ("zh-hant-tw", "zh-Hant-TW"), ("sl-ROZAJ", "sl-rozaj")],
)
def test_a_locale_is_written_in_one_way(given: str, tag: str) -> None:
    assert locale_tag(given) == tag
