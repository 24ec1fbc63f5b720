"""When a failed attempt is tried again, for every attempt, wait asked for and spread."""

from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from notifier.retry import LONGEST_WAIT, next_attempt

delays = st.lists(st.timedeltas(timedelta(), timedelta(days=1)), min_size=1, max_size=8)
asked = st.none() | st.timedeltas(timedelta(days=-1), timedelta(days=365))
jitter = st.floats(0, 1)
instant = timedelta(microseconds=1)
"""What rounding may take."""


@given(delays, asked, jitter, st.data())
def test_a_wait_is_within_its_bounds(
    delays: list[timedelta], asked: timedelta | None, jitter: float, data: st.DataObject
) -> None:
    attempt = data.draw(st.integers(1, len(delays)))
    wait = next_attempt(attempt, delays, asked, jitter)
    assert wait is not None
    due = delays[attempt - 1]
    assert wait >= due * 0.8 - instant
    assert wait >= min(asked or timedelta(), LONGEST_WAIT)
    assert wait <= max(due, LONGEST_WAIT * 1.1) + instant
    if not asked or asked <= due * 0.8:
        assert wait <= due + instant


@given(delays, asked, jitter)
def test_there_is_one_attempt_more_than_waits(
    delays: list[timedelta], asked: timedelta | None, jitter: float
) -> None:
    assert next_attempt(len(delays), delays, asked, jitter) is not None
    assert next_attempt(len(delays) + 1, delays, asked, jitter) is None


@given(delays, asked, asked, jitter)
def test_more_asked_for_is_never_a_shorter_wait(
    delays: list[timedelta], one: timedelta | None, other: timedelta | None, jitter: float
) -> None:
    less, more = sorted((one or timedelta(), other or timedelta()))
    short, long = (next_attempt(1, delays, asked, jitter) for asked in (less, more))
    assert short is not None
    assert long is not None
    assert short <= long


def test_messages_that_failed_together_do_not_come_back_together() -> None:
    waits = [next_attempt(1, [timedelta(seconds=100)]) for _ in range(1000)]
    seconds = sorted(wait.total_seconds() for wait in waits if wait is not None)
    assert len(set(seconds)) > 900
    assert seconds[0] < 85
    assert seconds[-1] > 95
    asked = [next_attempt(1, [timedelta(seconds=1)], timedelta(minutes=10)) for _ in range(1000)]
    assert len(set(asked)) > 900
