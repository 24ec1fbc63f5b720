"""What kills whoever takes it in hand, or can not be read: it ends alone, and the rest moves on."""

import os
import signal
from contextlib import suppress
from pathlib import Path

from notifier import emit, register
from notifier.deliver import ALONE
from notifier.store import audience
from tests.faults.case import Trial, case
from tests.faults.load import TASK
from tests.faults.stand import PEOPLE, SECRET, await_
from tests.faults.verdict import of_event
from tests.test_intake import NOT_MESSAGES, REFUSED_BY_CELERY, raw

POISON = "poison"
"""The recipient whose endpoint is the death of who calls it."""


@case(
    "poison-queue",
    "unknown tasks, bad JSON and whatever else is no message, on every queue: no process dies, and "
    "what is queued behind it is sent once",
    may_repeat=False,
)
def queue(trial: Trial) -> None:
    stack = trial.stand.stack
    workers = [name for name in stack.names() if name.startswith("worker")]
    processes = {name: stack.pids(name) for name in workers}
    bad = [raw(each) for each in (*NOT_MESSAGES.values(), *REFUSED_BY_CELERY.values())]
    trial.begin(0.0, 0.1)
    for _ in range(5):
        for each in bad:
            channel = trial.chance.choice(["email", "webhook", "inapp", "sms"])
            lane = trial.chance.choice(["critical", "normal", "bulk"])
            trial.stand.client.lpush(f"notifier.{channel}.{lane}", each)
    trial.struck(f"{5 * len(bad)} of no meaning")

    def none_died() -> None:
        now = {name: stack.pids(name) for name in workers}
        trial.check(now == processes, f"processes died: {processes} are now {now}")

    trial.last_words.append(none_died)


@case(
    "poison-render",
    "a template that can not be rendered for some: they are dead letters, the rest is sent once",
    may_repeat=False,
)
def render(trial: Trial) -> None:
    stand = trial.stand
    with stand.admin.begin() as connection:
        register.event_type(
            connection,
            "test.fragile",
            schema={
                "type": "object",
                "required": ["n"],
                "properties": {"n": {"type": "integer"}},
            },
            channels=["email"],
            example={"n": 1},
            texts={"email": {"subject": "s", "text": "{{ 10 // n }}"}},
        )
    trial.begin(0.1, 0.4)
    count = 20
    for n in range(count):
        to = {"recipients": [f"user-{n}"], "channels": ["email"]}
        with stand.emitters.begin() as connection:
            event = emit(connection, "test.fragile", {"n": 0}, tenant=stand.tenant, to=to)
        trial.load.apart.add(event.id)
    trial.struck(f"{count} that can not be rendered")
    trial.last_words.append(lambda: _are_dead(trial, "render", count))


@case(
    "poison-kills",
    "one delivery kills every process that sends it: it is given up alone after a few claims, its "
    "neighbours are sent",
    within=45,
)
def kills(trial: Trial) -> None:
    stand = trial.stand
    point = {"channel": "webhook", "address": f"{stand.endpoint.url}/{POISON}", "secret": SECRET}
    with stand.admin.begin() as connection:
        person = {"external_id": POISON, "contact_points": [point]}
        audience.upsert_recipients(connection, stand.tenant, [person])
    deaths: list[str] = []

    def kill(delivery: str, path: str, port: int) -> None:
        if path.endswith(f"/{POISON}"):
            deaths.append(delivery)
            os.kill(process_at(port, stand.endpoint.port), signal.SIGKILL)

    stand.endpoint.before = kill
    trial.begin(0.0, 0.3)
    # Among others in the full form; with two neighbours only in the short one.
    if trial.short:
        trial.load.join()
        await_(trial.idle, 60, "the load is done")
    people = [POISON, *(f"user-{n}" for n in trial.chance.sample(range(PEOPLE), 2))]
    to = {"recipients": people, "channels": ["webhook"]}
    with stand.emitters.begin() as connection:
        event = emit(connection, "task.due_soon", TASK, tenant=stand.tenant, to=to)
    trial.load.apart.add(event.id)
    trial.struck("a process dies at each of its sends")

    def only_it_is_dead() -> None:
        statuses = of_event(stand, event.id)
        trial.check(
            statuses == {"delivered": 2, "failed": 1}, f"it and its two neighbours stand {statuses}"
        )
        _are_dead(trial, "poison", 1)
        trial.note(f"{len(deaths)} processes died of it")
        # Two halvings at least of what it was among; then alone.
        trial.check(ALONE <= len(deaths) <= ALONE + 10, f"{len(deaths)} processes died of it")

    trial.last_words.append(only_it_is_dead)


def _are_dead(trial: Trial, code: str, count: int) -> None:
    found = dict(
        trial.stand.query("SELECT code, count(*) FROM notifier.dead_letters GROUP BY code")
    )
    trial.check(found == {code: count}, f"dead letters: {found}, not {count} of {code}")


def process_at(port: int, to: int) -> int:
    """The process whose end of a connection on loopback has this port, the other one `to` (Linux).

    The port alone may be that of other connections too, of another stand's processes even.
    """
    ends = (f":{port:04X}", f":{to:04X}")
    inode = next(
        words[9]
        for words in (line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:])
        if words[1].endswith(ends[0]) and words[2].endswith(ends[1])
    )
    for folder in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            if any(os.readlink(file) == f"socket:[{inode}]" for file in folder.iterdir()):
                return int(folder.parent.name)
    raise ProcessLookupError(port)
