"""Nothing killed, for comparison; workers killed before, during and after the provider's call; whole; frozen past their lease."""

import os
import signal
import time

from tests.faults.case import Trial, case
from tests.faults.stand import LEASE, await_

DURING = ("smtp.left", "http.left", "sandbox.called")
"""The request has left whole, and the answer was not read."""


@case("undisturbed", "no fault: what the load itself takes from such a moment on", may_repeat=False)
def undisturbed(trial: Trial) -> None:
    trial.nothing_falls()
    trial.begin()
    trial.struck("nothing")


@case("worker-child-before-call", "a child killed right before it would call the provider")
def before_call(trial: Trial) -> None:
    trial.reach("deliver.before_calls", trial.some(4))


@case("worker-child-claimed", "a child killed between its claim and anything else")
def claimed(trial: Trial) -> None:
    trial.reach("deliver.claimed", trial.some(4))


@case("worker-child-during-call", "a child killed while the provider has the request")
def during_call(trial: Trial) -> None:
    trial.reach(trial.chance.choice(DURING), trial.some(60))


@case("worker-child-after-call", "a child killed between the provider's answer and its record")
def after_call(trial: Trial) -> None:
    trial.reach("deliver.after_call", trial.some(200))


@case("worker-child-before-commit", "a child killed with its outcomes written and not committed")
def before_commit(trial: Trial) -> None:
    trial.reach("record.before_commit", trial.some(10))


@case(
    "worker-child-after-commit",
    "a child killed right after it committed: what it committed is not done again",
)
def after_commit(trial: Trial) -> None:
    trial.reach("record.after_commit", trial.some(10))


@case("worker-child-random", "SIGKILL for a child at any moment")
def child(trial: Trial) -> None:
    trial.begin()
    name = trial.chance.choice(["worker-1", "worker-2"])
    stack = trial.stand.stack
    # One that a case before has killed may not have been replaced yet.
    await_(lambda: len(stack.pids(name)) > 1, 5, f"a child of {name}")
    os.kill(trial.chance.choice(stack.pids(name)[1:]), signal.SIGKILL)
    trial.struck(f"a child of {name}")


@case("worker-whole", "SIGKILL for a worker and all its children at any moment")
def whole(trial: Trial) -> None:
    trial.begin()
    name = trial.chance.choice(["worker-1", "worker-2"])
    trial.stand.stack.kill_whole(name)
    trial.struck(name)


@case(
    "worker-frozen",
    "a worker stopped past its lease changes nothing when it goes on",
    may_outlive_claim=True,
)
def frozen(trial: Trial) -> None:
    trial.begin()
    name = trial.chance.choice(["worker-1", "worker-2"])
    trial.stand.stack.kill_whole(name, signal.SIGSTOP)
    trial.struck(name)
    stopped = time.monotonic()
    trial.load.join()
    await_(trial.idle, LEASE + 30, "the other worker finished")
    time.sleep(max(0.0, stopped + LEASE + 0.5 - time.monotonic()))
    trial.stand.stack.carry_on(name)
    # It wakes in the middle of its work: give it the time to do what it must not.
    time.sleep(1.0)


@case(
    "worker-woken",
    "a worker stopped past its lease goes on while another one has its work in hand",
    # Half of the processes are away and the receivers slow: the rest of the load takes its time.
    within=LEASE + 7,
    may_outlive_claim=True,
)
def woken(trial: Trial) -> None:
    # So that the other one is still at it.
    trial.stand.mail.latency = trial.stand.endpoint.latency = 0.01
    trial.begin(0.1, 0.4)
    name = trial.chance.choice(["worker-1", "worker-2"])
    trial.stand.stack.kill_whole(name, signal.SIGSTOP)
    trial.struck(name)
    await_(
        lambda: (
            trial.stand.one("SELECT count(*) FROM public.claims WHERE stood_until IS NOT NULL")
            or (trial.load.emitted and trial.idle())
        ),
        LEASE + 30,
        "another one took over",
        every=0.005,
    )
    time.sleep(trial.chance.uniform(0, 0.1))
    trial.stand.stack.carry_on(name)
