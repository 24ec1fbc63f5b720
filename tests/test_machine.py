"""Everything that may happen to a delivery, in any order, on the real engine and on the model.

More examples: `make test ARGS="tests/test_machine.py --hypothesis-profile=many"`; the seed of a
failure is printed, and `--hypothesis-seed` repeats it.
"""

import types
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, note
from hypothesis import settings as profile
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import Connection

from notifier import cancel, deliver, doubts, receipts, reconcile, relay, retry
from notifier.outcome import Accepted, NotFound, Rejected, RetryLater, Unsure
from notifier.replay import replay
from notifier.settings import Settings
from notifier.status import FINAL, RECEIVED, Status
from notifier.store import dispatches, system
from notifier.store.doubts import Which
from notifier.store.engine import engine_for
from notifier.words import TRAITS, Channel, Decision, DispatchKind
from tests.conftest import Database
from tests.engine import Paused, configured, to_addresses
from tests.model import TURNS, Dispatch, Hand, Model

__all__ = ["configured"]

OUTCOMES = st.sampled_from(
    [
        Accepted("id", "250 ok"),
        Accepted("id", "200", delivered=True),
        RetryLater("503", "busy"),
        RetryLater("503", "busy"),
        Rejected("554", "refused"),
        Rejected("550", "no such mailbox", address_dead=True),
        Unsure("timeout"),
    ]
)
ANSWERS = st.sampled_from(
    [Accepted("id", "found"), Rejected("30003", "unreachable"), NotFound(), Unsure("busy")]
)
FEW = 20
"""Examples in an ordinary run."""

WORDS = st.lists(st.sampled_from(RECEIVED), min_size=1, max_size=3)
PICK = st.integers(0, 1000)
"""Which of those there are: taken modulo their number."""

TABLES = (
    "notification_events",
    "notification_deliveries",
    "delivery_journal",
    "provider_messages",
    "dispatches",
    "dead_letters",
    "in_doubt",
    "event_cancellations",
    "suppressions",
)


class Machine(RuleBasedStateMachine):
    database: Database
    connection: Connection
    tenant: uuid.UUID
    configured: Settings
    admin: Any
    seen: set[str]

    def __init__(self) -> None:
        super().__init__()
        for table in TABLES:
            self.admin.exec_driver_sql(f"DELETE FROM notifier.{table}")
        self.open: list[tuple[Hand, Paused]] = []
        self.events: list[uuid.UUID] = []

    @initialize(window=st.integers(1, 3), busy=st.booleans())
    def begin(self, window: int, busy: bool) -> None:
        self.model = Model(window, self.seen)
        self.emit("email", 8)
        self.emit("sms", 5)
        if busy:
            for dispatch in list(self.model.dispatches):
                self.claim(dispatch, True)

    # The world, as it is and as the model has it.

    def ids(self, event_id: uuid.UUID) -> list[uuid.UUID]:
        return [i for i, d in self.model.deliveries.items() if d.event == event_id]

    def some_delivery(self, which: int) -> uuid.UUID:
        """Two times in three one that a worker believes to have, its last ones rather; or any."""
        held = [i for hand, _ in self.open for i in list(hand.rest)[-2:]]
        among = held if held and which % 3 else list(self.model.deliveries)
        return among[which // 3 % len(among)]

    def row(self, dispatch: Dispatch) -> uuid.UUID:
        found: uuid.UUID = self.database.one(
            "SELECT id FROM notifier.dispatches WHERE kind = %s AND delivery_ids = %s::uuid[]",
            dispatch.kind,
            dispatch.ids,
        )
        return found

    @invariant()
    def the_rows_are_as_the_model_has_them(self) -> None:
        if not self.events:
            return
        model, rows = self.model, self.database.query
        for hand, paused in self.open:
            at = paused.at.delivery_id if paused.at else None
            assert at == hand.next, "in the provider's hand"
        seen = {
            row.id: (row.status, row.attempts, {word for word in row.facts if word})
            for row in rows(
                "SELECT id, status, attempts, ARRAY[CASE WHEN sent_at IS NOT NULL THEN 'sent' END, "
                "CASE WHEN delivered_at IS NOT NULL THEN 'delivered' END, "
                "CASE WHEN opened_at IS NOT NULL THEN 'opened' END, "
                "CASE WHEN clicked_at IS NOT NULL THEN 'clicked' END] AS facts "
                "FROM notifier.notification_deliveries"
            )
        }
        assert seen == {i: (d.status, d.attempts, d.facts) for i, d in model.deliveries.items()}
        carried = Counter(
            (row.kind, row.channel, tuple(row.delivery_ids), row.attempts, row.due, row.lease)
            for row in rows(
                "SELECT kind, channel, delivery_ids, attempts, due_at <= clock_timestamp() AS due, "
                "CASE WHEN lease_until > clock_timestamp() THEN 'live' "
                "WHEN lease_until IS NOT NULL THEN 'lapsed' END AS lease FROM notifier.dispatches"
            )
        )
        assert carried == Counter(
            (d.kind, d.channel, tuple(d.ids), d.claims, d.due, d.lease) for d in model.dispatches
        )
        journal: dict[uuid.UUID, list[tuple[str, str, str]]] = {i: [] for i in model.deliveries}
        for row in rows(
            "SELECT delivery_id, actor, from_status, to_status FROM notifier.delivery_journal "
            "ORDER BY at, id"
        ):
            journal[row[0]].append((row[1], row[2], row[3]))
        assert journal == {i: d.journal for i, d in model.deliveries.items()}
        listed = {
            table: {row[0] for row in rows(f"SELECT delivery_id FROM notifier.{table}")}
            for table in ("dead_letters", "in_doubt")
        }
        assert listed == {"dead_letters": model.dead, "in_doubt": model.doubts}
        with self.database.pool.connect() as connection:
            assert system.violations(connection) == {}

    # Producers.

    @precondition(lambda self: sum(map(self.model.unfinished, self.model.deliveries)) < 12)
    @rule(channel=st.sampled_from(["email", "sms"]), count=st.integers(1, 5))
    def emit(self, channel: str, count: int) -> None:
        event_id = to_addresses(self.connection, self.tenant, count, channel)
        self.events.append(event_id)
        (row,) = self.database.query(
            "SELECT delivery_ids FROM notifier.dispatches WHERE event_id = %s", event_id
        )
        assert len(row[0]) == count
        self.model.emit(event_id, channel, row[0])

    # Workers.

    @precondition(lambda self: self.model.dispatches)
    @rule(which=PICK, patient=st.booleans())
    def somebody_claims(self, which: int, patient: bool) -> None:
        self.claim(self.model.dispatches[which % len(self.model.dispatches)], patient)

    @precondition(lambda self: any(h.dispatch.lease == "live" for h, _ in self.open))
    @rule(which=PICK, frozen=st.booleans())
    def a_worker_is_taken_for_dead(self, which: int, frozen: bool) -> None:
        """It is, or it is frozen and will wake."""
        held = [(h, paused) for h, paused in self.open if h.dispatch.lease == "live"]
        hand, paused = held[which % len(held)]
        if not frozen:
            self.open.remove((hand, paused))
            paused.dies()
            hand.over = True
        if hand.dispatch in self.model.dispatches:
            self.lapse(hand.dispatch)
            self.claim(hand.dispatch, True)

    def claim(self, dispatch: Dispatch, patient: bool) -> None:
        paused = Paused(
            reconcile.reconcile if dispatch.kind == DispatchKind.RECONCILE else deliver.deliver,
            self.row(dispatch),
            self.configured,
            window=self.model.window,
            doubt_seconds=86_400 if patient else 0,
        )
        hand = self.model.claim(dispatch, patient=patient)
        assert (paused.at is None) == (hand is None or hand.over)
        if paused.at and hand:
            self.open.append((hand, paused))

    def step(self, hand: Hand, paused: Paused) -> None:
        if hand.over:
            self.open.remove((hand, paused))
            assert paused.at is None

    @precondition(lambda self: self.open)
    @rule(which=PICK, outcomes=st.lists(OUTCOMES, min_size=3, max_size=3), answer=ANSWERS)
    def its_provider_answers(self, which: int, outcomes: list[Any], answer: Any) -> None:
        hand, paused = self.open[which % len(self.open)]
        for outcome in outcomes[: 1 + which % 3]:
            if not hand.over:
                said = answer if hand.dispatch.kind == DispatchKind.RECONCILE else outcome
                paused.answer(said)
                self.model.answer(hand, said)
        self.step(hand, paused)

    @precondition(lambda self: self.open)
    @rule(which=PICK, outcome=OUTCOMES, answer=ANSWERS)
    def a_window_ends(self, which: int, outcome: Any, answer: Any) -> None:
        hand, paused = self.open[which % len(self.open)]
        said = answer if hand.dispatch.kind == DispatchKind.RECONCILE else outcome
        for _ in range(len(hand.window) - len(hand.outcomes)):
            if not hand.over:
                paused.answer(said)
                self.model.answer(hand, said)
        self.step(hand, paused)

    @precondition(lambda self: self.open)
    @rule(which=PICK)
    def the_provider_breaks(self, which: int) -> None:
        hand, paused = self.open[which % len(self.open)]
        paused.breaks()
        self.model.breaks(hand)
        self.step(hand, paused)

    @precondition(lambda self: self.open)
    @rule(which=PICK)
    def a_worker_is_told_to_stop(self, which: int) -> None:
        hand, paused = self.open[which % len(self.open)]
        # One that asks about doubts finishes its questions.
        hand.leaving = hand.dispatch.kind == DispatchKind.DELIVER
        paused.leaving = True

    # Time.

    @precondition(lambda self: any(d.lease == "live" for d in self.model.dispatches))
    @rule(which=PICK)
    def a_lease_lapses(self, which: int) -> None:
        held = [d for d in self.model.dispatches if d.lease == "live"]
        self.lapse(held[which % len(held)])

    def lapse(self, dispatch: Dispatch) -> None:
        with self.database.pool.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE notifier.dispatches SET lease_until = now() - interval '1 s' WHERE id = %s",
                (self.row(dispatch),),
            )
        self.model.lapse(dispatch)

    @precondition(lambda self: any(not d.due for d in self.model.dispatches))
    @rule()
    def what_waited_is_due(self) -> None:
        with self.database.pool.begin() as connection:
            connection.exec_driver_sql("UPDATE notifier.dispatches SET due_at = now()")
        for dispatch in self.model.dispatches:
            dispatch.due = True

    @precondition(lambda self: len(self.model.expired) < len(self.events) // 2)
    @rule(which=PICK)
    def an_event_expires(self, which: int) -> None:
        event_id = self.events[which % len(self.events)]
        self.admin.exec_driver_sql(
            "UPDATE notifier.notification_events SET expires_at = now() WHERE id = %s", (event_id,)
        )
        self.model.expired.add(event_id)

    # The relay.

    @precondition(lambda self: self.model.dispatches)
    @rule()
    def the_relay_packs_and_rings(self) -> None:
        fresh = [
            d
            for d in self.model.dispatches
            if d.due
            and d.kind == DispatchKind.DELIVER
            and d.claims == d.rings == 0
            and len(d.ids) <= TRAITS[Channel(d.channel)].chunk // 10
        ]
        relay.relay_once(self.configured)
        rung = {
            tuple(row.delivery_ids): row.rings
            for row in self.database.query("SELECT delivery_ids, rings FROM notifier.dispatches")
        }
        for channel in ("email", "sms"):
            members = [d for d in fresh if d.channel == channel]
            if len(members) > 1:
                everything = {i for d in members for i in d.ids}
                (packed,) = (list(ids) for ids in rung if set(ids) == everything)
                self.model.pack(members, packed)
        for dispatch in self.model.dispatches:
            times = rung[tuple(dispatch.ids)]
            if times > dispatch.rings:
                assert dispatch.due
                assert dispatch.lease != "live"
            dispatch.rings = times

    @precondition(lambda self: any(d.rings for d in self.model.dispatches))
    @rule()
    def redis_loses_its_queues(self) -> None:
        with self.database.pool.begin() as connection:
            dispatches.forget_rings(connection)

    # Operators and providers.

    @precondition(lambda self: len(self.model.cancelled) < len(self.events))
    @rule(which=PICK, whole=st.booleans())
    def somebody_cancels(self, which: int, whole: bool) -> None:
        if whole:
            chosen = self.events[which % len(self.events)]
            meant = self.ids(chosen)
            answer = cancel(event=chosen)
        else:
            chosen = self.some_delivery(which)
            meant = [chosen]
            answer = cancel(delivery=chosen)
        assert answer.stopped == self.model.cancel(chosen, meant)
        assert answer.in_flight == sum(self.model.unfinished(i) for i in meant)
        assert answer.sent == sum("sent" in self.model.deliveries[i].facts for i in meant)

    @precondition(lambda self: self.model.dead)
    @rule()
    def dead_letters_are_replayed(self) -> None:
        assert replay() == self.model.replay()

    @precondition(lambda self: self.model.doubts)
    @rule(decision=st.sampled_from(Decision))
    def doubts_are_settled(self, decision: Decision) -> None:
        settled = doubts.settle(decision, Which(), actor="test")
        assert settled == self.model.settle_all_doubts(decision)

    @rule(which=PICK, words=WORDS, times=st.integers(1, 2))
    def a_receipt_comes(self, which: int, words: list[Status], times: int) -> None:
        self.receive(self.some_delivery(which), words, times)

    @precondition(lambda self: self.waiting())
    @rule(which=PICK, words=WORDS)
    def a_receipt_comes_for_what_a_worker_would_send_next(
        self, which: int, words: list[Status]
    ) -> None:
        self.receive(self.waiting()[which % len(self.waiting())], words)

    @precondition(lambda self: any(h.dispatch.kind == DispatchKind.RECONCILE for h, _ in self.open))
    @rule(words=WORDS)
    def a_receipt_comes_for_what_is_asked_about(self, words: list[Status]) -> None:
        for hand, _ in self.open:
            if hand.dispatch.kind == DispatchKind.RECONCILE and hand.next:
                self.receive(hand.next, words)
                return

    def waiting(self) -> list[uuid.UUID]:
        """What the workers have read and not got to."""
        return [i for hand, _ in self.open for i in hand.rest if i not in hand.window]

    def receive(self, chosen: uuid.UUID, words: list[Status], times: int = 1) -> None:
        for _ in range(times):
            with self.database.pool.begin() as connection:
                receipts.apply(
                    connection, [receipts.Receipt(chosen, word, "scripted") for word in words]
                )
        for word in sorted(words, key=RECEIVED.index):
            self.model.receive(chosen, word)

    # The end: workers die, leases lapse, time passes, and everything ends.

    def teardown(self) -> None:
        for _, paused in self.open:
            paused.dies()
        rounds = 0
        while found := self.database.query("SELECT id, kind FROM notifier.dispatches"):
            rounds += 1
            assert rounds < 50, "everything ends"
            with self.database.pool.begin() as connection:
                connection.exec_driver_sql(
                    "UPDATE notifier.dispatches SET due_at = now(), lease_until = "
                    "CASE WHEN lease_until IS NOT NULL THEN now() - interval '1 s' END"
                )
            for row in found:
                act = reconcile.reconcile if row.kind == "reconcile" else deliver.deliver
                paused = Paused(act, row.id, self.configured)
                while paused.at:
                    paused.answer(Accepted("id"))
        note(str(self.database.statuses()))
        assert set(self.database.statuses()) <= {*FINAL, Status.UNKNOWN}
        with self.database.pool.connect() as connection:
            assert system.violations(connection) == {}


@pytest.fixture
def no_log() -> Iterator[None]:
    """Thousands of steps would log tens of thousands of lines, tracebacks among them."""

    def drop(*_: object) -> Any:
        raise structlog.DropEvent

    before = structlog.get_config()
    structlog.configure(processors=[drop])
    yield
    structlog.configure(**before)


@pytest.mark.usefixtures("no_log")
def test_the_engine_does_what_the_model_does(
    database: Database,
    connection: Connection,
    tenant: uuid.UUID,
    configured: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # One wait for all, so that one window's retries are one dispatch.
    monkeypatch.setattr(retry, "random", types.SimpleNamespace(randrange=lambda steps: steps - 1))
    owner = engine_for(database.admin_url)
    with owner.connect() as admin:
        seen: set[str] = set()
        many = not profile().derandomize
        settled = configured.model_copy(
            update={"retry_delays": "1000 1000", "lease_seconds": 3600, "chunk_seconds": 600}
        )
        bound = {
            "database": database,
            "connection": connection,
            "tenant": tenant,
            "configured": settled,
            "seen": seen,
            "admin": admin.execution_options(isolation_level="AUTOCOMMIT"),
        }
        run_state_machine_as_test(
            type("Machine", (Machine,), bound),
            settings=profile(
                max_examples=profile().max_examples if many else FEW,
                suppress_health_check=list(HealthCheck),
            ),
        )
    owner.dispose()
    if many:
        assert sorted(TURNS - seen) == [], "what no example has tried"
