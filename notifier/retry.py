"""When a failed attempt is tried again: a pure function of the attempt and the wait asked for."""

import math
import random
from collections.abc import Sequence
from datetime import timedelta

LONGEST_WAIT = timedelta(hours=1)
"""What a provider may ask for at most with Retry-After."""

STEPS = 8
"""Waits that one delay is spread over: those with the same wait travel on one dispatch, and a
thousand messages that failed together do not come back together."""


def next_attempt(
    attempt: int,
    delays: Sequence[timedelta],
    asked: timedelta | None = None,
    jitter: float | None = None,
) -> timedelta | None:
    """The wait after attempt number `attempt` (from 1), or None when none is left.

    asked: the provider's own wait, the least there will be, up to `LONGEST_WAIT`; counted in
        whole seconds, because each answer to a Retry-After with a date asks for another.
    jitter: from 0 to 1, spreads the wait over its upper fifth, and one that was asked for over a
        tenth more; one of `STEPS` by chance where not given.
    """
    if attempt > len(delays):
        return None
    spread = random.randrange(STEPS) / (STEPS - 1) if jitter is None else jitter
    wait = delays[attempt - 1] * (0.8 + 0.2 * spread)
    least = min(max(asked or timedelta(), timedelta()), LONGEST_WAIT)
    least = timedelta(seconds=math.ceil(least.total_seconds()))
    return wait if wait >= least else least * (1 + 0.1 * spread)
