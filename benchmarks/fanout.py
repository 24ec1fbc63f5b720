"""Fan-out: rows a second from a whole tenant's audience to deliveries on their dispatches.

The baseline writes the same rows by one bare INSERT ... SELECT over recipients and addresses,
into a table of the same columns, checks, indexes and fill: no preferences, no suppressions, no
ids that make a repetition harmless, no dispatches. `copied` is the ratio against the barest of
all, a copy of the finished rows into such a table.
"""

import time
import uuid

from benchmarks import load
from benchmarks.bench import Bench, InvariantsBroken, Result, bench, result
from notifier import fanout
from notifier.settings import settings
from notifier.worker import Worker

ROWS = 1_000_000

_BARE = (
    "INSERT INTO bare (id, event_id, tenant_id, recipient_id, contact_point_id, template_id, "
    "channel, address, locale, status) "
    "SELECT gen_random_uuid(), %(event)s, r.tenant_id, r.id, c.id, %(event)s, c.channel, "
    "c.address, r.locale, 'queued' "
    "FROM notifier.recipients r JOIN notifier.contact_points c ON c.recipient_id = r.id "
    "WHERE r.tenant_id = %(tenant)s AND c.channel = 'email'"
)
_COPY = "INSERT INTO bare SELECT * FROM notifier.notification_deliveries WHERE event_id = %(event)s"


def fanned_out(tenant: uuid.UUID) -> float:
    """Seconds for the whole audience, in this process, as a worker does it."""
    dispatch = load.campaign(load.MAIL, tenant)
    started = time.monotonic()
    # However long: a worker that runs out of its budget goes on at its next task.
    fanout.fan_out(dispatch, Worker({}, settings().model_copy(update={"chunk_seconds": 600.0})))
    return time.monotonic() - started


def bare(running: Bench, statement: str, tenant: uuid.UUID, event: uuid.UUID) -> float:
    """Seconds for a bare statement into an empty table like a partition of the deliveries."""
    with running.admin() as admin:
        (part,) = admin.execute(
            "SELECT tableoid::regclass::text FROM notifier.notification_deliveries LIMIT 1"
        ).fetchone() or ("",)
        admin.execute("DROP TABLE IF EXISTS bare")
        admin.execute(f"CREATE TABLE bare (LIKE {part} INCLUDING ALL) WITH (fillfactor = 50)")
        started = time.monotonic()
        admin.execute(statement, {"tenant": tenant, "event": event})
        took = time.monotonic() - started
        admin.execute("DROP TABLE bare")
    return took


def run(runs: int) -> Result:
    """Rows a second of both, and their ratio."""
    figures = []
    with bench() as running:
        load.register_types(running)
        tenant = load.tenant(running, ROWS)
        for _ in range(runs):
            took = fanned_out(tenant)
            with running.admin() as admin:
                (event,) = admin.execute(
                    "SELECT id FROM notifier.notification_events ORDER BY id DESC LIMIT 1"
                ).fetchone() or (None,)
            assert event is not None
            joined = bare(running, _BARE, tenant, event)
            copied = bare(running, _COPY, tenant, event)
            figures.append(
                {
                    "figure": ROWS / took,
                    "baseline": ROWS / joined,
                    "ratio": joined / took,
                    "copied": copied / took,
                }
            )
            running.check()
            rows = running.count("SELECT count(*) FROM notifier.notification_deliveries")
            waiting = running.count(load.WAITING)
            if not rows == waiting == ROWS:
                raise InvariantsBroken(f"{ROWS} rows expected, {rows} written, {waiting} to send")
            with running.admin() as admin:
                # The next run begins as this one did.
                admin.execute(
                    "TRUNCATE notifier.notification_deliveries, notifier.dispatches, "
                    "notifier.notification_events"
                )
    return result("fanout", "rows/s", "bare INSERT ... SELECT, rows/s", figures)
