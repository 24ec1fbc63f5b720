"""The relay: rings on Redis whatever is due in Postgres, so that Redis may forget anything.

Any number may run. It works while Redis is down only in the sense that nothing is lost: rings
that did not arrive are taken back and tried again.
"""

import time
import uuid
from collections.abc import Callable
from datetime import timedelta

from redis.client import PubSub

from notifier import failpoints, queue
from notifier.log import logger
from notifier.settings import Settings
from notifier.store import dispatches, system
from notifier.store.dispatches import Rung
from notifier.store.engine import UNAVAILABLE, connect, statement
from notifier.words import Lane, Severity

log = logger("relay")

POLL = 0.1
"""Seconds between two looks at Postgres when nobody pokes."""

PARTIAL = 1
"""Chunks less than full that may wait in a queue while what is small waits here and is packed."""

SOON = 0.0005
"""Seconds until the look after a poke, or after small work was found, doubled from look to look: a
poke may be a moment ahead of the commit it speaks of, and where there was an event there are often
more."""

AFTER_CRITICAL = 0.008
"""Seconds until the look after one that rang critical work, unless somebody pokes: looks at the
usual pace would take the processor from the worker that is about to send it."""

REST, LONGEST_REST = 4.0, 0.02
"""After a look that found small work, deaf to pokes for this many times as long as it took, at most
so many seconds. What arrives meanwhile is packed into one chunk, and a busy relay leaves the
machine to others. Not after critical work alone, nor after full chunks: their queue holds enough
until the next look."""

LOOK_EVERY = 0.25
"""Seconds between two looks at whether Redis has lost its queues."""

STEADY = 10
"""Rests on end after which no more pokes are taken, until there is time to listen again."""

PAUSE_AFTER_FAILURE = 1.0
PARTITIONS_EVERY, PARTITIONS_AGAIN = 3600.0, 60.0
PARTITIONS_AHEAD = timedelta(weeks=2)


def run(settings: Settings, stopping: Callable[[], bool]) -> None:
    """Relay until told to stop; survives Postgres and Redis being away."""
    partitions_due = look_due = 0.0
    log.info("relay_started")
    ear, pause, rests = Ear(), POLL, 0
    while not stopping():
        try:
            if time.monotonic() >= partitions_due:
                # Put off first: while they can not be made, the rest goes on.
                partitions_due = time.monotonic() + PARTITIONS_AGAIN
                with connect() as connection, connection.begin():
                    system.ensure_partitions(connection, PARTITIONS_AHEAD)
                partitions_due = time.monotonic() + PARTITIONS_EVERY
            if time.monotonic() >= look_due:
                notice_lost_queue()
                look_due = time.monotonic() + LOOK_EVERY
            looked = time.monotonic()
            rung = relay_once(settings)
            if any(work.is_small and work.lane is not Lane.CRITICAL for work in rung):
                time.sleep(min(REST * (time.monotonic() - looked), LONGEST_REST))
                pause, rests = SOON, rests + 1
                if rests == STEADY:
                    # Nobody listens meanwhile, and the pokes would pile up.
                    ear.close()
            else:
                rests = 0
                if any(work.lane is Lane.CRITICAL for work in rung):
                    pause = max(pause, AFTER_CRITICAL)
                pause = SOON if ear.wait(pause) else min(pause * 2, POLL)
        except (*UNAVAILABLE, *queue.UNREACHABLE) as error:
            log.warning("relay_waits", error=type(error).__name__, why=str(error).split("\n")[0])
            ear.close()
            time.sleep(PAUSE_AFTER_FAILURE)
    ear.close()
    log.info("relay_stopped")


def relay_once(settings: Settings) -> list[Rung]:
    """Pack and ring what is due now; what was rung.

    Rings after its own commit: a worker must find the dispatch, and a relay that dies between
    the two leaves a dispatch that is rung again a little later.
    """
    with statement() as connection:
        rung = dispatches.ring(
            connection,
            again=timedelta(seconds=settings.ring_again_seconds),
            room=settings.rung_per_queue,
            partial=PARTIAL,
        )
    for place, work in enumerate(rung):
        failpoints.reach("relay.marked" if place == 0 else "relay.between_rings")
        try:
            queue.ring(work.id, work.kind, work.channel, work.lane)
        except Exception:
            _take_back(rung[place:])
            raise
    if rung:
        log.debug("rung", dispatches=len(rung), again=sum(work.rings > 1 for work in rung))
    return rung


def _take_back(rung: list[Rung]) -> None:
    with connect() as connection, connection.begin():
        dispatches.unring(connection, [work.id for work in rung])


def notice_lost_queue() -> None:
    """See whether Redis has lost what was queued, and if so ring all of it again at once."""
    if queue.redis().exists(queue.EPOCH):
        return
    with connect() as connection, connection.begin() as transaction:
        lost = dispatches.forget_rings(connection)
        if not queue.redis().set(queue.EPOCH, str(uuid.uuid4()), nx=True):
            transaction.rollback()  # another relay was faster
            return
        if lost:
            system.raise_event(
                connection,
                Severity.HIGH,
                "queue_lost",
                "Redis lost its queues; everything that waited in them is rung again",
                {"dispatches": lost},
            )
    if lost:
        log.warning("queue_lost", dispatches=lost)


class Ear:
    """Hears pokes from emitters, so that light load need not wait for the next poll."""

    def __init__(self) -> None:
        self._heard: PubSub | None = None

    def wait(self, seconds: float) -> bool:
        """Return at a poke, or after `seconds`; whether it was a poke."""
        if self._heard is None:
            self._heard = queue.pokes()
        if not self._heard.get_message(timeout=seconds):
            return False
        # A burst of pokes is one reason to look, not many.
        while self._heard.get_message(timeout=0):
            pass
        return True

    def close(self) -> None:
        if self._heard is not None:
            self._heard.close()
            self._heard = None
