"""`notifier emit`, `cancel` and `replay`."""

import json
import sys
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from notifier.cli.access import find, find_owner
from notifier.cli.failures import wrong_use
from notifier.cli.printing import answer, json_option
from notifier.cli.values import OneOf, When
from notifier.words import Channel


def read_text(option: str, given: str) -> str:
    """The text given: itself, `@file`, or `-` for standard input."""
    try:
        if given == "-":
            return sys.stdin.read()
        return Path(given[1:]).read_text() if given.startswith("@") else given
    except OSError as error:
        wrong_use(f"{option}: {given[1:]} can not be read ({error.strerror})")
    except UnicodeDecodeError:
        wrong_use(f"{option}: expected text in UTF-8")


def read_json(option: str, given: str) -> Any:
    """The JSON given, as `read_text` reads it."""
    text = read_text(option, given)
    try:
        return json.loads(text)
    except ValueError as error:
        wrong_use(f"{option}: expected JSON, @file or - ({error})")


@click.command()
@click.argument("event_type")
@click.option("--tenant", required=True, help="The tenant's id or name.")
@click.option("--payload", default="{}", help="JSON, @file, or - for standard input.")
@click.option("--to", help='The audience as JSON; default: "subscribers".')
@click.option("--idempotency-key")
@click.option("--scheduled-for", type=When(), help="Fan out then.")
@click.option("--expires-at", type=When(), help="Send nothing after.")
@click.option("--lane", help="critical, normal or bulk; default: the event type's.")
@click.option("--source", help="database_trigger, worker_job, api_action or cron_scheduler.")
@click.option("--actor", help="Who or what caused it.")
@click.option("--correlation-id")
@click.option("--escalation", help="Its steps as JSON; default: the event type's.")
@click.option(
    "--attach",
    type=click.Path(exists=True, dir_okay=False, readable=True, path_type=Path),
    multiple=True,
    help="A file that its e-mails carry; may be given ten times.",
)
@json_option
def emit(
    event_type: str,
    tenant: str,
    payload: str,
    to: str | None,
    escalation: str | None,
    attach: tuple[Path, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Emit an event of EVENT_TYPE in a transaction of its own."""
    from notifier import attach as keep
    from notifier import emit as emit_event
    from notifier.store.engine import connect

    body = read_json("--payload", payload)
    audience = "subscribers" if to is None or to == "subscribers" else read_json("--to", to)
    if escalation is not None:
        options["escalation"] = read_json("--escalation", escalation)
    with connect() as connection, connection.begin():
        who = find(connection, tenant)
        options["attachments"] = [
            keep(connection, file.read_bytes(), tenant=who, name=file.name) for file in attach
        ] or None
        event = emit_event(connection, event_type, body, tenant=who, to=audience, **options)
    facts = {
        "event": str(event.id),
        "is_new": event.is_new,
        "matched": event.matched,
        "created": event.created,
        "refused": event.refused,
        "correlation_id": event.correlation_id,
    }
    answer(
        as_json,
        facts,
        f"{event.id}  {event.matched} matched, {event.created} to be sent, {event.refused} refused"
        + ("" if event.is_new else "  (emitted before)"),
    )


@click.command()
@click.option("--event", type=click.UUID, help="Everything of this event.")
@click.option("--delivery", type=click.UUID, help="This delivery only.")
@click.option("--tenant", help="Only if it belongs to this tenant, by id or name.")
@click.option("--actor", default="cli", show_default=True)
@json_option
def cancel(
    event: uuid.UUID | None,
    delivery: uuid.UUID | None,
    tenant: str | None,
    actor: str,
    as_json: bool,
) -> None:
    """Cancel what an event or a delivery has not sent yet."""
    from notifier import cancel as cancel_event

    if (event is None) == (delivery is None):
        wrong_use("give either --event or --delivery")
    owner = find_owner(tenant)
    done = cancel_event(event=event, delivery=delivery, tenant=owner, actor=actor)
    if done.is_first and not done.fanned_out and not done.stopped + done.in_flight + done.sent:
        text = "cancelled before its fan-out: nothing of it is sent"
    else:
        text = f"{done.stopped} stopped, {done.in_flight} in flight, {done.sent} sent before" + (
            "" if done.is_first else "  (cancelled before)"
        )
    answer(as_json, asdict(done), text)


@click.command()
@click.option("--event", type=click.UUID, help="This event.")
@click.option("--delivery", type=click.UUID, help="The event of this delivery.")
@click.option("--tenant", help="Only if it belongs to this tenant, by id or name.")
@json_option
def acknowledge(
    event: uuid.UUID | None, delivery: uuid.UUID | None, tenant: str | None, as_json: bool
) -> None:
    """Say that somebody takes care of an event: its escalation ends."""
    from notifier import acknowledge as acknowledge_event

    if (event is None) == (delivery is None):
        wrong_use("give either --event or --delivery")
    owner = find_owner(tenant)
    done = acknowledge_event(event=event, delivery=delivery, tenant=owner, how="cli")
    answer(
        as_json,
        {"event": str(done.event_id), "is_first": done.is_first, "stopped": done.stopped},
        f"{done.event_id}  {done.stopped} stopped"
        + ("" if done.is_first else "  (acknowledged before)"),
    )


@click.command()
@click.option("--delivery", type=click.UUID, help="This one.")
@click.option("--tenant", help="Only this tenant's, by id or name.")
@click.option("--channel", type=OneOf(Channel))
@click.option("--event-type")
@click.option("--code", help="Only what failed with this code.")
@click.option("--since", type=When(), help="Only what failed since.")
@click.option("--actor", default="cli", show_default=True)
@click.option("--all", "everything", is_flag=True, help="Every dead letter there is.")
@json_option
def replay(tenant: str | None, as_json: bool, everything: bool, actor: str, **chosen: Any) -> None:
    """Send dead letters again: one, or those that fit every filter given."""
    from notifier import log
    from notifier.replay import replay as replay_letters

    if not everything and tenant is None and all(value is None for value in chosen.values()):
        wrong_use("choose with --delivery, --tenant, --channel, … or say --all")
    log.configure_command()
    count = replay_letters(**chosen, tenant=find_owner(tenant), actor=actor)
    answer(as_json, {"replayed": count}, f"{count} replayed")
