"""Workers killed while SMS and calls are with a carrier that can only be asked by number, or not at all."""

import signal
from functools import partial

from notifier.words import TRAITS, Channel
from tests.faults.case import PATIENCE, Trial, case
from tests.faults.phones import CalledBack, Phones, Unasked
from tests.faults.stand import LEASE, await_, times

WITHIN = 2 * LEASE + 10 + 4
"""A lease until they are taken over, 10 s until Twilio's lists are believed, another lease at most
until they are asked, and what is sent again then."""

phones = partial(case, stand=Phones, part=0.1, channels=("sms", "voice"), within=WITHIN)


@phones(
    "phones-child-during-call",
    "a child killed while the carrier has the request: nobody's telephone rings twice",
)
def during_call(trial: Trial) -> None:
    trial.reach("http.left", trial.some(20))


@phones(
    "phones-child-after-call",
    "a child killed between the carrier's answer and its record: it is found, not repeated",
)
def after_call(trial: Trial) -> None:
    trial.reach("deliver.after_call", trial.some(20))


@phones(
    "phones-worker-whole",
    "SIGKILL for a worker and all its children at any moment",
)
def whole(trial: Trial) -> None:
    trial.begin()
    name = trial.chance.choice(["worker-1", "worker-2"])
    trial.stand.stack.kill_whole(name, signal.SIGKILL)
    trial.struck(name)


@phones(
    "phones-vonage-child-during-call",
    "a child killed while a carrier has the request that can not be asked: what it had announced and "
    "not recorded stays unknown, nothing is sent twice",
    stand=Unasked,
    channels=("sms",),
    # A lease until they are taken over, another one until they are asked again, and given up.
    within=2 * LEASE + 4,
    may_repeat=False,
    may_stay_unknown=True,
)
def unasked(trial: Trial) -> None:
    trial.reach("http.left", trial.some(20))
    trial.last_words.append(lambda: _one_window_unknown(trial))


def _one_window_unknown(trial: Trial) -> None:
    unknown = _in_status(trial, "unknown")
    most = TRAITS[Channel.SMS].window
    trial.check(0 < len(unknown) <= most, f"{len(unknown)} unknown of a window of {most}")
    trial.check(unknown & times(trial.stand.receipts()).keys(), "the carrier has none of them")


@phones(
    "phones-called-back",
    "a child killed while a carrier has the request that answers no question: what it calls back about "
    "is delivered, be it ever so late, and only what it never got stays unknown",
    stand=CalledBack,
    # A lease until what had not begun is taken over and sent, three until it is called back about.
    within=4 * LEASE + 4,
    may_repeat=False,
    may_stay_unknown=True,
)
def called_back(trial: Trial) -> None:
    stand = trial.stand
    assert isinstance(stand, CalledBack)
    # Before anybody has asked, between two questions, or once it was given up.
    stand.later = trial.chance.uniform(0, 3 * LEASE)
    trial.reach("http.left", trial.some(20))
    trial.note(f"called back {stand.later:.1f} s later")
    trial.load.join()
    await_(trial.idle, trial.verdict.bound + PATIENCE, "everything sent or given up", every=0.05)
    stand.await_called_back()
    trial.last_words.append(lambda: _delivered_where_taken(trial))


def _delivered_where_taken(trial: Trial) -> None:
    taken = times(trial.stand.receipts()).keys()
    odd = taken ^ _in_status(trial, "delivered")
    trial.check(not odd, f"{len(odd)} that the carrier has are not delivered, or the reverse")
    settled = trial.stand.one(
        "SELECT count(*) FROM notifier.delivery_journal "
        "WHERE from_status IN ('sending', 'unknown') AND to_status = 'delivered'"
    )
    trial.check(settled, "nothing in doubt was settled by a call back")


def _in_status(trial: Trial, status: str) -> set[str]:
    rows = trial.stand.query(
        "SELECT id::text FROM notifier.notification_deliveries WHERE status = %s", status
    )
    return {row.id for row in rows}
