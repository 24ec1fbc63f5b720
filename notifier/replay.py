"""Send dead letters again: the same deliveries are reopened, with a fresh set of attempts."""

import uuid
from datetime import datetime

__all__ = ["replay"]

BATCH = 2000
"""Dead letters reopened in one transaction."""


def replay(
    *,
    delivery: uuid.UUID | None = None,
    tenant: uuid.UUID | None = None,
    channel: str | None = None,
    event_type: str | None = None,
    code: str | None = None,
    since: datetime | None = None,
    actor: str | None = None,
) -> int:
    """Reopen one dead letter, or all that match every filter given; how many.

    A delivery that was reopened is no dead letter any more, so repeating a replay repeats nothing.
    """
    from notifier.log import logger
    from notifier.store import letters
    from notifier.store.engine import connect

    reopened = 0
    while True:
        with connect() as connection, connection.begin():
            taken, batch = letters.reopen(
                connection,
                BATCH,
                delivery=delivery,
                tenant=tenant,
                channel=channel,
                event_type=event_type,
                code=code,
                since=since,
            )
        reopened += batch
        if taken < BATCH:
            logger("replay").info("replayed", deliveries=reopened, actor=actor)
            return reopened
