"""Walk a large or scheduled event's audience, page by page, each page its own transaction."""

import time
import uuid

from notifier.log import logger
from notifier.store import dispatches, system
from notifier.store.engine import connect
from notifier.words import Severity
from notifier.worker import Worker, claiming

log = logger("fanout")

PAGE = 5000
"""Recipients a page; bounds memory and how long a cancel waits for the event's lock."""

STUCK = 4
"""The claim at which operators are told that a fan-out does not get on."""


def fan_out(dispatch_id: uuid.UUID, worker: Worker) -> None:
    """Fan out until the audience ends, the time budget is spent or the worker is to stop.

    A crash leaves the cursor at the last committed page; a page done twice writes nothing twice.
    """
    with claiming(dispatch_id, worker) as token:
        _fan_out(dispatch_id, token, worker)


def _fan_out(dispatch_id: uuid.UUID, token: uuid.UUID, worker: Worker) -> None:
    started = time.monotonic()
    with connect() as connection, connection.begin():
        held = dispatches.claim(connection, dispatch_id, worker.settings.lease, token)
        if held is not None and held.attempts == STUCK:
            system.raise_event(
                connection,
                Severity.HIGH,
                "fan_out_stuck",
                "workers keep dying or failing in a fan-out; it is tried again at every lease",
                {"event": held.event_id, "claims": held.attempts},
            )
    if held is None:
        return
    pairs = 0
    while True:
        with connect() as connection, connection.begin():
            row = connection.exec_driver_sql(
                "SELECT done, pairs FROM notifier.fan_out_step(%s, %s, %s, %s)",
                (held.id, held.token, worker.settings.lease, PAGE),
            ).one()
        if row.done is None:
            log.warning("claim_lost", dispatch=held.id, event_id=held.event_id)
            return
        pairs += row.pairs
        if row.done:
            log.info("fanned_out", event_id=held.event_id, pairs=pairs, claim=held.attempts)
            return
        if worker.stopping() or time.monotonic() - started > worker.settings.chunk_seconds:
            with connect() as connection, connection.begin():
                dispatches.hand_back(connection, held)
            return
