"""In-app notifications a second into their recipients' inboxes, rendered and journalled."""

from benchmarks import load
from benchmarks.bench import InvariantsBroken, Result, bench, result
from benchmarks.null import RECIPIENTS, beside_noops


def run(runs: int) -> Result:
    """Against Celery's no-op tasks."""
    with bench() as running:
        figures = beside_noops(running, runs, load.INBOX, "*=null,inapp=inbox")
        kept = running.count("SELECT count(*) FROM notifier.notifications")
        if kept != RECIPIENTS * runs:
            raise InvariantsBroken(f"{RECIPIENTS * runs} notifications expected, {kept} kept")
    return result("inapp", "deliveries/s", "celery-noop tasks/s", figures)
