"""Files: kept once, named by events, carried by e-mails, and never left out in silence."""

import asyncio
import hashlib
import uuid
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from sqlalchemy import Connection
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.orm import Session

from notifier import attach, attach_async, emit
from notifier.channels.contract import Attachment
from notifier.channels.sandbox import Sandbox
from notifier.errors import InvalidAttachment, InvalidOption, Refused, UnknownTenant
from notifier.settings import Settings
from notifier.store import audience, dispatches
from notifier.window import MOST_HELD
from tests.conftest import Database
from tests.engine import Scripted, accept, configured, run_due, sound, to, worker
from tests.test_emit import TASK

__all__ = ["configured", "sound"]

PDF = b"%PDF-1.7 invoice"


def test_the_same_file_is_kept_once(connection: Connection, tenant: uuid.UUID) -> None:
    first = attach(connection, PDF, tenant=tenant, name="invoice.pdf")
    assert attach(connection, PDF, tenant=tenant, name="invoice.pdf") == first
    kept = connection.exec_driver_sql(
        "SELECT tenant_id, name, media_type, content, digest FROM notifier.attachments"
    ).one()
    assert tuple(kept) == (
        *(tenant, "invoice.pdf", "application/pdf", PDF),
        hashlib.sha256(PDF).digest(),
    )
    other = audience.create_tenant(connection, "other")
    others = {
        attach(connection, PDF, tenant=other, name="invoice.pdf"),
        attach(connection, PDF, tenant=tenant, name="Rechnung.pdf"),
        attach(connection, PDF + b"!", tenant=tenant, name="invoice.pdf"),
        attach(connection, PDF, tenant=tenant, name="invoice.pdf", media_type="application/x-pdf"),
    }
    assert len(others | {first}) == 5


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("a.pdf", "application/pdf"),
        ("notes.txt", "text/plain"),
        ("no end", "application/octet-stream"),
        ("Bericht.unheard-of", "application/octet-stream"),
        ("table.csv.gz", "application/octet-stream"),
        ("data:text", "application/octet-stream"),
        ("mail.eml", "message/rfc822"),
    ],
)
def test_the_name_says_what_it_is(
    connection: Connection, tenant: uuid.UUID, name: str, media_type: str
) -> None:
    attach(connection, b"x", tenant=tenant, name=name)
    told = connection.exec_driver_sql("SELECT media_type FROM notifier.attachments").scalar_one()
    assert told == media_type


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "ä" * 128}),
        ("name", {"name": "../invoice.pdf"}),
        ("name", {"name": "a\\b"}),
        ("name", {"name": "a\r\nBcc: eve@example.com"}),
        ("name", {"name": "a\0"}),
        ("name", {"name": "\ud800"}),
        ("media_type", {"media_type": "pdf"}),
        ("media_type", {"media_type": "text/plain; charset=utf-8"}),
        ("media_type", {"media_type": "text/plain\r\nX: y"}),
        ("media_type", {"media_type": "tëxt/plain"}),
        ("media_type", {"media_type": "Multipart/form-data"}),
        ("content", {"content": "text"}),
        ("content", {"content": 17}),
        ("content", {"content": b""}),
        ("content", {"content": b"x" * 7_000_001}),
    ],
)
def test_what_can_not_be_attached_is_refused_by_name(
    connection: Connection, tenant: uuid.UUID, field: str, given: dict[str, Any]
) -> None:
    usual = {"content": PDF, "name": "invoice.pdf", "media_type": "application/pdf"}
    asked = {**usual, **given}
    with pytest.raises(InvalidAttachment) as refused:
        attach(connection, asked.pop("content"), tenant=tenant, **asked)
    assert refused.value.field == field
    # The transaction still stands.
    assert attach(connection, PDF, tenant=tenant, name="invoice.pdf")


@pytest.mark.parametrize("tenant_id", [uuid.uuid4(), "Acme"])
def test_it_is_some_tenants(connection: Connection, tenant_id: uuid.UUID | str) -> None:
    with pytest.raises(UnknownTenant):
        attach(connection, PDF, tenant=tenant_id, name="invoice.pdf")


def test_every_kind_of_connection_will_do(database: Database, tenant: uuid.UUID) -> None:
    given: dict[str, Any] = {"tenant": tenant, "name": "invoice.pdf"}
    ids = []
    with Session(database.pool) as session, session.begin():
        ids.append(attach(session, PDF, **given))
    with psycopg.connect(database.producer_url, row_factory=dict_row) as by_name:
        ids.append(attach(by_name, PDF, **given))
    with psycopg.connect(database.producer_url) as connection:
        ids.append(attach(connection, PDF, **given))
        ids += (
            connection.execute(
                "SELECT notifier.attach_file(%s, 'invoice.pdf', 'application/pdf', %s)",
                (tenant, PDF),
            ).fetchone()
            or ()
        )

    async def both() -> None:
        engine = create_async_engine(
            database.producer_url.replace("postgresql://", "postgresql+psycopg://")
        )
        async with engine.begin() as connection:
            ids.append(await attach_async(connection, PDF, **given))
        await engine.dispose()
        connect = psycopg.AsyncConnection.connect
        async with await connect(database.producer_url) as raw:
            ids.append(await attach_async(raw, PDF, **given))
        async with await connect(database.producer_url, row_factory=dict_row) as raw_by_name:
            ids.append(await attach_async(raw_by_name, PDF, **given))

    asyncio.run(both())
    assert len(ids) == 7
    assert len(set(ids)) == 1


def test_from_sql_what_is_wrong_is_raised(database: Database, tenant: uuid.UUID) -> None:
    with (
        psycopg.connect(database.producer_url) as connection,
        pytest.raises(psycopg.Error, match="name: expected the name of a file") as raised,
    ):
        connection.execute("SELECT notifier.attach_file(%s, '', 'a/b', 'x')", (tenant,))
    assert raised.value.sqlstate == "NT422"
    assert raised.value.diag.message_detail == "invalid_attachment"
    assert raised.value.diag.message_hint == "name"


def test_a_producer_reads_no_file(database: Database, tenant: uuid.UUID) -> None:
    with (
        psycopg.connect(database.producer_url) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute("SELECT content FROM notifier.attachments")


@pytest.mark.parametrize(
    ("attachments", "field"),
    [
        ("all", "attachments"),
        ({"id": "x"}, "attachments"),
        ([str(uuid.uuid4())] * 11, "attachments"),
        ([str(uuid.uuid4())], "attachments[0]"),
        ([None], "attachments[0]"),
        ([17], "attachments[0]"),
        (["invoice.pdf"], "attachments[0]"),
    ],
)
def test_an_event_names_files_that_are_there(
    connection: Connection, tenant: uuid.UUID, attachments: Any, field: str
) -> None:
    with pytest.raises(InvalidOption) as refused:
        emit(connection, "task.due_soon", TASK, tenant=tenant, attachments=attachments)
    assert refused.value.field == field


def test_nobody_names_another_tenants_file(connection: Connection, tenant: uuid.UUID) -> None:
    other = audience.create_tenant(connection, "other")
    files = [
        attach(connection, PDF, tenant=tenant, name="mine.pdf"),
        attach(connection, PDF, tenant=other, name="theirs.pdf"),
    ]
    with pytest.raises(Refused) as refused:
        emit(connection, "task.due_soon", TASK, tenant=tenant, attachments=files)
    assert (refused.value.field, refused.value.expected) == (
        "attachments[1]",
        "the id of an attachment of this tenant",
    )


def test_files_are_limited_together(connection: Connection, tenant: uuid.UUID) -> None:
    files = [
        attach(connection, bytes([n]) * 3_500_000, tenant=tenant, name="half") for n in range(2)
    ]
    emit(connection, "task.due_soon", TASK, tenant=tenant, attachments=files)
    files.append(attach(connection, b"x", tenant=tenant, name="one more"))
    with pytest.raises(Refused, match="attachments: expected at most 7000000 bytes together"):
        emit(connection, "task.due_soon", TASK, tenant=tenant, attachments=files)


def test_a_trigger_may_name_files(database: Database, tenant: uuid.UUID) -> None:
    with psycopg.connect(database.producer_url) as connection:
        file = attach(connection, PDF, tenant=tenant, name="invoice.pdf")
        connection.execute(
            "SELECT notifier.emit_notification_event(%s, 'task.due_soon', %s, options => %s)",
            (tenant, Jsonb(TASK), Jsonb({"attachments": [str(file)]})),
        )
    assert database.one("SELECT attachments FROM notifier.notification_events") == [file]


def test_the_e_mails_of_an_event_carry_its_files_and_nothing_else_does(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    files = [
        attach(connection, PDF, tenant=tenant, name="b.pdf"),
        attach(connection, b"plain", tenant=tenant, name="a.txt"),
    ]
    to(connection, tenant, ["ada", "bob"], attachments=files)
    to(connection, tenant, ["ada"], channel="sms", attachments=files)
    to(connection, tenant, ["ada"])
    sender = Scripted(accept)
    run_due(database, worker(configured, sender))
    carried = [
        Attachment("b.pdf", "application/pdf", PDF),
        Attachment("a.txt", "text/plain", b"plain"),
    ]
    given = sorted(len(message.attachments) for message in sender.given)
    assert given == [0, 0, 2, 2]
    for message in sender.given:
        if message.attachments:
            assert message.channel == "email"
            assert list(message.attachments) == carried


def test_a_mail_is_not_sent_without_a_file_that_is_gone(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    file = attach(connection, PDF, tenant=tenant, name="invoice.pdf")
    to(connection, tenant, ["ada"], attachments=[file])
    to(connection, tenant, ["bob"])
    connection.exec_driver_sql("DELETE FROM notifier.attachments")
    connection.commit()
    sender = Scripted(accept)
    run_due(database, worker(configured, sender))
    assert len(sender.given) == 1
    assert database.statuses() == {"sent": 1, "failed": 1}
    dead = database.query("SELECT code, reason FROM notifier.dead_letters")
    assert [tuple(row) for row in dead] == [("attachment", "a file it carries has been deleted")]


def test_a_process_holds_so_many_bytes_of_files_at_most(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    held: list[int] = []

    class Watching(Scripted):
        def send(self, messages, may_start):  # type: ignore[no-untyped-def]
            by_event = {m.event_id: m.weight for m in messages}
            held.append(sum(by_event.values()))
            return super().send(messages, may_start)

    sizes = [6_000_000] * 6 + [1] * 20
    for n, size in enumerate(sizes):
        file = attach(connection, bytes([n]) * size, tenant=tenant, name="n")
        to(connection, tenant, ["ada"], attachments=[file])
        to(connection, tenant, ["bob"])
    with database.pool.begin() as writer:
        dispatches.pack(writer)
    sender = Watching(accept)
    run_due(database, worker(configured, sender))
    assert sum(held) == sum(sizes)
    assert max(held) == 24_000_000 <= MOST_HELD
    assert len(held) <= 4, "small files hold nothing up"
    assert database.statuses() == {"sent": 2 * len(sizes)}
    by_event = {message.event_id: message.attachments for message in sender.given}
    assert {files[0].content[0] for files in by_event.values() if files} == {*range(len(sizes))}


def test_the_sandbox_tells_their_names(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    files = [attach(connection, PDF, tenant=tenant, name=name) for name in ("b.pdf", "a.pdf")]
    to(connection, tenant, ["ada"], attachments=files)
    sandbox = Sandbox.from_environment({})
    assert sandbox is not None
    run_due(database, worker(configured, sandbox))
    told = database.one("SELECT parts->>'attachments' FROM notifier.sandbox_messages")
    assert told == "b.pdf, a.pdf"
