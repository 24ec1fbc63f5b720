"""`notifier routes`."""

import os

import click

from notifier.cli.access import find
from notifier.cli.printing import answer, json_option, table
from notifier.cli.values import OneOf
from notifier.words import Channel


@click.group()
def routes() -> None:
    """Set which providers carry a tenant's messages."""


@routes.command("set")
@click.option("--tenant", required=True, help="The tenant's id or name.")
@click.argument("channel", type=OneOf(Channel))
@click.argument("places", nargs=-1, required=True)
@json_option
def set_route(tenant: str, channel: Channel, places: tuple[str, ...], as_json: bool) -> None:
    """Send a tenant's CHANNEL through PLACES, one standing in for the other.

    `twilio vonage` takes vonage where twilio fails; `ses:3,sendgrid:1 smtp` shares between the
    first two, by weight, before it takes smtp.
    """
    from notifier import routes as verbs
    from notifier.store.engine import connect

    with connect() as connection, connection.begin():
        ways = verbs.parse(places)
        verbs.replace(connection, find(connection, tenant), channel, ways)
        absent = verbs.absent(channel, ways, os.environ)
    said = verbs.written(ways)
    facts = {"channel": channel, "route": said, "not_configured": absent}
    answer(as_json, facts, f"{channel}: {', then '.join(said)}")
    if absent and not as_json:
        click.echo(
            f"notifier: not configured for {channel} in this environment: {', '.join(absent)}; "
            "where workers have none of the route, its messages fail with no_provider",
            err=True,
        )


@routes.command("clear")
@click.option("--tenant", required=True, help="The tenant's id or name.")
@click.argument("channel", type=OneOf(Channel))
@json_option
def clear_route(tenant: str, channel: Channel, as_json: bool) -> None:
    """Send a tenant's CHANNEL as the installation does."""
    from notifier import routes as verbs
    from notifier.store.engine import connect

    with connect() as connection, connection.begin():
        verbs.replace(connection, find(connection, tenant), channel, [])
    answer(as_json, {"channel": channel, "route": None}, f"{channel}: as the installation")


@routes.command("list")
@click.option("--tenant", required=True, help="The tenant's id or name.")
@json_option
def list_routes(tenant: str, as_json: bool) -> None:
    """List a tenant's own routes."""
    from notifier import routes as verbs
    from notifier.store.engine import connect

    with connect() as connection:
        known = verbs.listed(connection, find(connection, tenant))
    facts = {str(channel): verbs.written(ways) for channel, ways in known.items()}
    rows = [(channel, ", then ".join(said)) for channel, said in facts.items()]
    answer(
        as_json, {"routes": facts}, table(("channel", "route"), rows) if rows else "none of its own"
    )
