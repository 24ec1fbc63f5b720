"""Ten tenants, one of them with a campaign: when the other nine are done, against a fair share.

All are queued at once, the campaign first. With fair turns the nine have everything sent when the
campaign has had as much as one of them; first come, first served would serve it whole before.
"""

import time

from benchmarks import load
from benchmarks.bench import Result, bench, result

CAMPAIGN = 50_000
OTHERS = 9
EACH = 2_000


def run(runs: int) -> Result:
    """Deliveries of a fair share over the deliveries that were sent until the nine were done."""
    figures = []
    fair = (OTHERS + 1) * EACH
    with bench() as running:
        load.register_types(running)
        big = load.tenant(running, CAMPAIGN)
        small = [load.tenant(running, EACH) for _ in range(OTHERS)]
        others = (
            "SELECT coalesce(sum(cardinality(delivery_ids)), 0) FROM notifier.dispatches "
            f"WHERE tenant_id <> '{big}'"
        )
        total = CAMPAIGN + OTHERS * EACH
        for _ in range(runs):
            load.queued(load.MAIL, big)
            for tenant in small:
                load.queued(load.MAIL, tenant)
            with running.worker(), running.process("relay", "relay"):
                while running.count(others):
                    time.sleep(0.005)
                served = total - running.count(load.WAITING)
                running.await_none()
            figures.append({"figure": served, "baseline": fair, "ratio": fair / served})
        running.check()
        load.all_sent(running, total * runs)
    return result("tenants", "sent until 9 were done", "fair share, deliveries", figures)
