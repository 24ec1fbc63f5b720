"""Breaks the engine on purpose, one small change at a time, and sees that a named test notices.

`make mutations` (ARGS: names, `--jobs N`, `--times N`, `--list`). Each change is made in a copy of
the tree, which the test and every process it starts import. A change whose text is no longer in
the source is an error: the list must not rot.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

LONGEST = 600
"""Seconds a test may take; one that hangs has not noticed."""


@dataclass(frozen=True, slots=True)
class Mutation:
    """Replace `old`, which stands once in `file`, with `new`; then `test` must fail."""

    name: str
    file: str
    old: str
    new: str
    test: str

    def apply(self, root: Path) -> None:
        path = root / self.file
        path.write_text(self.mutated(path.read_text()))

    def mutated(self, source: str) -> str:
        found = source.count(self.old)
        if found != 1:
            raise LookupError(
                f"{self.name}: its text stands {found} times in {self.file}, not once"
            )
        return source.replace(self.old, self.new)


DELIVER = "notifier/deliver.py"
WINDOW = "notifier/window.py"
ASSIGN = "notifier/assign.py"
RECORD = "notifier/record.py"
RECONCILE = "notifier/reconcile.py"
RECEIPTS = "notifier/receipts.py"
RELAY = "notifier/relay.py"
DELIVERIES = "notifier/store/deliveries.py"
DISPATCHES = "notifier/store/dispatches.py"
RECEIVED = "notifier/store/received.py"
LETTERS = "notifier/store/letters.py"
CONNECTIONS = "notifier/store/connections.py"
RELAY_SQL = "migrations/functions/relay.v2.sql"
CANCEL_SQL = "migrations/functions/cancel.v1.sql"
ACKNOWLEDGE_SQL = "migrations/functions/acknowledge.v1.sql"
FAN_OUT_SQL = "migrations/functions/fan_out.v2.sql"

MUTATIONS = (
    # Ringing.
    Mutation(
        "nothing is rung again",
        RELAY_SQL,
        "CASE WHEN d.lease_until IS NULL THEN again ELSE least(again, interval '1 s') END",
        "interval '1 day'",
        "test_relay.py::test_what_was_rung_and_not_claimed_is_rung_again_after_a_while",
    ),
    Mutation(
        "a lapsed lease is not rung",
        RELAY_SQL,
        "AND (d.lease_until IS NULL OR d.lease_until < d.last_rung_at), false)",
        ", false)",
        "test_relay.py::test_what_a_dead_worker_held_is_rung_as_soon_as_its_lease_is_over",
    ),
    Mutation(
        "rings that failed are not taken back",
        RELAY,
        "dispatches.unring(connection, [work.id for work in rung])",
        "pass",
        "test_relay.py::test_rings_that_redis_did_not_take_are_made_again_at_once",
    ),
    Mutation(
        "a lost queue goes unnoticed",
        RELAY,
        "lost = dispatches.forget_rings(connection)",
        "lost = 0",
        "test_kill.py::test_redis_wiped_at_peak_loses_nothing",
    ),
    Mutation(
        "packing ignores claims",
        RELAY_SQL,
        "WHERE d.due_at <= clock_timestamp() AND d.kind = 'deliver' AND d.attempts = 0 AND d.rings = 0\n"
        "          AND",
        "WHERE d.due_at <= clock_timestamp() AND d.kind = 'deliver' AND d.rings = 0\n          AND",
        "test_relay.py::test_packing_leaves_what_was_claimed_before_alone",
    ),
    Mutation(
        "packing ignores rings",
        RELAY_SQL,
        "WHERE d.due_at <= clock_timestamp() AND d.kind = 'deliver' AND d.attempts = 0 AND d.rings = 0\n"
        "          AND",
        "WHERE d.due_at <= clock_timestamp() AND d.kind = 'deliver' AND d.attempts = 0\n          AND",
        "test_relay.py::test_packing_leaves_what_was_rung_before_alone",
    ),
    Mutation(
        "a backlog hides other queues",
        RELAY_SQL,
        "WHERE q.lane = l.lane AND coalesce(q.channel, '') = c.channel\n",
        "WHERE l.lane = 'bulk' AND c.channel = ''\n",
        "test_relay.py::test_a_backlog_of_calls_holds_up_no_critical_mail",
    ),
    # Claiming.
    Mutation(
        "a claim ignores the lease",
        DISPATCHES,
        "WHERE id = %(id)s AND (lease_until IS NULL OR lease_until < clock_timestamp()) ",
        "WHERE id = %(id)s ",
        "test_takeover.py::test_what_a_dead_worker_had_sent_and_not_recorded_is_sent_again_under_the_same_id",
    ),
    Mutation(
        "a claim ignores the due time",
        DISPATCHES,
        "AND due_at <= clock_timestamp() FOR UPDATE",
        "FOR UPDATE",
        "test_fanout.py::test_a_scheduled_event_resolves_its_audience_when_due",
    ),
    Mutation(
        "a chunk that kills its workers is not halved",
        DELIVER,
        "dispatches.halve(connection, held, ALONE)",
        "pass",
        "test_takeover.py::test_a_chunk_that_kills_its_worker_is_halved_until_the_poison_stands_alone",
    ),
    Mutation(
        "halves count from nothing",
        DISPATCHES,
        "held.attempts if len(rest) > 1 else min(held.attempts, alone - 1)",
        "0",
        "test_relay.py::test_halves_of_a_chunk_that_killed_its_worker_are_not_packed_together_again",
    ),
    Mutation(
        "poison is never given up",
        DELIVER,
        "elif held.attempts > ALONE:",
        "elif False:",
        "test_takeover.py::test_a_chunk_that_kills_its_worker_is_halved_until_the_poison_stands_alone",
    ),
    Mutation(
        "a send may outlive its lease",
        DELIVER,
        "return lease_lasts() and not _turn_is_over(chunk, worker)",
        "return not _turn_is_over(chunk, worker)",
        "test_takeover.py::test_no_send_starts_that_its_lease_could_not_outlast",
    ),
    Mutation(
        "a hand-back counts as a claim",
        DISPATCHES,
        '"attempts = attempts - 1, provider = NULL "\n',
        '"attempts = attempts, provider = NULL "\n',
        "test_takeover.py::test_a_worker_told_to_stop_finishes_its_send_and_hands_the_rest_back",
    ),
    # Recording.
    Mutation(
        "no fence",
        DISPATCHES,
        "d.id = %(id)s AND d.token = %(token)s AND",
        "d.id = %(id)s AND %(token)s::uuid IS NOT NULL AND",
        "test_receipts.py::test_a_rejection_told_late_settles_nothing",
    ),
    Mutation(
        "the fence ignores the lease",
        DISPATCHES,
        "AND d.token = %(token)s AND d.lease_until > clock_timestamp() ",
        "AND d.token = %(token)s ",
        "test_takeover.py::test_after_its_lease_a_worker_writes_nothing_though_nobody_took_over",
    ),
    Mutation(
        "a step whose acknowledgement was lost is written again",
        DISPATCHES,
        "AND cardinality(d.delivery_ids) = %(carried)s",
        "AND %(carried)s::int > 0",
        "test_record.py::test_outcomes_whose_commit_fails_are_written_once",
    ),
    Mutation(
        "a step whose acknowledgement was lost is taken for a lost claim",
        RECORD,
        "won = time.monotonic() < chunk.until\n",
        "won = False\n",
        "test_record.py::test_outcomes_whose_commit_fails_are_written_once",
    ),
    Mutation(
        "the twin is deleted before its outcomes are written",
        RECORD,
        "            return False\n        deliveries.move(",
        "            return False\n"
        "    with connect() as connection, connection.begin():\n"
        "        deliveries.move(",
        "test_record.py::test_outcomes_whose_commit_fails_are_written_once",
    ),
    Mutation(
        "a status moves wherever it stands",
        DELIVERIES,
        "SET status = CASE WHEN d.status = %(before)s THEN %(after)s ELSE d.status END,",
        "SET status = %(after)s,",
        "test_record.py::test_what_a_receipt_has_settled_is_not_sent_again",
    ),
    Mutation(
        "no journal",
        DELIVERIES,
        "WHERE moved.won\n",
        "WHERE false\n",
        "test_deliver.py::test_an_accepted_message_is_sent_and_its_dispatch_gone",
    ),
    Mutation(
        "a retry carries what a receipt has finished",
        DISPATCHES,
        'f"WHERE {STATUS_OF_X} = ANY(%s::text[]) HAVING count(*) > 0"',
        '"WHERE %s::text[] IS NOT NULL HAVING count(*) > 0"',
        "test_record.py::test_what_a_receipt_has_settled_is_not_sent_again",
    ),
    # Stopping.
    Mutation(
        "a cancel is not read again",
        WINDOW,
        "if delivery.event_id in stopped.cancelled or delivery.id in stopped.singly:",
        "if False:",
        "test_cancel.py::test_a_cancel_while_a_worker_holds_the_chunk_stops_its_next_window",
    ),
    Mutation(
        "a deadline is not read again",
        WINDOW,
        "elif delivery.event_id in stopped.expired:",
        "elif False:",
        "test_cancel.py::test_nothing_is_sent_after_its_deadline",
    ),
    Mutation(
        "a cancel reaches into a worker's hand",
        CANCEL_SQL,
        "WHERE p.id = dispatch AND (p.lease_until IS NULL OR p.lease_until < clock_timestamp()) FOR UPDATE;",
        "WHERE p.id = dispatch FOR UPDATE;",
        "test_cancel.py::test_a_cancel_while_a_worker_holds_the_chunk_stops_its_next_window",
    ),
    Mutation(
        "a call in doubt is cancelled",
        CANCEL_SQL,
        "AND (delivery IS NULL OR d.id = delivery) AND d.status <> 'sending';",
        "AND (delivery IS NULL OR d.id = delivery);",
        "test_cancel.py::test_a_call_that_may_have_been_made_is_not_cancelled",
    ),
    # Doubt.
    Mutation(
        "calls are not announced",
        DELIVER,
        "    if chunk.announces:\n",
        "    if False:\n",
        "test_reconcile.py::test_a_call_in_doubt_is_asked_about_and_not_repeated",
    ),
    Mutation(
        "calls in doubt are put back to be sent",
        DELIVER,
        "dispatches.add(connection, DispatchKind.RECONCILE, held, asked, wait)",
        "dispatches.add(connection, DispatchKind.DELIVER, held, asked, timedelta())",
        "test_reconcile.py::test_a_call_in_doubt_is_asked_about_and_not_repeated",
    ),
    Mutation(
        "a provider is asked about doubts before it can tell",
        RECONCILE,
        "if doubts.held.age < provider.settles:",
        "if False:",
        "test_reconcile.py::test_a_provider_is_asked_no_sooner_than_it_can_tell",
    ),
    Mutation(
        "another provider is asked about doubts",
        RECONCILE,
        "worker.named(held.channel, name),",
        "worker.providers[held.channel][0],",
        "test_failover.py::test_a_doubt_is_not_put_to_a_provider_that_it_did_not_go_through",
    ),
    Mutation(
        "providers outside a tenant's route count for the next attempt",
        ASSIGN,
        "{i: breakers.working(able[i]) for i in rest}",
        "dict.fromkeys(rest, len(worker.providers[held.channel]))",
        "test_failover.py::test_only_a_provider_that_may_be_taken_makes_the_next_attempt_come_at_once",
    ),
    Mutation(
        "what no provider could tell is resent blindly",
        RECONCILE,
        "                    settled.keep_asking.append(of)\n",
        '                    move(Status.RETRYING, reason, "in_doubt")\n'
        "                    settled.again.setdefault(timedelta(), []).append(of)\n",
        "test_reconcile.py::test_what_no_provider_can_settle_becomes_unknown_and_waits_for_an_operator",
    ),
    Mutation(
        "another delivery's message is taken for the one in doubt",
        RECONCILE,
        "for told, became in answer.found.items() if told not in owners]",
        "for told, became in answer.found.items()]",
        "test_reconcile.py::test_of_candidates_only_one_that_is_nobody_elses_is_it",
    ),
    Mutation(
        "two attempts in doubt share one message",
        RECONCILE,
        "if len(free) == 1 and not has_rivals:",
        "if len(free) == 1:",
        "test_reconcile.py::test_of_candidates_only_one_that_is_nobody_elses_is_it",
    ),
    # Failover.
    Mutation(
        "what may have gone out is given to another provider",
        ASSIGN,
        'stays=held.stays_with is not None or delivery.code == "in_doubt",',
        "stays=False,",
        "test_failover.py::test_what_may_have_gone_out_is_never_given_to_the_other",
    ),
    Mutation(
        "a dead worker's work moves to another provider",
        ASSIGN,
        "        before = held.stays_with\n",
        "        before = None\n",
        "test_failover.py::test_the_work_of_a_dead_worker_stays_with_its_provider",
    ),
    Mutation(
        "every worker tries a provider whose breaker is open",
        ASSIGN,
        "            self._states[name] = State.OPEN\n",
        "            self._states[name] = State.CLOSED\n",
        "test_breaker.py::test_a_provider_that_keeps_failing_is_left_alone_tried_again_and_taken_back",
    ),
    # Pauses.
    Mutation(
        "a pause is not looked for",
        WINDOW,
        "        paused = pauses.active(connection) if stopped.pauses else []\n",
        "        paused = []\n",
        "test_pauses.py::test_what_fits_waits_until_the_pause_ends",
    ),
    # Escalation.
    Mutation(
        "whom an earlier step reached is asked again",
        FAN_OUT_SQL,
        "AND m.id NOT IN (SELECT reached.recipient_id FROM reached)",
        "AND true",
        "test_escalation.py::test_a_step_leaves_out_whom_an_earlier_one_reached",
    ),
    Mutation(
        "an acknowledgement stops nothing",
        ACKNOWLEDGE_SQL,
        "    IF is_first THEN\n",
        "    IF false THEN\n",
        "test_escalation.py::test_a_step_that_a_worker_holds_meanwhile_asks_nobody",
    ),
    Mutation(
        "a magic link works twice",
        ACKNOWLEDGE_SQL,
        "WHERE m.hash = use_magic_link.hash AND m.used_at IS NULL AND",
        "WHERE m.hash = use_magic_link.hash AND",
        "http/test_magic_links.py::test_fifty_presses_at_once_are_one",
    ),
    # Receipts.
    Mutation(
        "late facts are not applied",
        RECORD,
        "receipts.apply(connection, accepted, late=True)",
        "pass",
        "test_receipts.py::test_what_a_frozen_worker_had_sent_is_not_sent_again_where_it_tells_in_time",
    ),
    Mutation(
        "a late rejection is applied",
        RECORD,
        "        if m.after in (Status.SENT, Status.DELIVERED)\n",
        "        if m.after is not Status.RETRYING\n",
        "test_receipts.py::test_a_rejection_told_late_settles_nothing",
    ),
    Mutation(
        "a receipt moves a status backwards",
        RECEIVED,
        "d.status = ANY(%(may)s::text[])\n",
        "%(may)s::text[] IS NOT NULL\n",
        "test_receipts.py::test_receipts_in_any_order_and_five_times_leave_the_same_row",
    ),
    Mutation(
        "a weak word overrules a failure that the provider told",
        RECEIVED,
        "AND (d.sent_at IS NULL OR d.status <> ALL(%(unsent)s::text[])) AS wins",
        "AND (%(unsent)s::text[] IS NOT NULL) AS wins",
        "test_receipts.py::test_receipts_in_any_order_and_five_times_leave_the_same_row",
    ),
    Mutation(
        "the last time told counts, not the first",
        RECEIVED,
        "sent_at = least(d.sent_at, told.at),",
        "sent_at = told.at,",
        "test_receipts.py::test_receipts_in_any_order_and_five_times_leave_the_same_row",
    ),
    Mutation(
        "what a receipt finished stays on its dispatch",
        RECEIPTS,
        "dispatches.take_off(connection, [c.id for c in carriers if not c.held], finished)",
        "pass",
        "test_receipts.py::test_a_receipt_takes_its_delivery_off_the_retry_that_was_planned",
    ),
    Mutation(
        "what a receipt finished is handed back",
        DISPATCHES,
        "    if len(rest) < len(held.delivery_ids):\n",
        "    if False:\n",
        "test_receipts.py::test_a_stopping_worker_hands_back_only_what_no_receipt_has_finished",
    ),
    Mutation(
        "what a zombie told is not read before the next window",
        WINDOW,
        "if chunk.held.attempts > 1:",
        "if False:",
        "test_receipts.py::test_what_a_frozen_worker_was_told_is_not_sent_in_the_next_window",
    ),
    Mutation(
        "a call is made though its announcement lost",
        DELIVER,
        "chunk.held.attempts) == len(moves):",
        "chunk.held.attempts) >= 0:",
        "test_receipts.py::test_a_call_whose_receipt_comes_while_it_is_announced_is_not_made",
    ),
    Mutation(
        "a dead letter in a worker's hand is replayed",
        LETTERS,
        "WHERE carried.id = c.delivery_id)",
        "WHERE carried.id = c.delivery_id AND false)",
        "test_receipts.py::test_a_dead_letter_in_a_workers_hand_is_replayed_once_it_has_left_it",
    ),
    # Fanning out, retrying.
    Mutation(
        "a delivery's id says not what it is for",
        "migrations/functions/ids.v1.sql",
        "|| left(lpad(to_hex(uuid_hash_extended(target, uuid_hash_extended(coalesce(point, target), seed)))",
        "|| left(lpad(to_hex(uuid_hash_extended(gen_random_uuid(), uuid_hash_extended(coalesce(point, target), seed)))",
        "test_fanout.py::test_a_page_fanned_out_twice_writes_nothing_twice",
    ),
    Mutation(
        "retries do not end",
        "notifier/retry.py",
        "    if attempt > len(delays):\n        return None\n",
        "    attempt = min(attempt, len(delays))\n",
        "test_deliver.py::test_every_scripted_failure_of_the_sandbox_ends_where_it_should",
    ),
    Mutation(
        "retries come back together",
        "notifier/retry.py",
        "spread = random.randrange(STEPS) / (STEPS - 1) if jitter is None else jitter",
        "spread = 1.0 if jitter is None else jitter",
        "test_retry.py::test_what_failed_together_comes_back_spread_and_in_few_groups",
    ),
    # Connections.
    Mutation(
        "whoever finds a token due refreshes it",
        CONNECTIONS,
        "AND (refreshing_until IS NULL OR refreshing_until <= clock_timestamp())",
        "",
        "test_connections.py::test_twenty_at_once_refresh_once",
    ),
    Mutation(
        "tokens of a lost claim are kept",
        CONNECTIONS,
        "WHERE id = %s AND status = 'active' AND refreshing_until = %s",
        "WHERE id = %s AND (status = 'active' OR refreshing_until = %s)",
        "test_connections.py::test_tokens_that_come_after_a_new_connection_are_not_kept",
    ),
    Mutation(
        "a sealed value opens for anybody",
        "notifier/sealing.py",
        "if whom != [str(tenant), str(row), purpose]:",
        "if False:",
        "test_connections.py::test_a_token_copied_to_another_tenant_or_row_does_not_open",
    ),
    Mutation(
        "a state works again",
        "migrations/functions/connections.v1.sql",
        "AND p.used_at IS NULL AND",
        "AND",
        "test_connections.py::test_a_state_works_once_for_its_provider_and_for_minutes",
    ),
)


@contextmanager
def copy() -> Iterator[Path]:
    """A copy of the tree, without what is installed or built."""
    with tempfile.TemporaryDirectory(prefix="mutation-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(
            ROOT,
            tree,
            ignore=shutil.ignore_patterns(".venv", ".git", ".notifier", "__pycache__", ".*_cache"),
        )
        # A test may run as another user than the one who made the copy.
        Path(folder).chmod(0o755)
        yield tree


def python(tree: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """This interpreter, importing from the copy; so do the processes it starts."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    return subprocess.run(
        [sys.executable, "-P", *arguments],
        cwd=tree,
        env=environment | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def verify(tree: Path) -> None:
    """Raises where an import would come from elsewhere than the copy."""
    names = "notifier", "workers", "migrations", "tests"
    program = f"import {', '.join(names)}\nfor m in {', '.join(names)}: print(m.__path__[0])"
    seen = python(tree, "-c", program).stdout.split()
    expected = [str(tree / name) for name in names]
    if seen != expected:
        raise RuntimeError(f"imported {seen}, not the copy {expected}")


def verdict(tree: Path, *tests: str) -> str:
    """What tests say: `passed`, `killed` (an assertion of theirs failed), or what went wrong."""
    report = tree / "report.xml"
    named = [f"tests/{test}" for test in tests]
    try:
        done = python(tree, "-m", "pytest", *named, f"--junitxml={report}", "--tb=short")
    except subprocess.TimeoutExpired:
        return f"no answer within {LONGEST} s"
    if done.returncode == 0:
        return "passed"
    if done.returncode == 1 and report.exists():
        failures = [f.get("message", "") for f in ElementTree.parse(report).iter("failure")]
        if any(text.startswith(("assert ", "AssertionError")) for text in failures):
            return "killed"
        return f"failed, but not by an assertion: {(failures or ['an error around it'])[0][:200]}"
    return f"pytest ended with {done.returncode}: {(done.stdout + done.stderr)[-400:]}"


def try_one(mutation: Mutation) -> tuple[Mutation, str, float]:
    started = time.monotonic()
    with copy() as tree:
        mutation.apply(tree)
        said = verdict(tree, mutation.test)
    return mutation, "SURVIVED" if said == "passed" else said, time.monotonic() - started


def chosen(names: Sequence[str]) -> list[Mutation]:
    """The mutations whose name holds one of `names`; all where there is none."""
    found = [m for m in MUTATIONS if not names or any(name in m.name for name in names)]
    if not found:
        raise SystemExit(f"no mutation is called {' or '.join(names)}; see --list")
    return found


def unmutated(mutations: Iterable[Mutation], times: int) -> bool:
    """Run the named tests as they are; whether all passed each time."""
    tests = sorted({m.test for m in mutations})
    with copy() as tree:
        verify(tree)
        said = [verdict(tree, *tests) for _ in range(times)]
    for trouble in set(said) - {"passed"}:
        print(trouble)
    passed = said.count("passed")
    print(f"unmutated, {len(tests)} tests pass {passed} times of {times}", flush=True)
    return passed == times


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", help="words of the mutations to try; else all")
    parser.add_argument("--jobs", type=int, default=1, help="how many at once")
    parser.add_argument("--times", type=int, default=1, help="runs of the unmutated tests before")
    parser.add_argument("--list", action="store_true", help="print what there is")
    options = parser.parse_args()
    mutations = chosen(options.names)
    if options.list:
        for mutation in mutations:
            print(f"{mutation.name}  ({mutation.file}, {mutation.test})")
        return 0
    for mutation in mutations:
        mutation.mutated((ROOT / mutation.file).read_text())
    fine = unmutated(mutations, options.times)
    killed = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for mutation, said, seconds in pool.map(try_one, mutations):
            killed += said == "killed"
            print(f"{said:9} {seconds:5.1f} s  {mutation.name}  {mutation.test}", flush=True)
    print(f"{killed} of {len(mutations)} killed")
    return 0 if fine and killed == len(mutations) else 1


if __name__ == "__main__":
    sys.exit(main())
