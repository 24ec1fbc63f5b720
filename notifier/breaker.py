"""A circuit breaker for each provider, shared by all workers through Redis.

It decides between providers and nothing else: where there is no other, a delivery is tried as its
retry policy says. Without Redis every breaker is closed.
"""

import time
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any

from notifier import queue
from notifier.log import logger

log = logger("breaker")

WINDOW = 30
"""Seconds over which outcomes are counted."""

LEAST = 5
"""Failures in that time below which nothing opens."""

SHARE = 0.5
"""The part of the outcomes that must have failed."""

FIRST_REST, LONGEST_REST = 15, 600
"""Seconds a breaker stays open: doubled each time its trial fails, up to the longest."""

TRIAL = 30
"""Seconds a trial may take before another is let through."""

LOOK = 0.5
"""Seconds for which a state that was read is believed."""


class State(StrEnum):
    """What a breaker does with the next delivery."""

    CLOSED = "closed"
    """It lets everything through."""
    OPEN = "open"
    """It lets nothing through."""
    TRIAL = "trial"
    """It has let one through, ours, to see whether the provider works again."""


# KEYS: the state, the counts of this window and of the one before.
# ARGV: now (s), ok, failed, WINDOW, LEAST, SHARE, FIRST_REST, LONGEST_REST.
_NOTE = """
local now, ok, failed = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local window = tonumber(ARGV[4])
local open_until = tonumber(redis.call('HGET', KEYS[1], 'open_until') or '0')
local rest = tonumber(redis.call('HGET', KEYS[1], 'rest') or '0')
if open_until > 0 then
    if ok > 0 and now >= open_until then
        redis.call('DEL', KEYS[1], KEYS[2], KEYS[3])
        return 'closed'
    elseif failed > 0 and now >= open_until then
        rest = math.min(rest * 2, tonumber(ARGV[8]))
        redis.call('HSET', KEYS[1], 'open_until', now + rest, 'rest', rest)
        redis.call('HDEL', KEYS[1], 'trial_until')
        redis.call('EXPIRE', KEYS[1], rest * 2 + 3600)
        return 'opened'
    end
    return ''
end
redis.call('HINCRBY', KEYS[2], 'ok', ok)
redis.call('HINCRBY', KEYS[2], 'failed', failed)
redis.call('EXPIRE', KEYS[2], window * 2)
local oks, fails = 0, 0
for i = 2, 3 do
    oks = oks + tonumber(redis.call('HGET', KEYS[i], 'ok') or '0')
    fails = fails + tonumber(redis.call('HGET', KEYS[i], 'failed') or '0')
end
if failed > 0 and fails >= tonumber(ARGV[5]) and fails >= (oks + fails) * tonumber(ARGV[6]) then
    rest = tonumber(ARGV[7])
    redis.call('HSET', KEYS[1], 'open_until', now + rest, 'rest', rest)
    redis.call('EXPIRE', KEYS[1], rest * 2 + 3600)
    return 'opened'
end
return ''
"""

# KEYS: the state. ARGV: now, TRIAL.
_ASK = """
local now = tonumber(ARGV[1])
local open_until = tonumber(redis.call('HGET', KEYS[1], 'open_until') or '0')
if open_until == 0 then return 'closed' end
if now < open_until then return 'open' end
local trial_until = tonumber(redis.call('HGET', KEYS[1], 'trial_until') or '0')
if now < trial_until then return 'open' end
redis.call('HSET', KEYS[1], 'trial_until', now + tonumber(ARGV[2]))
return 'trial'
"""


@cache
def _scripts() -> tuple[Any, Any]:
    return queue.redis().register_script(_NOTE), queue.redis().register_script(_ASK)


def _key(provider: str) -> str:
    return f"notifier.breaker.{provider}"


def _now() -> float:
    # Workers on several machines agree about it as well as their clocks do; seconds are enough.
    return time.time()


def note(provider: str, ok: int, failed: int) -> str:
    """Count outcomes of a provider; what that changed: `opened`, `closed` or nothing."""
    if not ok and not failed:
        return ""
    now = _now()
    window = int(now // WINDOW)
    keys = [_key(provider), f"{_key(provider)}.{window}", f"{_key(provider)}.{window - 1}"]
    try:
        changed: bytes = _scripts()[0](
            keys=keys,
            args=[now, ok, failed, WINDOW, LEAST, SHARE, FIRST_REST, LONGEST_REST],
        )
    except queue.UNREACHABLE:
        return ""
    return changed.decode()


def ask(provider: str) -> State:
    """Whether the provider's breaker lets something through; one who hears TRIAL has to try it."""
    try:
        answer: bytes = _scripts()[1](keys=[_key(provider)], args=[_now(), TRIAL])
    except queue.UNREACHABLE:
        return State.CLOSED
    return State(answer.decode())


@dataclass(slots=True)
class Breakers:
    """The breakers as one process sees them, read a few times a second at most."""

    _read: dict[str, tuple[State, float]] = field(default_factory=dict)

    def state(self, provider: str) -> State:
        """What the provider's breaker does; a trial is for this caller alone."""
        now = time.monotonic()
        state, until = self._read.get(provider, (State.OPEN, 0.0))
        if now > until:
            state = ask(provider)
            kept = State.OPEN if state is State.TRIAL else state
            self._read[provider] = kept, now + LOOK
        return state

    def note(self, provider: str, ok: int, failed: int) -> str:
        """Count outcomes; what that changed. Our own view is read anew then."""
        changed = note(provider, ok, failed)
        if changed:
            self._read.pop(provider, None)
            log.warning(f"breaker_{changed}", provider=provider)
        return changed
