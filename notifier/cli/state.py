"""`notifier status` and `doctor`."""

from dataclasses import asdict

import click

from notifier.cli.printing import answer, json_option, table


@click.command()
@click.option("--check", is_flag=True, help="Also check what must always hold; exit 1 if not.")
@json_option
def status(check: bool, as_json: bool) -> None:
    """Show where deliveries, dispatches and dead letters stand."""
    from notifier.store import standing, system
    from notifier.store.engine import connect

    with connect() as connection:
        work = standing.dispatches(connection)
        deliveries = standing.deliveries(connection)
        dead = standing.dead_letters(connection)
        doubt = standing.in_doubt(connection)
        broken = system.violations(connection) if check else None
    facts = {
        "deliveries": deliveries,
        "dispatches": {
            "waiting": work.waiting,
            "later": work.later,
            "leased": work.leased,
            "oldest_seconds": round(work.oldest_seconds, 3),
        },
        "dead_letters": dead,
        "in_doubt": doubt,
    }
    if broken is not None:
        facts["violations"] = broken
    rows = [
        (channel, status, count)
        for channel, counts in deliveries.items()
        for status, count in counts.items()
    ]
    lines = [
        table(("channel", "status", "deliveries"), rows) if rows else "no deliveries yet",
        "",
        f"dispatches    {work.waiting} waiting (oldest due {work.oldest_seconds:.1f} s ago), "
        f"{work.later} later, {work.leased} in hand",
        f"dead letters  {sum(dead.values())}"
        + (f" ({', '.join(f'{code} {count}' for code, count in dead.items())})" if dead else ""),
        f"in doubt      {doubt}",
    ]
    if broken is not None:
        lines += [f"BROKEN        {name}: {count} rows" for name, count in broken.items()] or [
            f"checks        all {len(system.CHECKS)} hold"
        ]
    answer(as_json, facts, "\n".join(lines))
    if broken:
        raise click.exceptions.Exit(1)


@click.command()
@click.option("--quick", is_flag=True, help="Only Postgres and Redis, for a health check.")
@json_option
def doctor(quick: bool, as_json: bool) -> None:
    """Look at settings, Postgres, Redis and providers; exit 1 if anything is wrong."""
    from notifier.doctor import Level, examine, examine_servers, examine_setting
    from notifier.errors import SettingError
    from notifier.settings import settings

    try:
        given = settings()
        findings = examine_servers(given) if quick else examine(given)
    except SettingError as fault:
        findings = examine_setting(fault)
    marks = {Level.OK: "ok   ", Level.NOTE: "note ", Level.WRONG: "WRONG"}
    found = []
    for finding in findings:
        found.append(finding)
        if not as_json:
            click.echo(f"{marks[finding.level]}  {finding.about}: {finding.what}")
            if finding.mend:
                click.echo(f"       → {finding.mend}")
    wrong = sum(finding.level is Level.WRONG for finding in found)
    facts = {"wrong": wrong, "findings": [asdict(finding) for finding in found]}
    answer(as_json, facts, f"\n{wrong} wrong" if wrong else "\nnothing is wrong")
    if wrong:
        raise click.exceptions.Exit(1)
