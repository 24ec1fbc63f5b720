"""Rate limits of providers: token buckets in Redis that all workers take from, a window at a time.

What gets no token is due later; nobody sleeps on it. Those who wait are told different times, so
that they do not come back together. Without Redis nothing is held back: a provider that has had
enough says so (429), and is believed.
"""

import math
import time
from datetime import timedelta
from functools import cache
from typing import Any

from notifier import queue

# KEYS: the bucket. ARGV: now (s), tokens a second, the most it holds, how many are wanted, and how
# many are to be left for those in a hurry. Answers how many are granted, and in how many
# milliseconds to come for the rest. `promised`: until when the tokens to come are.
_TAKE = """
local now, rate, most = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local wanted, left = tonumber(ARGV[4]), tonumber(ARGV[5])
local at = tonumber(redis.call('HGET', KEYS[1], 'at') or ARGV[1])
local held = tonumber(redis.call('HGET', KEYS[1], 'held') or ARGV[3])
local promised = math.max(now, tonumber(redis.call('HGET', KEYS[1], 'promised') or ARGV[1]))
held = math.min(most, held + math.max(0, now - at) * rate)
local granted = math.max(0, math.min(wanted, math.floor(held) - left))
held = held - granted
local wait = 0
if granted < wanted then
    -- As many as the bucket can give at once come at once: the place in line is that long.
    local lot = math.min(wanted - granted, most - left)
    if left == 0 then
        wait = math.max(0, lot - held) / rate
    else
        promised = promised + lot / rate
        wait = promised - now
    end
end
redis.call('HSET', KEYS[1], 'at', math.max(at, now), 'held', tostring(held),
           'promised', tostring(promised))
redis.call('EXPIRE', KEYS[1], math.ceil(math.max(most / rate, promised - now)) + 60)
return {granted, math.ceil(wait * 1000)}
"""


@cache
def _script() -> Any:
    return queue.redis().register_script(_TAKE)


def _now() -> float:
    # Workers on several machines agree about it as well as their clocks do.
    return time.time()


def take(provider: str, rate: float, wanted: int, *, urgent: bool) -> tuple[int, timedelta]:
    """How many of `wanted` sends a provider may have now, and when to come for the rest.

    rate: sends a second; at most a second's worth is saved up, and two at least.
    urgent: may take the last token, and does not stand in line.
    """
    most = max(2, math.ceil(rate))
    try:
        granted, wait = _script()(
            keys=[f"notifier.limit.{provider}"],
            args=[_now(), rate, most, wanted, 0 if urgent else 1],
        )
    except queue.UNREACHABLE:
        return wanted, timedelta()
    return granted, timedelta(milliseconds=wait)
