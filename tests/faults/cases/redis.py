"""Redis killed, emptied, restarted, frozen, unreachable and full: it may forget everything."""

import os
import signal
import time

from tests.faults.case import Trial, case
from tests.faults.stand import await_

WITHIN = 60.0
"""Seconds after Redis is back until everything is delivered, without a hand."""

BOUND = 1.0
"""Seconds an emit may take while Redis is away; a poke gives up after 0.05."""

SHORT = 6.0
"""Seconds an outage lasts in the short form: more than its patience makes of `BOUND`, so that an
emit which waits for the end of the outage is seen."""


@case("redis-killed", "SIGKILL and all data lost, back at once", within=WITHIN)
def killed(trial: Trial) -> None:
    trial.nothing_falls()
    trial.begin()
    trial.stand.services.kill_redis()
    trial.struck("killed and wiped")
    time.sleep(trial.chance.uniform(0, 0.5))
    _back(trial)


@case("redis-flushed", "FLUSHALL at peak, three times", within=WITHIN)
def flushed(trial: Trial) -> None:
    trial.nothing_falls()
    trial.begin(0.05, 0.3)
    for _ in range(3):
        trial.stand.client.flushall()
        trial.struck("FLUSHALL")
        time.sleep(trial.chance.uniform(0, 0.3))
    _consumed(trial)


@case("redis-restarted", "ten restarts in 30 s", within=WITHIN, seconds=28, waits=True)
def restarted(trial: Trial) -> None:
    trial.nothing_falls()
    trial.begin(0.05, 0.2)
    seconds = trial.scaled(30, 5 if trial.short else 30, "ten restarts")
    trial.struck("ten restarts")
    began = time.monotonic()
    for n in range(1, 11):
        trial.stand.services.restart_redis(wipe=True)
        time.sleep(max(0.0, began + seconds * n / 10 - time.monotonic()))
    trial.over()
    _consumed(trial)
    _emits_were_bounded(trial)


@case(
    "redis-frozen", "SIGSTOP for 60 s: emits go on, bounded", within=WITHIN, seconds=55, waits=True
)
def frozen(trial: Trial) -> None:
    trial.nothing_falls()
    trial.begin(0.02, 0.2)
    pid = trial.stand.services.redis_pid
    os.kill(pid, signal.SIGSTOP)
    trial.struck("SIGSTOP")
    try:
        time.sleep(trial.scaled(60, SHORT if trial.short else 60, "frozen"))
    finally:
        os.kill(pid, signal.SIGCONT)
    trial.over()
    _consumed(trial)
    _emits_were_bounded(trial)


@case(
    "redis-blackholed",
    "every connection half-open for good, new ones too",
    within=WITHIN,
    waits=True,
)
def blackholed(trial: Trial) -> None:
    trial.nothing_falls()
    trial.begin(0.05, 0.4)
    trial.stand.redis.blackhole()
    trial.struck("blackhole")
    time.sleep(trial.scaled(20, SHORT if trial.short else 20, "unreachable"))
    trial.stand.redis.heal()
    trial.over()
    _consumed(trial)
    _emits_were_bounded(trial)


@case("redis-full", "maxmemory reached: it refuses every write", within=WITHIN, seconds=4)
def full(trial: Trial) -> None:
    trial.begin(0.05, 0.4)
    trial.stand.client.config_set("maxmemory", 1)
    trial.struck("maxmemory")
    try:
        time.sleep(trial.scaled(10, SHORT if trial.short else 10, "full"))
    finally:
        trial.stand.client.config_set("maxmemory", 0)
    trial.over()
    _consumed(trial)
    _emits_were_bounded(trial)


@case("redis-down", "away for ten minutes", within=WITHIN, seconds=20, waits=True)
def down(trial: Trial) -> None:
    trial.nothing_falls()
    trial.begin(0.02, 0.2)
    trial.stand.services.kill_redis()
    trial.struck("killed")
    time.sleep(trial.scaled(600, SHORT if trial.short else 30, "away"))
    _back(trial)
    _emits_were_bounded(trial)


def _back(trial: Trial) -> None:
    trial.stand.services.restart_redis(wipe=True)
    trial.over()
    _consumed(trial)


def _consumed(trial: Trial) -> None:
    """Every worker consumes again, and how long that took."""
    took = await_(trial.stand.all_consume, WITHIN, "every worker consumes again")
    trial.note(f"every worker consumed again after {took:.1f} s")


def _emits_were_bounded(trial: Trial) -> None:
    trial.load.join()
    slowest = trial.load.slowest
    trial.check(
        slowest <= BOUND * trial.patience, f"an emit took {slowest:.2f} s while Redis was away"
    )
