"""`notifier migrate`."""

import click

from notifier.cli.printing import answer, json_option


@click.command()
@click.option(
    "--to", "version", default="head", metavar="VERSION", help="An older version, as 0008."
)
@click.option(
    "--with-login",
    is_flag=True,
    help="Make the login that NOTIFIER_DATABASE_URL names, with the engine's privileges.",
)
@json_option
def migrate(version: str, with_login: bool, as_json: bool) -> None:
    """Bring the schema `notifier` to a version and register the shipped event types.

    Connects as NOTIFIER_OWNER_URL, or NOTIFIER_DATABASE_URL where that is not set. Safe to run
    from many places at once and on a running system.
    """
    from notifier import setup
    from notifier.settings import settings

    done = setup.migrate(settings(), version, with_login=with_login)
    answer(
        as_json,
        {"version": done.version, "event_types": done.event_types},
        f"version {done.version}, {done.event_types} event types registered",
    )
