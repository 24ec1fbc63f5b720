"""The list of commands and where each is; `notifier --help` prints it."""

from importlib import import_module

import click

COMMANDS = {
    "up": ("up:up", "Run everything; with Postgres and Valkey of its own where no URL is set."),
    "demo": ("others:demo", "Show the whole product at work on this machine."),
    "migrate": ("database:migrate", "Bring the database to the newest version, or to --to."),
    "worker": ("processes:worker", "Run a worker, for all queues or for some."),
    "relay": ("processes:relay", "Ring what is due on its queue. Any number may run."),
    "beat": ("processes:beat", "Run the timetable. Two at once do no harm."),
    "api": ("processes:api", "Serve the HTTP API."),
    "emit": ("events:emit", "Emit an event."),
    "acknowledge": ("events:acknowledge", "Say that somebody takes care of an event."),
    "cancel": ("events:cancel", "Cancel what an event or a delivery has not sent yet."),
    "replay": ("events:replay", "Send dead letters again, one or by filter."),
    "doubts": ("doubts:doubts", "See and settle what nobody knows to have been sent."),
    "status": ("state:status", "Show deliveries, dispatches and dead letters; --check the rules."),
    "doctor": ("state:doctor", "Find what is misconfigured and say how to mend it."),
    "tenants": ("access:tenants", "Create tenants."),
    "keys": ("access:keys", "Make and rotate secret keys, and make API keys."),
    "routes": ("routes:routes", "Set which providers carry a tenant's messages."),
    "pauses": ("pauses:pauses", "Have work wait, and let it go on."),
    "suppressions": ("suppressions:suppressions", "Show, add and lift suppressed addresses."),
    "connections": ("connections:connections", "Show and end tenants' connections to accounts."),
    "templates": ("templates:templates", "Write a tenant's own texts, and look at them."),
    "sandbox": ("sandbox:sandbox", "Look at what was captured instead of sent."),
    "bench": ("others:bench", "Measure on servers of its own."),
}


class Lazy(click.Group):
    """Loads a command's module when the command is called: `--help` stays quick."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"notifier.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="notifier", message="%(version)s")
def notifier() -> None:
    """Self-hosted notification delivery.

    Exit codes: 0 done, 1 failed, 2 wrong use or refused. Settings are NOTIFIER_… variables.
    """
