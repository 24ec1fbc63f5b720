"""What a process has one of is made once, whichever threads ask first."""

import threading
import time

import pytest

from notifier.once import once


def test_threads_that_ask_together_get_the_same() -> None:
    made: list[object] = []
    ready = threading.Barrier(5)

    @once
    def slow() -> object:
        """What it is."""
        made.append(object())
        time.sleep(0.05)
        return made[-1]

    got: list[object] = []

    def ask() -> None:
        ready.wait(10)
        got.append(slow())

    assert not slow.is_made
    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(made) == 1
    assert got == made * 5
    assert slow.is_made
    assert slow.__doc__ == "What it is."


def test_after_clearing_it_is_made_anew() -> None:
    counted = once(iter([1, 2]).__next__)
    assert (counted(), counted()) == (1, 1)
    counted.cache_clear()
    assert not counted.is_made
    assert counted() == 2


def test_what_failed_is_tried_again() -> None:
    answers = iter([ValueError("away"), "here"])

    def make() -> str:
        answer = next(answers)
        if isinstance(answer, ValueError):
            raise answer
        return str(answer)

    counted = once(make)
    with pytest.raises(ValueError, match="away"):
        counted()
    assert not counted.is_made
    assert counted() == "here"
