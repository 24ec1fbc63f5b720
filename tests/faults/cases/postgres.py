"""Postgres restarted, its connections ended and cut, answers lost, frozen, read-only."""

import time

from tests.faults.case import Trial, case
from tests.faults.stand import LEASE


@case("postgres-restarted", "an immediate shutdown in the middle of batches, and back")
def restarted(trial: Trial) -> None:
    trial.nothing_falls()
    trial.begin()
    trial.stand.services.kill_postgres()
    trial.struck("immediate shutdown")
    time.sleep(trial.chance.uniform(0, 1.0))
    trial.stand.services.start_postgres()
    trial.over()


@case("postgres-away", "away for longer than the lease: attempts are in doubt, not failed")
def away(trial: Trial) -> None:
    trial.nothing_falls()
    trial.begin()
    trial.stand.services.kill_postgres()
    trial.struck("immediate shutdown")
    time.sleep(LEASE + 1)
    trial.stand.services.start_postgres()
    trial.over()


@case("postgres-terminated", "pg_terminate_backend for every connection, ten times", seconds=2)
def terminated(trial: Trial) -> None:
    trial.nothing_falls()
    trial.begin(0.05, 0.3)
    for _ in range(10):
        trial.stand.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'notifier' AND pid <> pg_backend_pid() AND random() < 0.7"
        )
        trial.struck("pg_terminate_backend")
        time.sleep(trial.chance.uniform(0.02, 0.3))


@case("postgres-cut", "connections cut before a statement's answer, at any statement", seconds=2)
def cut(trial: Trial) -> None:
    trial.nothing_falls()
    _lose(trial, b"", 400)


@case(
    "postgres-lost-commit",
    "the acknowledgement of a COMMIT lost: written once; an emit repeated makes one event",
    seconds=2,
)
def lost_commit(trial: Trial) -> None:
    trial.nothing_falls()
    _lose(trial, b"COMMIT", 40)


def _lose(trial: Trial, to: bytes, spread: int) -> None:
    """Lose the answer to some request that holds `to`, again and again while there is load."""
    proxy = trial.stand.postgres
    before = proxy.lost_answers
    trial.begin(0.02, 0.1)
    for _ in range(8):
        left = trial.chance.randint(0, spread)

        def when() -> bool:
            nonlocal left
            left -= 1
            return left < 0

        proxy.lose_answer(to, when)
        if not proxy.lost.wait(5):
            break
        trial.struck(f"{proxy.lost_answers - before} answers lost")
    proxy.heal()
    trial.check(proxy.lost_answers > before, "no answer was lost")


@case("postgres-frozen", "no answer for longer than the lease", may_outlive_claim=True)
def frozen(trial: Trial) -> None:
    trial.nothing_falls()
    trial.begin()
    trial.stand.postgres.freeze()
    trial.struck("frozen")
    time.sleep(LEASE + trial.chance.uniform(0.5, 1.5))
    trial.stand.postgres.heal()
    trial.over()


@case("postgres-read-only", "read-only for a moment, or past the lease: in doubt, not failed")
def read_only(trial: Trial) -> None:
    trial.nothing_falls()
    trial.begin()
    _set_read_only(trial, True)
    trial.struck("read-only")
    try:
        time.sleep(trial.chance.choice((0.5, 1.5, LEASE + 1)))
    finally:
        _set_read_only(trial, False)
    trial.over()


def _set_read_only(trial: Trial, on: bool) -> None:
    with trial.stand.admin.connect() as connection:
        plain = connection.execution_options(isolation_level="AUTOCOMMIT")
        plain.exec_driver_sql(
            f"ALTER SYSTEM SET default_transaction_read_only = {'on' if on else 'off'}"
        )
        plain.exec_driver_sql("SELECT pg_reload_conf()")
