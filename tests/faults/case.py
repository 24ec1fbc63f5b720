"""A case: what is broken, when, and what must hold; and the running of one with one seed."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.load import CHANNELS, Load
from tests.faults.stand import LEASE, Stand, await_
from tests.faults.verdict import Verdict, judge

PATIENCE = 60.0
"""Seconds beyond a case's bound after which what is not finished counts as stuck."""


SHORT_LOAD = 3.0
"""Seconds over which the short form's load is emitted at most."""


class Broken(AssertionError):
    """Something that the case itself looked at does not hold."""


@dataclass(slots=True)
class Trial:
    """One run of a case, as the function that breaks things sees it.

    short: the form for `make test`: outages last seconds instead of minutes.
    patience: multiplies whatever must be quick.
    """

    stand: Stand
    chance: random.Random
    load: Load
    short: bool
    verdict: Verdict
    patience: float
    over_at: float | None = None
    last_words: list[Callable[[], None]] = field(default_factory=list)

    def begin(self, low: float = 0.1, high: float = 0.6) -> None:
        """Begin the load; return at a random moment in it, by the share that was received."""
        self.load.start()
        share = self.chance.uniform(low, high)
        wanted = share * self.load.size * 3 / 4
        await_(
            lambda: self.stand.received() >= wanted or (self.load.emitted and self.idle()),
            60,
            lambda: f"{share:.0%} of the load received ({self.stand.received()})",
            every=0.002,
        )
        time.sleep(self.chance.uniform(0, 0.02))

    def starts(self) -> dict[str, int]:
        return {name: self.stand.stack.starts(name) for name in self.stand.stack.names()}

    def nothing_falls(self) -> None:
        """From here to the end of the case, no process may end."""
        before = self.starts()

        def look() -> None:
            fallen = [name for name, count in self.starts().items() if count != before[name]]
            self.check(not fallen, f"ended, though nobody killed them: {', '.join(fallen)}")

        self.last_words.append(look)

    def idle(self) -> bool:
        return not self.stand.one("SELECT count(*) FROM notifier.dispatches")

    def struck(self, point: str) -> None:
        """The fault struck now, at `point`; recovery counts from here unless `over` comes."""
        self.verdict.point = point
        self.over_at = time.time()

    def over(self) -> None:
        """The outage ends now: recovery counts from here."""
        self.over_at = time.time()

    def note(self, words: str) -> None:
        self.verdict.notes.append(words)

    def scaled(self, full: float, seconds: float, what: str) -> float:
        """How long an outage lasts here; says so where that is less than the table asks."""
        if seconds < full:
            self.note(f"scaled: {what} for {seconds:g} s instead of {full:g} s")
        return seconds

    def some(self, most: int) -> int:
        """A number of passes, of `most` that a full load surely makes in one process."""
        return self.chance.randint(1, max(1, most * self.load.size // 2000))

    def check(self, holds: object, words: str) -> None:
        if not holds:
            self.verdict.broken.append(words)

    def reach(self, place: str, at: int, action: str = "kill") -> None:
        """Begin the load with `place` armed; return when a process has got there."""
        self.stand.arm(place, action, at)
        self.load.start()
        await_(
            lambda: self.stand.reached(place) or (self.load.emitted and self.idle()),
            60,
            f"{place} reached {at} times",
            every=0.002,
        )
        self.check(self.stand.reached(place), f"{place} was never reached")
        self.struck(f"{place}, pass {at}")


Act = Callable[[Trial], None]


@dataclass(frozen=True, slots=True)
class Case:
    """A fault of the table.

    holds: what must hold besides what must always hold.
    within: seconds from the fault's end to the last outcome.
    may_repeat: whether what was in doubt may reach a receiver twice.
    may_stay_unknown: whether what was in doubt may stay so, because nobody can tell.
    may_outlive_claim: whether a send may finish after its claim (a frozen process).
    seconds: over which the load is emitted.
    waits: most of it is waiting and it starts no process, so that it runs beside the others.
    stand: what kind of stand it needs.
    part: of the usual load.
    """

    name: str
    holds: str
    act: Act
    within: float = LEASE + 2
    may_repeat: bool = True
    may_stay_unknown: bool = False
    may_outlive_claim: bool = False
    seconds: float = 1.0
    channels: tuple[str, ...] = CHANNELS
    waits: bool = False
    stand: type[Stand] = Stand
    part: float = 1.0


CASES: dict[str, Case] = {}
"""Every case by name, in the order of the table; filled by importing `tests.faults.cases`."""


def case(
    name: str,
    holds: str,
    *,
    within: float = LEASE + 2,
    may_repeat: bool = True,
    may_stay_unknown: bool = False,
    may_outlive_claim: bool = False,
    seconds: float = 1.0,
    channels: tuple[str, ...] = CHANNELS,
    waits: bool = False,
    stand: type[Stand] = Stand,
    part: float = 1.0,
) -> Callable[[Act], Act]:
    """Enter a function that breaks things as a case; see `Case`."""

    def enter(act: Act) -> Act:
        assert name not in CASES, name
        CASES[name] = Case(
            name,
            holds,
            act,
            within,
            may_repeat,
            may_stay_unknown,
            may_outlive_claim,
            seconds,
            channels,
            waits,
            stand,
            part,
        )
        return act

    return enter


def run(
    chosen: Case, stand: Stand, seed: int, *, size: int, short: bool, patience: float = 1.0
) -> Verdict:
    """One case with one seed on a stand that is cleared first; never raises for what it finds.

    patience: multiplies the time that recovery may take.
    """
    verdict = Verdict(chosen.name, seed, bound=chosen.within * patience)
    waited = _waited()
    chance = random.Random(f"{chosen.name} {seed}")
    began = time.monotonic()
    try:
        stand.clear()
        seconds = min(chosen.seconds, SHORT_LOAD) if short else chosen.seconds
        load = Load(stand, chance, round(size * chosen.part), seconds, chosen.channels)
        trial = Trial(stand, chance, load, short, verdict, patience)
        try:
            chosen.act(trial)
            load.join()
            await_(trial.idle, verdict.bound + PATIENCE, lambda: _left(stand), every=0.05)
        except TimeoutError as error:
            verdict.broken.append(str(error))
        for look in trial.last_words:
            look()
        judge(
            stand,
            load,
            verdict,
            over=trial.over_at,
            may_repeat=chosen.may_repeat,
            may_stay_unknown=chosen.may_stay_unknown,
            may_outlive_claim=chosen.may_outlive_claim,
        )
    except Exception as error:
        verdict.broken.append(f"{type(error).__name__}: {error}")
    took = time.monotonic() - began
    verdict.took = round(took, 1)
    if waited is not None and (since := _waited()) is not None:
        verdict.contention = round(min(1.0, (since - waited) / took), 2)
    return verdict


def _waited() -> float | None:
    """Seconds since boot in which something waited for a processor; None where nothing tells."""
    try:
        some = Path("/proc/pressure/cpu").read_text().splitlines()[0]
        return int(some.rpartition("=")[2]) / 1e6
    except (OSError, ValueError, IndexError):
        return None


def _left(stand: Stand) -> str:
    rows = stand.query(
        "SELECT kind, channel, lane, attempts, rings, cardinality(delivery_ids), "
        "round(extract(epoch FROM lease_until - clock_timestamp()), 1), "
        "round(extract(epoch FROM due_at - clock_timestamp()), 1) "
        "FROM notifier.dispatches ORDER BY due_at LIMIT 5"
    )
    return f"everything finished; still there: {[tuple(row) for row in rows]}"
