"""Providers that hang, drip, refuse, break off, write without end, or take a message and tell not.

Time is scaled down throughout: deadlines of 1 s instead of 15 s, retries after 0.5 to 8 s instead
of 15 to 300 s.
"""

import random
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from notifier.words import Channel
from tests.channels import tricks
from tests.channels.http_server import bomb
from tests.faults.case import Trial, case
from tests.faults.load import Load
from tests.faults.receivers import LOST, MailFault, WebFault
from tests.faults.stand import await_, times

DEADLINE = 1.0
"""Seconds either provider has for one message on the stand."""

MEMORY = 48 << 10
"""KiB that a worker's process may grow by at most, whatever it is sent."""

RETRIED = 30.0
"""Seconds in which everything that was put off comes back at the latest: the longest delay, what
is asked for with Retry-After, and the sending of what hangs until its deadline."""

SHARE = 4
"""How much longer the other channels may take than without the fault. Two processes of three may
be held by a provider that hangs, so the others have a third of the processes for theirs."""

TAKEN = ("taken", tricks.RESET)
"""The endpoint has it, and breaks off before a word of its answer."""

EMPTY = b"Content-Length: 0\r\n\r\n"
BOMB = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n"


def told(status: int, more: str = "") -> bytes:
    """An HTTP answer without a body."""
    return f"HTTP/1.1 {status} So\r\n{more}".encode() + EMPTY


class Once:
    """For a share of the deliveries an answer that one of them gets the first time only."""

    def __init__(self, trial: Trial, share: float) -> None:
        self._chance = random.Random(trial.chance.random())
        self._share = share
        self.struck: set[str] = set()
        self.spared: set[str] = set()

    def strikes(self, delivery: str) -> bool:
        if delivery in self.struck or delivery in self.spared:
            return False
        chosen = self._chance.random() < self._share
        (self.struck if chosen else self.spared).add(delivery)
        return chosen

    def choice(self, answers: list[bytes | tuple[str, str]]) -> bytes | tuple[str, str]:
        return self._chance.choice(answers)


@case(
    "provider-webhook-misbehaves",
    "timeouts, resets, drips, 1 GB, a gzip bomb, heads and lines without end: each delivery is "
    "sent, the workers' memory stays bounded",
    within=RETRIED,
)
def webhook_misbehaves(trial: Trial) -> None:
    answers: list[bytes | tuple[str, str]] = [
        *(
            (place, trick)
            for place in ("line", "head", "body", "chunk", "trailer")
            for trick in tricks.TRICKS
        ),
        *(told(status) for status in (400, 404, 408, 429, 500, 502, 503, 504)),
        BOMB % len(bomb()) + bomb(),
        b"what do you want\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 503 So\r\n" + EMPTY,
    ]
    once = Once(trial, 0.2)
    _strike(trial, web=lambda d: once.choice(answers) if once.strikes(d) else None)
    trial.last_words.append(lambda: trial.note(f"{len(once.struck)} first requests were hit"))


@case(
    "provider-mail-misbehaves",
    "tricks, 4xx, 421 and cuts at every stage of a dialogue: each mail is sent, the workers' memory "
    "stays bounded",
    within=RETRIED,
)
def mail_misbehaves(trial: Trial) -> None:
    chance = random.Random(trial.chance.random())
    answers = [*tricks.TRICKS, "421 4.3.2 bye", "451 4.3.0 busy", "xyz", "299 odd", ""]
    seen: list[str] = []

    def fault(stage: str, _delivery: str) -> str | None:
        # Few enough that no mail meets more of them than it has attempts.
        if chance.random() > 0.03:
            return None
        seen.append(stage)
        return chance.choice(answers)

    _strike(trial, mail=fault)
    trial.last_words.append(
        lambda: trial.note(
            f"hit at: {', '.join(f'{w} {seen.count(w)}' for w in sorted(set(seen)))}"
        )
    )


@case(
    "provider-answer-lost",
    "taken, and the answer lost: sent again under the same id, once",
    within=RETRIED,
)
def answer_lost(trial: Trial) -> None:
    mail, web = Once(trial, 0.3), Once(trial, 0.3)

    def lose(stage: str, delivery: str) -> str | None:
        return f"250 taken {LOST}" if stage == "DOT" and mail.strikes(delivery) else None

    _strike(trial, mail=lose, web=lambda d: TAKEN if web.strikes(d) else None)

    def once_more_each() -> None:
        trial.note(f"lost: of {len(mail.struck)} mails and {len(web.struck)} webhooks")
        seen = times([receipt for receipt in trial.stand.receipts() if receipt.accepted])
        trial.check(max(seen.values()) == 2, f"one was received {max(seen.values())} times")

    trial.last_words.append(once_more_each)


@case(
    "provider-webhook-away",
    "minutes of 5xx on one channel: backoff with spread, the other three go on",
    within=RETRIED,
)
def webhook_away(trial: Trial) -> None:
    _away(trial, Channel.WEBHOOK, web=lambda _: told(503))


@case(
    "provider-webhook-hangs",
    "one channel's provider does not answer: the other three go on",
    within=RETRIED,
)
def webhook_hangs(trial: Trial) -> None:
    _away(trial, Channel.WEBHOOK, web=lambda _: ("line", tricks.HANG))


@case(
    "provider-mail-hangs",
    "no greeting, or one at a drip: the other three go on",
    within=RETRIED,
)
def mail_hangs(trial: Trial) -> None:
    trick = trial.chance.choice([tricks.HANG, tricks.DRIP])
    _away(
        trial, Channel.EMAIL, mail=lambda stage, _: trick if stage in ("GREETING", "MAIL") else None
    )


@case(
    "provider-asks-to-wait",
    "429 with Retry-After in seconds, as a date, negative and as rubbish: nobody comes back sooner "
    "than asked, nor all at once",
    within=RETRIED,
)
def asks_to_wait(trial: Trial) -> None:
    asked: dict[str, tuple[float, float]] = {}
    chance = random.Random(trial.chance.random())

    def fault(delivery: str) -> bytes | None:
        if delivery in asked:
            return None
        wait = chance.choice([0.0, 2.0, 3.0])
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=wait), usegmt=True)
        words = ["0", "-5", "soon", "nan", ""] if not wait else [f"{wait:g}", date]
        word = chance.choice(words)
        # A date has no fractions of a second: it asks for up to one second less.
        asked[delivery] = (time.time(), wait - (word == date))
        return told(429, f"Retry-After: {word}\r\n")

    _strike(trial, web=fault)

    def nobody_was_early() -> None:
        again = {r.delivery: r.at for r in trial.stand.log.receipts if r.accepted}
        early = [d for d, (at, wait) in asked.items() if d in again and again[d] - at < wait]
        trial.check(not early, f"{len(early)} came back sooner than they were asked to")
        _spread(trial, [again[d] - at for d, (at, wait) in asked.items() if d in again])

    trial.last_words.append(nobody_was_early)


def _strike(trial: Trial, mail: MailFault | None = None, web: WebFault | None = None) -> None:
    """The whole load with these faults, and the memory it took."""
    trial.nothing_falls()
    memory = _Memory(trial)
    trial.stand.mail.fault, trial.stand.endpoint.fault = mail, web
    trial.load.start()
    trial.load.join()
    trial.struck("the load's first attempts")
    trial.last_words.append(memory.is_bounded)


def _away(
    trial: Trial,
    channel: Channel,
    mail: MailFault | None = None,
    web: WebFault | None = None,
) -> None:
    """One channel's provider fails until the others are done, and well after the last emit."""
    clean = max(_took(trial, _without_fault(trial)).values())
    trial.stand.mail.fault, trial.stand.endpoint.fault = mail, web
    trial.load.start()
    began = time.monotonic()
    trial.load.join()
    trial.struck(f"{channel}, from the start")
    bound = (SHARE * clean + 2 * DEADLINE) * trial.patience
    await_(
        lambda: not trial.stand.one(_UNFINISHED, channel, list(trial.load.events)),
        bound,
        f"the other channels are done while {channel} fails, in {bound:.1f} s",
    )
    seconds = trial.scaled(600, 2 if trial.short else 10, f"{channel} fails")
    time.sleep(max(0.0, began + seconds - time.monotonic()))
    trial.stand.mail.fault = trial.stand.endpoint.fault = None
    trial.over()

    def tell_times() -> None:
        took = _took(trial, trial.load)
        words = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in sorted(took.items()))
        trial.note(f"first emit to last outcome: {words}; without the fault {clean:.1f} s")

    trial.last_words.append(tell_times)


_UNFINISHED = (
    "SELECT count(*) FROM notifier.notification_deliveries "
    "WHERE channel <> %s AND event_id = ANY(%s) AND status NOT IN ('sent', 'delivered')"
)


def _without_fault(trial: Trial) -> Load:
    """As large a load, to compare with; judged by nobody."""
    chance = random.Random(trial.chance.random())
    load = Load(trial.stand, chance, trial.load.size, trial.load.seconds)
    load.start()
    load.join()
    await_(trial.idle, 60, "the load without the fault is done")
    trial.load.apart |= load.events.keys()
    return load


def _took(trial: Trial, load: Load) -> dict[str, float]:
    """Seconds from the first emit to each channel's last outcome."""
    rows = trial.stand.query(
        "SELECT d.channel, extract(epoch FROM max(j.at))::float8, "
        "extract(epoch FROM min(e.created_at))::float8 FROM notifier.delivery_journal j "
        "JOIN notifier.notification_deliveries d ON d.id = j.delivery_id "
        "JOIN notifier.notification_events e ON e.id = d.event_id "
        "WHERE d.event_id = ANY(%s) GROUP BY d.channel",
        list(load.events),
    )
    began = min(row[2] for row in rows)
    return {row[0]: row[1] - began for row in rows}


def _spread(trial: Trial, waits: list[float]) -> None:
    """What failed together does not come back together."""
    fullest = max((sum(at <= w < at + 0.05 for w in waits) for at in waits), default=0)
    trial.note(f"{len(waits)} came back, at most {fullest} of them within 50 ms")
    # Three waits were asked for, and each is spread over a few moments.
    trial.check(fullest <= max(len(waits) / 4, 10), f"{fullest} came back at once")


class _Memory:
    """The most that each worker process held, from here on (Linux)."""

    def __init__(self, trial: Trial) -> None:
        self._trial = trial
        names = [name for name in trial.stand.stack.names() if name.startswith("worker")]
        self._before: dict[int, int] = {}
        for pid in (pid for name in names for pid in trial.stand.stack.pids(name)):
            _forget_peak(pid)
            self._before[pid] = _peak(pid)

    def is_bounded(self) -> None:
        grown = [_peak(pid) - before for pid, before in self._before.items() if _peak(pid)]
        most = max(grown, default=0)
        self._trial.note(f"a worker's process grew by {most >> 10} MiB at most")
        self._trial.check(most < MEMORY, f"a worker's process grew by {most >> 10} MiB")


def _forget_peak(pid: int) -> None:
    try:
        Path(f"/proc/{pid}/clear_refs").write_text("5")
    except OSError:
        return


def _peak(pid: int) -> int:
    """KiB; 0 where there is no such process, or no /proc."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
