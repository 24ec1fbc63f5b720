"""`notifier doubts`."""

import getpass
import uuid
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from functools import wraps
from typing import Any

import click

from notifier.cli.access import find_owner
from notifier.cli.failures import wrong_use
from notifier.cli.printing import answer, json_option, table
from notifier.cli.values import OneOf, When
from notifier.words import Channel, Decision


def which_options(command: Callable[..., None]) -> Callable[..., None]:
    """The options that say which deliveries, as one value `which`."""

    @click.option("--delivery", type=click.UUID, help="This one.")
    @click.option("--tenant", help="The tenant's id or name.")
    @click.option("--channel", type=OneOf(Channel))
    @click.option("--provider", help="Only what this provider may have sent.")
    @click.option("--until", type=When(), help="Only what has been in doubt since then or longer.")
    @wraps(command)
    def with_which(
        delivery: uuid.UUID | None,
        tenant: str | None,
        channel: Channel | None,
        provider: str | None,
        until: datetime | None,
        **rest: Any,
    ) -> None:
        from notifier.store.doubts import Which

        owner = find_owner(tenant)
        command(which=Which(delivery, owner, channel, provider, until), **rest)

    return with_which


@click.group()
def doubts() -> None:
    """Deliveries of which nobody could tell whether they were sent."""


@doubts.command("list")
@which_options
@click.option("--limit", type=click.IntRange(1, 1000), default=100, show_default=True)
@json_option
def listed(which: Any, limit: int, as_json: bool) -> None:
    """List them, the longest in doubt first."""
    from notifier.store import doubts as store
    from notifier.store.engine import connect

    with connect() as connection:
        known = [asdict(doubt) for doubt in store.listed(connection, which, limit)]
    fields = ("delivery_id", "tenant_id", "channel", "provider", "reason", "since")
    rows = [tuple(doubt[field] or "" for field in fields) for doubt in known]
    answer(as_json, {"doubts": known}, table(fields, rows) if rows else "nothing is in doubt")


@doubts.command("settle")
@click.argument("decision", type=OneOf(Decision))
@which_options
@click.option("--all", "everything", is_flag=True, help="Everything that is in doubt.")
@json_option
def settle(decision: Decision, which: Any, everything: bool, as_json: bool) -> None:
    """Say what is to be taken for true of one, or of those that fit every option given.

    `sent` and `failed` (a dead letter) send nothing; `resend` does, and whoever had the message
    already gets it twice. A provider's word that comes later overrules all of them.
    """
    from notifier import doubts as verbs
    from notifier import log

    if not everything and all(value is None for value in asdict(which).values()):
        wrong_use("choose with --delivery, --tenant, --channel, … or say --all")
    log.configure_command()
    count = verbs.settle(decision, which, actor=f"cli:{getpass.getuser()}")
    answer(as_json, {"settled": count}, f"{count} settled")
