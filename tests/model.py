"""The engine as one could write it on paper: no SQL, no clock, nothing at the same time.

`tests.test_machine` does to the real engine whatever it does to this, and compares after every
step. Read it top to bottom: what there is, how a status moves, what a worker does with a dispatch,
what everybody else may do meanwhile.
"""

import uuid
from dataclasses import dataclass, field

from notifier.outcome import Accepted, NotFound, Outcome, Rejected, RetryLater, Unsure
from notifier.status import RECEIVED, UNFINISHED, Actor, Status
from notifier.words import Decision, DispatchKind

S = Status
Ids = list[uuid.UUID]

ATTEMPTS = 3
"""Sends a delivery gets before it is given up."""

ALONE = 3
"""Claims that a delivery which stands alone gets before it is taken for poison."""

IMPLIED = {
    S.SENT: {"sent"},
    S.FAILED: {"sent"},
    S.BOUNCED: {"sent"},
    S.DELIVERED: {"sent", "delivered"},
    S.COMPLAINED: {"sent", "delivered"},
    S.OPENED: {"sent", "delivered", "opened"},
    S.CLICKED: {"sent", "delivered", "opened", "clicked"},
}
"""The facts that each word of a provider proves."""


TURNS = {
    "a worker's fact for what a receipt had moved",
    "a receipt for what a worker has in hand",
    "a receipt against our own failure",
    "a receipt that is weaker than what stands",
    "a call asked about",
    "halved",
    "poison",
    "stopped before its window",
    "told late",
    "not begun",
    "handed back",
    "a question lost",
    "a dead letter left in a worker's hand",
    "packed",
}
"""Turns that a long run must have taken. Rarer still are receipts right before a window, an
announcement or an answer: `tests.test_receipts` has each of them."""


@dataclass
class Delivery:
    event: uuid.UUID
    channel: str
    status: Status = S.QUEUED
    attempts: int = 0
    facts: set[str] = field(default_factory=set)
    journal: list[tuple[str, str, str]] = field(default_factory=list)

    def to(self, actor: Actor, after: Status) -> None:
        self.journal.append((actor, self.status, after))
        self.status = after


@dataclass
class Dispatch:
    kind: DispatchKind
    channel: str
    ids: Ids
    claims: int = 0
    due: bool = True
    rings: int = 0
    lease: str | None = None
    """None, "live" or "lapsed"."""
    holder: "Hand | None" = None


@dataclass
class Hand:
    """What a worker believes: the dispatch it claimed, and what it read then."""

    dispatch: Dispatch
    claims: int
    carried: int
    rest: dict[uuid.UUID, tuple[Status, int]]
    window: Ids = field(default_factory=list)
    outcomes: dict[uuid.UUID, Outcome | NotFound] = field(default_factory=dict)
    before: dict[uuid.UUID, Status] = field(default_factory=dict)
    stopped: dict[uuid.UUID, Status] = field(default_factory=dict)
    settled: Ids = field(default_factory=list)
    patient: bool = True
    """Whether it asks again about what no provider could tell."""
    leaving: bool = False
    over: bool = False
    """Whether the worker has ended, or died."""

    @property
    def next(self) -> uuid.UUID | None:
        """The delivery it has in its provider's hand."""
        if self.over:
            return None
        return next(i for i in self.window if i not in self.outcomes)


class Model:
    """seen: the rare turns that a run took; a run that misses one of `TURNS` proves less."""

    def __init__(self, window: int, seen: set[str]) -> None:
        self.seen = seen
        self.window = window
        self.deliveries: dict[uuid.UUID, Delivery] = {}
        self.dispatches: list[Dispatch] = []
        self.cancelled: set[uuid.UUID] = set()
        """Events and single deliveries."""
        self.expired: set[uuid.UUID] = set()
        self.dead: set[uuid.UUID] = set()
        self.doubts: set[uuid.UUID] = set()

    # How a status moves.

    def move(self, id: uuid.UUID, before: Status, after: Status, attempts: int) -> bool:
        """The engine's move: it wins only where the delivery stands as the worker believes."""
        delivery = self.deliveries[id]
        if after in (S.SENT, S.DELIVERED):
            delivery.facts |= IMPLIED[after]
        if delivery.status is not before:
            delivery.attempts = max(delivery.attempts, attempts)
            self.seen.add("a worker's fact for what a receipt had moved")
            return False
        delivery.to(Actor.ENGINE, after)
        delivery.attempts = attempts
        if after is S.FAILED:
            self.dead.add(id)
        if after is S.UNKNOWN:
            self.doubts.add(id)
        return True

    def receive(self, id: uuid.UUID, word: Status, attempt: int = 0) -> None:
        """A provider's word: the strongest stands, whatever we believed ourselves."""
        delivery = self.deliveries[id]
        if delivery.status is S.REFUSED:
            return
        ours = (*UNFINISHED, S.UNKNOWN, S.CANCELLED, S.EXPIRED)
        if delivery.status in ours:
            wins = True
        elif delivery.status in (S.FAILED, S.BOUNCED) and "sent" not in delivery.facts:
            wins = delivery.status is not word  # our own attempt ended so: no provider told it
            self.seen.add("a receipt against our own failure")
        else:
            wins = RECEIVED.index(word) > RECEIVED.index(delivery.status)
        delivery.facts |= IMPLIED[word]
        delivery.attempts = max(delivery.attempts, attempt)
        if not wins:
            self.seen.add("a receipt that is weaker than what stands")
            return
        was_open = delivery.status in UNFINISHED
        delivery.to(Actor.RECEIPTS, word)
        self.doubts.discard(id)
        self.dead.discard(id)
        if word is S.FAILED:
            self.dead.add(id)
        for dispatch in list(self.dispatches):
            if was_open and id in dispatch.ids and dispatch.lease == "live":
                self.seen.add("a receipt for what a worker has in hand")
            elif was_open:
                self.leave(dispatch, [i for i in dispatch.ids if i != id])

    def leave(self, dispatch: Dispatch, ids: Ids) -> bool:
        """Leave `ids` on the dispatch; whether that is anything at all."""
        dispatch.ids = ids
        if not ids:
            self.dispatches.remove(dispatch)
        return bool(ids)

    def drop_finished(self, dispatch: Dispatch) -> bool:
        return self.leave(dispatch, [i for i in dispatch.ids if self.unfinished(i)])

    def unfinished(self, id: uuid.UUID) -> bool:
        return self.deliveries[id].status in UNFINISHED

    def follow(
        self, of: Dispatch, kind: DispatchKind, ids: Ids, *, due: bool, claims: int = 0
    ) -> None:
        """A new dispatch for what is unfinished of `ids`."""
        ids = [i for i in ids if self.unfinished(i)]
        if ids:
            self.dispatches.append(Dispatch(kind, of.channel, ids, claims, due))

    # What a worker does with a dispatch.

    def claim(self, dispatch: Dispatch, *, patient: bool = True) -> Hand | None:
        if dispatch.lease == "live" or not dispatch.due:
            return None
        taken_over = dispatch.lease == "lapsed"
        dispatch.claims += 1
        dispatch.lease, dispatch.holder = "live", None
        if dispatch.kind is DispatchKind.RECONCILE:
            return self.question(dispatch, patient)
        if taken_over and not self.take_over(dispatch):
            return None
        if not self.drop_finished(dispatch):
            return None
        read = {i: (self.deliveries[i].status, self.deliveries[i].attempts) for i in dispatch.ids}
        hand = Hand(dispatch, dispatch.claims, len(read), read)
        dispatch.holder = hand
        self.open_window(hand)
        return hand

    def take_over(self, dispatch: Dispatch) -> bool:
        """Its last worker died in it: ask about calls, halve, and in the end give up."""
        if not self.drop_finished(dispatch):
            return False
        if dispatch.channel == "sms":
            asked = [i for i in dispatch.ids if self.deliveries[i].status is S.SENDING]
            self.follow(dispatch, DispatchKind.RECONCILE, asked, due=True)
            if asked:
                self.seen.add("a call asked about")
            if not self.leave(dispatch, [i for i in dispatch.ids if i not in asked]):
                return False
        if len(dispatch.ids) > 1:
            self.seen.add("halved")
            middle = len(dispatch.ids) // 2
            other = dispatch.ids[middle:]
            count = dispatch.claims if len(other) > 1 else min(dispatch.claims, ALONE - 1)
            self.follow(dispatch, DispatchKind.DELIVER, other, due=True, claims=count)
            dispatch.ids = dispatch.ids[:middle]
            if len(dispatch.ids) == 1:
                dispatch.claims = min(dispatch.claims, ALONE)
        elif dispatch.claims > ALONE:
            self.seen.add("poison")
            (poison,) = dispatch.ids
            self.leave(dispatch, [])
            delivery = self.deliveries[poison]
            self.move(poison, delivery.status, S.FAILED, delivery.attempts)
            return False
        return True

    def open_window(self, hand: Hand) -> None:
        """The next few, less what was stopped; announced where a repeat would do harm."""
        while True:
            if not hand.rest:
                hand.over = True
                return
            if hand.leaving:
                self.hand_back(hand)
                return
            hand.window, hand.outcomes, hand.stopped, hand.settled = [], {}, {}, []
            hand.before = {}
            for id in list(hand.rest)[: self.window]:
                delivery = self.deliveries[id]
                if hand.claims > 1 and not self.unfinished(id):
                    hand.settled.append(id)
                elif delivery.event in self.cancelled or id in self.cancelled:
                    hand.stopped[id] = S.CANCELLED
                elif delivery.event in self.expired:
                    hand.stopped[id] = S.EXPIRED
                else:
                    hand.window.append(id)
            if hand.stopped:
                self.seen.add("stopped before its window")
            if hand.dispatch.channel == "sms" and not self.announce(hand):
                hand.over = True
                return
            if hand.window:
                return
            if not self.flush(hand):
                return

    def announce(self, hand: Hand) -> bool:
        if not self.holds(hand):
            return False
        for id in list(hand.window):
            status, attempts = hand.rest[id]
            self.move(id, status, S.SENDING, attempts + 1)
            if self.deliveries[id].status is not S.SENDING:
                hand.window.remove(id)
                hand.settled.append(id)
        return True

    def answer(self, hand: Hand, outcome: Outcome | NotFound) -> None:
        """The provider answers about the delivery it has in hand."""
        id = hand.next
        assert id is not None
        hand.outcomes[id] = outcome
        if hand.dispatch.kind is DispatchKind.RECONCILE:
            if len(hand.outcomes) == len(hand.window):
                self.settle_doubts(hand)
            return
        window_ends = hand.leaving or len(hand.outcomes) == len(hand.window)
        if window_ends and self.flush(hand):
            self.open_window(hand)

    def breaks(self, hand: Hand) -> None:
        """The provider raises: what it told before is written, and the lease left to lapse."""
        if hand.dispatch.kind is DispatchKind.RECONCILE:
            for id in hand.window:
                hand.outcomes.setdefault(id, Unsure("broken"))
            self.settle_doubts(hand)
        else:
            self.flush(hand, broken=True)
            hand.over = True

    def holds(self, hand: Hand) -> bool:
        """Whether the claim is still this worker's."""
        dispatch = hand.dispatch
        return (
            dispatch in self.dispatches
            and dispatch.holder is hand
            and dispatch.lease == "live"
            and len(dispatch.ids) == hand.carried
        )

    def flush(self, hand: Hand, *, broken: bool = False) -> bool:
        """Write the window's outcomes, all or none; whether the claim was still held."""
        if not self.holds(hand):
            for id, outcome in hand.outcomes.items():
                if isinstance(outcome, Accepted):
                    word = S.DELIVERED if outcome.delivered else S.SENT
                    self.receive(id, word, hand.rest[id][1] + 1)
                    self.seen.add("told late")
            hand.over = True
            return False
        again: Ids = []
        ask: Ids = []
        moves: list[tuple[uuid.UUID, Status, Status, int]] = []
        announced = hand.dispatch.channel == "sms"
        for id, after in hand.stopped.items():
            moves.append((id, hand.rest[id][0], after, hand.rest[id][1]))
        for id, outcome in hand.outcomes.items():
            status, attempts = hand.rest[id]
            before = S.SENDING if announced else status
            attempt = attempts + 1
            match outcome:
                case Accepted(delivered=delivered):
                    after = S.DELIVERED if delivered else S.SENT
                case Rejected(address_dead=dead):
                    after = S.BOUNCED if dead else S.FAILED
                case RetryLater():
                    after = S.FAILED if attempt >= ATTEMPTS else S.RETRYING
                case _ if announced:
                    ask.append(id)
                    continue
                case _:
                    after = S.UNKNOWN if attempt >= ATTEMPTS else S.RETRYING
            if after is S.RETRYING:
                again.append(id)
            moves.append((id, before, after, attempt))
        done = {*(m[0] for m in moves), *ask, *hand.settled}
        if not broken:
            for id in set(hand.window) - set(hand.outcomes):
                if announced:
                    self.seen.add("not begun")
                    moves.append((id, S.SENDING, S.QUEUED, hand.rest[id][1]))
                    hand.rest[id] = (S.QUEUED, hand.rest[id][1])
        for move in moves:
            self.move(*move)
        dispatch = hand.dispatch
        self.leave(dispatch, [i for i in dispatch.ids if i not in done])
        hand.rest = {i: read for i, read in hand.rest.items() if i not in done}
        hand.carried = len(hand.rest)
        self.follow(dispatch, DispatchKind.DELIVER, again, due=False)
        self.follow(dispatch, DispatchKind.RECONCILE, ask, due=True)
        return True

    def hand_back(self, hand: Hand) -> None:
        hand.over = True
        if self.holds(hand) and self.drop_finished(hand.dispatch):
            self.give_up(hand.dispatch)
            self.seen.add("handed back")

    def give_up(self, dispatch: Dispatch) -> None:
        """End a claim with nothing in doubt: it does not count."""
        dispatch.claims -= 1
        dispatch.lease = dispatch.holder = None

    # What a worker does about calls in doubt.

    def question(self, dispatch: Dispatch, patient: bool) -> Hand | None:
        asked = [i for i in dispatch.ids if self.deliveries[i].status is S.SENDING]
        read = {i: (S.SENDING, self.deliveries[i].attempts) for i in asked}
        hand = Hand(dispatch, dispatch.claims, len(dispatch.ids), read, asked, patient=patient)
        dispatch.holder = hand
        if not asked:
            self.settle_doubts(hand)
        return None if hand.over else hand

    def settle_doubts(self, hand: Hand) -> None:
        hand.over = True
        if not self.holds(hand):
            self.seen.add("a question lost")
            return
        dispatch = hand.dispatch
        keep: Ids = []
        again: dict[bool, Ids] = {True: [], False: []}
        for id, answer in hand.outcomes.items():
            attempts = hand.rest[id][1]
            match answer:
                case Accepted(delivered=delivered):
                    after = S.DELIVERED if delivered else S.SENT
                case Rejected(address_dead=dead):
                    after = S.BOUNCED if dead else S.FAILED
                case NotFound() if attempts >= ATTEMPTS:
                    after = S.FAILED
                case NotFound():
                    after = S.RETRYING
                    again[attempts == 1].append(id)
                case _ if hand.patient:
                    keep.append(id)
                    continue
                case _:
                    after = S.UNKNOWN
            self.move(id, S.SENDING, after, attempts)
        if self.leave(dispatch, keep) and self.drop_finished(dispatch):
            self.give_up(dispatch)
            dispatch.due = False
        for due, ids in again.items():
            self.follow(dispatch, DispatchKind.DELIVER, ids, due=due)

    # What everybody else may do meanwhile.

    def emit(self, event: uuid.UUID, channel: str, ids: Ids) -> None:
        for id in ids:
            self.deliveries[id] = Delivery(event, channel)
        self.dispatches.append(Dispatch(DispatchKind.DELIVER, channel, ids))

    def lapse(self, dispatch: Dispatch) -> None:
        if dispatch.lease:
            dispatch.lease = "lapsed"

    def pack(self, members: list[Dispatch], ids: Ids) -> None:
        for member in members:
            self.dispatches.remove(member)
        self.seen.add("packed")
        self.dispatches.append(Dispatch(DispatchKind.DELIVER, members[0].channel, ids))

    def cancel(self, what: uuid.UUID, ids: Ids) -> int:
        """Cancel an event or a delivery, whose deliveries are `ids`; how many that stopped."""
        self.cancelled.add(what)
        stopped = 0
        for dispatch in list(self.dispatches):
            if dispatch.lease == "live":
                continue
            gone = [
                i for i in dispatch.ids if i in ids and self.deliveries[i].status is not S.SENDING
            ]
            for id in gone:
                if self.unfinished(id):
                    self.deliveries[id].to(Actor.OPERATOR, S.CANCELLED)
                    stopped += 1
            self.leave(dispatch, [i for i in dispatch.ids if i not in gone])
        return stopped

    def settle_all_doubts(self, decision: Decision) -> int:
        """An operator says of everything that is in doubt what is to be taken for true."""
        settled = sorted(self.doubts)
        resent: dict[str, Ids] = {}
        for id in settled:
            delivery = self.deliveries[id]
            self.doubts.remove(id)
            match decision:
                case Decision.SENT:
                    delivery.to(Actor.OPERATOR, S.SENT)
                    delivery.facts |= IMPLIED[S.SENT]
                case Decision.FAILED:
                    delivery.to(Actor.OPERATOR, S.FAILED)
                    self.dead.add(id)
                case Decision.RESEND:
                    delivery.to(Actor.OPERATOR, S.QUEUED)
                    delivery.attempts = 0
                    resent.setdefault(delivery.channel, []).append(id)
        for channel, ids in resent.items():
            self.dispatches.append(Dispatch(DispatchKind.DELIVER, channel, ids))
        return len(settled)

    def replay(self) -> int:
        """Reopen every dead letter that no worker has in hand any more."""
        held = {i for d in self.dispatches if d.lease for i in d.ids}
        if self.dead & held:
            self.seen.add("a dead letter left in a worker's hand")
        reopened: dict[str, Ids] = {}
        for id in sorted(self.dead - held):
            delivery = self.deliveries[id]
            self.dead.remove(id)
            delivery.to(Actor.OPERATOR, S.QUEUED)
            delivery.attempts = 0
            reopened.setdefault(delivery.channel, []).append(id)
        for channel, ids in reopened.items():
            self.dispatches.append(Dispatch(DispatchKind.DELIVER, channel, ids))
        return sum(map(len, reopened.values()))
