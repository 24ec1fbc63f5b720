"""When a failed attempt is tried again."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notifier.retry import LONGEST_WAIT, STEPS, next_attempt

DELAYS = tuple(timedelta(seconds=s) for s in (15, 45, 120, 300))

waits = st.timedeltas(timedelta(days=-30), timedelta(days=3650))


@given(st.integers(1, 4), st.none() | waits, st.none() | st.floats(0, 1))
def test_a_wait_is_near_its_delay_or_what_was_asked_for(
    attempt: int, asked: timedelta | None, jitter: float | None
) -> None:
    wait = next_attempt(attempt, DELAYS, asked, jitter)
    assert wait is not None
    least = min(max(asked or timedelta(), timedelta()), LONGEST_WAIT)
    assert wait >= least
    assert wait >= DELAYS[attempt - 1] * 0.79
    assert wait <= max(DELAYS[attempt - 1], (least + timedelta(seconds=1)) * 1.11)


@pytest.mark.parametrize("asked", [None, timedelta(seconds=77)])
def test_what_failed_together_comes_back_spread_and_in_few_groups(asked: timedelta | None) -> None:
    seen = {next_attempt(1, DELAYS, asked) for _ in range(1000)}
    assert len(seen) == STEPS


def test_a_delay_below_a_second_is_waited_for() -> None:
    wait = next_attempt(1, [timedelta(seconds=0.4)])
    assert wait is not None
    assert wait >= timedelta(seconds=0.32)


def test_dates_a_moment_apart_ask_for_the_same_wait() -> None:
    moments = [timedelta(seconds=59, microseconds=n) for n in range(1, 1000)]
    assert len({next_attempt(1, DELAYS, asked, 0.5) for asked in moments}) == 1


def test_after_the_last_delay_there_is_no_attempt() -> None:
    assert next_attempt(5, DELAYS) is None
    assert next_attempt(5, DELAYS, timedelta(seconds=1)) is None


@given(waits, waits, st.floats(0, 1))
def test_more_asked_for_is_never_a_shorter_wait(
    one: timedelta, other: timedelta, jitter: float
) -> None:
    short, long = (next_attempt(1, DELAYS, asked, jitter) for asked in sorted((one, other)))
    assert short is not None
    assert long is not None
    assert short <= long
