"""What an operator decides of deliveries in doubt."""

import json
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection

from notifier import doubts, receipts
from notifier.cli import main
from notifier.outcome import Accepted, Unsure
from notifier.receipts import Receipt
from notifier.replay import replay
from notifier.settings import Settings
from notifier.status import Status
from notifier.store.doubts import Which
from notifier.words import Channel, Decision
from tests.conftest import Database
from tests.engine import Scripted, configured, due_now, run_due, sound, to_addresses, worker

__all__ = ["configured", "sound"]


def doubtful(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings, count: int
) -> None:
    """E-mails whose server never said at any attempt whether it took them."""
    to_addresses(connection, tenant, count)
    silent = worker(configured, Scripted(lambda _: Unsure("no answer")))
    for _ in range(5):
        run_due(database, silent)
        due_now(database)
    assert database.statuses() == {"unknown": count}


def listed(database: Database) -> int:
    return int(database.one("SELECT count(*) FROM notifier.in_doubt"))


@pytest.mark.parametrize(
    ("decision", "status"), [(Decision.SENT, "sent"), (Decision.FAILED, "failed")]
)
def test_an_operator_says_what_became_of_them(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    decision: Decision,
    status: str,
) -> None:
    doubtful(database, connection, tenant, configured, 3)
    assert doubts.settle(decision, Which(), actor="ada") == 3
    assert database.statuses() == {status: 3}
    assert listed(database) == 0
    journal = database.query(
        "SELECT DISTINCT actor, from_status, attempt, code, detail FROM notifier.delivery_journal "
        "WHERE to_status = %s",
        status,
    )
    assert [tuple(row) for row in journal] == [
        ("operator", "unknown", 5, "in_doubt", f"ada says {status}")
    ]
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0
    assert doubts.settle(decision, Which(), actor="ada") == 0, "repeated, it repeats nothing"
    dead = database.query("SELECT code, reason FROM notifier.dead_letters")
    expected = [("in_doubt", "ada says failed")] * 3 if status == "failed" else []
    assert [tuple(row) for row in dead] == expected
    assert replay() == len(expected)


def test_resent_they_have_all_their_attempts_again(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    doubtful(database, connection, tenant, configured, 3)
    assert doubts.settle(Decision.RESEND, Which(), actor="ada") == 3
    assert database.statuses() == {"queued": 3}
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 1
    answers = iter([Unsure("no answer")] * 3 + [Accepted("1"), Accepted("2"), Accepted("3")])
    sender = worker(configured, Scripted(lambda _: next(answers)))
    run_due(database, sender)
    assert database.statuses() == {"retrying": 3}
    due_now(database)
    run_due(database, sender)
    assert database.statuses() == {"sent": 3}
    assert listed(database) == 0


def test_a_providers_word_that_comes_after_all_overrules_the_operators(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    doubtful(database, connection, tenant, configured, 1)
    delivery = database.one("SELECT id FROM notifier.notification_deliveries")
    doubts.settle(Decision.FAILED, Which(), actor="ada")
    with database.pool.begin() as writer:
        receipts.apply(writer, [Receipt(delivery, Status.DELIVERED, "scripted")])
    assert database.statuses() == {"delivered": 1}
    assert replay() == 0, "it is no dead letter any more"


def test_only_what_fits_is_settled(
    database: Database, connection: Connection, tenant: uuid.UUID, configured: Settings
) -> None:
    doubtful(database, connection, tenant, configured, 4)
    one = database.one("SELECT delivery_id FROM notifier.in_doubt LIMIT 1")
    hour = timedelta(hours=1)
    for which in (
        Which(tenant=uuid.uuid4()),
        Which(channel=Channel.SMS),
        Which(provider="another"),
        Which(until=datetime.now(UTC) - hour),
        Which(delivery=uuid.uuid4()),
    ):
        assert doubts.settle(Decision.SENT, which, actor="ada") == 0
    assert doubts.settle(Decision.SENT, Which(delivery=one), actor="ada") == 1
    both = Which(tenant=tenant, provider="scripted", until=datetime.now(UTC) + hour)
    assert doubts.settle(Decision.SENT, both, actor="ada") == 3


def test_many_are_settled_batch_by_batch(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doubts, "BATCH", 2)
    doubtful(database, connection, tenant, configured, 5)
    assert doubts.settle(Decision.SENT, Which(), actor="ada") == 5
    assert database.statuses() == {"sent": 5}


def test_the_commands_list_and_settle(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["doubts", "list"]) == 0
    assert capsys.readouterr().out == "nothing is in doubt\n"
    doubtful(database, connection, tenant, configured, 2)
    assert main(["doubts", "list", "--tenant", "acme", "--json"]) == 0
    first, _ = json.loads(capsys.readouterr().out.splitlines()[-1])["doubts"]
    assert (first["channel"], first["provider"], first["reason"]) == (
        *("email", "scripted"),
        "no answer",
    )
    assert main(["doubts", "settle", "sent", "--delivery", first["delivery_id"]]) == 0
    assert capsys.readouterr().out.endswith("1 settled\n")
    assert main(["doubts", "settle", "resend", "--all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"settled": 1}
    assert database.statuses() == {"queued": 1, "sent": 1}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["settle", "sent"], "--all"),
        (["settle", "perhaps", "--all"], "'perhaps' is not one of"),
        (["settle", "sent", "--channel", "fax"], "'fax' is not one of"),
        (["settle", "sent", "--tenant", "nobody"], "tenant"),
        (["list", "--until", "yesterday"], "--until"),
    ],
)
def test_wrong_use_is_told(
    database: Database, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doubts", *arguments]) == 2
    assert told in capsys.readouterr().err
