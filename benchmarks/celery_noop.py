"""The yardstick: how many tasks that do nothing Celery runs here, same broker, same processes."""

import time

from benchmarks.bench import NOOP_QUEUE, Bench, Result, bench, noop, result
from notifier import queue

TASKS = 4000


def throughput(running: Bench, tasks: int = TASKS) -> float:
    """Tasks a second from a full queue; what publishing costs is not counted.

    From the first task taken to the last: those still in hand then are noise among thousands.
    """
    for _ in range(tasks):
        noop()
    with running.starting_worker():
        while queue.redis().llen(NOOP_QUEUE) > tasks * 0.95:
            time.sleep(0.005)
        left, started = queue.redis().llen(NOOP_QUEUE), time.monotonic()
        running.await_empty()
        return float(left / (time.monotonic() - started))


def run(runs: int) -> Result:
    """Celery alone, so the ratio is 1."""
    with bench() as running:
        figures = [throughput(running) for _ in range(runs)]
    return result(
        "celery-noop",
        "tasks/s",
        "itself",
        [{"figure": f, "baseline": f, "ratio": 1.0} for f in figures],
    )
