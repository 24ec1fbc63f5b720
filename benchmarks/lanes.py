"""Latency of the critical lane while a campaign saturates the machine, against an idle one.

The processes are those of `notifier up`: one worker for everything and one kept for what is
critical.
"""

import statistics
import time
import uuid

from benchmarks import latency, load
from benchmarks.bench import Bench, Result, bench, result
from notifier.local.stack import Stack, usual

CAMPAIGN = 200_000
EVENTS = 150
PAUSE = 0.02


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98] * 1000


def run(runs: int) -> Result:
    """The 99th percentiles from emit to `sent`, and the medians beside them."""
    figures = []
    with bench() as running:
        load.register_types(running)
        tenant = load.tenant(running, CAMPAIGN)
        with Stack(
            usual(2, api=False),
            logs=running.folder / "logs",
            environment={**running.environment, "NOTIFIER_PROVIDERS": "*=null"},
        ):
            for number in range(20):
                latency.emit_to_sent(tenant, number, patience=30)
            load.campaign(load.MAIL, tenant)
            await_saturation(running)
            running.await_none()
            for _ in range(runs):
                recycle_wal(running)
                idle = measured(tenant)
                load.campaign(load.MAIL, tenant)
                await_saturation(running)
                busy = measured(tenant)
                left = running.count(load.WAITING)
                if not left:
                    raise TimeoutError("the campaign ended before the critical events did")
                running.await_none()
                figures.append(
                    {
                        "figure": p99(busy),
                        "baseline": p99(idle),
                        "ratio": p99(busy) / p99(idle),
                        "p50": statistics.median(busy) * 1000,
                        "baseline_p50": statistics.median(idle) * 1000,
                    }
                )
        running.check()
        load.all_sent(running, CAMPAIGN + (CAMPAIGN + 2 * EVENTS) * runs + 20)
    return result("lanes", "ms p99", "idle, ms p99", figures)


def recycle_wal(running: Bench) -> None:
    """A checkpoint, after which Postgres writes over the WAL files of the campaign before.

    A fresh server makes each file anew, and meanwhile every commit waits (some 60 ms, several times
    a second): that would measure the age of the server.
    """
    with running.admin() as admin:
        admin.execute("CHECKPOINT")


def measured(tenant: uuid.UUID) -> list[float]:
    """Seconds from emit to `sent` of critical events, one after another."""
    seconds = []
    for number in range(EVENTS):
        seconds.append(latency.emit_to_sent(tenant, number))
        time.sleep(PAUSE)
    return seconds


def await_saturation(running: Bench) -> None:
    """Return once the campaign's chunks are being sent."""
    give_up = time.monotonic() + 30
    while not running.count(
        "SELECT count(*) FROM notifier.dispatches WHERE lane = 'bulk' AND kind = 'deliver' "
        "AND lease_until > now()"
    ):
        if time.monotonic() > give_up:
            raise TimeoutError("the campaign was not begun within 30 s")
        time.sleep(0.01)
