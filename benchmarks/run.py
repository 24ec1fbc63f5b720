"""`notifier bench [NAME …]`: run benchmarks and print them as one table or as JSON."""

import argparse
import json
import sys
from collections.abc import Callable

from benchmarks import celery_noop, latency, null
from benchmarks.bench import InvariantsBroken, Result

BENCHMARKS: dict[str, Callable[[int], Result]] = {
    "celery-noop": celery_noop.run,
    "null": null.run,
    "latency": latency.run,
}


def main(argv: list[str]) -> int:
    """0 where every benchmark asked for printed a figure, 1 where one could not."""
    parser = argparse.ArgumentParser(prog="notifier bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}")
    parser.add_argument("--runs", type=int, default=3, help="how often each is measured")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    given = parser.parse_args(argv)
    unknown = [name for name in given.names if name not in BENCHMARKS]
    if unknown or given.runs < 1:
        parser.error(
            f"{unknown[0]}: expected one of {', '.join(BENCHMARKS)}"
            if unknown
            else "--runs: expected at least 1"
        )
    results, failed = [], False
    for name in given.names or BENCHMARKS:
        try:
            results.append(BENCHMARKS[name](given.runs))
        except (InvariantsBroken, TimeoutError) as error:
            print(f"{name}: no figure: {error}", file=sys.stderr)
            failed = True
    if given.json:
        dicts = [r.as_dict() for r in results]
        print(json.dumps(dicts[0] if len(dicts) == 1 else {"benchmarks": dicts}))
    else:
        for r in results:
            spread = ", ".join(f"{run['ratio']:.2f}" for run in r.runs)
            print(
                f"{r.name:12} {r.figure:>12,.2f} {r.unit:14} against {r.baseline_figure:>10,.2f} "
                f"({r.baseline}): {r.ratio:.2f} (runs: {spread})"
            )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
