"""Workers killed while SMS and calls are with a carrier that can only be asked by number."""

import signal
from functools import partial

from tests.faults.case import Trial, case
from tests.faults.phones import Phones
from tests.faults.stand import LEASE

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
