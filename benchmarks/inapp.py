"""In-app notifications a second into their recipients' inboxes, rendered and journalled."""

from benchmarks import celery_noop, load
from benchmarks.bench import InvariantsBroken, Result, bench, result

RECIPIENTS = 50_000


def run(runs: int) -> Result:
    """Against Celery's no-op tasks."""
    figures = []
    with bench() as running:
        load.register_types(running)
        tenant = load.tenant(running, RECIPIENTS)
        for _ in range(runs):
            baseline = celery_noop.throughput(running)
            load.queued(load.INBOX, tenant)
            figure = load.drain(running, "*=null,inapp=inbox")
            figures.append({"figure": figure, "baseline": baseline, "ratio": figure / baseline})
        running.check()
        load.all_sent(running, RECIPIENTS * runs)
        kept = running.count("SELECT count(*) FROM notifier.notifications")
        if kept != RECIPIENTS * runs:
            raise InvariantsBroken(f"{RECIPIENTS * runs} notifications expected, {kept} kept")
    return result("inapp", "deliveries/s", "celery-noop tasks/s", figures)
