"""Tenants, recipients and their addresses, subscriptions and preferences."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from notifier.errors import InvalidAddress, InvalidValue, UnknownRecipient
from notifier.signing import endpoint_keys
from notifier.store.addresses import shown
from notifier.words import Channel, locale_tag

# The field path names the recipient by its place, so that a batch's fault can be found.
_UPSERT = """
INSERT INTO notifier.recipients AS r (tenant_id, external_id, name, is_admin, locale, timezone, attributes)
SELECT %(tenant)s, x.external_id, x.name, coalesce(x.is_admin, false), coalesce(x.locale, 'en'),
       coalesce(x.timezone, 'UTC'), coalesce(x.attributes, '{}')
FROM jsonb_to_recordset(%(given)s::jsonb)
    AS x(external_id text, name text, is_admin boolean, locale text, timezone text, attributes jsonb)
ON CONFLICT (tenant_id, external_id) DO UPDATE SET
    name = excluded.name, is_admin = excluded.is_admin, locale = excluded.locale,
    timezone = excluded.timezone, attributes = excluded.attributes, updated_at = now()
RETURNING r.external_id, r.id
"""

_POINTS = """
WITH given AS (
    SELECT r.id AS recipient_id, c.channel, c.address, c.secret
    FROM jsonb_to_recordset(%(given)s::jsonb) AS x(external_id text, contact_points jsonb)
    JOIN notifier.recipients r ON r.tenant_id = %(tenant)s AND r.external_id = x.external_id
    CROSS JOIN jsonb_to_recordset(x.contact_points) AS c(channel text, address text, secret text)
)
INSERT INTO notifier.contact_points (tenant_id, recipient_id, channel, address, secret)
SELECT %(tenant)s, recipient_id, channel, address, secret FROM given
ON CONFLICT (recipient_id, channel, address) DO UPDATE SET
    dead_at = NULL, dead_reason = NULL, secret = coalesce(excluded.secret, contact_points.secret)
"""

_PROBLEM = """
SELECT x.n - 1, c.n - 1, notifier.address_problem(c.point->>'channel', c.point->>'address')
FROM jsonb_array_elements(%(given)s::jsonb) WITH ORDINALITY AS x(recipient, n)
CROSS JOIN jsonb_array_elements(coalesce(x.recipient->'contact_points', '[]')) WITH ORDINALITY AS c(point, n)
WHERE notifier.address_problem(c.point->>'channel', c.point->>'address') IS NOT NULL
ORDER BY 1, 2 LIMIT 1
"""

# A secret that was given before stays.
_UNSIGNED = """
SELECT x.n - 1, c.n - 1
FROM jsonb_array_elements(%(given)s::jsonb) WITH ORDINALITY AS x(recipient, n)
CROSS JOIN jsonb_array_elements(coalesce(x.recipient->'contact_points', '[]')) WITH ORDINALITY AS c(point, n)
WHERE c.point->>'channel' = 'webhook' AND c.point->>'secret' IS NULL AND NOT EXISTS (
    SELECT FROM notifier.recipients r JOIN notifier.contact_points p ON p.recipient_id = r.id
    WHERE r.tenant_id = %(tenant)s AND r.external_id = x.recipient->>'external_id'
      AND p.channel = 'webhook' AND p.address = c.point->>'address' AND p.secret IS NOT NULL)
ORDER BY 1, 2 LIMIT 1
"""

_SECRET = "the endpoint's signing secret: whsec_ and base64"

_ATTRIBUTES_PROBLEM = """
SELECT x.n - 1, f.problem[1], f.problem[2]
FROM jsonb_array_elements(%(given)s::jsonb) WITH ORDINALITY AS x(recipient, n)
CROSS JOIN LATERAL (SELECT notifier.json_problem(
    x.recipient->'attributes', octet_length((x.recipient->'attributes')::text), 'attributes'
)) AS f(problem)
WHERE f.problem IS NOT NULL ORDER BY 1 LIMIT 1
"""

_OF_RECIPIENT = {
    "contact_points": f"SELECT channel, {shown('contact_points')} AS address, "
    "dead_at, dead_reason FROM notifier.contact_points WHERE recipient_id = %s ORDER BY id",
    "subscriptions": "SELECT event_type, is_active, admin_only FROM notifier.notification_subscriptions "
    "WHERE recipient_id = %s ORDER BY event_type",
    "preferences": "SELECT scope, channel, enabled FROM notifier.user_notification_preferences "
    "WHERE recipient_id = %s ORDER BY scope, channel",
}


def create_tenant(connection: Connection, name: str) -> uuid.UUID:
    """A new tenant's id; raises `InvalidValue` where the name is taken."""
    found = connection.exec_driver_sql(
        "INSERT INTO notifier.tenants (name) VALUES (%s) ON CONFLICT DO NOTHING RETURNING id",
        (name,),
    ).scalar_one_or_none()
    if found is None:
        raise InvalidValue("name", "a name that no other tenant has")
    tenant: uuid.UUID = found
    return tenant


def upsert_recipients(
    connection: Connection, tenant: uuid.UUID, given: Sequence[Mapping[str, Any]]
) -> dict[str, uuid.UUID]:
    """Create or replace recipients by their external id, with their contact points added.

    given: mappings of external_id, and optionally name, is_admin, locale (a language tag),
        timezone (IANA), attributes, contact_points [{channel, address, secret}]. Webhooks alone
        have a secret, and need one.
    Raises `InvalidAddress` or `InvalidValue` naming the field; then nothing was written.
    """
    zones = {g["timezone"] for g in given if g.get("timezone")}
    for zone in zones:
        if not is_timezone(zone):
            place = next(i for i, g in enumerate(given) if g.get("timezone") == zone)
            raise InvalidValue(f"recipients[{place}].timezone", "an IANA time zone (Europe/Paris)")
    _refuse_repeats(given)
    _check_secrets(given)
    known = [
        {**g, "locale": locale_tag(g["locale"])} if g.get("locale") else dict(g) for g in given
    ]
    arguments = {"tenant": tenant, "given": json.dumps(known)}
    problem = connection.exec_driver_sql(_PROBLEM, arguments).one_or_none()
    if problem is not None:
        place, point, expected = problem
        raise InvalidAddress(f"recipients[{place}].contact_points[{point}].address", expected)
    unsigned = connection.exec_driver_sql(_UNSIGNED, arguments).one_or_none()
    if unsigned is not None:
        place, point = unsigned
        raise InvalidValue(f"recipients[{place}].contact_points[{point}].secret", _SECRET)
    problem = connection.exec_driver_sql(_ATTRIBUTES_PROBLEM, arguments).one_or_none()
    if problem is not None:
        place, field, expected = problem
        raise InvalidValue(f"recipients[{place}].{field}", expected)
    ids = {row[0]: row[1] for row in connection.exec_driver_sql(_UPSERT, arguments)}
    connection.exec_driver_sql(_POINTS, arguments)
    return ids


def _refuse_repeats(given: Sequence[Mapping[str, Any]]) -> None:
    """One statement can not write the same row twice."""
    seen: set[str] = set()
    for place, recipient in enumerate(given):
        if recipient["external_id"] in seen:
            raise InvalidValue(f"recipients[{place}].external_id", "one not named before")
        seen.add(recipient["external_id"])
        points: set[tuple[str, str]] = set()
        for n, point in enumerate(recipient.get("contact_points") or ()):
            if (point["channel"], point["address"]) in points:
                raise InvalidValue(
                    f"recipients[{place}].contact_points[{n}]", "one not listed before"
                )
            points.add((point["channel"], point["address"]))


def _check_secrets(given: Sequence[Mapping[str, Any]]) -> None:
    for place, recipient in enumerate(given):
        for n, point in enumerate(recipient.get("contact_points") or ()):
            if (secret := point.get("secret")) is None:
                continue
            field = f"recipients[{place}].contact_points[{n}].secret"
            if point["channel"] != Channel.WEBHOOK:
                raise InvalidValue(field, "no secret: only webhooks have one")
            try:
                if not endpoint_keys(secret):
                    raise ValueError
            except ValueError:
                raise InvalidValue(field, _SECRET) from None


def is_timezone(name: str) -> bool:
    """Whether `name` is an IANA time zone."""
    from zoneinfo import ZoneInfo

    try:
        ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        return False
    return True


def subscribe(
    connection: Connection,
    tenant: uuid.UUID,
    event_type: str,
    recipients: Sequence[uuid.UUID],
    *,
    is_active: bool = True,
    admin_only: bool = False,
) -> None:
    """Subscribe recipients to an event type, or change their subscriptions."""
    connection.exec_driver_sql(
        "INSERT INTO notifier.notification_subscriptions AS s "
        "(tenant_id, event_type, recipient_id, is_active, admin_only) "
        "SELECT %s, %s, x.id, %s, %s FROM unnest(%s::uuid[]) AS x(id) "
        "ON CONFLICT (tenant_id, event_type, recipient_id) DO UPDATE "
        "SET is_active = excluded.is_active, admin_only = excluded.admin_only",
        (tenant, event_type, is_active, admin_only, list(recipients)),
    )


def prefer(
    connection: Connection,
    tenant: uuid.UUID,
    recipient: uuid.UUID | None,
    scope: str,
    channel: str,
    *,
    enabled: bool,
) -> None:
    """Set whether a channel is wanted for a scope: an event type, 'category:work', or '*'.

    recipient: None sets the tenant's default, underneath every recipient's own rows.
    """
    connection.exec_driver_sql(
        "INSERT INTO notifier.user_notification_preferences "
        "(tenant_id, recipient_id, scope, channel, enabled) VALUES (%s, %s, %s, %s, %s) "
        "ON CONFLICT (tenant_id, recipient_id, channel, scope) DO UPDATE "
        "SET enabled = excluded.enabled, updated_at = now()",
        (tenant, recipient, scope, channel, enabled),
    )


def put_topic(
    connection: Connection, tenant: uuid.UUID, name: str, members: Sequence[uuid.UUID]
) -> None:
    """Create a topic where it is missing, and add members to it."""
    connection.exec_driver_sql(
        "INSERT INTO notifier.topics (tenant_id, name) VALUES (%s, %s) ON CONFLICT DO NOTHING",
        (tenant, name),
    )
    connection.exec_driver_sql(
        "INSERT INTO notifier.topic_members (topic_id, recipient_id) "
        "SELECT t.id, x.id FROM notifier.topics t CROSS JOIN unnest(%s::uuid[]) AS x(id) "
        "WHERE t.tenant_id = %s AND t.name = %s ON CONFLICT DO NOTHING",
        (list(members), tenant, name),
    )


def find_recipient(
    connection: Connection, tenant: uuid.UUID, external_id: str
) -> dict[str, Any] | None:
    """A recipient with contact points (never their secrets), subscriptions and preferences."""
    row = (
        connection.exec_driver_sql(
            "SELECT id, external_id, name, is_admin, locale, timezone, attributes, created_at, "
            "updated_at FROM notifier.recipients WHERE tenant_id = %s AND external_id = %s",
            (tenant, external_id),
        )
        .mappings()
        .one_or_none()
    )
    if row is None:
        return None
    found = dict(row)
    recipient = found.pop("id")
    for name, query in _OF_RECIPIENT.items():
        rows = connection.exec_driver_sql(query, (recipient,)).mappings()
        found[name] = [dict(each) for each in rows]
    return found


def ids_of(
    connection: Connection, tenant: uuid.UUID, external_ids: Sequence[str]
) -> list[uuid.UUID]:
    """The recipients' ids, in the order asked; raises `UnknownRecipient` for the first not there."""
    rows = connection.exec_driver_sql(
        "SELECT r.id FROM unnest(%s::text[]) WITH ORDINALITY AS x(external_id, n) "
        "LEFT JOIN notifier.recipients r ON r.tenant_id = %s AND r.external_id = x.external_id "
        "ORDER BY x.n",
        (list(external_ids), tenant),
    )
    ids = [row[0] for row in rows]
    if None in ids:
        raise UnknownRecipient(
            f"recipients[{ids.index(None)}]", "the external id of a recipient of this tenant"
        )
    return ids


def is_scope(connection: Connection, scope: str) -> bool:
    """Whether a preference may be about `scope`: an event type, a category of one, or '*'."""
    return bool(
        connection.exec_driver_sql(
            "SELECT %(scope)s = '*' OR EXISTS (SELECT FROM notifier.event_types t "
            "WHERE %(scope)s IN (t.name, 'category:' || t.category))",
            {"scope": scope},
        ).scalar_one()
    )


def replace_members(
    connection: Connection, tenant: uuid.UUID, name: str, members: Sequence[uuid.UUID]
) -> None:
    """Make `members` the whole of a topic, which is created where it is missing."""
    put_topic(connection, tenant, name, members)
    connection.exec_driver_sql(
        "DELETE FROM notifier.topic_members m USING notifier.topics t "
        "WHERE t.id = m.topic_id AND t.tenant_id = %s AND t.name = %s "
        "AND m.recipient_id <> ALL (%s::uuid[])",
        (tenant, name, list(members)),
    )


def unsubscribe(connection: Connection, delivery: uuid.UUID) -> bool:
    """Unsubscribe whoever got a delivery from its event type; False where it is not there."""
    return bool(
        connection.exec_driver_sql("SELECT notifier.unsubscribe(%s)", (delivery,)).scalar_one()
    )
