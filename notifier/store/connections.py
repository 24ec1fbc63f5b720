"""Tenants' connections to accounts at vendors; what they hold is sealed before it comes here."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Connection

from notifier.words import ConnectionStatus


@dataclass(frozen=True, slots=True)
class Connected:
    """A connection, without its tokens. expires_at: of the access token; None: it does not."""

    id: uuid.UUID
    status: ConnectionStatus
    tenant_id: uuid.UUID
    provider: str
    account_id: str | None
    account_name: str | None
    scopes: Sequence[str]
    expires_at: datetime | None
    created_at: datetime
    updated_at: datetime
    last_used_at: datetime | None


@dataclass(frozen=True, slots=True)
class Held:
    """A connection as who sends needs it.

    access_token: sealed; None where it is revoked. expired: the token is good no more.
    due: it has to be refreshed, and nobody is at it. unused: for a while, as far as it is written.
    """

    id: uuid.UUID
    status: ConnectionStatus
    access_token: str | None = field(repr=False)
    expired: bool
    due: bool
    unused: bool


@dataclass(frozen=True, slots=True)
class Tokens:
    """The sealed tokens of a connection."""

    id: uuid.UUID
    tenant_id: uuid.UUID
    provider: str
    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)


def new_id(connection: Connection) -> uuid.UUID:
    """The id for a row that is still to be sealed for."""
    made: uuid.UUID = connection.exec_driver_sql("SELECT notifier.new_id()").scalar_one()
    return made


def keep_pending(
    connection: Connection,
    id: uuid.UUID,
    hash: bytes,
    tenant: uuid.UUID,
    provider: str,
    verifier: str,
    good_for: timedelta,
) -> datetime:
    """Keep a state by its hash; until when it is good."""
    until: datetime = connection.exec_driver_sql(
        "INSERT INTO notifier.pending_connections "
        "(id, hash, tenant_id, provider, verifier, expires_at) "
        "VALUES (%s, %s, %s, %s, %s, clock_timestamp() + %s) RETURNING expires_at",
        (id, hash, tenant, provider, verifier, good_for),
    ).scalar_one()
    return until


def use_pending(
    connection: Connection, hash: bytes, provider: str
) -> tuple[uuid.UUID, uuid.UUID, str] | None:
    """Use a state up: its row's id, its tenant and the sealed verifier. One caller only wins."""
    row = connection.exec_driver_sql(
        "SELECT id, tenant_id, verifier FROM notifier.use_pending_connection(%s, %s)",
        (hash, provider),
    ).one_or_none()
    return None if row is None else (row[0], row[1], row[2])


def drop_pending(connection: Connection, after: timedelta) -> int:
    """Forget the states that have expired so long ago; how many."""
    return connection.exec_driver_sql(
        "DELETE FROM notifier.pending_connections WHERE expires_at < now() - %s", (after,)
    ).rowcount


def active(
    connection: Connection, tenant: uuid.UUID, provider: str
) -> tuple[uuid.UUID, str | None] | None:
    """The id and the account of the tenant's active connection. Until the transaction ends nobody
    else who asks so gets an answer: there is one such connection at most."""
    connection.exec_driver_sql(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", (f"{tenant} {provider}",)
    )
    row = connection.exec_driver_sql(
        "SELECT id, account_id FROM notifier.connections "
        "WHERE tenant_id = %s AND provider = %s AND status = 'active' FOR UPDATE",
        (tenant, provider),
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def write(
    connection: Connection,
    id: uuid.UUID,
    tenant: uuid.UUID,
    provider: str,
    *,
    account_id: str | None,
    account_name: str | None,
    scopes: Sequence[str],
    access_token: str,
    refresh_token: str | None,
    lasts: timedelta | None,
) -> None:
    """Write a new connection, or new tokens into this active one; who was refreshing it gives up."""
    connection.exec_driver_sql(
        "INSERT INTO notifier.connections AS c (id, tenant_id, provider, account_id, account_name, "
        " scopes, status, access_token, refresh_token, expires_at) "
        "VALUES (%s, %s, %s, %s, %s, %s::text[], 'active', %s, %s, clock_timestamp() + %s::interval) "
        "ON CONFLICT (id) DO UPDATE SET account_name = excluded.account_name, "
        " scopes = excluded.scopes, access_token = excluded.access_token, "
        " refresh_token = excluded.refresh_token, expires_at = excluded.expires_at, "
        " refreshing_until = NULL, updated_at = clock_timestamp()",
        (
            id,
            tenant,
            provider,
            account_id,
            account_name,
            list(scopes),
            access_token,
            refresh_token,
            lasts,
        ),
    )


_COLUMNS = (
    "id, status, tenant_id, provider, account_id, account_name, scopes, expires_at, created_at, "
    "updated_at, last_used_at"
)


def listed(connection: Connection, tenant: uuid.UUID | None = None) -> list[Connected]:
    """The connections (of `tenant`, where given) that the connection may see, the oldest first."""
    rows = connection.exec_driver_sql(
        f"SELECT {_COLUMNS} FROM notifier.connections "
        "WHERE %(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s ORDER BY id",
        {"tenant": tenant},
    )
    return [Connected(row[0], ConnectionStatus(row[1]), *row[2:]) for row in rows]


# A token that lives for less than twice `ahead` is due when half of its time is over.
_DUE = (
    "status = 'active' AND refresh_token IS NOT NULL "
    "AND expires_at <= clock_timestamp() + least(%(ahead)s, (expires_at - updated_at) / 2) "
    "AND (refreshing_until IS NULL OR refreshing_until <= clock_timestamp())"
)


def held(
    connection: Connection,
    tenant: uuid.UUID,
    provider: str,
    ahead: timedelta,
    idle: timedelta,
) -> Held | None:
    """The tenant's active connection, else the one that was revoked last.

    ahead: how long before its end a token is due. idle: what counts as unused.
    """
    row = connection.exec_driver_sql(
        "SELECT id, status, access_token, coalesce(expires_at <= clock_timestamp(), false), "
        f"coalesce({_DUE}, false), "
        "coalesce(last_used_at < clock_timestamp() - %(idle)s, true) "
        "FROM notifier.connections WHERE tenant_id = %(tenant)s AND provider = %(provider)s "
        "ORDER BY status = 'active' DESC, updated_at DESC LIMIT 1",
        {"ahead": ahead, "idle": idle, "tenant": tenant, "provider": provider},
    ).one_or_none()
    return None if row is None else Held(row[0], ConnectionStatus(row[1]), *row[2:])


def touch(connection: Connection, id: uuid.UUID) -> None:
    """Write that it is used now."""
    connection.exec_driver_sql(
        "UPDATE notifier.connections SET last_used_at = clock_timestamp() WHERE id = %s", (id,)
    )


def claim_refresh(
    connection: Connection, id: uuid.UUID, ahead: timedelta, hold: timedelta
) -> tuple[datetime, str] | None:
    """Claim the refresh for as long as `hold`: the claim and the sealed refresh token.

    None where it is not due any more, or somebody else's. Nobody waits for a lock while a vendor is
    spoken to: whoever does not win goes on.
    """
    row = connection.exec_driver_sql(
        "UPDATE notifier.connections SET refreshing_until = clock_timestamp() + %(hold)s "
        f"WHERE id = %(id)s AND {_DUE} RETURNING refreshing_until, refresh_token",
        {"id": id, "ahead": ahead, "hold": hold},
    ).one_or_none()
    return None if row is None else (row[0], row[1])


def refreshed(
    connection: Connection,
    id: uuid.UUID,
    claim: datetime,
    access_token: str,
    refresh_token: str | None,
    lasts: timedelta | None,
) -> bool:
    """Write new tokens; False where the claim was lost. refresh_token: None: the old one stays."""
    return bool(
        connection.exec_driver_sql(
            "UPDATE notifier.connections SET access_token = %s, "
            "refresh_token = coalesce(%s, refresh_token), "
            "expires_at = clock_timestamp() + %s::interval, refreshing_until = NULL, "
            "updated_at = clock_timestamp() "
            "WHERE id = %s AND status = 'active' AND refreshing_until = %s",
            (access_token, refresh_token, lasts, id, claim),
        ).rowcount
    )


def revoke(
    connection: Connection,
    id: uuid.UUID,
    *,
    tenant: uuid.UUID | None = None,
    claim: datetime | None = None,
    access_token: str | None = None,
) -> Tokens | None:
    """End an active connection and forget its tokens, which are answered; None where there is none.

    tenant, claim, access_token: where given, only one that is of this tenant, is being refreshed
    under this claim, or still has this (sealed) token.
    """
    row = connection.exec_driver_sql(
        "WITH old AS ("
        " SELECT id, tenant_id, provider, access_token, refresh_token FROM notifier.connections "
        " WHERE id = %(id)s AND status = 'active' "
        " AND (%(tenant)s::uuid IS NULL OR tenant_id = %(tenant)s) "
        " AND (%(claim)s::timestamptz IS NULL OR refreshing_until = %(claim)s) "
        " AND (%(token)s::text IS NULL OR access_token = %(token)s) FOR UPDATE"
        ") UPDATE notifier.connections c SET status = 'revoked', access_token = NULL, "
        "refresh_token = NULL, refreshing_until = NULL, updated_at = clock_timestamp() "
        "FROM old WHERE c.id = old.id "
        "RETURNING old.id, old.tenant_id, old.provider, old.access_token, old.refresh_token",
        {"id": id, "tenant": tenant, "claim": claim, "token": access_token},
    ).one_or_none()
    return None if row is None else Tokens(*row)
