"""The load of a case: deliveries over four channels, emitted over a moment, each emit with a key."""

import random
import threading
import time
import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy.exc import DBAPIError

from notifier import emit
from tests.faults.stand import PEOPLE, Stand

CHANNELS = ("email", "webhook", "inapp", "sms")
TASK = {"task": {"title": "Write it down", "due_at": "2026-12-01T09:00:00Z"}}
LANES = ("normal", "normal", "normal", "critical", "bulk")
FIRST = 0.3
"""The part of the load that one event makes, at the start."""


class Load:
    """`size` deliveries, emitted by a thread from `start` on; `join` when all must be.

    seconds: over which the emits are spread.
    """

    def __init__(
        self,
        stand: Stand,
        chance: random.Random,
        size: int,
        seconds: float,
        channels: Sequence[str] = CHANNELS,
    ) -> None:
        self.size = size
        self.events: dict[uuid.UUID, int] = {}
        self.apart: set[uuid.UUID] = set()
        """Events that a case emits itself, and judges itself."""
        self.repeats = 0
        self.slowest = 0.0
        """Seconds of the longest emit, its commit included, that was not disturbed by Postgres."""
        self.last_emit = 0.0
        """When the last of them was committed, by `time.time`."""
        self._stand = stand
        self.seconds = seconds
        self._channels = list(channels)
        self._plans = self._plan(chance)
        self._thread = threading.Thread(target=self._emit_all, name="emitter", daemon=True)
        self._fault: BaseException | None = None

    def start(self) -> None:
        self._thread.start()

    def join(self, seconds: float = 120) -> None:
        """Return when everything is emitted; raises what went wrong."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise TimeoutError(f"the emitter still emits after {seconds:g} s")
        if self._fault is not None:
            raise self._fault

    def _plan(self, chance: random.Random) -> list[tuple[list[str], str, str]]:
        """The emits: who, in which lane, under which key."""
        plans = []
        left = self.size // len(self._channels)
        count = min(round(left * FIRST), PEOPLE)
        waiting: list[int] = []
        while left > 0:
            count = min(count, left)
            if len(waiting) < count:
                # Everybody has a turn before anybody has another.
                waiting = chance.sample(range(PEOPLE), PEOPLE)
            people = [waiting.pop() for _ in range(count)]
            key = uuid.UUID(int=chance.getrandbits(128)).hex
            plans.append(([f"user-{n}" for n in people], chance.choice(LANES), key))
            left -= count
            count = chance.randint(1, 24)
        return plans

    def _emit_all(self) -> None:
        began = time.monotonic()
        try:
            for place, (people, lane, key) in enumerate(self._plans):
                wait = began + self.seconds * place / len(self._plans) - time.monotonic()
                if wait > 0:
                    time.sleep(wait)
                self._emit(people, lane, key)
        except BaseException as fault:
            self._fault = fault

    def _emit(self, people: list[str], lane: str, key: str) -> None:
        """As an application does it: again with the same key where Postgres fails."""
        to: dict[str, Any] = {"recipients": people, "channels": self._channels}
        while True:
            started = time.monotonic()
            try:
                with self._stand.emitters.begin() as connection:
                    event = emit(
                        connection,
                        "task.due_soon",
                        TASK,
                        tenant=self._stand.tenant,
                        to=to,
                        lane=lane,
                        idempotency_key=key,
                    )
            except DBAPIError:
                self.repeats += 1
                time.sleep(0.1)
                continue
            self.last_emit = time.time()
            self.slowest = max(self.slowest, time.monotonic() - started)
            self.events[event.id] = event.created or len(people) * len(self._channels)
            return

    @property
    def emits(self) -> int:
        return len(self._plans)

    @property
    def emitted(self) -> bool:
        return not self._thread.is_alive()
