"""Signed webhooks, from queued to `delivered`, against a bare loop of the same HTTP client.

Both sides post the same number of bytes from as many processes and threads to the same endpoint.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier

from benchmarks import load
from benchmarks.bench import CONCURRENCY, Bench, Result, bench, result
from benchmarks.sinks import Sink, sink
from notifier.channels import egress, http

RECIPIENTS = 20_000
THREADS = 8
"""Requests at a time of one process, on both sides: the default of the provider."""

LOOPBACK = "127.0.0.0/8"
BODY = b'{"to": "Recipient 12345", "offer": "spring"}'


def bare_loop(ready: Barrier, url: str, count: int) -> None:
    """Post `BODY` from `THREADS` threads, one request after another in each."""
    client = http.Client(None, egress.parse_networks(LOOPBACK))
    to = http.target(url)

    def post(share: int) -> None:
        for _ in range(share):
            answer = client.post(
                to, (("Content-Type", "application/json"),), BODY, time.monotonic() + 15
            )
            assert answer.status == 204, answer.line

    ready.wait(60)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(post, [count // THREADS] * THREADS))
    client.close()


def bare(url: str, count: int) -> float:
    """Requests a second of bare loops in as many processes as our worker has."""
    began = load.produce(bare_loop, [(url, count // CONCURRENCY)] * CONCURRENCY)
    return count / (time.monotonic() - began)


def measured(running: Bench, endpoint: Sink) -> float:
    before = endpoint.taken()
    figure = load.drain(running, "*=null,webhook=webhook", NOTIFIER_WEBHOOK_ALLOW_NETWORKS=LOOPBACK)
    endpoint.expect(before + RECIPIENTS)
    return figure


def run(runs: int) -> Result:
    """Requests a second of both."""
    figures = []
    with bench() as running, sink("http") as endpoint:
        url = f"http://127.0.0.1:{endpoint.port}/hook"
        load.register_types(running)
        tenant = load.tenant(running, RECIPIENTS, hook=url)
        for _ in range(runs):
            baseline = bare(url, RECIPIENTS)
            load.queued(load.HOOK, tenant)
            figure = measured(running, endpoint)
            figures.append({"figure": figure, "baseline": baseline, "ratio": figure / baseline})
        running.check()
        load.all_sent(running, RECIPIENTS * runs)
    return result("webhook", "deliveries/s", "bare loop of the same client, requests/s", figures)
