"""Events of one recipient each, one commit each, by four producers: emitted and fully sent.

Starts at the first emit and ends when the last is `sent`: fan-out, packing, ringing, rendering
and recording run beside the producers, on the same cores. So the baseline has the same processes:
as many that publish no-op tasks, and the same worker. `full_queue` is the ratio against the easier
baseline of `celery-noop`, which has nothing to publish.
"""

import time
import uuid
from multiprocessing.synchronize import Barrier

from benchmarks import celery_noop, load
from benchmarks.bench import Bench, Result, bench, noop, result

PRODUCERS = 4
EVENTS = 2000
"""Of each producer."""


def fully_sent(running: Bench, tenant: uuid.UUID) -> float:
    """Events a second."""
    url = running.environment["NOTIFIER_DATABASE_URL"]
    began, _ = load.produce(
        load.emitter, [(url, tenant, place * EVENTS, EVENTS) for place in range(PRODUCERS)]
    )
    return PRODUCERS * EVENTS / (running.await_none() - began)


def publish_noops(ready: Barrier, count: int) -> None:
    """A producer of the baseline: as many tasks as the other emits events."""
    noop()
    ready.wait(60)
    for _ in range(count):
        noop()


def noops_published_and_run(running: Bench) -> float:
    """Tasks a second where as many producers publish them meanwhile."""
    began, _ = load.produce(publish_noops, [(EVENTS,)] * PRODUCERS)
    running.await_empty()
    return PRODUCERS * EVENTS / (time.monotonic() - began)


def run(runs: int) -> Result:
    """Against no-op tasks that as many producers publish meanwhile."""
    figures = []
    with bench() as running:
        load.register_types(running)
        tenant = load.tenant(running, PRODUCERS * EVENTS)
        for _ in range(runs):
            full = celery_noop.throughput(running)
            with running.worker():
                baseline = noops_published_and_run(running)
            with running.worker(), running.process("relay", "relay"):
                figure = fully_sent(running, tenant)
            figures.append(
                {
                    "figure": figure,
                    "baseline": baseline,
                    "ratio": figure / baseline,
                    "full_queue": figure / full,
                }
            )
        running.await_none()
        running.check()
        load.all_sent(running, PRODUCERS * EVENTS * runs)
    return result("events", "events/s", "no-op tasks published and run, tasks/s", figures)
