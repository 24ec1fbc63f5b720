"""Deliveries a second through everything but a network: claimed, rendered, recorded, journalled.

Starts at deliveries that wait on full dispatches and ends when the last is `sent`; every
recipient has a name and a locale of its own, and the mail has a subject, a text and HTML.
"""

from benchmarks import celery_noop, load
from benchmarks.bench import Result, bench, result

RECIPIENTS = 100_000


def run(runs: int) -> Result:
    """Against Celery's no-op tasks."""
    figures = []
    with bench() as running:
        load.register_types(running)
        tenant = load.tenant(running, RECIPIENTS)
        for _ in range(runs):
            baseline = celery_noop.throughput(running)
            load.queued(load.MAIL, tenant)
            figure = load.drain(running, "*=null")
            figures.append({"figure": figure, "baseline": baseline, "ratio": figure / baseline})
        running.check()
        load.all_sent(running, RECIPIENTS * runs)
    return result("null", "deliveries/s", "celery-noop tasks/s", figures)
