"""Suppressions seen, added and lifted by hand: for the tenant alone, and not over a recipient's word."""

import hashlib
import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from sqlalchemy import Connection

from notifier import emit, receipts, suppressions
from notifier.cli import main
from notifier.errors import (
    InvalidAddress,
    InvalidValue,
    NotFoundError,
    RecipientsWord,
    Refused,
    UnknownTenant,
)
from notifier.outcome import Outcome, Rejected
from notifier.receipts import Receipt
from notifier.settings import Settings
from notifier.status import Status
from notifier.store import audience
from notifier.store import callbacks as replies
from notifier.store.suppressions import COMPLAINED, STOPPED, UNSUBSCRIBED
from notifier.suppressions import Lifted
from notifier.words import TRAITS, Channel
from tests.channels.conftest import ADDRESSES
from tests.conftest import Database
from tests.engine import Scripted, configured, run_due, sound, to, worker
from tests.test_emit import TASK

__all__ = ["configured", "sound"]

ADA = "ada@example.com"
GONE = "550 5.1.1 unknown"
NUMBER = "+14155550100"
SECRET = [channel for channel in Channel if TRAITS[channel].secret_address]


@pytest.fixture
def other(connection: Connection) -> uuid.UUID:
    """Another tenant, that writes to the same ada."""
    made = audience.create_tenant(connection, "other")
    points = [{"channel": "email", "address": ADA}, {"channel": "sms", "address": NUMBER}]
    audience.upsert_recipients(connection, made, [{"external_id": "ada", "contact_points": points}])
    connection.commit()
    return made


@pytest.fixture
def log() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as entries:
        yield entries


def add(
    database: Database,
    tenant: uuid.UUID,
    channel: Channel = Channel.EMAIL,
    address: str = ADA,
    reason: str = "by hand",
) -> bool:
    with database.pool.begin() as connection:
        return suppressions.add(connection, tenant, channel, address, reason, actor="test")


def lift(
    database: Database,
    tenant: uuid.UUID,
    channel: Channel = Channel.EMAIL,
    address: str = ADA,
    *,
    override: bool = False,
) -> Lifted:
    with database.pool.begin() as connection:
        return suppressions.lift(
            connection, tenant, channel, address, actor="test", override=override
        )


def rows(database: Database) -> set[tuple[object, ...]]:
    found = database.query("SELECT tenant_id, channel, address, reason FROM notifier.suppressions")
    return {tuple(row) for row in found}


def last(database: Database, event: uuid.UUID) -> list[tuple[str, str | None]]:
    found = database.query(
        "SELECT status, reason FROM notifier.notification_deliveries WHERE event_id = %s", event
    )
    return [(row[0], row[1]) for row in found]


def facts(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What a command printed with `--json`."""
    found: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    return found


def dead(_: object) -> Outcome:
    return Rejected("550", "5.1.1 unknown", address_dead=True)


def test_what_is_added_is_refused_and_goes_out_again_once_it_is_lifted(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    other: uuid.UUID,
    configured: Settings,
) -> None:
    assert add(database, tenant)
    refused = to(connection, tenant, ["ada"])
    assert last(database, refused) == [("refused", "suppressed_address")]
    elsewhere = to(connection, other, ["ada"])
    assert last(database, elsewhere) == [("queued", None)]
    assert lift(database, tenant) == Lifted("by hand", 0)
    assert rows(database) == set()
    event = to(connection, tenant, ["ada"])
    run_due(database, worker(configured))
    assert last(database, event) == [("sent", None)]
    assert last(database, refused) == [("refused", "suppressed_address")]


def test_an_address_without_a_recipient_is_refused_as_well(
    database: Database, connection: Connection, tenant: uuid.UUID
) -> None:
    add(database, tenant, address="new@example.com")
    listed = {"addresses": [{"channel": "email", "address": "new@example.com"}]}
    event = emit(connection, "task.due_soon", TASK, tenant=tenant, to=listed)
    connection.commit()
    assert last(database, event.id) == [("refused", "suppressed_address")]


def test_a_retired_address_is_sent_to_again(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    other: uuid.UUID,
    configured: Settings,
) -> None:
    for owner in (tenant, other):
        to(connection, owner, ["ada"])
    run_due(database, worker(configured, Scripted(dead)))
    assert last(database, to(connection, tenant, ["ada"])) == [("refused", "no_address")]
    assert lift(database, tenant) == Lifted(GONE, 1)
    assert rows(database) == {(other, "email", ADA, GONE)}
    points = database.query(
        "SELECT tenant_id, dead_at IS NULL, dead_reason FROM notifier.contact_points "
        "WHERE address = %s",
        ADA,
    )
    assert {tuple(row) for row in points} == {
        (tenant, True, None),
        (other, False, GONE),
    }
    event = to(connection, tenant, ["ada"])
    run_due(database, worker(configured))
    assert last(database, event) == [("sent", None)]
    assert last(database, to(connection, other, ["ada"])) == [("refused", "no_address")]


def test_what_was_retired_alone_is_lifted_too(
    database: Database, tenant: uuid.UUID, configured: Settings
) -> None:
    with database.pool.begin() as writer:
        writer.exec_driver_sql(
            "UPDATE notifier.contact_points SET dead_at = now(), dead_reason = 'x' "
            "WHERE channel = 'email' AND address = %s",
            (ADA,),
        )
    assert lift(database, tenant) == Lifted(None, 1)


def test_adding_twice_is_harmless_and_keeps_the_first_reason(
    database: Database, tenant: uuid.UUID
) -> None:
    assert add(database, tenant, reason="  asked by telephone ")
    assert not add(database, tenant, reason="another")
    assert rows(database) == {(tenant, "email", ADA, "asked by telephone")}


def test_what_another_tenant_suppresses_is_not_lifted(
    database: Database, tenant: uuid.UUID, other: uuid.UUID
) -> None:
    add(database, other)
    with pytest.raises(NotFoundError, match="address: expected an address that is suppressed"):
        lift(database, tenant)
    assert rows(database) == {(other, "email", ADA, "by hand")}


def test_a_stop_is_lifted_by_start_or_by_an_operator_who_insists(
    database: Database, tenant: uuid.UUID, other: uuid.UUID
) -> None:
    with database.pool.begin() as writer:
        assert replies.stop(writer, Channel.SMS, NUMBER, STOPPED) == 2
    with pytest.raises(RecipientsWord, match=r"address: .*replied STOP"):
        lift(database, tenant, Channel.SMS, NUMBER)
    assert len(rows(database)) == 2
    assert not add(database, tenant, Channel.SMS, NUMBER), "a reason by hand does not cover it"
    with pytest.raises(RecipientsWord):
        lift(database, tenant, Channel.SMS, NUMBER)
    assert lift(database, tenant, Channel.SMS, NUMBER, override=True) == Lifted(STOPPED, 0)
    assert rows(database) == {(other, "sms", NUMBER, STOPPED)}
    ((owner, kind, message, actor),) = database.query(
        "SELECT tenant_id, kind, message, detail->>'actor' FROM notifier.admin_system_events"
    )
    assert (owner, kind, message, actor) == (tenant, "recipients_word_lifted", STOPPED, "test")
    with database.pool.begin() as writer:
        assert replies.start(writer, Channel.SMS, NUMBER, STOPPED) == 1


@pytest.mark.parametrize("word", [STOPPED, COMPLAINED, UNSUBSCRIBED])
def test_the_recipients_word_takes_the_place_of_any_other_reason(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    word: str,
) -> None:
    """Else a tenant could lift that one, and send again to whoever said no."""
    to_ada = {"addresses": [{"channel": "email", "address": ADA}]}
    emit(connection, "task.due_soon", TASK, tenant=tenant, to=to_ada)
    connection.commit()
    run_due(database, worker(configured))
    delivery = database.one("SELECT id FROM notifier.notification_deliveries")
    add(database, tenant)
    with database.pool.begin() as writer:
        if word == STOPPED:
            replies.stop(writer, Channel.EMAIL, ADA, STOPPED)
        elif word == COMPLAINED:
            receipts.apply(writer, [Receipt(delivery, Status.COMPLAINED, "scripted")])
        else:
            assert writer.exec_driver_sql(
                "SELECT notifier.unsubscribe(%s)", (delivery,)
            ).scalar_one()
    assert rows(database) == {(tenant, "email", ADA, word)}
    with pytest.raises(RecipientsWord, match=word):
        lift(database, tenant)


def test_a_complaint_leaves_what_is_retired_as_it_is_unless_an_operator_insists(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    to(connection, tenant, ["ada"])
    run_due(database, worker(configured))
    delivery = database.one("SELECT id FROM notifier.notification_deliveries")
    with database.pool.begin() as writer:
        receipts.apply(writer, [Receipt(delivery, Status.COMPLAINED, "scripted")])
        writer.exec_driver_sql("UPDATE notifier.contact_points SET dead_at = now()")
    alive = "SELECT count(*) FROM notifier.contact_points WHERE dead_at IS NULL"
    with pytest.raises(RecipientsWord, match=COMPLAINED):
        lift(database, tenant)
    assert rows(database) == {(tenant, "email", ADA, COMPLAINED)}
    assert database.one(alive) == 0
    assert lift(database, tenant, override=True) == Lifted(COMPLAINED, 1)
    assert database.one(alive) == 1


@pytest.mark.parametrize(
    ("what", "kind", "field"),
    [
        ({"address": "ada"}, InvalidAddress, "address"),
        ({"address": ""}, InvalidAddress, "address"),
        ({"channel": Channel.SMS}, InvalidAddress, "address"),
        ({"channel": Channel.INAPP, "address": "ada"}, InvalidValue, "channel"),
        ({"reason": " "}, InvalidValue, "reason"),
        ({"reason": "x" * 501}, InvalidValue, "reason"),
        ({"tenant": uuid.UUID(int=1)}, UnknownTenant, "tenant"),
    ],
)
def test_bad_input_names_the_field_and_writes_nothing(
    database: Database,
    tenant: uuid.UUID,
    what: dict[str, Any],
    kind: type[Refused],
    field: str,
) -> None:
    with pytest.raises(kind) as refused:
        add(database, **{"tenant": tenant, **what})
    assert refused.value.field == field
    assert rows(database) == set()
    if field in ("address", "channel"):
        with pytest.raises(kind) as refused:
            lift(database, tenant, **what)
        assert refused.value.field == field


@pytest.mark.parametrize("channel", SECRET)
def test_an_address_that_is_a_secret_is_never_shown(
    database: Database, tenant: uuid.UUID, channel: Channel, log: list[Any]
) -> None:
    add(database, tenant, channel, ADDRESSES[channel])
    with database.pool.connect() as connection:
        (found,), following = suppressions.listed(connection)
        asked, _ = suppressions.listed(connection, address=ADDRESSES[channel])
    assert (found.channel, found.address, following) == (channel, None, None)
    assert asked == [found]
    assert lift(database, tenant, channel, ADDRESSES[channel]) == Lifted("by hand", 0)
    assert ADDRESSES[channel] not in str(log)


def test_pages_are_of_the_newest_first_and_of_each_once(
    database: Database, tenant: uuid.UUID, other: uuid.UUID
) -> None:
    for batch in range(3):
        with database.pool.begin() as connection:
            for n in range(3):
                address = f"a{n}@{batch}.example.com"
                suppressions.add(connection, tenant, Channel.EMAIL, address, "x", actor="test")
    add(database, other)
    add(database, tenant, Channel.SMS, NUMBER)
    seen, after = [], None
    with database.pool.connect() as connection:
        while True:
            page, after = suppressions.listed(
                connection, tenant=tenant, channel=Channel.EMAIL, after=after, limit=2
            )
            seen += page
            if after is None:
                break
            assert len(page) == 2
        everybodys, _ = suppressions.listed(connection)
        for limit in (0, 1001):
            with pytest.raises(InvalidValue, match="limit"):
                suppressions.listed(connection, limit=limit)
    assert len({each.address for each in seen}) == len(seen) == 9
    times = [each.created_at for each in seen]
    assert times == sorted(times, reverse=True)
    assert {each.tenant_id for each in seen} == {tenant}
    assert len(everybodys) == 11


def test_the_log_tells_who_did_it_and_no_address(
    database: Database, tenant: uuid.UUID, log: list[Any]
) -> None:
    add(database, tenant)
    lift(database, tenant)
    told = {
        "tenant": tenant,
        "channel": Channel.EMAIL,
        "address_sha256": hashlib.sha256(ADA.encode()).hexdigest(),
        "actor": "test",
    }
    added, lifted = [entry for entry in log if entry.get("part") == "suppressions"]
    assert {**told, "event": "added", "is_new": True}.items() <= added.items()
    assert {**told, "event": "lifted", "contact_points": 0}.items() <= lifted.items()
    assert ADA not in str(log)


def test_the_commands_list_add_and_lift(
    database: Database, tenant: uuid.UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["suppressions", "list"]) == 0
    assert capsys.readouterr().out == "nothing is suppressed\n"
    to_ada = ["--tenant", "acme", "--channel", "email", "--address", ADA]
    assert main(["suppressions", "add", *to_ada, "--reason", "asked by telephone"]) == 0
    assert capsys.readouterr().out.endswith("suppressed\n")
    assert main(["suppressions", "add", *to_ada, "--reason", "again", "--json"]) == 0
    assert facts(capsys) == {"is_new": False}
    assert main(["suppressions", "list", *to_ada, "--limit", "1", "--json"]) == 0
    (found,) = facts(capsys)["suppressions"]
    assert found.pop("created_at")
    assert found == {
        "tenant_id": str(tenant),
        "channel": "email",
        "address": ADA,
        "reason": "asked by telephone",
    }
    assert main(["suppressions", "list"]) == 0
    assert ADA in capsys.readouterr().out
    assert main(["suppressions", "lift", *to_ada]) == 0
    assert capsys.readouterr().out.endswith("lifted; 0 contact points can be used again\n")
    assert rows(database) == set()


def test_an_operator_must_insist_to_lift_a_recipients_word(
    database: Database, tenant: uuid.UUID, capsys: pytest.CaptureFixture[str]
) -> None:
    add(database, tenant, reason=COMPLAINED)
    asked = ["suppressions", "lift", "--tenant", "acme", "--channel", "email", "--address", ADA]
    assert main([*asked, "--json"]) == 2
    assert facts(capsys)["error"]["code"] == "recipients_word"
    assert main([*asked, "--override", "--json"]) == 0
    assert facts(capsys) == {"reason": COMPLAINED, "contact_points": 0}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["add", "--tenant", "acme", "--channel", "email", "--address", ADA], "--reason"),
        (["lift", "--tenant", "acme", "--channel", "email", "--address", ADA], "suppressed"),
        (["lift", "--tenant", "acme", "--channel", "fax", "--address", "x"], "'fax' is not one of"),
        (["lift", "--tenant", "nobody", "--channel", "email", "--address", ADA], "none is named"),
        (["lift", "--tenant", "acme", "--channel", "sms", "--address", "1"], "E.164"),
        (["list", "--limit", "0"], "--limit"),
    ],
)
def test_wrong_use_is_told(
    database: Database,
    tenant: uuid.UUID,
    arguments: list[str],
    told: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["suppressions", *arguments]) == 2
    assert told in capsys.readouterr().err
