"""Emits a second of one producer, each its own commit, against a bare insert and its commit.

The figure is Python's `emit` on a psycopg connection. `sql` is the function called directly,
`http` one event a request, `batch` events a second in requests of 1,000.
"""

import json
import time
import uuid
from collections.abc import Callable
from http.client import HTTPConnection

import psycopg

from benchmarks import load
from benchmarks.bench import Bench, Result, bench, result
from benchmarks.sinks import free_port
from notifier.store import keys

EVENTS = 1000
BATCH = 1000


def per_second(work: Callable[[int], object], times: int, each: int = 1) -> float:
    work(0)
    started = time.monotonic()
    for number in range(times):
        work(number)
    return times * each / (time.monotonic() - started)


def measured(running: Bench, tenant: uuid.UUID, http: HTTPConnection, key: str) -> dict[str, float]:
    with (
        psycopg.connect(
            running.environment["NOTIFIER_DATABASE_URL"], autocommit=True
        ) as connection,
        running.admin() as admin,
    ):
        admin.execute("CREATE TABLE IF NOT EXISTS bare_event (id uuid PRIMARY KEY, payload jsonb)")

        def bare(_: int) -> None:
            admin.execute(
                "INSERT INTO bare_event VALUES (notifier.new_id(), %s)",
                (json.dumps(load.PAYLOAD),),
            )

        def sql(number: int) -> None:
            connection.execute(
                "SELECT notifier.emit_notification_event(%s, %s, %s, %s)",
                (
                    *(tenant, load.MAIL, json.dumps(load.PAYLOAD)),
                    json.dumps({"recipients": [f"r{number}"]}),
                ),
            )

        def post(path: str, body: object) -> None:
            http.request(
                "POST",
                path,
                json.dumps(body),
                {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
            )
            answer = http.getresponse()
            said = answer.read()
            assert answer.status < 300, said

        def item(number: int) -> dict[str, object]:
            return {
                "event_type": load.MAIL,
                "payload": load.PAYLOAD,
                "audience": {"recipients": [f"r{number % EVENTS}"]},
            }

        baseline = per_second(bare, EVENTS)
        figure = per_second(lambda n: load.emit_one(connection, tenant, n), EVENTS)
        return {
            "figure": figure,
            "baseline": baseline,
            "ratio": figure / baseline,
            "sql": per_second(sql, EVENTS),
            "http": per_second(lambda n: post("/v1/events", item(n)), EVENTS),
            "batch": per_second(
                lambda _: post("/v1/events/batch", {"events": [item(n) for n in range(BATCH)]}),
                3,
                BATCH,
            ),
        }


def run(runs: int) -> Result:
    """The four ways, and what the database's commit alone allows."""
    port = free_port()
    with bench() as running:
        load.register_types(running)
        tenant = load.tenant(running, EVENTS)
        with running.pool.begin() as connection:
            _, key = keys.create_key(connection, tenant, "bench")
        with running.process("api", "api", NOTIFIER_HTTP_PORT=str(port)):
            http = HTTPConnection("127.0.0.1", port)
            await_api(http)
            figures = [measured(running, tenant, http, key) for _ in range(runs)]
            http.close()
        running.check()
    return result("emit", "emits/s", "bare insert and commit, per second", figures)


def await_api(http: HTTPConnection) -> None:
    give_up = time.monotonic() + 30
    while True:
        try:
            http.request("GET", "/healthz")
            http.getresponse().read()
            return
        except OSError:
            if time.monotonic() > give_up:
                raise TimeoutError("the API did not answer within 30 s") from None
            http.close()
            time.sleep(0.1)
