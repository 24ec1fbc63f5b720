"""Keep the tables ready for the weeks to come; from the timetable, as often as it likes."""

from datetime import timedelta

from notifier.log import logger
from notifier.store import system
from notifier.store.engine import connect

log = logger("upkeep")

AHEAD = timedelta(weeks=3)


def upkeep() -> int:
    """Make the partitions of the coming weeks; how many were missing."""
    with connect() as connection, connection.begin():
        made = system.ensure_partitions(connection, AHEAD)
    if made:
        log.info("partitions_made", partitions=made)
    return made
