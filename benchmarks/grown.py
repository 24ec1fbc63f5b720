"""What age costs: 10,000,000 deliveries kept, and 1,000,000 through one worker process.

The figure is deliveries a second beside the kept ones, the ratio how many times dearer a delivery
is than in an empty table. `memory` is the worker's resident memory after 1,000,000 deliveries over
that after 10,000; `memory_mb` what it then was.
"""

import subprocess
import time
import uuid

from benchmarks import load
from benchmarks.bench import Bench, Result, bench, result
from notifier.local.stack import forked

KEPT = 10_000_000
WEEKS = 4
SENT = 100_000
WARM, LONG = 10_000, 1_000_000

_FILL = """
WITH kept AS (
    INSERT INTO notifier.notification_deliveries
        (id, event_id, tenant_id, channel, address, locale, status, attempts, provider, updated_at,
         sent_at)
    SELECT (left(notifier.id_floor(at)::text, 14) || '7' || substr(md5(n::text), 1, 3) || '-8'
            || substr(md5(n::text), 4, 3) || '-' || substr(md5(n::text), 7, 12))::uuid,
           %(event)s, %(tenant)s, 'email', 'old' || n || '@example.com', 'en', 'sent', 1, 'null',
           at, at
    FROM (SELECT n, now() - %(weeks)s * interval '7 days' * (1 - n::float8 / %(rows)s) AS at
          FROM generate_series(%(first)s, %(last)s) n) x
    RETURNING id, sent_at
)
INSERT INTO notifier.delivery_journal
    (delivery_id, at, actor, from_status, to_status, attempt, provider)
SELECT id, sent_at, 'engine', 'queued', 'sent', 1, 'null' FROM kept
"""


def fill(running: Bench, tenant: uuid.UUID) -> None:
    """The kept deliveries, with a journal row each, over the last weeks' partitions."""
    with running.admin() as admin:
        admin.execute(
            "SELECT notifier.ensure_partitions(now() - %s * interval '7 days', now())", (WEEKS,)
        )
        event = uuid.uuid4()
        step = KEPT // 10
        for first in range(0, KEPT, step):
            admin.execute(
                _FILL,
                {
                    "event": event,
                    "tenant": tenant,
                    "weeks": WEEKS,
                    "rows": KEPT,
                    "first": first,
                    "last": first + step - 1,
                },
            )
        admin.execute("VACUUM ANALYZE")


def resident(pid: int) -> int:
    """Kilobytes of memory of the worker's busiest process."""
    listed = subprocess.run(
        ["ps", "-o", "rss=", "-p", ",".join(map(str, forked(pid)))],
        capture_output=True,
        text=True,
        check=True,
    )
    return max(map(int, listed.stdout.split()))


def memory(running: Bench, warm: uuid.UUID, long: uuid.UUID) -> tuple[int, int]:
    """Kilobytes after `WARM` deliveries through one process, and after `LONG` more."""
    load.queued(load.MAIL, warm)
    with (
        running.starting_worker("*=null", concurrency=1) as pid,
        running.process("relay", "relay"),
    ):
        running.await_none()
        time.sleep(1)
        before = resident(pid)
        load.queued(load.MAIL, long)
        running.await_none()
        time.sleep(1)
        return before, resident(pid)


def run(runs: int) -> Result:
    """Empty first, then filled, as often each; the memory once."""
    with bench() as running:
        load.register_types(running)
        tenant = load.tenant(running, SENT)
        empty, grown = [], []
        for _ in range(runs):
            load.queued(load.MAIL, tenant)
            empty.append(load.drain(running, "*=null"))
        fill(running, tenant)
        for _ in range(runs):
            load.queued(load.MAIL, tenant)
            grown.append(load.drain(running, "*=null"))
        warm, long = load.tenant(running, WARM), load.tenant(running, LONG)
        before, after = memory(running, warm, long)
        with running.admin() as admin:
            # They have no event of their own, which is an invariant of real ones.
            admin.execute(
                "DELETE FROM notifier.notification_deliveries d WHERE NOT EXISTS "
                "(SELECT FROM notifier.notification_events e WHERE e.id = d.event_id)"
            )
            admin.execute(
                "DELETE FROM notifier.delivery_journal j WHERE NOT EXISTS "
                "(SELECT FROM notifier.notification_deliveries d WHERE d.id = j.delivery_id)"
            )
        running.check()
        load.all_sent(running, 2 * SENT * runs + WARM + LONG)
    return result(
        "grown",
        "deliveries/s",
        "with an empty table, deliveries/s",
        [
            {
                "figure": late,
                "baseline": early,
                "ratio": early / late,
                "memory": after / before,
                "memory_mb": after / 1024,
            }
            for early, late in zip(empty, grown, strict=True)
        ],
    )
