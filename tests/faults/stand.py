"""One stand: Postgres and Valkey of its own behind proxies, receivers, and the real processes.

It is kept from case to case, as an installation is: each case finds processes that went through
the one before. Only the rows and the logs are cleared in between.
"""

import contextlib
import os
import signal
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit, urlunsplit

from redis import Redis
from redis.exceptions import RedisError
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError

from notifier import failpoints, poke, register
from notifier.local import Services, boot
from notifier.local.stack import Stack
from notifier.store import audience
from notifier.store.engine import engine_for
from notifier.store.migrate import migrate
from notifier.store.roles import create_logins
from notifier.words import Channel
from tests.faults.loop import Loop
from tests.faults.proxy import Proxy
from tests.faults.receivers import Endpoint, Log, Mail, Receipt

T = TypeVar("T")

LEASE = 3.0
FLUSH = 0.2
PEOPLE = 250
ASKED_WITHIN = 2
SECRET = "whsec_" + "bm90aWZpZXIgZmF1bHRzIHNpZ25pbmcga2V5IDAxMjM="

PROGRAMS: dict[str, list[str]] = {
    "relay-1": ["relay"],
    "relay-2": ["relay"],
    "worker-1": ["worker", "--name", "worker-1", "-c", "2"],
    "worker-2": ["worker", "--name", "worker-2", "-c", "1"],
    "beat-1": ["beat"],
}

# In the order in which they can be emptied; who there is and what may be emitted stays.
_CLEARED = (
    "notification_deliveries, delivery_journal, provider_messages, callbacks, dispatches, "
    "dead_letters, in_doubt, notifications, sandbox_messages, admin_system_events, suppressions, "
    "event_cancellations, idempotency_keys, notification_events"
)

# What no table of the product keeps: every claim there was, and how long it stood.
_CLAIMS = """
CREATE TABLE public.claims (
    dispatch uuid NOT NULL, token uuid NOT NULL, at timestamptz NOT NULL,
    until timestamptz NOT NULL, stood_until timestamptz, deliveries uuid[] NOT NULL);
CREATE FUNCTION public.note_claim() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
    INSERT INTO public.claims
    VALUES (NEW.id, NEW.token, clock_timestamp(), NEW.lease_until,
            CASE WHEN OLD.token IS DISTINCT FROM NEW.token THEN OLD.lease_until END,
            NEW.delivery_ids);
    RETURN NULL;
END $$;
CREATE TRIGGER note_claim AFTER UPDATE ON notifier.dispatches FOR EACH ROW
    WHEN (NEW.token IS NOT NULL AND NEW.lease_until IS DISTINCT FROM OLD.lease_until)
    EXECUTE FUNCTION public.note_claim();
"""


class Stand:
    """Use as a context manager. programs: what runs, by name; see `PROGRAMS`."""

    services: Services
    postgres: Proxy
    redis: Proxy
    log: Log
    mail: Mail
    endpoint: Endpoint
    stack: "Programs"
    tenant: uuid.UUID

    def __init__(self, programs: dict[str, list[str]] | None = None) -> None:
        self._programs = PROGRAMS if programs is None else programs
        self._cleanup = ExitStack()

    def __enter__(self) -> Self:
        try:
            self._open()
        except BaseException:
            self._cleanup.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _open(self) -> None:
        enter = self._cleanup.enter_context
        carrier = self._carrier()
        self.folder = Path(enter(tempfile.TemporaryDirectory(prefix="notifier-faults-")))
        self.services = enter(boot(None))
        loop = enter(Loop())
        self.postgres = Proxy(loop, urlsplit(self.services.admin_url).port or 0)
        self.redis = Proxy(loop, urlsplit(self.services.redis_url).port or 0)
        self.log = Log(loop)
        self.mail, self.endpoint = Mail(loop, self.log), Endpoint(loop, self.log)
        self.admin = engine_for(self.services.admin_url)
        self._cleanup.callback(self.admin.dispose)
        with self.admin.connect() as connection:
            migrate(connection)
            register.shipped(connection)
            connection.commit()
            urls = create_logins(connection, self.services.admin_url)
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute(_CLAIMS)
            self.tenant = audience.create_tenant(connection, "Acme")
            people = [self._person(n) for n in range(PEOPLE)]
            audience.upsert_recipients(connection, self.tenant, people)
            connection.commit()
        self.emitters = engine_for(_through(urls["producer"], self.postgres.port), 4)
        self._cleanup.callback(self.emitters.dispose)
        self.client: Redis = Redis.from_url(self.services.redis_url)
        self._cleanup.callback(self.client.close)
        self.failpoints = self.folder / "failpoints"
        self.failpoints.mkdir()
        self.calls = self.folder / "calls"
        redis_url = _through(self.services.redis_url, self.redis.port)
        self._redirect_pokes(redis_url)
        self.environment = {
            "NOTIFIER_DATABASE_URL": _through(urls["engine"], self.postgres.port),
            "NOTIFIER_REDIS_URL": redis_url,
            **carrier,
            "NOTIFIER_SANDBOX_LOG": str(self.calls),
            "NOTIFIER_SANDBOX_LATENCY_MS": "2",
            "NOTIFIER_SMTP_HOST": "127.0.0.1",
            "NOTIFIER_SMTP_PORT": str(self.mail.port),
            "NOTIFIER_SMTP_SECURITY": "none",
            "NOTIFIER_SMTP_TIMEOUT_SECONDS": "1",
            "NOTIFIER_SMTP_FROM": "Acme <hello@acme.example>",
            "NOTIFIER_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
            "NOTIFIER_WEBHOOK_TIMEOUT_SECONDS": "1",
            "NOTIFIER_LEASE_SECONDS": str(LEASE),
            "NOTIFIER_FLUSH_SECONDS": str(FLUSH),
            "NOTIFIER_RING_AGAIN_SECONDS": "2",
            "NOTIFIER_RETRY_DELAYS": "0.5 1 2 4 8",
            failpoints.FOLDER: str(self.failpoints),
        }
        self.stack = Programs(
            self._programs, logs=self.folder / "logs", environment=self.environment
        )
        enter(self.stack)
        self.await_ready(self._programs)

    def _carrier(self) -> dict[str, str]:
        """What carries SMS and calls, started, as variables."""
        return {"NOTIFIER_PROVIDERS": "sms=sandbox"}

    def _person(self, n: int) -> dict[str, Any]:
        points = [
            {"channel": "email", "address": f"user-{n}@customers.example"},
            {"channel": "webhook", "address": f"{self.endpoint.url}/{n}", "secret": SECRET},
            {"channel": "sms", "address": f"+1415555{n:04d}"},
            {"channel": "voice", "address": f"+1415555{n:04d}"},
        ]
        return {"external_id": f"user-{n}", "name": f"User {n}", "contact_points": points}

    def _redirect_pokes(self, url: str) -> None:
        """Emits of this process poke our Redis, through the proxy."""
        before = os.environ.get("NOTIFIER_REDIS_URL")

        def back() -> None:
            poke._client, poke._off_until = None, 0.0
            if before is None:
                del os.environ["NOTIFIER_REDIS_URL"]
            else:
                os.environ["NOTIFIER_REDIS_URL"] = before

        self._cleanup.callback(back)
        os.environ["NOTIFIER_REDIS_URL"] = url
        poke._client, poke._off_until = None, 0.0

    # Between cases

    def clear(self) -> None:
        """Rows, logs and failpoints of the last case gone, everything running and healed."""
        self.postgres.heal()
        self.redis.heal()
        for name in self._programs:
            self.stack.carry_on(name)
        self.stack.forgive()
        self.await_ready(self._programs)
        await_(self.all_consume, 60, "every worker consumes")
        for file in self.failpoints.iterdir():
            file.unlink()
        with self.admin.begin() as connection:
            connection.exec_driver_sql(f"TRUNCATE {_named(_CLEARED)}, public.claims")
        for leftover in self.client.keys("notifier.*.*"):
            self.client.delete(leftover)
        self.log.clear()
        # Its writers hold it open: the same file, made empty.
        self.calls.touch()
        os.truncate(self.calls, 0)
        self.mail.latency = self.endpoint.latency = 0.0
        self.mail.fault = self.endpoint.fault = self.endpoint.before = None
        poke._off_until = 0.0

    def await_ready(self, names: Sequence[str] | Mapping[str, Any], seconds: float = 60) -> None:
        """Every process runs, and every worker has said so since it was started last."""
        await_(
            lambda: all(self.stack.is_ready(name) for name in names),
            seconds,
            lambda: f"ready: {[name for name in names if not self.stack.is_ready(name)]}",
        )

    # What a case may do

    def arm(self, place: str, action: str = "kill", at: int = 1) -> None:
        """The next process that passes `place` for the `at`th time does `action` to itself."""
        unfinished = self.failpoints / f".{place}"
        unfinished.write_text(f"{action} {at}")
        unfinished.rename(self.failpoints / place)

    def all_consume(self) -> bool:
        """Whether every worker asks Redis for messages: each asks once a second."""
        wanted = sum(name.startswith("worker") for name in self._programs)
        try:
            clients = self.client.client_list()
        except RedisError:
            return False
        asking = [c for c in clients if c["cmd"] == "brpop" and int(c["idle"]) <= ASKED_WITHIN]
        return len(asking) >= wanted

    def reached(self, place: str) -> bool:
        return (self.failpoints / f"{place}.reached").exists()

    # What is known

    def query(self, statement: str, *values: Any) -> list[Any]:
        """Rows, past the proxy; waits for Postgres while it is away."""

        def read(connection: Connection) -> list[Any]:
            return list(connection.exec_driver_sql(statement, values or None).all())

        return self.ask(read)

    def one(self, statement: str, *values: Any) -> Any:
        ((value,),) = self.query(statement, *values)
        return value

    def ask(self, question: Callable[[Connection], T]) -> T:
        """The answer of `question`, asked again while Postgres is away."""
        give_up = time.monotonic() + 60
        while True:
            try:
                with self.admin.connect() as connection:
                    return question(connection)
            except DBAPIError:
                self.admin.dispose()
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.1)

    def receipts(self) -> list[Receipt]:
        """Every request that any receiver got: mail, webhooks and the sandbox's SMS."""
        calls = self.calls.read_text().splitlines() if self.calls.exists() else []
        # Both clocks are this machine's; the sandbox writes down the one that never jumps.
        offset = time.time() - time.monotonic()
        return [
            *self.log.receipts,
            *(
                Receipt(words[0], Channel.SMS, at, at)
                for words, at in (
                    (words, int(words[2]) / 1e9 + offset)
                    for words in (call.split() for call in calls)
                )
            ),
        ]

    def received(self) -> int:
        """How many requests there were; cheap."""
        calls = self.calls.stat().st_size // _CALL if self.calls.exists() else 0
        return len(self.log.receipts) + calls


_CALL = len(f"{uuid.UUID(int=0)} 1 {10**12}\n")


class Programs(Stack):
    """The product's processes, with what a fault suite wants to know and do beyond `Stack`."""

    def _start(self, name: str) -> None:
        # What a process says of itself is looked for from here on.
        with contextlib.suppress(FileNotFoundError):
            self._said_before[name] = self.log(name).stat().st_size
        super()._start(name)

    def __init__(self, programs: Mapping[str, Sequence[str]], **options: Any) -> None:
        self._said_before: dict[str, int] = {}
        super().__init__(programs, **options)

    def is_ready(self, name: str) -> bool:
        """Running, and ready by its own word where it gives one."""
        if not self.pid(name):
            return False
        if name.startswith(("beat", "api")):
            return True
        word = b"worker_ready" if name.startswith("worker") else b"relay_started"
        with self.log(name).open("rb") as log:
            log.seek(self._said_before.get(name, 0))
            return word in log.read()

    def story(self) -> str:
        """What is known of each process: its life so far, and its last words."""
        watched = self._watch is not None and self._watch.is_alive()
        told = [] if watched else ["nobody watches"]
        now = time.monotonic()
        for name, child in self._children.items():
            keeper = "no keeper" if child.keeper is None else f"keeper {child.keeper.poll()}"
            words = self.log(name).read_text(errors="replace").splitlines()[-3:]
            told.append(
                f"{name}: pid {child.pid}, {keeper}, started {now - child.started:.1f} s ago, "
                f"due {child.due - now:.1f} s, gone {child.gone}, ended {child.ended}, said {words}"
            )
        return "; ".join(told)

    def kill_whole(self, name: str, number: int = signal.SIGKILL) -> list[int]:
        """A signal to the process and to all that it forked; their ids."""
        pids = self.pids(name)
        for pid in pids:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        return pids

    def carry_on(self, name: str) -> None:
        """SIGCONT to all of it."""
        self.kill_whole(name, signal.SIGCONT)

    def forgive(self) -> None:
        """Start again at once what falls next: the pause grows with falls of earlier cases."""
        with self._lock:
            for child in self._children.values():
                child.falls = 0


def await_(
    true: Callable[[], object], seconds: float, what: str | Callable[[], str], every: float = 0.02
) -> float:
    """Wait for a condition; how long it took. Raises TimeoutError naming `what`."""
    started = time.monotonic()
    while not true():
        if time.monotonic() - started > seconds:
            words = what if isinstance(what, str) else what()
            raise TimeoutError(f"not within {seconds:g} s: {words}")
        time.sleep(every)
    return time.monotonic() - started


def times(receipts: Sequence[Receipt]) -> Counter[str]:
    """How often each delivery was received."""
    return Counter(receipt.delivery for receipt in receipts)


def _through(url: str, port: int) -> str:
    """The URL with the proxy's port."""
    parts = urlsplit(url)
    where = parts.netloc.rpartition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{where}:{port}"))


def _named(tables: str) -> str:
    return ", ".join(f"notifier.{table.strip()}" for table in tables.split(","))
