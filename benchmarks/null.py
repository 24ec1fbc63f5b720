"""Deliveries a second through everything but a network: claimed, rendered, recorded, journalled.

Starts at deliveries that wait on full dispatches and ends when the last is `sent`; every
recipient has a name and a locale of its own, and the mail has a subject, a text and HTML.
"""

from benchmarks import celery_noop, load
from benchmarks.bench import Bench, Result, bench, result

RECIPIENTS = 100_000


def beside_noops(
    running: Bench, runs: int, event_type: str, providers: str
) -> list[dict[str, float]]:
    """Deliveries a second of `RECIPIENTS` queued ones, against Celery's no-op tasks; checked."""
    figures = []
    load.register_types(running)
    tenant = load.tenant(running, RECIPIENTS)
    for _ in range(runs):
        baseline = celery_noop.throughput(running)
        load.queued(event_type, tenant)
        figure = load.drain(running, providers)
        figures.append({"figure": figure, "baseline": baseline, "ratio": figure / baseline})
    running.check()
    load.all_sent(running, RECIPIENTS * runs)
    return figures


def run(runs: int) -> Result:
    """Against Celery's no-op tasks."""
    with bench() as running:
        figures = beside_noops(running, runs, load.MAIL, "*=null")
    return result("null", "deliveries/s", "celery-noop tasks/s", figures)
