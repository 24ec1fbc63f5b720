"""From an emit to `sent` as others see it, one event at a time, against a no-op's round trip.

The events are critical ones, emitted on a SQLAlchemy connection, which pokes the relay.
"""

import statistics
import time
import uuid

from benchmarks import load
from benchmarks.bench import NOOP_QUEUE, Result, bench, result
from notifier import emit, queue
from notifier.store.engine import connect

EVENTS = 200
PAUSE = 0.02


def noop_round_trip() -> float:
    """Seconds from publishing a task to a worker process saying it ran."""
    answer = f"bench:{uuid.uuid4()}"
    started = time.monotonic()
    queue.publish("notifier.echo", answer, NOOP_QUEUE)
    if queue.redis().blpop([answer], timeout=3) is None:
        raise TimeoutError("no worker answered")
    return time.monotonic() - started


def emit_to_sent(tenant: uuid.UUID, number: int, patience: float = 5) -> float:
    """Seconds from the emit's call until its committed outcome is seen, looking each millisecond.

    patience: seconds after which it counts as lost; workers need some to start.
    """
    with connect() as connection:
        connection.exec_driver_sql("SELECT")
        started = time.monotonic()
        event = emit(
            connection,
            load.MAIL,
            load.PAYLOAD,
            tenant=tenant,
            to={"recipients": [f"r{number}"]},
            lane="critical",
        )
        connection.commit()
        while time.monotonic() < started + patience:
            seen = connection.exec_driver_sql(
                "SELECT FROM notifier.notification_deliveries d "
                "WHERE d.id BETWEEN notifier.id_low(%(e)s) AND notifier.id_high(%(e)s) "
                "AND d.event_id = %(e)s AND d.sent_at IS NOT NULL",
                {"e": event.id},
            ).rowcount
            connection.rollback()
            if seen:
                return time.monotonic() - started
            time.sleep(0.001)
    raise TimeoutError(f"not sent within {patience} s")


def run(runs: int) -> Result:
    """Medians; the runs also carry the 99th percentiles."""
    figures = []
    with bench() as running:
        load.register_types(running)
        tenant = load.tenant(running, EVENTS)
        with running.worker(), running.process("relay", "relay"):
            for number in range(20):
                emit_to_sent(tenant, number)
                noop_round_trip()
            for _ in range(runs):
                ours, theirs = [], []
                for number in range(EVENTS):
                    ours.append(emit_to_sent(tenant, number) * 1000)
                    time.sleep(PAUSE)
                    theirs.append(noop_round_trip() * 1000)
                    time.sleep(PAUSE)
                figure, baseline = statistics.median(ours), statistics.median(theirs)
                figures.append(
                    {
                        "figure": figure,
                        "baseline": baseline,
                        "ratio": figure / baseline,
                        "p99": statistics.quantiles(ours, n=100)[98],
                        "baseline_p99": statistics.quantiles(theirs, n=100)[98],
                    }
                )
        running.check()
        load.all_sent(running, 20 + EVENTS * runs)
    return result("latency", "ms p50", "celery-noop round trip, ms p50", figures)
