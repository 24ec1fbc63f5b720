"""An account of what happened, for the demo's report: refusals, recoveries, one journey."""

from typing import Any

from sqlalchemy import Connection


def refused(connection: Connection) -> dict[str, int]:
    """Refused pairs by reason."""
    return dict(
        connection.exec_driver_sql(
            "SELECT reason, count(*) FROM notifier.notification_deliveries "
            "WHERE status = 'refused' GROUP BY reason ORDER BY reason"
        ).all()
    )


def events_by_source(connection: Connection) -> dict[str, int]:
    return dict(
        connection.exec_driver_sql(
            "SELECT source, count(*) FROM notifier.notification_events GROUP BY source ORDER BY source"
        ).all()
    )


def unfinished(connection: Connection) -> int:
    """Deliveries without a final state, and fan-outs that are not done."""
    return int(
        connection.exec_driver_sql(
            "SELECT (SELECT count(*) FROM notifier.dispatches) + "
            "(SELECT count(*) FROM notifier.notification_deliveries "
            "WHERE status IN ('scheduled', 'queued', 'sending', 'retrying'))"
        ).scalar_one()
    )


def idle(connection: Connection) -> bool:
    """Whether no dispatch is left."""
    return not connection.exec_driver_sql(
        "SELECT EXISTS (SELECT FROM notifier.dispatches)"
    ).scalar_one()


def only_steps_left(connection: Connection) -> bool:
    """Whether every dispatch left is a step of an escalation that is still to come."""
    return not connection.exec_driver_sql(
        "SELECT EXISTS (SELECT FROM notifier.dispatches WHERE step = 0)"
    ).scalar_one()


def escalation(connection: Connection) -> dict[str, int]:
    """Escalations that a link ended before anybody else was asked, and calls that were made because
    nobody had acknowledged."""
    stopped, called = connection.exec_driver_sql(
        "SELECT (SELECT count(*) FROM notifier.acknowledgements a WHERE a.how = 'link' AND NOT EXISTS ("
        " SELECT FROM notifier.notification_deliveries d WHERE d.event_id = a.event_id AND d.step > 0)), "
        "(SELECT count(*) FROM notifier.notification_deliveries "
        " WHERE channel = 'voice' AND step > 0 AND sent_at IS NOT NULL)"
    ).one()
    return {"stopped_by_a_link": int(stopped), "calls": int(called)}


def failover(connection: Connection, provider: str) -> dict[str, int]:
    """How often a provider's breaker opened and closed, how many of the deliveries it had failed were
    sent through another, and how many it sent after it was taken back."""
    row = connection.exec_driver_sql(
        "SELECT (SELECT count(*) FROM notifier.admin_system_events "
        " WHERE kind = 'breaker_opened' AND detail->>'provider' = %(provider)s), "
        "(SELECT count(*) FROM notifier.admin_system_events "
        " WHERE kind = 'breaker_closed' AND detail->>'provider' = %(provider)s), "
        "(SELECT count(DISTINCT j.delivery_id) FROM notifier.delivery_journal j "
        " JOIN notifier.notification_deliveries d ON d.id = j.delivery_id "
        " WHERE j.provider = %(provider)s AND j.to_status = 'retrying' "
        " AND d.provider <> %(provider)s AND d.sent_at IS NOT NULL), "
        "(SELECT count(*) FROM notifier.notification_deliveries d "
        " WHERE d.provider = %(provider)s AND d.sent_at > (SELECT min(s.created_at) "
        "  FROM notifier.admin_system_events s WHERE s.kind = 'breaker_closed' "
        "  AND s.detail->>'provider' = %(provider)s))",
        {"provider": provider},
    ).one()
    names = ("opened", "closed", "sent_through_another", "sent_after_the_return")
    return dict(zip(names, map(int, row), strict=True))


def sent_through(connection: Connection, provider: str) -> int:
    """Deliveries that a provider took."""
    return int(
        connection.exec_driver_sql(
            "SELECT count(*) FROM notifier.notification_deliveries "
            "WHERE provider = %s AND sent_at IS NOT NULL",
            (provider,),
        ).scalar_one()
    )


def recovered(connection: Connection) -> dict[str, int]:
    """Deliveries that a second claim brought to their end, and dispatches Redis had lost."""
    taken_over, rung_again = connection.exec_driver_sql(
        "SELECT (SELECT count(DISTINCT delivery_id) FROM notifier.delivery_journal WHERE claim > 1), "
        "(SELECT coalesce(sum((detail->>'dispatches')::int), 0) FROM notifier.admin_system_events "
        " WHERE kind = 'queue_lost')"
    ).one()
    return {
        "deliveries_by_a_second_claim": int(taken_over),
        "dispatches_rung_again": int(rung_again),
    }


def accepted(connection: Connection, channel: str) -> dict[str, bool]:
    """Deliveries of a channel that a provider accepted; whether an attempt was ever in doubt."""
    rows = connection.exec_driver_sql(
        "SELECT d.id, coalesce(bool_or(j.claim > 1 OR j.code = 'in_doubt'), false) "
        "FROM notifier.notification_deliveries d "
        "LEFT JOIN notifier.delivery_journal j ON j.delivery_id = d.id "
        "WHERE d.channel = %s AND d.sent_at IS NOT NULL GROUP BY d.id",
        (channel,),
    )
    return {str(row[0]): row[1] for row in rows}


def longest_journey(connection: Connection) -> list[str]:
    """The moves of the delivery that took the most attempts to arrive, a line each."""
    rows = connection.exec_driver_sql(
        "SELECT d.id, d.channel, e.type, notifier.id_time(d.id) AS made, j.at, j.from_status, "
        "j.to_status, j.attempt, j.provider, j.code, j.detail "
        "FROM (SELECT * FROM notifier.notification_deliveries WHERE status IN ('sent', 'delivered') "
        "      ORDER BY attempts DESC, id LIMIT 1) d "
        "JOIN notifier.notification_events e ON e.id = d.event_id "
        "JOIN notifier.delivery_journal j ON j.delivery_id = d.id ORDER BY j.at, j.id"
    ).all()
    if not rows:
        return []
    first = rows[0]
    lines = [f"{first.id}: {first.type} by {first.channel}"]
    for row in rows:
        since = (row.at - first.made).total_seconds()
        is_told = row.code is not None and row.code in (row.detail or "").split()
        words = (row.provider, None if is_told else row.code, row.detail)
        detail = " ".join(word for word in words if word)
        lines.append(
            f"  +{since:6.3f} s  {row.from_status} -> {row.to_status}  "
            f"(attempt {row.attempt}: {detail})"
        )
    return lines


def held(connection: Connection, channel: str) -> dict[str, Any]:
    """A dispatch of a channel that a worker holds right now; empty where there is none."""
    row = connection.exec_driver_sql(
        "SELECT id, attempts, cardinality(delivery_ids) AS deliveries, "
        "round(extract(epoch FROM lease_until - clock_timestamp()), 1)::float AS left "
        "FROM notifier.dispatches "
        "WHERE channel = %s AND kind = 'deliver' AND lease_until > clock_timestamp() LIMIT 1",
        (channel,),
    ).one_or_none()
    if row is None:
        return {}
    return {
        "dispatch": str(row.id),
        "claim": row.attempts,
        "deliveries": row.deliveries,
        "lease_left": row.left,
    }


def sent_of_type(connection: Connection, event_type: str) -> int:
    """How many deliveries of an event type were sent."""
    return int(
        connection.exec_driver_sql(
            "SELECT count(*) FROM notifier.notification_deliveries d "
            "JOIN notifier.notification_events e ON e.id = d.event_id "
            "WHERE e.type = %s AND d.sent_at IS NOT NULL",
            (event_type,),
        ).scalar_one()
    )
