"""The whole product at work on this machine, with its own check that nothing was lost.

`notifier demo` emits the shipped catalogue through every face, kills a worker that holds work,
wipes Redis, and compares what the database says with what the receivers logged.
"""

import argparse
import json
import signal
import sys
import threading
import time

from notifier.demo.scenario import Scenario, TookTooLong
from notifier.local import scratch

__all__ = ["main"]


def main(argv: list[str]) -> int:
    """0 where every invariant held and work was recovered; 1 where not."""
    parser = argparse.ArgumentParser(prog="notifier demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end after the report")
    parser.add_argument("--json", action="store_true", help="the report as JSON, on the last line")
    parser.add_argument(
        "--no-relay",
        action="store_true",
        help="stop the relay before the kill and the wipe: what is lost then shows what it is for",
    )
    parser.add_argument(
        "--recipients",
        type=int,
        default=4000,
        help="recipients of the campaign, 1000 to 100000 (default: 4000)",
    )
    given = parser.parse_args(argv)
    if not 1000 <= given.recipients <= 100_000:
        parser.error("--recipients: expected a number from 1000 to 100000")
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())

    def say(line: str = "") -> None:
        print(line, file=sys.stderr if given.json else sys.stdout, flush=True)

    with scratch("notifier-demo-") as folder:
        started = time.monotonic()
        with Scenario(folder, given.recipients, say, stopping) as scenario:
            try:
                report = scenario.play(relay=not given.no_relay)
            except TookTooLong as error:
                say(f"\nGave up: {error}")
                report = scenario.report()
            report.seconds = round(time.monotonic() - started, 1)
            for line in report.lines():
                say(line)
            if not given.once and not stopping.is_set():
                say(scenario.addresses())
                stopping.wait()
        if given.json:
            print(json.dumps(report.as_dict()))
    return 0 if report.holds() else 1
