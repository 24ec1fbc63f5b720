"""Runs cases on several stands at once, each stand in a process of its own."""

import multiprocessing
import os
import queue
from typing import Any

from notifier import log
from notifier.settings import settings
from tests.faults.case import run
from tests.faults.cases import CASES
from tests.faults.stand import Stand
from tests.faults.verdict import Verdict


def run_all(tasks: list[tuple[str, int]], *, jobs: int, size: int, short: bool) -> list[Verdict]:
    """Every (case, seed), `jobs` stands at once; prints each verdict as it comes."""
    context = multiprocessing.get_context("spawn")
    todo: Any = context.Queue()
    done: Any = context.Queue()
    for task in tasks:
        todo.put(task)
    jobs = min(jobs, len(tasks))
    for _ in range(jobs):
        todo.put(None)
    hands = [context.Process(target=_work, args=(todo, done, size, short)) for _ in range(jobs)]
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


def _work(todo: Any, done: Any, size: int, short: bool) -> None:
    """One stand for many cases; a new one after a case that failed, which may have hurt it."""
    quiet()
    task = todo.get()
    while task is not None:
        with Stand() as stand:
            while task is not None:
                verdict = run(CASES[task[0]], stand, task[1], size=size, short=short)
                done.put(verdict)
                task = todo.get()
                if verdict.broken:
                    break
