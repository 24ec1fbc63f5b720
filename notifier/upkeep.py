"""Keep the tables ready for the weeks to come; from the timetable, as often as it likes."""

from datetime import timedelta

from notifier.log import logger
from notifier.store import acknowledgements, system
from notifier.store.engine import connect

log = logger("upkeep")

AHEAD = timedelta(weeks=3)
LINKS = timedelta(days=30)
"""How long a link that has expired can still tell whoever follows it that it has."""


def upkeep() -> int:
    """Make the partitions of the coming weeks and forget old links; how many were missing."""
    with connect() as connection, connection.begin():
        made = system.ensure_partitions(connection, AHEAD)
        acknowledgements.drop_links(connection, LINKS)
    if made:
        log.info("partitions_made", partitions=made)
    return made
