"""Every process stopped and started again under load, one after the other."""

import signal

from tests.faults.case import Trial, case
from tests.faults.stand import PROGRAMS, await_


@case(
    "rolling-restart",
    "SIGTERM for every process in turn: no finished send is repeated, nothing waits for a lease",
    may_repeat=False,
    seconds=8,
)
def rolling(trial: Trial) -> None:
    trial.begin(0.02, 0.15)
    stack = trial.stand.stack
    names = list(PROGRAMS)
    trial.chance.shuffle(names)
    for name in names:
        before = stack.starts(name)
        stack.kill(name, signal.SIGTERM)
        trial.struck(", ".join(names))
        await_(
            lambda n=name, b=before: stack.starts(n) > b and stack.is_ready(n),  # type: ignore[misc]
            60,
            f"{name} is back",
        )
        stack.forgive()
    trial.last_words.append(lambda: _nobody_waited(trial))


def _nobody_waited(trial: Trial) -> None:
    taken_over = "SELECT count(*) FROM public.claims WHERE stood_until IS NOT NULL"
    trial.check(not trial.stand.one(taken_over), "a lease had to run out")
