"""`notifier bench [NAME …]`: run benchmarks and print them as one table or as JSON."""

import argparse
import importlib
import json
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from benchmarks import vendors
from benchmarks.bench import InvariantsBroken, Result, ToolMissing
from benchmarks.vendors import VENDORS

if TYPE_CHECKING:
    from benchmarks.profile import Profile

USUAL = {
    "celery-noop": "tasks that do nothing through our worker",
    "null": "sending without a network",
    "events": "single events, emitted and sent",
    "latency": "from emit to sent",
    "fanout": "from audience to deliveries",
    "smtp": "e-mail",
    "webhook": "signed webhooks",
    "inapp": "the inbox",
    **{name: f"{vendor.channel} through an API" for name, vendor in VENDORS.items()},
    "emit": "Python, SQL, HTTP single and batch",
    "lanes": "critical while bulk saturates",
    "tenants": "turns of ten tenants",
    "snapshot": "behind one old snapshot",
}
LONG = {"grown": "with 10,000,000 deliveries kept"}


def measure(name: str, runs: int) -> Result:
    """Run the benchmark of that name; its module is called as it is, but for the vendors'."""
    if name in VENDORS:
        return vendors.run(name, runs)
    result: Result = importlib.import_module(f"benchmarks.{name.replace('-', '_')}").run(runs)
    return result


def profiled() -> "Profile":
    """The watch over processor time, whose library a production image need not have."""
    from benchmarks.profile import Profile

    return Profile()


def line(found: Result) -> str:
    """One row of the table."""
    spread = ", ".join(f"{run['ratio']:.2f}" for run in found.runs)
    also = "".join(f"; {name} {value:,.2f}" for name, value in found.also().items())
    return (
        f"{found.name:12} {found.figure:>12,.2f} {found.unit:14} against "
        f"{found.baseline_figure:>12,.2f} ({found.baseline}): {found.ratio:.2f} "
        f"(runs: {spread}){also}"
    )


def main(argv: list[str]) -> int:
    """0 where every benchmark asked for printed a figure, 1 where one could not."""
    known = USUAL | LONG
    parser = argparse.ArgumentParser(
        prog="notifier bench",
        description=__doc__,
        epilog="; ".join(f"{name}: {what}" for name, what in known.items())
        + f". Without names: all but {', '.join(LONG)}.",
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="which to run")
    parser.add_argument("--runs", type=int, default=3, help="how often each is measured")
    parser.add_argument("--json", action="store_true", help="one JSON object as the last line")
    parser.add_argument("--profile", action="store_true", help="processor time by process")
    given = parser.parse_args(argv)
    unknown = [name for name in given.names if name not in known]
    if unknown:
        parser.error(f"{unknown[0]}: expected one of {', '.join(known)}")
    if given.runs < 1:
        parser.error("--runs: expected at least 1")
    results, failed = [], False
    for name in given.names or USUAL:
        try:
            with profiled() if given.profile else nullcontext() as profile:
                found = measure(name, given.runs)
        except (InvariantsBroken, ToolMissing, TimeoutError) as error:
            print(f"{name}: no figure: {error}", file=sys.stderr)
            failed = True
        else:
            results.append(found)
            if not given.json:
                print(line(found), flush=True)
            if profile is not None:
                print(*profile.lines(), sep="\n", flush=True)
    if given.json:
        dicts = [r.as_dict() for r in results]
        print(json.dumps(dicts[0] if len(dicts) == 1 else {"benchmarks": dicts}))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
