"""`notifier templates`."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import click

from notifier.cli.access import find
from notifier.cli.events import read_json, read_text
from notifier.cli.failures import wrong_use
from notifier.cli.printing import F, answer, json_option, table

FIELDS = ("id", "channel", "locale", "version", "is_own", "created_at")


def tenant_option(command: F) -> F:
    return click.option("--tenant", required=True, help="The tenant's id or name.")(command)


def part_option(required: bool) -> Callable[[F], F]:
    return click.option(
        "--part",
        "parts",
        multiple=True,
        required=required,
        metavar="NAME=TEXT",
        help="A part's source: itself, @file, or - for standard input. Once a part.",
    )


payload_option = click.option(
    "--payload", help="An example as JSON, @file or -; default: the event type's own."
)


@click.group()
def templates() -> None:
    """Write a tenant's own texts, and look at them."""


@templates.command("list")
@tenant_option
@click.argument("event_type")
@json_option
def listed(tenant: str, event_type: str, as_json: bool) -> None:
    """List the versions of EVENT_TYPE's templates: the tenant's own and the shared ones."""
    from notifier import templates as verbs
    from notifier.store.engine import connect

    with connect() as connection:
        known = verbs.listed(connection, find(connection, tenant), event_type)
    facts = [asdict(version) for version in known]
    rows = [
        tuple(("own" if fact["is_own"] else "shared") if f == "is_own" else fact[f] for f in FIELDS)
        for fact in facts
    ]
    header = ("id", "channel", "locale", "version", "whose", "created_at")
    answer(as_json, {"templates": facts}, table(header, rows) if rows else "it has none")


@templates.command("show")
@tenant_option
@click.argument("template", type=click.UUID)
@json_option
def show(tenant: str, template: uuid.UUID, as_json: bool) -> None:
    """Print the sources of a version."""
    from notifier import templates as verbs
    from notifier.store.engine import connect

    with connect() as connection:
        version, parts = verbs.find(connection, find(connection, tenant), template)
    answer(as_json, {**asdict(version), "parts": parts}, written(parts))


@templates.command("save")
@tenant_option
@click.argument("event_type")
@click.argument("channel")
@click.argument("locale")
@part_option(required=True)
@payload_option
@json_option
def save(
    tenant: str,
    event_type: str,
    channel: str,
    locale: str,
    parts: Sequence[str],
    payload: str | None,
    as_json: bool,
) -> None:
    """Save a version of the tenant's own template for CHANNEL, or for `short`: those without one.

    `notifier templates save --tenant acme task.due_soon sms de --part text=@due.txt`
    """
    from notifier import templates as verbs
    from notifier.store.engine import connect

    sources, example = read_parts(parts), read_payload(payload)
    with connect() as connection, connection.begin():
        owner = find(connection, tenant)
        saved = verbs.save(connection, owner, event_type, channel, locale, sources, example)
    answer(as_json, asdict(saved), told(saved))


@templates.command("restore")
@tenant_option
@click.argument("template", type=click.UUID)
@json_option
def restore(tenant: str, template: uuid.UUID, as_json: bool) -> None:
    """Make an earlier version, or a shared one, the tenant's newest."""
    from notifier import templates as verbs
    from notifier.store.engine import connect

    with connect() as connection, connection.begin():
        saved = verbs.restore(connection, find(connection, tenant), template)
    answer(as_json, asdict(saved), told(saved))


@templates.command("preview")
@tenant_option
@click.argument("event_type")
@click.argument("channel")
@click.option("--locale", default="en", show_default=True, help="The recipient's.")
@click.option("--timezone", default="UTC", show_default=True, help="The recipient's.")
@part_option(required=False)
@payload_option
@json_option
def preview(
    tenant: str,
    event_type: str,
    channel: str,
    locale: str,
    timezone: str,
    parts: Sequence[str],
    payload: str | None,
    as_json: bool,
) -> None:
    """Print what a recipient would get: of the parts given, or of what is saved. Sends nothing."""
    from notifier import templates as verbs
    from notifier.store.engine import connect

    sources, example = read_parts(parts), read_payload(payload)
    with connect() as connection:
        shown = verbs.preview(
            connection,
            find(connection, tenant),
            event_type,
            channel,
            locale=locale,
            timezone=timezone,
            payload=example,
            parts=sources or None,
        )
    text = written(shown.parts)
    if size := shown.sms:
        plural = "" if size.segments == 1 else "s"
        text += f"\n\n{size.segments} segment{plural} by SMS ({size.encoding}, {size.units} units)"
    answer(as_json, shown.facts(), text)


def read_parts(given: Sequence[str]) -> dict[str, str]:
    """The sources by name, of `NAME=TEXT` each."""
    parts: dict[str, str] = {}
    for each in given:
        name, separator, source = each.partition("=")
        if not separator or name in parts:
            wrong_use(f"--part: expected NAME=TEXT, each name once, not {each.partition('=')[0]!r}")
        parts[name] = read_text(f"--part {name}", source)
    return parts


def read_payload(given: str | None) -> dict[str, Any] | None:
    payload = None if given is None else read_json("--payload", given)
    if payload is not None and not isinstance(payload, dict):
        wrong_use("--payload: expected a JSON object")
    return payload


def written(parts: Mapping[str, str]) -> str:
    """Parts for a person: the name over each."""
    return "\n\n".join(f"── {name}\n{text}" for name, text in parts.items())


def told(saved: Any) -> str:
    return f"{saved.id}  version {saved.version} of {saved.channel} in {saved.locale}"
