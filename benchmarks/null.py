"""Deliveries a second through everything but a network: claimed, rendered, recorded, journalled.

Starts at deliveries that wait on full dispatches and ends when the last is `sent`; every
recipient has a name and a locale of its own, and the mail has a subject, a text and HTML.
"""

import time
import uuid

from benchmarks import celery_noop
from benchmarks.bench import Bench, Result, bench, result
from notifier import emit, fanout, register
from notifier.settings import settings
from notifier.store import audience
from notifier.store.engine import connect
from notifier.worker import Worker

RECIPIENTS = 100_000
TYPE = "bench.null"


def prepare(running: Bench, recipients: int) -> uuid.UUID:
    """A tenant whose recipients all have one e-mail address, and a small event type."""
    with running.pool.begin() as connection:
        tenant = audience.create_tenant(connection, "bench")
        for first in range(0, recipients, 5000):
            audience.upsert_recipients(
                connection,
                tenant,
                [
                    {
                        "external_id": f"r{n}",
                        "name": f"Recipient {n}",
                        "contact_points": [{"channel": "email", "address": f"r{n}@example.com"}],
                    }
                    for n in range(first, min(first + 5000, recipients))
                ],
            )
        register.event_type(
            connection,
            TYPE,
            schema={"type": "object", "properties": {"offer": {"type": "string"}}},
            channels=["email"],
            lane="bulk",
            texts={
                "email": {
                    "subject": "{{ recipient.name }}, {{ offer }}",
                    "text": "Hello {{ recipient.name }},\n\n{{ offer }} is here.\n{{ event.id }}\n",
                    "html": "<p>Hello {{ recipient.name }},</p><p>{{ offer }} is here.</p>",
                }
            },
        )
    with running.pool.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")
    return tenant


def queued(tenant: uuid.UUID) -> None:
    """Emit to the whole tenant and fan out here, so that only the sending is left."""
    with connect() as connection, connection.begin():
        event = emit(connection, TYPE, {"offer": "spring"}, tenant=tenant, to={"tenant": True})
    with connect() as connection:
        dispatch = connection.exec_driver_sql(
            "SELECT id FROM notifier.dispatches WHERE event_id = %s", (event.id,)
        ).scalar_one()
    fanout.fan_out(dispatch, Worker({}, settings()))


def throughput(running: Bench, tenant: uuid.UUID, recipients: int) -> float:
    """Deliveries a second, from the relay's first look to the last outcome."""
    queued(tenant)
    left = "SELECT coalesce(sum(cardinality(delivery_ids)), 0) FROM notifier.dispatches"
    with running.worker(), running.process("relay", "relay"):
        while running.count(left) == recipients:
            time.sleep(0.005)
        started = time.monotonic()
        begun = running.count(left)
        while running.count(left):
            time.sleep(0.02)
        return begun / (time.monotonic() - started)


def run(runs: int) -> Result:
    """Against Celery's no-op tasks."""
    figures = []
    with bench() as running:
        tenant = prepare(running, RECIPIENTS)
        for _ in range(runs):
            baseline = celery_noop.throughput(running)
            figure = throughput(running, tenant, RECIPIENTS)
            figures.append({"figure": figure, "baseline": baseline, "ratio": figure / baseline})
        running.check()
        sent = running.count(
            "SELECT count(*) FROM notifier.notification_deliveries WHERE status = 'sent'"
        )
        told = running.count(
            "SELECT count(*) FROM notifier.delivery_journal WHERE to_status = 'sent'"
        )
        assert sent == told == RECIPIENTS * runs, (sent, told)
    return result("null", "deliveries/s", "celery-noop tasks/s", figures)
