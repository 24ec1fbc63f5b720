"""`notifier suppressions`."""

import getpass
from dataclasses import asdict

import click

from notifier.cli.access import find
from notifier.cli.printing import answer, json_option, table
from notifier.cli.values import OneOf
from notifier.words import Channel


@click.group()
def suppressions() -> None:
    """Addresses that a tenant's notifications are not sent to."""


@suppressions.command("list")
@click.option("--tenant", help="Only this tenant's, by id or name.")
@click.option("--channel", type=OneOf(Channel))
@click.option("--address", help="Only this one, as it is written.")
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@json_option
def listed(
    tenant: str | None, channel: Channel | None, address: str | None, limit: int, as_json: bool
) -> None:
    """List them, the newest first; addresses that are keys as well are not shown."""
    from notifier import suppressions as verbs
    from notifier.store.engine import connect

    with connect() as connection:
        owner = find(connection, tenant) if tenant else None
        found, _ = verbs.listed(
            connection, tenant=owner, channel=channel, address=address, limit=limit
        )
    known = [asdict(each) for each in found]
    fields = ("tenant_id", "channel", "address", "reason", "created_at")
    rows = [tuple(each[field] or "" for field in fields) for each in known]
    text = table(fields, rows) if rows else "nothing is suppressed"
    answer(as_json, {"suppressions": known}, text)


@suppressions.command("add")
@click.option("--tenant", required=True, help="The tenant's id or name.")
@click.option("--channel", type=OneOf(Channel), required=True)
@click.option("--address", required=True)
@click.option("--reason", required=True, help="Why; everybody who asks will read it.")
@json_option
def add(tenant: str, channel: Channel, address: str, reason: str, as_json: bool) -> None:
    """Send an address nothing more for a tenant; what is on its way goes out."""
    from notifier import log
    from notifier import suppressions as verbs
    from notifier.store.engine import connect

    log.configure_command()
    with connect() as connection, connection.begin():
        is_new = verbs.add(
            connection,
            find(connection, tenant),
            channel,
            address,
            reason,
            actor=f"cli:{getpass.getuser()}",
        )
    answer(as_json, {"is_new": is_new}, "suppressed" if is_new else "it is suppressed already")


@suppressions.command("lift")
@click.option("--tenant", required=True, help="The tenant's id or name.")
@click.option("--channel", type=OneOf(Channel), required=True)
@click.option("--address", required=True)
@click.option("--override", is_flag=True, help="Even if the recipient said so themselves.")
@json_option
def lift(tenant: str, channel: Channel, address: str, override: bool, as_json: bool) -> None:
    """Send to an address again, also to one that a hard bounce has retired."""
    from notifier import log
    from notifier import suppressions as verbs
    from notifier.store.engine import connect

    log.configure_command()
    with connect() as connection, connection.begin():
        lifted = verbs.lift(
            connection,
            find(connection, tenant),
            channel,
            address,
            actor=f"cli:{getpass.getuser()}",
            override=override,
        )
    text = f"lifted; {lifted.contact_points} contact points can be used again"
    answer(as_json, asdict(lifted), text)
