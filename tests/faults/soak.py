"""`make soak MINUTES=…`: a steady load, something killed every 30 to 90 s, and what that costs.

Fails where an invariant breaks at the end, or where memory, connections or open files of the
last quarter are above those of the first by more than the tolerance.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import sys
import time
import uuid
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from tests.faults.load import CHANNELS, LANES, Load
from tests.faults.runner import quiet
from tests.faults.stand import LEASE, PEOPLE, Stand, await_
from tests.faults.verdict import Verdict, judge

WARM = 20.0
"""Seconds before the first sample: caches fill, connections are opened."""

EVERY = 3.0
"""Seconds between two samples."""

TOLERANCE = 0.2
SLACK = {"rss MB": 4.0, "open files": 4.0, "connections": 4.0}
"""The last quarter's median may be above the first's by a fifth and these."""


class Steady(Load):
    """Small emits, one after the other, until it is told to end."""

    def __init__(self, stand: Stand, chance: random.Random, rate: float) -> None:
        super().__init__(stand, chance, 0, 0)
        self._chance = chance
        self._rate = rate
        self._ending = False

    def end(self) -> None:
        self._ending = True
        self.join()

    def _emit_all(self) -> None:
        try:
            due = time.monotonic()
            while not self._ending:
                people = self._chance.sample(range(PEOPLE), self._chance.randint(1, 12))
                key = uuid.UUID(int=self._chance.getrandbits(128)).hex
                plan = ([f"user-{n}" for n in people], self._chance.choice(LANES), key)
                self._plans.append(plan)
                self._emit(*plan)
                due = max(due + len(people) * len(CHANNELS) / self._rate, time.monotonic() - 1)
                time.sleep(max(0.0, due - time.monotonic()))
        except BaseException as fault:
            self._fault = fault


Strike = Callable[[Stand, random.Random], str]


def _worker(stand: Stand, chance: random.Random) -> str:
    name = chance.choice(["worker-1", "worker-2"])
    stand.stack.kill_whole(name)
    return f"SIGKILL for {name} and its children"


def _child(stand: Stand, chance: random.Random) -> str:
    name = chance.choice(["worker-1", "worker-2"])
    children = stand.stack.pids(name)[1:]
    if children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(children), signal.SIGKILL)
    return f"SIGKILL for a child of {name}"


def _frozen(stand: Stand, chance: random.Random) -> str:
    name = chance.choice(["worker-1", "worker-2"])
    stand.stack.kill_whole(name, signal.SIGSTOP)
    time.sleep(LEASE + 1)
    stand.stack.carry_on(name)
    return f"SIGSTOP for {name} past its lease"


def _relay(stand: Stand, chance: random.Random) -> str:
    name = chance.choice(["relay-1", "relay-2"])
    stand.stack.kill_whole(name)
    return f"SIGKILL for {name}"


def _beat(stand: Stand, chance: random.Random) -> str:
    stand.stack.kill_whole("beat-1")
    return "SIGKILL for beat-1"


def _redis(stand: Stand, chance: random.Random) -> str:
    stand.services.kill_redis()
    time.sleep(chance.uniform(0, 2))
    stand.services.restart_redis(wipe=True)
    return "Redis killed and wiped"


def _flush(stand: Stand, chance: random.Random) -> str:
    stand.client.flushall()
    return "FLUSHALL"


def _postgres(stand: Stand, chance: random.Random) -> str:
    stand.services.kill_postgres()
    time.sleep(chance.uniform(0, 1))
    stand.services.start_postgres()
    return "immediate restart of Postgres"


def _rolling(stand: Stand, chance: random.Random) -> str:
    name = chance.choice(stand.stack.names())
    stand.stack.kill(name, signal.SIGTERM)
    return f"SIGTERM for {name}"


STRIKES: tuple[Strike, ...] = (
    _worker,
    _child,
    _frozen,
    _relay,
    _beat,
    _redis,
    _flush,
    _postgres,
    _rolling,
)


class Watch:
    """Samples of what processes hold, by role; nothing is made up where it can not be read."""

    def __init__(self, stand: Stand) -> None:
        self._stand = stand
        self.samples: dict[tuple[str, str], list[float]] = defaultdict(list)
        self.missing = "" if Path("/proc/self/statm").exists() else "/proc (memory, open files)"

    def look(self) -> None:
        connections = self._stand.one(
            "SELECT count(*) FROM pg_stat_activity WHERE usename LIKE 'notifier%%'"
        )
        self.samples["Postgres", "connections"].append(float(connections))
        if self.missing:
            return
        held: dict[tuple[str, str], list[float]] = defaultdict(list)
        for name in self._stand.stack.names():
            for place, pid in enumerate(self._stand.stack.pids(name)):
                role = name.partition("-")[0] + (" child" if place else "")
                with contextlib.suppress(OSError):
                    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
                    files = len(os.listdir(f"/proc/{pid}/fd"))
                    held[role, "rss MB"].append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
                    held[role, "open files"].append(files)
        for key, values in held.items():
            self.samples[key].append(statistics.mean(values))

    def rows(self) -> list[tuple[str, str, float, float, bool]]:
        """Of each kind: role, what, first quarter's median, last quarter's, whether it is flat."""
        found = []
        for (role, what), values in sorted(self.samples.items()):
            quarter = len(values) // 4
            if not quarter:
                # Too short to say anything: no figure, and no success either.
                found.append((role, what, values[0], values[-1], False))
                continue
            first = statistics.median(values[:quarter])
            last = statistics.median(values[-quarter:])
            flat = last <= first * (1 + TOLERANCE) + SLACK[what]
            found.append((role, what, round(first, 1), round(last, 1), flat))
        return found


def main() -> int:
    options = _options()
    quiet()
    chance = random.Random(options.seed)
    verdict = Verdict("soak", options.seed)
    print(f"seed {options.seed}: {options.minutes:g} minutes, {options.rate:g} deliveries/s")
    with Stand() as stand:
        stand.clear()
        load = Steady(stand, chance, options.rate)
        watch = Watch(stand)
        began = time.monotonic()
        load.start()
        strikes = _break_things(stand, load, watch, random.Random(options.seed + 1), began, options)
        load.end()
        over = time.time()
        try:
            await_(
                lambda: not stand.one("SELECT count(*) FROM notifier.dispatches"),
                options.patience,
                "everything finished",
                every=0.1,
            )
        except TimeoutError as error:
            verdict.broken.append(str(error))
        verdict.bound, verdict.point = options.patience, f"{strikes} faults"
        judge(
            stand,
            load,
            verdict,
            over=over,
            may_repeat=True,
            may_stay_unknown=False,
            may_outlive_claim=True,
        )
        verdict.took = round(time.monotonic() - began, 1)
    if watch.missing:
        print(f"not measured, for want of {watch.missing}")
    print(f"\n{'role':14} {'what':12} {'first quarter':>13} {'last quarter':>12}")
    for role, what, first, last, flat in watch.rows():
        print(f"{role:14} {what:12} {first:13.1f} {last:12.1f} {'' if flat else 'NOT FLAT'}")
        if not flat:
            verdict.broken.append(f"{what} of {role} grew from {first} to {last}")
    print(verdict.line())
    if options.json:
        rows = [
            dict(zip(("role", "what", "first", "last", "flat"), r, strict=True))
            for r in watch.rows()
        ]
        print(json.dumps({"name": "soak", "held": rows, **verdict.as_dict()}))
    return 1 if verdict.broken else 0


def _break_things(
    stand: Stand,
    load: Steady,
    watch: Watch,
    chance: random.Random,
    began: float,
    options: argparse.Namespace,
) -> int:
    """Sample and strike until the time is over, the last strike a while before; how many."""
    ends = began + options.minutes * 60
    low, high = options.every
    strikes = 0
    due = began + chance.uniform(low, high)
    order: list[Strike] = []
    sample = began + WARM
    while (now := time.monotonic()) < ends:
        if now >= due and now < ends - low / 2:
            # Each kind in turn, in an order of its own every round: none is left out.
            order = order or chance.sample(STRIKES, len(STRIKES))
            what = order.pop()(stand, chance)
            strikes += 1
            print(f"{now - began:7.1f} s  {what}  ({len(load.events)} events)", flush=True)
            due = time.monotonic() + chance.uniform(low, high)
        if now >= sample:
            watch.look()
            sample = now + EVERY
        time.sleep(0.1)
    return strikes


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=100, help="deliveries per second (100)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--every",
        type=float,
        nargs=2,
        default=(30, 90),
        metavar=("LOW", "HIGH"),
        help="seconds between faults (30 90)",
    )
    parser.add_argument("--patience", type=float, default=60, help="seconds to finish in (60)")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
