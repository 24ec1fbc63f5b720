"""`notifier connections`."""

import os
import uuid
from dataclasses import asdict

import click

from notifier.cli.access import find
from notifier.cli.printing import answer, json_option, table


@click.group()
def connections() -> None:
    """Show and end tenants' connections to accounts at vendors."""


@connections.command("list")
@click.option("--tenant", help="Only this tenant's, by id or name.")
@json_option
def listed(tenant: str | None, as_json: bool) -> None:
    """List connections, those that were revoked too; their tokens can not be shown."""
    from notifier import connections as verbs
    from notifier.store.engine import connect

    with connect() as connection:
        owner = find(connection, tenant) if tenant else None
        known = [asdict(each) for each in verbs.listed(connection, owner)]
    fields = ("id", "tenant_id", "provider", "account_name", "status", "expires_at", "last_used_at")
    rows = [tuple(each[field] or "" for field in fields) for each in known]
    answer(as_json, {"connections": known}, table(fields, rows) if rows else "there are none")


@connections.command("revoke")
@click.argument("connection_id", metavar="CONNECTION", type=click.UUID)
@json_option
def revoke(connection_id: uuid.UUID, as_json: bool) -> None:
    """Forget a connection's tokens, and have its vendor forget them."""
    from notifier import connections as verbs
    from notifier import log
    from notifier.channels import registry
    from notifier.store.engine import connect

    log.configure_command()
    with connect() as connection, connection.begin():
        ended = verbs.end(connection, connection_id)
    at_vendor = verbs.tell_vendor(ended, registry.configured(os.environ))
    told = "and the vendor has" if at_vendor else "but the vendor did not say that it has"
    answer(
        as_json,
        {"revoked": str(connection_id), "at_vendor": at_vendor},
        f"{connection_id} is forgotten here, {told}",
    )
