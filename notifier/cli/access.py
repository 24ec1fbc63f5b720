"""`notifier tenants` and `notifier keys`."""

import uuid
from dataclasses import asdict
from datetime import datetime
from typing import Any

import click

from notifier.cli.printing import answer, json_option, table
from notifier.cli.values import When
from notifier.errors import NotFoundError, UnknownTenant


@click.group()
def tenants() -> None:
    """Create and list tenants."""


@tenants.command("create")
@click.argument("name")
@json_option
def create_tenant(name: str, as_json: bool) -> None:
    """Create a tenant; prints its id."""
    from notifier.store import audience
    from notifier.store.engine import connect

    with connect() as connection, connection.begin():
        made = audience.create_tenant(connection, name)
    answer(as_json, {"tenant": str(made), "name": name}, str(made))


@tenants.command("list")
@json_option
def list_tenants(as_json: bool) -> None:
    """List every tenant's id and name."""
    from notifier.store import tenants as store
    from notifier.store.engine import connect

    with connect() as connection:
        known = store.listed(connection)
    facts = {"tenants": [{"tenant": str(id), "name": name} for id, name in known]}
    answer(as_json, facts, table(("id", "name"), known))


@click.group()
def keys() -> None:
    """Make and rotate secret keys; create, list and revoke API keys."""


@keys.command("secret")
@json_option
def secret_key(as_json: bool) -> None:
    """Print a new key for NOTIFIER_SECRET_KEYS."""
    from cryptography.fernet import Fernet

    key = Fernet.generate_key().decode()
    answer(as_json, {"key": key}, key)


@keys.command("rotate")
@json_option
def rotate_secret_key(as_json: bool) -> None:
    """Seal every secret that is kept with the newest key of NOTIFIER_SECRET_KEYS.

    Put a new key in front, restart every process, rotate, then take the oldest away. Links that
    were signed with it end with it. Safe to repeat; exit 1 where a secret could not be opened.
    """
    from notifier import log, rotate

    log.configure_command()
    done = rotate.rotate()
    answer(
        as_json,
        asdict(done),
        f"{done.resealed} resealed, {done.kept} had the newest key, {done.changed} were changed "
        f"meanwhile, {done.unopened} could not be opened",
    )
    if done.unopened:
        raise click.exceptions.Exit(1)


@keys.command("create")
@click.option("--tenant", required=True, help="The tenant's id or name.")
@click.option("--name", required=True, help="What the key is for.")
@click.option("--expires-at", type=When(), help="Refuse it from then on; default: never.")
@json_option
def create_key(tenant: str, name: str, expires_at: datetime | None, as_json: bool) -> None:
    """Create an API key; the token is shown this once."""
    from notifier.store import keys as store
    from notifier.store.engine import connect

    with connect() as connection, connection.begin():
        made, token = store.create_key(connection, find(connection, tenant), name, expires_at)
    answer(as_json, {"key": str(made), "token": token}, token)


@keys.command("list")
@click.option("--tenant", required=True, help="The tenant's id or name.")
@json_option
def list_keys(tenant: str, as_json: bool) -> None:
    """List a tenant's API keys; the tokens are not kept and can not be shown."""
    from notifier.store import keys as store
    from notifier.store.engine import connect

    with connect() as connection:
        known = store.list_keys(connection, find(connection, tenant))
    rows = [
        (key.id, key.name, key.created_at, key.expires_at or "", key.revoked_at or "")
        for key in known
    ]
    fields = ("id", "name", "created_at", "expires_at", "revoked_at")
    facts = {"keys": [{field: getattr(key, field) for field in fields} for key in known]}
    answer(as_json, facts, table(fields, rows))


@keys.command("revoke")
@click.option("--tenant", required=True, help="The tenant's id or name.")
@click.argument("key", type=click.UUID)
@json_option
def revoke_key(tenant: str, key: uuid.UUID, as_json: bool) -> None:
    """Revoke an API key; running API processes stop taking it within 5 seconds."""
    from notifier.store import keys as store
    from notifier.store.engine import connect

    with connect() as connection, connection.begin():
        if not store.revoke_key(connection, find(connection, tenant), key):
            raise NotFoundError("key", "the id of a key of this tenant that is still good")
    answer(as_json, {"revoked": str(key)}, f"{key} revoked")


def find(connection: Any, given: str) -> uuid.UUID:
    """The tenant given by id or name; raises `UnknownTenant` where there is none of that name."""
    from notifier.store import tenants as store

    try:
        return uuid.UUID(given)
    except ValueError:
        found = store.named(connection, given)
    if found is None:
        raise UnknownTenant("tenant", f"the id or name of a tenant, and none is named {given!r}")
    return found


def find_owner(given: str | None) -> uuid.UUID | None:
    """As `find`, before a verb that has transactions of its own; None where none is given."""
    from notifier.store.engine import connect

    if given is None:
        return None
    with connect() as connection:
        return find(connection, given)
