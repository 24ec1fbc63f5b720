"""What commands print: text for people or, with --json, one JSON object on the last line."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def json_option(command: F) -> F:
    """The option `--json`, as `as_json`."""
    return click.option(
        "--json", "as_json", is_flag=True, help="Print one JSON object as the last line."
    )(command)


def answer(as_json: bool, facts: Mapping[str, Any], text: str) -> None:
    """Print the facts for a script, or the text for a person."""
    click.echo(json.dumps(facts, default=str) if as_json else text)


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Rows in columns; numbers to the right."""
    cells = [list(header), *([str(cell) for cell in row] for row in rows)]
    widths = [max(len(row[place]) for row in cells) for place in range(len(header))]
    numeric = [
        bool(rows) and all(isinstance(row[place], int) for row in rows)
        for place in range(len(header))
    ]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in cells
    )
