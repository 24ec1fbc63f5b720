"""Runs cases on several stands at once, each stand in a process of its own."""

import multiprocessing
import os
import queue
from typing import Any

from notifier import log
from notifier.settings import settings
from tests.faults.case import run
from tests.faults.cases import CASES
from tests.faults.verdict import Verdict

Task = tuple[str, int]


def run_all(
    tasks: list[Task], *, jobs: int, size: int, short: bool, patience: float = 1.0
) -> list[Verdict]:
    """Every (case, seed) on `jobs` stands at once; prints each verdict as it comes.

    In the full form as many stands again take the cases that do little but wait.
    """
    context = multiprocessing.get_context("spawn")
    busy: Any = context.Queue()
    waiting: Any = context.Queue() if not short else busy
    done: Any = context.Queue()
    # Those that share a kind of stand follow each other.
    for task in sorted(tasks, key=lambda task: CASES[task[0]].stand.__name__):
        (waiting if CASES[task[0]].waits else busy).put(task)
    arrangements: list[tuple[Any, ...]] = [(busy, waiting)] * jobs
    if not short and any(CASES[name].waits for name, _ in tasks):
        # They leave the busy ones alone: there are processors for so many stands, not for twice as many.
        arrangements += [(waiting,)] * jobs
    hands = [
        context.Process(target=_work, args=(order, done, size, short, patience))
        for order in arrangements[: len(tasks)]
    ]
    for hand in hands:
        hand.start()
    verdicts: list[Verdict] = []
    try:
        while len(verdicts) < len(tasks):
            try:
                verdict: Verdict = done.get(timeout=1)
            except queue.Empty:
                if not any(hand.is_alive() for hand in hands):
                    break
                continue
            verdicts.append(verdict)
            print(verdict.line(), flush=True)
    except KeyboardInterrupt:
        # The cases under way are finished, each with its own clearing up; the rest is left out.
        while _next((busy, waiting)) is not None:
            pass
    finally:
        for hand in hands:
            hand.join()
    return verdicts


def quiet() -> None:
    """Settings of a developer's shell are not a stand's; what it restarts is not news."""
    for name in [name for name in os.environ if name.startswith("NOTIFIER_")]:
        if name != "NOTIFIER_POSTGRES_BIN":
            del os.environ[name]
    os.environ["NOTIFIER_LOG_LEVEL"] = "ERROR"
    settings.cache_clear()
    log.configure()
    del os.environ["NOTIFIER_LOG_LEVEL"]
    settings.cache_clear()


def _work(order: tuple[Any, Any], done: Any, size: int, short: bool, patience: float) -> None:
    """One stand for many cases; a new one for cases of another kind, and after one that failed,
    which may have hurt it."""
    quiet()
    task = _next(order)
    while task is not None:
        kind = CASES[task[0]].stand
        with kind() as stand:
            while task is not None and CASES[task[0]].stand is kind:
                verdict = run(
                    CASES[task[0]], stand, task[1], size=size, short=short, patience=patience
                )
                done.put(verdict)
                task = _next(order)
                if verdict.broken:
                    break


def _next(order: tuple[Any, Any]) -> Task | None:
    """The next task of the first queue that has one; all were put there before we began.

    None as well where the runner was killed: nobody would read the verdict.
    """
    runner = multiprocessing.parent_process()
    if runner is not None and not runner.is_alive():
        return None
    for tasks in order:
        try:
            task: Task = tasks.get(timeout=0.2)
            return task
        except queue.Empty:
            continue
    return None
