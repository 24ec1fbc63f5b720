"""Keep the tables ready for the weeks to come; from the timetable, as often as it likes."""

from datetime import timedelta

from notifier.log import logger
from notifier.store import acknowledgements, connections, system
from notifier.store.engine import connect

log = logger("upkeep")

AHEAD = timedelta(weeks=3)
LINKS = timedelta(days=30)
"""How long a link that has expired can still tell whoever follows it that it has."""

STATES = timedelta(days=1)
"""How long after its end a connection that nobody made is kept."""


def upkeep() -> int:
    """Make the partitions of the coming weeks, of which it answers how many were missing, and
    forget old links and states."""
    with connect() as connection, connection.begin():
        made = system.ensure_partitions(connection, AHEAD)
        acknowledgements.drop_links(connection, LINKS)
        connections.drop_pending(connection, STATES)
    if made:
        log.info("partitions_made", partitions=made)
    return made
