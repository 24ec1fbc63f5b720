"""Throughput of the queue behind one old snapshot, which keeps vacuum from removing dead rows.

Every event makes a dispatch of its own, is packed, rung, claimed and deleted: the churn that an
open report or a forgotten transaction turns into a swamp.
"""

import uuid

from benchmarks import events, load
from benchmarks.bench import Bench, Result, bench, result


def behind_a_snapshot(running: Bench, tenant: uuid.UUID) -> float:
    """Events a second while a transaction that began before them stays open."""
    with running.admin() as old:
        old.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM notifier.dispatches")
        # Churn enough for the dead rows to matter before anything is measured.
        events.fully_sent(running, tenant)
        figure = events.fully_sent(running, tenant)
        old.execute("ROLLBACK")
    return figure


def run(runs: int) -> Result:
    """ratio: how many times slower it is behind the snapshot."""
    figures = []
    with bench() as running:
        load.register_types(running)
        tenant = load.tenant(running, events.PRODUCERS * events.EVENTS)
        with running.worker(), running.process("relay", "relay"):
            for _ in range(runs):
                with running.admin() as admin:
                    admin.execute("VACUUM ANALYZE notifier.dispatches")
                baseline = events.fully_sent(running, tenant)
                figure = behind_a_snapshot(running, tenant)
                figures.append({"figure": figure, "baseline": baseline, "ratio": baseline / figure})
        running.check()
        load.all_sent(running, events.PRODUCERS * events.EVENTS * runs * 3)
    return result("snapshot", "events/s", "without the snapshot, events/s", figures)
