"""What all benchmarks share: services of their own with default durability, workers, results."""

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Engine

from notifier import log, queue, register
from notifier.local import boot, scratch
from notifier.settings import settings
from notifier.store import engine as store_engine
from notifier.store import system
from notifier.store.engine import engine_for
from notifier.store.migrate import migrate
from notifier.store.roles import create_logins

CONCURRENCY = 2
"""Worker processes on both sides of every comparison."""


@dataclass(slots=True)
class Result:
    """One benchmark. ratio: figure over baseline_figure, each the median over the runs.

    runs: one mapping a run with `figure`, `baseline`, `ratio` and whatever else was measured.
    """

    name: str
    figure: float
    unit: str
    baseline: str
    baseline_figure: float
    ratio: float
    runs: list[dict[str, float]] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def also(self) -> dict[str, float]:
        """The medians of what else the runs measured."""
        names = [n for n in self.runs[0] if n not in ("figure", "baseline", "ratio")]
        return {name: _median(self.runs, name) for name in names}


def result(name: str, unit: str, baseline: str, runs: list[dict[str, float]]) -> Result:
    """The medians of `runs`."""
    figures = [_median(runs, key) for key in ("figure", "baseline", "ratio")]
    return Result(name, figures[0], unit, baseline, figures[1], figures[2], runs)


def _median(runs: list[dict[str, float]], key: str) -> float:
    return round(statistics.median(run[key] for run in runs), 3)


class ToolMissing(RuntimeError):
    """A program this measurement needs is not on this machine: no figure, rather than another."""


class InvariantsBroken(RuntimeError):
    """The run left rows that break an invariant: then no figure is printed."""


@dataclass(slots=True)
class Bench:
    """The services of one benchmark.

    pool: as the engine's role. admin_url: of the superuser, for making rows in bulk and baselines.
    """

    pool: Engine
    admin_url: str
    folder: Path
    environment: dict[str, str]

    def check(self) -> None:
        with self.pool.connect() as connection:
            broken = system.violations(connection)
        if broken:
            raise InvariantsBroken(str(broken))

    def count(self, query: str) -> int:
        with self.pool.connect() as connection:
            return int(connection.exec_driver_sql(query).scalar_one())

    def admin(self) -> psycopg.Connection[Any]:
        """A connection as the superuser, every statement its own transaction."""
        return psycopg.connect(self.admin_url, autocommit=True)

    def await_none(self, seconds: float = 600) -> float:
        """Wait until no dispatch is left; when that was seen, by `time.monotonic`."""
        give_up = time.monotonic() + seconds
        while self.count("SELECT count(*) FROM (SELECT FROM notifier.dispatches LIMIT 1) x"):
            if time.monotonic() > give_up:
                raise TimeoutError(f"deliveries were left after {seconds} s")
            time.sleep(0.01)
        return time.monotonic()

    @contextmanager
    def process(self, name: str, *arguments: str, **environment: str) -> Iterator[int]:
        """Run `notifier ARGUMENTS` beside the benchmark; yields its process id."""
        with (self.folder / f"{name}.log").open("ab") as output:
            started = subprocess.Popen(
                [sys.executable, "-m", "notifier.cli", *arguments],
                env={**os.environ, **self.environment, **environment},
                stdout=output,
                stderr=output,
            )
            try:
                yield started.pid
            finally:
                started.terminate()
                started.wait(60)

    @contextmanager
    def worker(self, providers: str = "*=null", **environment: str) -> Iterator[int]:
        """A worker on every queue, as `notifier worker` starts it, once it takes tasks."""
        noop()
        with self.starting_worker(providers, CONCURRENCY, **environment) as pid:
            self.await_empty()
            # Its processes have read their settings and opened nothing else.
            time.sleep(0.5)
            yield pid

    @contextmanager
    def starting_worker(
        self, providers: str = "*=null", concurrency: int = CONCURRENCY, **environment: str
    ) -> Iterator[int]:
        with self.process(
            *("worker", "worker", "-c", str(concurrency)),
            NOTIFIER_PROVIDERS=providers,
            **environment,
        ) as pid:
            yield pid

    def await_empty(self, seconds: float = 120) -> None:
        """Return once the queue of the no-ops is empty."""
        give_up = time.monotonic() + seconds
        while queue.redis().llen(NOOP_QUEUE):
            if time.monotonic() > give_up:
                raise TimeoutError(f"no worker within {seconds} s")
            time.sleep(0.005)


NOOP_QUEUE = "notifier.inapp.bulk"


def noop() -> None:
    """Publish Celery's smallest task on one of the worker's queues."""
    queue.publish("notifier.noop", "", NOOP_QUEUE)


@contextmanager
def bench() -> Iterator[Bench]:
    """A fresh Postgres with default durability and a fresh Valkey, migrated, as the engine."""
    with (
        scratch("notifier-bench-") as folder,
        boot(folder / "data") as services,
    ):
        admin = engine_for(services.admin_url)
        with admin.connect() as connection:
            migrate(connection)
            register.shipped(connection)
            connection.commit()
            urls = create_logins(connection, services.admin_url)
        admin.dispose()
        environment = {
            "NOTIFIER_DATABASE_URL": urls["engine"],
            "NOTIFIER_REDIS_URL": services.redis_url,
            "NOTIFIER_LOG_LEVEL": "INFO",
        }
        os.environ.update(environment)
        for cached in (settings, store_engine.pool, queue.producer, queue.redis):
            cached.cache_clear()
        log.configure()
        pool = engine_for(urls["engine"])
        try:
            yield Bench(pool, services.admin_url, folder, environment)
        finally:
            pool.dispose()
            store_engine.pool().dispose()
            for name in environment:
                os.environ.pop(name)
