"""`notifier pauses`."""

import getpass
import uuid
from dataclasses import asdict
from datetime import datetime

import click

from notifier.cli.access import find
from notifier.cli.printing import answer, json_option, table
from notifier.cli.values import OneOf, When
from notifier.words import Channel


@click.group()
def pauses() -> None:
    """Have work wait, and let it go on."""


@pauses.command("begin")
@click.option("--tenant", help="Only this tenant's, by id or name.")
@click.option("--channel", type=OneOf(Channel))
@click.option("--provider", help="Only what would go through this provider.")
@click.option("--event-type", help="Only this event type's.")
@click.option("--reason", required=True, help="Why; everybody who asks will read it.")
@click.option("--until", type=When(), help="End of itself then; default: when somebody ends it.")
@json_option
def begin(
    tenant: str | None,
    channel: Channel | None,
    provider: str | None,
    event_type: str | None,
    reason: str,
    until: datetime | None,
    as_json: bool,
) -> None:
    """Pause what fits every option given; prints the pause's id."""
    from notifier import pauses as verbs
    from notifier.store.engine import connect

    with connect() as connection, connection.begin():
        made = verbs.begin(
            connection,
            tenant=find(connection, tenant) if tenant else None,
            channel=channel,
            provider=provider,
            event_type=event_type,
            reason=reason,
            actor=f"cli:{getpass.getuser()}",
            until=until,
        )
    answer(as_json, {"pause": str(made)}, str(made))


@pauses.command("end")
@click.argument("pause", type=click.UUID)
@json_option
def end(pause: uuid.UUID, as_json: bool) -> None:
    """End a pause: what waited for it is due at once."""
    from notifier import pauses as verbs
    from notifier.store.engine import connect

    with connect() as connection, connection.begin():
        released = verbs.end(connection, pause, actor=f"cli:{getpass.getuser()}")
    answer(as_json, {"ended": str(pause), "dispatches": released}, f"{released} dispatches go on")


@pauses.command("list")
@json_option
def listed(as_json: bool) -> None:
    """List the pauses that hold now, and why."""
    from notifier import pauses as verbs
    from notifier.store.engine import connect

    with connect() as connection:
        known = [asdict(pause) for pause in verbs.active(connection)]
    fields = ("id", "tenant_id", "channel", "provider", "event_type", "reason", "actor", "until")
    rows = [tuple(pause[field] or "" for field in fields) for pause in known]
    answer(as_json, {"pauses": known}, table(fields, rows) if rows else "nothing is paused")
