"""`notifier demo` and `bench`: programs of their own, which read their own arguments."""

import click

PASS_ON = {"ignore_unknown_options": True, "help_option_names": []}


@click.command(context_settings=PASS_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """Show the whole product at work on this machine."""
    from notifier.demo import main

    raise click.exceptions.Exit(main(list(arguments)))


@click.command(context_settings=PASS_ON, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> None:
    """Measure on servers of its own."""
    from benchmarks.run import main

    raise click.exceptions.Exit(main(list(arguments)))
