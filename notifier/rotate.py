"""Seal every secret that is kept with the newest key, so that the older ones can be taken away."""

import uuid
from dataclasses import dataclass

from notifier import sealing
from notifier.log import logger
from notifier.store import sealed, system
from notifier.store.engine import connect
from notifier.words import Severity

log = logger("rotate")

BATCH = 500
"""Rows a transaction: who refreshes a token waits for no more than these."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """What became of the values.

    resealed: by the newest key now. kept: by the newest key before. changed: written by somebody
    else meanwhile; another run shows by which key. unopened: no key that is set opens them.
    """

    resealed: int
    kept: int
    changed: int
    unopened: int


def rotate() -> Rotated:
    """Reseal, batch by batch; may be ended and begun again at any time. Raises `sealing.NoKey`.

    Every process has to have the newest key first: one that has not seals with an older one.
    """
    counts = dict.fromkeys(("resealed", "kept", "changed", "unopened"), 0)
    for table, column in sealed.COLUMNS:
        after: uuid.UUID | None = uuid.UUID(int=0)
        while after is not None:
            after = _batch(table, column, after, counts)
    done = Rotated(**counts)
    if done.resealed:
        with connect() as connection, connection.begin():
            said = f"{done.resealed} secrets were sealed with the newest key"
            system.raise_event(connection, Severity.LOW, "keys_rotated", said, counts)
    log.info("rotated", **counts)
    return done


def _batch(table: str, column: str, after: uuid.UUID, counts: dict[str, int]) -> uuid.UUID | None:
    """Reseal the next rows, counting them; behind which row to go on, or None."""
    with connect() as connection, connection.begin():
        rows = sealed.page(connection, table, column, after, BATCH)
        for id, old in rows:
            try:
                new = sealing.reseal(old)
            except sealing.Unopened as fault:
                log.error("not_opened", table=table, column=column, row=id, why=str(fault))
                counts["unopened"] += 1
                continue
            if new is None:
                counts["kept"] += 1
            elif sealed.replace(connection, table, column, id, old, new):
                counts["resealed"] += 1
            else:
                counts["changed"] += 1
    return rows[-1][0] if len(rows) == BATCH else None
