"""What came of a case: the database's own account, joined with what the receivers saw."""

import uuid
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection

from notifier.store import system
from notifier.words import TRAITS, Channel, InDoubt
from tests.faults.load import Load
from tests.faults.stand import Stand, times

# In doubt, and what a repeat must be among: outcomes that anybody else than the first claimant wrote,
# or that nobody could know.
_DELIVERIES = """
SELECT d.id::text, d.channel, d.status, d.code, d.event_id,
       coalesce(bool_or(j.claim > 1 OR j.code IN ('in_doubt', 'not_found')), false) AS in_doubt,
       coalesce(bool_or(j.to_status = 'sending'), false) AS announced,
       count(*) FILTER (WHERE j.code = 'not_found') AS not_found,
       extract(epoch FROM max(j.at))::float8 AS last
FROM notifier.notification_deliveries d
LEFT JOIN notifier.delivery_journal j ON j.delivery_id = d.id
GROUP BY d.id
"""

# So is what was taken over and then settled by the late word of the worker it was taken from.
_TAKEN_OVER = """
SELECT DISTINCT unnest(deliveries)::text AS id FROM public.claims WHERE stood_until IS NOT NULL
"""

_CLAIMS = """
SELECT extract(epoch FROM at)::float8, extract(epoch FROM until)::float8, deliveries::text[]
FROM public.claims
"""

_TWICE_HELD = "SELECT count(*) FROM public.claims WHERE stood_until > at"

NOTEWORTHY = 0.5
"""Seconds by which a receiver may be late without a word about it."""

CALLED = (Channel.EMAIL, Channel.WEBHOOK, Channel.SMS, Channel.VOICE)
"""Channels whose receivers keep a log; the inbox is a table."""


@dataclass(slots=True)
class Verdict:
    """One case, one seed. `broken` is empty where everything held."""

    case: str
    seed: int
    deliveries: int = 0
    point: str = ""
    """Where the fault struck."""
    in_doubt: int = 0
    repeated: int = 0
    unknown: int = 0
    """Of those in doubt, where nobody could tell and the case allows it."""
    lost: int = 0
    stuck: int = 0
    recovery: float | None = None
    """Seconds from the end of the fault, or from the last emit where that came later, to the last
    outcome; None where it was not measured."""
    bound: float = 0.0
    took: float = 0.0
    """Seconds of the whole run."""
    contention: float | None = None
    """The part of them in which some process of the machine waited for a processor."""
    emits_repeated: int = 0
    slowest_emit: float = 0.0
    notes: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def line(self) -> str:
        """For a person."""
        measured = "not measured" if self.recovery is None else f"{self.recovery:5.2f} s"
        contended = "" if self.contention is None else f" ({self.contention:.0%} contended)"
        facts = (
            f"{'ok  ' if not self.broken else 'FAIL'} {self.case:34} seed {self.seed:<6} "
            f"{self.deliveries:5} deliveries  in doubt {self.in_doubt:4}  "
            f"repeated {self.repeated:4}  unknown {self.unknown:4}  recovery {measured}  run {self.took:5.1f} s{contended}  at {self.point or '-'}"
        )
        return "\n".join([facts, *(f"     {word}" for word in (*self.notes, *self.broken))])


def judge(
    stand: Stand,
    load: Load,
    verdict: Verdict,
    *,
    over: float | None,
    may_repeat: bool,
    may_stay_unknown: bool,
    may_outlive_claim: bool,
) -> None:
    """Hold the database against the receivers, and write down what does not fit.

    over: when the fault ended, by `time.time`.
    may_repeat: whether deliveries in doubt may have been received twice.
    may_stay_unknown: whether deliveries may stay `unknown` that a worker had announced and then lost its
        claim on.
    may_outlive_claim: a frozen process may finish the very send it was frozen in.
    """
    broken = verdict.broken
    known = stand.query(_DELIVERIES)
    rows = [row for row in known if row.event_id not in load.apart]
    ours = [row for row in rows if row.event_id in load.events]
    verdict.deliveries = len(ours)
    verdict.emits_repeated, verdict.slowest_emit = load.repeats, round(load.slowest, 3)

    def check(holds: object, words: str) -> None:
        if not holds:
            broken.append(words)

    expected = sum(load.events.values())
    check(len(load.events) == load.emits, f"{load.emits} emits made {len(load.events)} events")
    check(len(ours) == expected, f"{expected} deliveries were emitted, {len(ours)} are there")
    check(len(rows) == len(ours), f"{len(rows) - len(ours)} deliveries that nobody emitted")

    receipts = stand.receipts()
    seen = times([receipt for receipt in receipts if receipt.accepted])
    taken_over = {row.id for row in stand.query(_TAKEN_OVER)}
    unknown = {
        row.id
        for row in ours
        if may_stay_unknown and row.status == "unknown" and row.announced and row.id in taken_over
    }
    verdict.unknown = len(unknown)
    unsent = [
        row for row in ours if row.status not in ("sent", "delivered") and row.id not in unknown
    ]
    verdict.stuck = sum(
        row.status in ("scheduled", "queued", "sending", "retrying") for row in ours
    )
    unreceived = [
        row
        for row in ours
        if row.status in ("sent", "delivered") and row.channel in CALLED and not seen[row.id]
    ]
    verdict.lost = expected - len(ours) + len(unsent) - verdict.stuck + len(unreceived)
    check(not verdict.stuck, f"{verdict.stuck} stuck")
    statuses = sorted({f"{row.channel} {row.status} {row.code or ''}".strip() for row in unsent})
    check(not unsent, f"{len(unsent)} not sent: {', '.join(statuses)}")
    check(not unreceived, f"{len(unreceived)} recorded as sent that no receiver ever saw")
    strange = seen.keys() - {row.id for row in known}
    check(not strange, f"{len(strange)} received that the database does not know")

    doubtful = {row.id for row in ours if row.in_doubt or row.id in taken_over}
    repeated = {row.id for row in ours if seen[row.id] > 1}
    verdict.in_doubt, verdict.repeated = len(doubtful), len(repeated)
    check(repeated <= doubtful, f"{len(repeated - doubtful)} repeated that were not in doubt")
    check(may_repeat or not repeated, f"{len(repeated)} repeated where nothing may be")
    by_hand = [
        row.id
        for row in ours
        if TRAITS[Channel(row.channel)].in_doubt is InDoubt.RECONCILE
        and seen[row.id] > 1 + row.not_found
    ]
    words = f"{len(by_hand)} SMS or calls repeated though nobody had said they never arrived"
    check(not by_hand, words)
    inbox = stand.one("SELECT count(*) FROM notifier.notifications")
    wanted = sum(row.channel == Channel.INAPP for row in known)
    check(inbox == wanted, f"{inbox} messages in inboxes for {wanted} deliveries")

    held: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for at, until, deliveries in stand.query(_CLAIMS):
        for delivery in deliveries:
            held[delivery].append((at, until))
    outside = [
        receipt
        for receipt in receipts
        if not any(
            at <= receipt.at and receipt.since <= until for at, until in held[receipt.delivery]
        )
    ]
    if outside and not may_outlive_claim:
        first = min(outside, key=lambda receipt: receipt.at)
        broken.append(
            f"{len(outside)} sends outside of a committed claim, the first of them {first.channel}: "
            f"{_story(stand, first.delivery, first.at)}"
        )
    late = max((receipt.at - receipt.since for receipt in receipts), default=0.0)
    if late > NOTEWORTHY:
        verdict.notes.append(f"receivers read up to {late:.1f} s late")
    check(not stand.one(_TWICE_HELD), "a dispatch was claimed while another claim stood")

    def violations(connection: Connection) -> dict[str, int]:
        return system.violations(connection)

    for name, count in stand.ask(violations).items():
        broken.append(f"not so, {count} times: {name}")
    if over is not None and ours and not verdict.stuck:
        since = max(over, load.last_emit)
        verdict.recovery = round(max(0.0, max(row.last or 0.0 for row in ours) - since), 2)
        if verdict.recovery > verdict.bound:
            last = max(ours, key=lambda row: row.last or 0.0)
            broken.append(
                f"recovery took {verdict.recovery} s, more than {verdict.bound:g} s; "
                f"the last was {last.channel}: {_story(stand, last.id, since)}"
            )


def of_event(stand: Stand, event: uuid.UUID) -> dict[str, int]:
    """How many deliveries of an event stand in each status."""
    return dict(
        stand.query(
            "SELECT status, count(*) FROM notifier.notification_deliveries WHERE event_id = %s "
            "GROUP BY status",
            event,
        )
    )


def _story(stand: Stand, delivery: str, since: float) -> str:
    """What befell one delivery and the dispatches that carried it, in seconds from `since`."""
    rows = stand.query(
        "SELECT extract(epoch FROM x.at)::float8 - %s AS at, x.what FROM ("
        "SELECT e.created_at, 'emitted' FROM notifier.notification_events e "
        "JOIN notifier.notification_deliveries d ON d.event_id = e.id WHERE d.id = %s UNION ALL "
        "SELECT j.at, concat_ws(' ', j.to_status, j.code, 'claim', j.claim) "
        "FROM notifier.delivery_journal j WHERE j.delivery_id = %s UNION ALL "
        "SELECT c.at, 'held among ' || cardinality(c.deliveries) FROM public.claims c WHERE %s = ANY(c.deliveries)"
        ") AS x(at, what) ORDER BY x.at",
        since,
        delivery,
        delivery,
        delivery,
    )
    return ", ".join(f"{row.what} at {row.at:.1f}" for row in rows)
