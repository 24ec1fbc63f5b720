"""The command line: thin commands, each group in a file that is loaded when it is called."""

import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `notifier` and return its exit code: 0 done, 1 failed, 2 wrong use."""
    from notifier.cli.commands import notifier
    from notifier.cli.failures import run

    return run(notifier, sys.argv[1:] if arguments is None else arguments)
