"""Rate limits of providers: token buckets in Redis that all workers take from, a window at a time.

What gets no token is due later; nobody sleeps on it. Without Redis nothing is held back: a provider
that has had enough says so (429), and is believed.
"""

import math
import time
from datetime import timedelta
from functools import cache
from typing import Any

from notifier import queue

# KEYS: the bucket. ARGV: now (s), tokens a second, the most it holds, how many are wanted.
# Answers how many are granted, and in how many milliseconds the next ones are worth asking for.
_TAKE = """
local now, rate, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local wanted = tonumber(ARGV[4])
local at = tonumber(redis.call('HGET', KEYS[1], 'at') or ARGV[1])
local held = tonumber(redis.call('HGET', KEYS[1], 'held') or ARGV[3])
held = math.min(most, held + math.max(0, now - at) * rate)
local granted = math.min(wanted, math.floor(held))
held = held - granted
redis.call('HSET', KEYS[1], 'at', math.max(at, now), 'held', tostring(held))
redis.call('EXPIRE', KEYS[1], math.ceil(most / rate) + 60)
local lacking = math.min(wanted - granted, most) - held
return {granted, math.ceil(math.max(0, lacking) / rate * 1000)}
"""


@cache
def _script() -> Any:
    return queue.redis().register_script(_TAKE)


def _now() -> float:
    # Workers on several machines agree about it as well as their clocks do.
    return time.time()


def take(provider: str, rate: float, wanted: int) -> tuple[int, timedelta]:
    """How many of `wanted` sends a provider may have now, and when to ask for the rest.

    rate: sends a second; at most a second's worth is saved up, and one at least.
    """
    try:
        granted, wait = _script()(
            keys=[f"notifier.limit.{provider}"],
            args=[_now(), rate, max(1, math.ceil(rate)), wanted],
        )
    except queue.UNREACHABLE:
        return wanted, timedelta()
    return granted, timedelta(milliseconds=wait)
