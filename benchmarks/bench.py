"""What all benchmarks share: services of their own with default durability, workers, results."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sqlalchemy import Engine

from notifier import log, queue, register
from notifier.local import boot
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
    """One benchmark. ratio: figure over baseline_figure, the median over the runs."""

    name: str
    figure: float
    unit: str
    baseline: str
    baseline_figure: float
    ratio: float
    runs: list[dict[str, float]] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def result(name: str, unit: str, baseline: str, runs: list[dict[str, float]]) -> Result:
    """The medians of `runs`, each a mapping of figure, baseline and ratio."""

    def median(key: str) -> float:
        return round(statistics.median(run[key] for run in runs), 3)

    return Result(name, median("figure"), unit, baseline, median("baseline"), median("ratio"), runs)


class InvariantsBroken(RuntimeError):
    """The run left rows that break an invariant: then no figure is printed."""


@dataclass(slots=True)
class Bench:
    """The services of one benchmark.

    pool: as the engine's role. admin_url: of the superuser, for baselines and the planner's care.
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

    @contextmanager
    def process(self, name: str, *arguments: str, **environment: str) -> Iterator[None]:
        """Run `notifier ARGUMENTS` beside the benchmark."""
        with (self.folder / f"{name}.log").open("ab") as output:
            started = subprocess.Popen(
                [sys.executable, "-m", "notifier.cli", *arguments],
                env={**os.environ, **self.environment, **environment},
                stdout=output,
                stderr=output,
            )
            try:
                yield
            finally:
                started.terminate()
                started.wait(60)

    @contextmanager
    def worker(self, providers: str = "*=null") -> Iterator[None]:
        """A worker on every queue, as `notifier worker` starts it, once it takes tasks."""
        noop()
        with self.starting_worker(providers):
            self.await_empty()
            # Its processes have read their settings and opened nothing else.
            time.sleep(0.5)
            yield

    @contextmanager
    def starting_worker(self, providers: str = "*=null") -> Iterator[None]:
        with self.process("worker", "worker", "-c", str(CONCURRENCY), NOTIFIER_PROVIDERS=providers):
            yield

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
        tempfile.TemporaryDirectory(prefix="notifier-bench-") as folder,
        boot(Path(folder) / "data") as services,
    ):
        os.chmod(folder, 0o711)
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
            yield Bench(pool, services.admin_url, Path(folder), environment)
        finally:
            pool.dispose()
            store_engine.pool().dispose()
            for name in environment:
                os.environ.pop(name)
