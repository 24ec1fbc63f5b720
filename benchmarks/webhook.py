"""Signed webhooks, from queued to `delivered`, against a bare loop of the same HTTP client.

The loop posts to the same endpoint from as many processes, once with one thread each and once with
as many as the provider may use, whose interpreter they share; the better of both is the baseline.

`against_requests` is the ratio to the same loop with a `requests.Session`, which is what an
application's own script would post with.

That endpoint answers at once. `after_10_ms` is the ratio where another takes as long as the
vendors' stand-ins do, against the loop with as many threads as the provider.
"""

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Barrier

import requests
from requests.adapters import HTTPAdapter

from benchmarks import load
from benchmarks.bench import CONCURRENCY, Bench, Result, bench, result
from benchmarks.sinks import Sink, sink
from notifier.channels import egress, http

RECIPIENTS, OF_LATE = 20_000, 4_000
"""Of the endpoint that answers at once, and of the one that takes its time; the loop of `requests`
sends as many as the latter has."""
THREADS = (1, 8)
"""Requests at a time of one process of the loop; 8 is what the provider may use."""

LOOPBACK = "127.0.0.0/8"
BODY = b'{"to": "Recipient 12345", "offer": "spring"}'
HEADERS = {"Content-Type": "application/json"}


def bare_loop(ready: Barrier, url: str, count: int, threads: int) -> None:
    """Post `BODY` from so many threads, one request after another in each."""
    client = http.Client(None, egress.parse_networks(LOOPBACK))
    to = http.target(url)

    def post(share: int) -> None:
        for _ in range(share):
            answer = client.request("POST", to, tuple(HEADERS.items()), BODY, time.monotonic() + 15)
            assert answer.status == 204, answer.line

    shared_out(ready, post, count, threads)
    client.close()


def requests_loop(ready: Barrier, url: str, count: int, threads: int) -> None:
    """The same with `requests`, one session for all threads."""
    with requests.Session() as session:
        session.trust_env = False
        session.mount("http://", HTTPAdapter(pool_maxsize=threads))

        def post(share: int) -> None:
            for _ in range(share):
                answer = session.post(url, data=BODY, headers=HEADERS, timeout=15)
                assert answer.status_code == 204, answer.reason

        shared_out(ready, post, count, threads)


def shared_out(ready: Barrier, post: Callable[[int], None], count: int, threads: int) -> None:
    """Post so often, in equal shares from so many threads."""
    ready.wait(60)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(post, [count // threads] * threads))


def bare(loop: Callable[..., None], url: str, count: int, threads: int) -> float:
    """Requests a second of bare loops in as many processes as our worker has."""
    shares = [(url, count // CONCURRENCY, threads)] * CONCURRENCY
    began, done = load.produce(loop, shares)
    return count / (done - began)


def measured(running: Bench, endpoint: Sink, tenant: uuid.UUID, recipients: int) -> float:
    """Deliveries a second of ours to all of the tenant's recipients."""
    load.queued(load.HOOK, tenant)
    before = endpoint.taken()
    figure = load.drain(running, "*=null,webhook=webhook", NOTIFIER_WEBHOOK_ALLOW_NETWORKS=LOOPBACK)
    endpoint.expect(before + recipients)
    return figure


def url(endpoint: Sink) -> str:
    return f"http://127.0.0.1:{endpoint.port}/hook"


def run(runs: int) -> Result:
    """Requests a second of both."""
    figures = []
    with bench() as running, sink("http") as endpoint, sink("late-http") as late:
        load.register_types(running)
        tenant = load.tenant(running, RECIPIENTS, hook=url(endpoint))
        waits = load.tenant(running, OF_LATE, hook=url(late))
        for _ in range(runs):
            alone, many = (bare(bare_loop, url(endpoint), RECIPIENTS, n) for n in THREADS)
            scripts = max(bare(requests_loop, url(endpoint), OF_LATE, n) for n in THREADS)
            baseline = max(alone, many)
            figure = measured(running, endpoint, tenant, RECIPIENTS)
            late_loop = bare(bare_loop, url(late), OF_LATE, THREADS[-1])
            figures.append(
                {
                    "figure": figure,
                    "baseline": baseline,
                    "ratio": figure / baseline,
                    "against_one_thread": figure / alone,
                    "against_many": figure / many,
                    "against_requests": figure / scripts,
                    "after_10_ms": measured(running, late, waits, OF_LATE) / late_loop,
                }
            )
        running.check()
        load.all_sent(running, (RECIPIENTS + OF_LATE) * runs)
    return result("webhook", "deliveries/s", "bare loop of the same client, requests/s", figures)
