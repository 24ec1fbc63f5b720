"""Relays killed and frozen between mark and publish, two at once; beats killed, and three."""

import os
import signal
import time

from notifier import queue
from tests.faults.case import Trial, case
from tests.faults.stand import LEASE, Programs, await_
from workers.timetable import TIMETABLE


@case(
    "relay-killed-marked",
    "SIGKILL between the commit of the marks and the first ring: what was marked is rung later",
    may_repeat=False,
)
def marked(trial: Trial) -> None:
    trial.reach("relay.marked", trial.some(6))


@case(
    "relay-killed-between-rings",
    "SIGKILL with some of the marked dispatches rung and others not",
    may_repeat=False,
)
def between(trial: Trial) -> None:
    trial.reach("relay.between_rings", trial.some(6))


@case(
    "relay-frozen-marked",
    "a relay frozen between mark and publish rings late what the other one has rung since",
    may_repeat=False,
)
def frozen(trial: Trial) -> None:
    trial.reach("relay.marked", trial.some(6), action="stop")
    time.sleep(trial.chance.uniform(0.5, LEASE))
    for name in ("relay-1", "relay-2"):
        trial.stand.stack.carry_on(name)


@case("relays-killed", "SIGKILL for both relays, again and again", may_repeat=False, seconds=2)
def both(trial: Trial) -> None:
    trial.begin(0.1, 0.3)
    for _ in range(3):
        for name in ("relay-1", "relay-2"):
            if trial.stand.stack.pid(name):
                trial.stand.stack.kill_whole(name)
        trial.struck("relay-1, relay-2")
        time.sleep(trial.chance.uniform(0.2, 1.0))
    # The third fall within a moment: they are started again after a pause of two seconds.
    names = ("relay-1", "relay-2")
    await_(lambda: any(trial.stand.stack.is_ready(name) for name in names), 30, "a relay is back")
    trial.over()


@case("beat-killed", "SIGKILL for the beat", may_repeat=False)
def beat(trial: Trial) -> None:
    stack = trial.stand.stack
    trial.begin()
    before = stack.starts("beat-1")
    stack.kill("beat-1")
    trial.struck("beat-1")
    await_(
        lambda: stack.starts("beat-1") > before and stack.is_ready("beat-1"), 30, "the beat is back"
    )


@case(
    "beats-three",
    "three beats, and the entries of all three sent at once: each does its work once",
    may_repeat=False,
)
def beats(trial: Trial) -> None:
    stand = trial.stand
    more = Programs(
        {"beat-2": ["beat"], "beat-3": ["beat"]},
        logs=stand.folder / "logs",
        environment=stand.environment,
    )
    with more:
        _send_entries(trial)
        await_(lambda: _furthest(trial) == _wanted(trial), 30, "the partitions of three weeks")
        furthest = _furthest(trial)
        with stand.admin.begin() as connection:
            connection.exec_driver_sql(f"DROP TABLE notifier.{furthest}")
        failures = _failures(trial)
        trial.begin()
        # The timetable's only entry is due once an hour: sent here as each of them would.
        for _ in range(3):
            _send_entries(trial)
        trial.struck("every entry of the timetable sent three times at once")
        await_(lambda: _furthest(trial) == furthest, 30, f"{furthest} is made again")
        trial.load.join()
        await_(trial.idle, 60, "everything finished")
        trial.check(_failures(trial) == failures, "an entry failed in a worker")
        await_(lambda: all(more.pid(name) for name in more.names()), 30, more.story)
        for name in more.names():
            os.kill(more.pid(name), signal.SIGTERM)


def _send_entries(trial: Trial) -> None:
    from celery import Celery

    with Celery("faults", broker=trial.stand.services.redis_url) as app:
        for entry in TIMETABLE.values():
            for _ in range(3):
                app.send_task(entry["task"], queue=queue.direct(entry["options"]["queue"]))


_PARTITIONS = (
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = 'notifier.delivery_journal'::regclass ORDER BY c.relname DESC LIMIT 1"
)


def _furthest(trial: Trial) -> str:
    return str(trial.stand.one(_PARTITIONS))


def _wanted(trial: Trial) -> str:
    """The partition three weeks ahead, which nobody but the timetable's entry makes."""
    return "delivery_journal_" + str(
        trial.stand.one(
            "SELECT to_char(date_trunc('week', now() AT TIME ZONE 'UTC' + '3 weeks'::interval), "
            "'YYYYMMDD')"
        )
    )


def _failures(trial: Trial) -> int:
    logs = [trial.stand.stack.log(name) for name in trial.stand.stack.names()]
    return sum(log.read_text().count("notifier.upkeep") for log in logs)
