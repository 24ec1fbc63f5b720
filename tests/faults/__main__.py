"""`python -m tests.faults [CASE…]`: every case over many seeds, several stands at once."""

import argparse
import json
import signal
import statistics
import sys
import time
from collections import defaultdict
from typing import Any

from tests.faults.cases import CASES
from tests.faults.runner import run_all
from tests.faults.verdict import Verdict

SIZE = 2000


def main() -> int:
    options = _options()
    chosen = [name for name in CASES if not options.case or _is_meant(name, options.case)]
    if not chosen:
        print(f"no such case; there are: {', '.join(CASES)}", file=sys.stderr)
        return 2
    if options.list:
        for name in chosen:
            print(f"{name:34} {CASES[name].holds}")
        return 0
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    began = time.monotonic()
    verdicts = run_all(
        [(n, s) for s in range(options.first, options.first + options.seeds) for n in chosen],
        jobs=options.jobs,
        size=options.size,
        short=options.short,
    )
    took = time.monotonic() - began
    _summary(verdicts, took)
    failed = [v for v in verdicts if v.broken]
    missing = len(chosen) * options.seeds - len(verdicts)
    if missing:
        print(f"{missing} runs gave no verdict", file=sys.stderr)
    if options.json:
        print(
            json.dumps(
                {
                    "name": "faults",
                    "runs": len(verdicts),
                    "failed": len(failed),
                    "seconds": round(took, 1),
                    "cases": _by_case(verdicts),
                    "verdicts": [v.as_dict() for v in verdicts],
                }
            )
        )
    return 1 if failed or missing else 0


def _is_meant(name: str, words: list[str]) -> bool:
    """A word that is a whole name means that case alone."""
    return any(word == name if word in CASES else word in name for word in words)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("case", nargs="*", help="parts of the names of cases; all where none")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds (20)")
    parser.add_argument("--first", type=int, default=1, help="the first of them (1)")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="stands at once (1), and as many for cases that wait; on two processors more than one "
        "overruns its time bounds",
    )
    parser.add_argument("--size", type=int, default=SIZE, help=f"deliveries a case ({SIZE})")
    parser.add_argument("--short", action="store_true", help="long outages last seconds")
    parser.add_argument("--list", action="store_true", help="list the cases and what they hold")
    parser.add_argument("--json", action="store_true", help="end with one line of JSON")
    return parser.parse_args()


def _by_case(verdicts: list[Verdict]) -> dict[str, dict[str, Any]]:
    grouped: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        grouped[verdict.case].append(verdict)
    facts: dict[str, dict[str, Any]] = {}
    for name in CASES:
        if not (runs := grouped.get(name)):
            continue
        measured = [v.recovery for v in runs if v.recovery is not None]
        facts[name] = {
            "runs": len(runs),
            "failed": sum(bool(v.broken) for v in runs),
            "lost": sum(v.lost for v in runs),
            "stuck": sum(v.stuck for v in runs),
            "in_doubt": sum(v.in_doubt for v in runs),
            "repeated": sum(v.repeated for v in runs),
            "unknown": sum(v.unknown for v in runs),
            "recovery_median": round(statistics.median(measured), 2) if measured else None,
            "recovery_most": max(measured, default=None),
            "bound": runs[0].bound,
        }
    return facts


def _summary(verdicts: list[Verdict], took: float) -> None:
    print(
        f"\n{'case':34} {'runs':>4} {'failed':>6} {'lost':>4} {'stuck':>5} {'in doubt':>8} "
        f"{'repeated':>8} {'unknown':>7} {'recovery: median':>16} {'most':>6} {'bound':>6}"
    )
    for name, facts in _by_case(verdicts).items():
        shown = {key: "-" if value is None else value for key, value in facts.items()}
        print(
            f"{name:34} {shown['runs']:>4} {shown['failed']:>6} {shown['lost']:>4} "
            f"{shown['stuck']:>5} {shown['in_doubt']:>8} {shown['repeated']:>8} "
            f"{shown['unknown']:>7} {shown['recovery_median']:>16} {shown['recovery_most']:>6} {shown['bound']:>6g}"
        )
    failed = [f"{v.case} --first {v.seed} --seeds 1" for v in verdicts if v.broken]
    print(f"\n{len(verdicts)} runs in {took:.0f} s, {len(failed)} failed")
    for words in failed:
        print(f"  again: make faults ARGS='{words}'")


if __name__ == "__main__":
    sys.exit(main())
