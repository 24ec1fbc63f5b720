"""`notifier sandbox`."""

from dataclasses import asdict
from typing import TextIO

import click

from notifier.cli.access import find
from notifier.cli.printing import F, answer, json_option, table
from notifier.cli.values import OneOf
from notifier.words import Channel


def which(command: F) -> F:
    """The options that say which messages."""
    for option in (
        click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True),
        click.option("--recipient", help="Only to this one, by external id."),
        click.option("--channel", type=OneOf(Channel)),
        click.option("--tenant", required=True, help="The tenant's id or name."),
    ):
        command = option(command)
    return command


@click.group()
def sandbox() -> None:
    """Look at what the sandbox has captured instead of sending it."""


@sandbox.command("list")
@which
@json_option
def listed(
    tenant: str, channel: Channel | None, recipient: str | None, limit: int, as_json: bool
) -> None:
    """List captured messages, the newest first; --json has their parts too."""
    from notifier import sandbox as verbs
    from notifier.store.engine import connect

    with connect() as connection:
        known = verbs.listed(
            connection,
            find(connection, tenant),
            channel=channel,
            recipient=recipient,
            limit=limit,
        )
    fields = ("delivery_id", "channel", "event_type", "recipient", "address", "created_at")
    facts = [asdict(message) for message in known]
    rows = [tuple(fact[field] or "" for field in fields) for fact in facts]
    answer(as_json, {"messages": facts}, table(fields, rows) if rows else "it has captured nothing")


@sandbox.command("page")
@which
@click.option(
    "--output",
    type=click.File("w", encoding="utf-8", lazy=False),
    required=True,
    help="The file to write, to be opened in a browser; - for standard output.",
)
def page(
    tenant: str, channel: Channel | None, recipient: str | None, limit: int, output: TextIO
) -> None:
    """Write a page that shows captured messages as they would look."""
    from notifier import sandbox as verbs
    from notifier.store.engine import connect

    with connect() as connection:
        owner = find(connection, tenant)
        known = verbs.listed(
            connection,
            owner,
            channel=channel,
            recipient=recipient,
            limit=limit,
        )
        shown = verbs.page(connection, owner, known)
    output.write(shown)
    click.echo(f"{len(known)} messages in {output.name}", err=True)
