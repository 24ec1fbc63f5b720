"""API keys: a token is shown once, when it is made; what is kept is its SHA-256."""

import hashlib
import secrets
import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from notifier.errors import InvalidValue, NotFoundError

PREFIX = "nk_"
"""Every token begins with it, so that a scanner of secrets can tell what it has found."""


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as its tenant sees it; the token is not kept."""

    id: uuid.UUID
    name: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose key a request came with, and until when it is good."""

    key_id: uuid.UUID
    tenant_id: uuid.UUID
    expires_at: datetime | None


def create_key(
    connection: Connection, tenant_id: uuid.UUID, name: str, expires_at: datetime | None = None
) -> tuple[uuid.UUID, str]:
    """A new key of a tenant: its id, and the token, which can not be read again."""
    if not 1 <= len(name) <= 200 or not name.isprintable():
        raise InvalidValue("name", "1 to 200 characters without control characters")
    if expires_at is not None and expires_at.tzinfo is None:
        raise InvalidValue("expires_at", "a time with its offset (an aware datetime)")
    token = PREFIX + secrets.token_urlsafe(32)
    made = connection.exec_driver_sql(
        "INSERT INTO notifier.api_keys (tenant_id, name, hash, expires_at) "
        "SELECT t.id, %s, %s, %s FROM notifier.tenants t WHERE t.id = %s RETURNING id",
        (name, _hash(token), expires_at, tenant_id),
    ).scalar_one_or_none()
    if made is None:
        raise NotFoundError("tenant", "the id of a tenant")
    return made, token


def list_keys(connection: Connection, tenant_id: uuid.UUID) -> list[Key]:
    """The keys of a tenant, newest first, revoked and expired ones included."""
    rows = connection.exec_driver_sql(
        "SELECT id, name, created_at, expires_at, revoked_at FROM notifier.api_keys "
        "WHERE tenant_id = %s ORDER BY id DESC",
        (tenant_id,),
    )
    return [Key(*row) for row in rows]


def revoke_key(connection: Connection, tenant_id: uuid.UUID, key_id: uuid.UUID) -> bool:
    """End a key; whether it was there and good until now. The API forgets it within 5 s."""
    return bool(
        connection.exec_driver_sql(
            "UPDATE notifier.api_keys SET revoked_at = clock_timestamp() "
            "WHERE id = %s AND tenant_id = %s AND revoked_at IS NULL",
            (key_id, tenant_id),
        ).rowcount
    )


def rotate_key(
    connection: Connection, tenant_id: uuid.UUID, key_id: uuid.UUID, overlap: timedelta
) -> tuple[uuid.UUID, str]:
    """A new key of the same name and expiry; the old one is good for `overlap` longer, at most.

    Raises `NotFoundError` where the tenant has no such key that is still good.
    """
    old = connection.exec_driver_sql(
        "SELECT name, expires_at FROM notifier.api_keys WHERE id = %s AND tenant_id = %s "
        "AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp()) "
        "FOR UPDATE",
        (key_id, tenant_id),
    ).one_or_none()
    if old is None:
        raise NotFoundError("key", "the id of a key that is neither revoked nor expired")
    made = create_key(connection, tenant_id, old.name, old.expires_at)
    connection.exec_driver_sql(
        "UPDATE notifier.api_keys SET expires_at = least(expires_at, clock_timestamp() + %s) "
        "WHERE id = %s",
        (overlap, key_id),
    )
    return made


def authenticate(connection: Connection, token: str) -> Caller | None:
    """Whose token this is; None where it is unknown, revoked or expired."""
    row = connection.exec_driver_sql(
        "SELECT key_id, tenant_id, expires_at FROM notifier.authenticate(%s)", (_hash(token),)
    ).one_or_none()
    return None if row is None else Caller(*row)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
