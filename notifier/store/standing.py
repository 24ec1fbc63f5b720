"""Where everything stands: counts for `notifier status`."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from notifier.store.engine import read_all
from notifier.words import Channel


@dataclass(frozen=True, slots=True)
class Dispatches:
    """What the relay and the workers have before them.

    waiting: due, and nobody holds them. later: due in the future. leased: a worker has them.
    oldest_seconds: how long the oldest waiting one has been due.
    """

    waiting: int
    later: int
    leased: int
    oldest_seconds: float


def dispatches(connection: Connection) -> Dispatches:
    row = connection.exec_driver_sql(
        "SELECT count(*) FILTER (WHERE due AND NOT leased) AS waiting, "
        "count(*) FILTER (WHERE NOT due AND NOT leased) AS later, "
        "count(*) FILTER (WHERE leased) AS leased, "
        "coalesce(extract(epoch FROM clock_timestamp() "
        "  - min(due_at) FILTER (WHERE due AND NOT leased)), 0)::float AS oldest_seconds "
        "FROM (SELECT due_at, due_at <= clock_timestamp() AS due, "
        "      coalesce(lease_until > clock_timestamp(), false) AS leased "
        "      FROM notifier.dispatches) d"
    ).one()
    return Dispatches(row.waiting, row.later, row.leased, row.oldest_seconds)


def deliveries(connection: Connection) -> Mapping[Channel, Mapping[str, int]]:
    """Deliveries by channel and status. Reads the whole table: for people, not for a loop."""
    read_all(connection)
    counts: dict[Channel, dict[str, int]] = {}
    for channel, status, count in connection.exec_driver_sql(
        "SELECT channel, status, count(*) FROM notifier.notification_deliveries "
        "GROUP BY channel, status ORDER BY channel, status"
    ):
        counts.setdefault(Channel(channel), {})[status] = count
    return counts


def dead_letters(connection: Connection) -> Mapping[str, int]:
    """Dead letters by their code."""
    rows = connection.exec_driver_sql(
        "SELECT code, count(*) AS letters FROM notifier.dead_letters GROUP BY code ORDER BY 2 DESC, 1"
    )
    return {row.code: row.letters for row in rows}


def in_doubt(connection: Connection) -> int:
    """Deliveries of which nobody knows whether they were sent."""
    return int(connection.exec_driver_sql("SELECT count(*) FROM notifier.in_doubt").scalar_one())
