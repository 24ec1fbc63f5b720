"""What the benchmarks send: recipients with variables of their own, event types, producers."""

import multiprocessing
import time
import uuid
from collections.abc import Callable, Sequence
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError

import psycopg

from benchmarks.bench import Bench, InvariantsBroken
from notifier import emit, fanout, register
from notifier.settings import settings
from notifier.store import audience
from notifier.store.engine import connect
from notifier.words import Channel
from notifier.worker import Worker

MAIL = "bench.mail"
HOOK = "bench.hook"
INBOX = "bench.inbox"
PAYLOAD = {"offer": "spring"}

SCHEMA = {
    "type": "object",
    "required": ["offer"],
    "properties": {"offer": {"type": "string"}},
}
_TEXTS: dict[str, tuple[Channel, dict[str, dict[str, str]]]] = {
    MAIL: (
        Channel.EMAIL,
        {
            "email": {
                "subject": "{{ recipient.name }}, {{ offer }}",
                "text": "Hello {{ recipient.name }},\n\n{{ offer }} is here.\n{{ event.id }}\n",
                "html": "<p>Hello {{ recipient.name }},</p><p>{{ offer }} is here.</p>",
            }
        },
    ),
    HOOK: (Channel.WEBHOOK, {}),
    INBOX: (
        Channel.INAPP,
        {
            "inapp": {
                "title": "{{ offer }}",
                "message": "{{ recipient.name }}, {{ offer }} is here.",
            }
        },
    ),
}


def register_types(running: Bench) -> None:
    """One event type for each kind of message, all on the lane for bulk."""
    with running.pool.begin() as connection:
        for name, (channel, texts) in _TEXTS.items():
            register.event_type(
                connection,
                name,
                schema=SCHEMA,
                channels=[channel],
                lane="bulk",
                example=PAYLOAD,
                texts=texts,
            )


def tenant(running: Bench, recipients: int, *, hook: str | None = None) -> uuid.UUID:
    """A tenant whose recipients have a name, an e-mail address and, with `hook`, that endpoint.

    Written in bulk, as the superuser: how fast recipients are imported is not measured.
    """
    with running.pool.begin() as connection:
        made = audience.create_tenant(connection, f"bench-{uuid.uuid4().hex[:8]}")
    with running.admin() as admin:
        admin.execute(
            "INSERT INTO notifier.recipients (tenant_id, external_id, name, locale) "
            "SELECT %s, 'r' || n, 'Recipient ' || n, 'en' FROM generate_series(0, %s - 1) n",
            (made, recipients),
        )
        admin.execute(
            "INSERT INTO notifier.contact_points (tenant_id, recipient_id, channel, address) "
            "SELECT tenant_id, id, 'email', external_id || '@example.com' "
            "FROM notifier.recipients WHERE tenant_id = %s",
            (made,),
        )
        if hook is not None:
            admin.execute(
                "INSERT INTO notifier.contact_points "
                "(tenant_id, recipient_id, channel, address, secret) "
                "SELECT tenant_id, id, 'webhook', %s, %s "
                "FROM notifier.recipients WHERE tenant_id = %s",
                (hook, SECRET, made),
            )
        admin.execute("VACUUM ANALYZE")
    return made


SECRET = "whsec_" + "bm90aWZpZXItYmVuY2htYXJrLXNlY3JldA=="


def campaign(event_type: str, tenant_id: uuid.UUID) -> uuid.UUID:
    """Emit to the whole tenant; the id of the dispatch that fans it out."""
    with connect() as connection, connection.begin():
        event = emit(connection, event_type, PAYLOAD, tenant=tenant_id, to={"tenant": True})
    with connect() as connection:
        found: uuid.UUID = connection.exec_driver_sql(
            "SELECT id FROM notifier.dispatches WHERE event_id = %s AND kind = 'fan_out'",
            (event.id,),
        ).scalar_one()
    return found


def queued(event_type: str, tenant_id: uuid.UUID) -> None:
    """Emit to the whole tenant and fan out here, so that only the sending is left."""
    fanout.fan_out(campaign(event_type, tenant_id), Worker({}, settings()))


WAITING = "SELECT coalesce(sum(cardinality(delivery_ids)), 0) FROM notifier.dispatches"
"""Deliveries that are not done."""


def drain(running: Bench, providers: str, **environment: str) -> float:
    """Deliveries a second, from the first outcomes seen to the last, of all that is queued."""
    waiting = running.count(WAITING)
    with running.worker(providers, **environment), running.process("relay", "relay"):
        while running.count(WAITING) == waiting:
            time.sleep(0.005)
        started = time.monotonic()
        begun = running.count(WAITING)
        return begun / (running.await_none() - started)


def all_sent(running: Bench, expected: int) -> None:
    """Refuse the figure where deliveries or their journal do not show `expected` sends."""
    sent = running.count(
        "SELECT count(*) FROM notifier.notification_deliveries "
        "WHERE status IN ('sent', 'delivered')"
    )
    told = running.count(
        "SELECT count(DISTINCT delivery_id) FROM notifier.delivery_journal "
        "WHERE to_status IN ('sent', 'delivered')"
    )
    if not sent == told == expected:
        raise InvariantsBroken(f"{expected} sends expected, {sent} rows, {told} in the journal")


def emit_one(connection: "psycopg.Connection[object]", tenant_id: uuid.UUID, number: int) -> None:
    """One event to one recipient; on a connection in autocommit mode, one commit."""
    emit(
        connection,
        MAIL,
        PAYLOAD,
        tenant=tenant_id,
        to={"recipients": [f"r{number}"]},
        lane="normal",
    )


def produce(
    work: Callable[..., None], arguments: Sequence[tuple[object, ...]]
) -> tuple[float, float]:
    """Run `work(barrier, *arguments)` in a process each; when they began, and when all were done.

    By `time.monotonic`. They begin together, after each has opened what it needs and waited at the
    barrier.
    """
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(len(arguments) + 1)
    started = [context.Process(target=_produce, args=(work, barrier, *a)) for a in arguments]
    for process in started:
        process.start()
    try:
        barrier.wait(60)
        began = time.monotonic()
        barrier.wait(600)
        return began, time.monotonic()
    except BrokenBarrierError:
        raise RuntimeError("a producer failed; its words are above") from None
    finally:
        for process in started:
            process.join()


def _produce(work: Callable[..., None], barrier: Barrier, *arguments: object) -> None:
    try:
        work(barrier, *arguments)
        barrier.wait(600)
    except BaseException:
        barrier.abort()
        raise


def emitter(ready: Barrier, url: str, tenant_id: uuid.UUID, first: int, count: int) -> None:
    """A producer: `count` events of one recipient each, one commit each."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SELECT 1")
        ready.wait(60)
        for number in range(first, first + count):
            emit_one(connection, tenant_id, number)
