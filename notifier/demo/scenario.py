"""The demo's play: prepare, emit through every face, kill, wipe, wait, report."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import requests
from cryptography.fernet import Fernet

from notifier import catalogue, emit, log, queue, register
from notifier.demo.receivers import Endpoint, MailServer
from notifier.demo.report import Report, account
from notifier.errors import NotifierError
from notifier.local import Services, boot
from notifier.local.stack import Stack, usual
from notifier.settings import settings
from notifier.store import account as ledger
from notifier.store import audience, keys
from notifier.store import engine as store_engine
from notifier.store.engine import engine_for
from notifier.store.migrate import migrate
from notifier.store.roles import create_logins

LEASE = 4
PATIENCE = 60.0
"""Seconds after the faults until what is not finished counts as stuck."""

ZONES = ("Asia/Tokyo", "Europe/Paris", "America/New_York", "Pacific/Chatham", "Africa/Lagos", "UTC")
SECRET = "whsec_" + "bm90aWZpZXIgZGVtbyBzaWduaW5nIGtleSAxMjM0NTY="


class TookTooLong(NotifierError):
    """Something that should have happened did not."""


class Scenario:
    """A small company's installation, from nothing, in a folder that goes away."""

    def __init__(
        self,
        folder: Path,
        recipients: int,
        say: Callable[..., None],
        stopping: threading.Event,
    ) -> None:
        self._folder = folder
        self._recipients = recipients
        self._say = say
        self._stopping = stopping
        self._cleanup = ExitStack()
        self._mail = MailServer()
        self._endpoint = Endpoint(failures=20)
        self._killed: dict[str, Any] = {}
        self._wiped: dict[str, Any] = {}
        self._rates: dict[str, float] = {}

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
        began = time.monotonic()
        self._services: Services = self._cleanup.enter_context(boot(self._folder / "data"))
        booted = time.monotonic()
        owner = engine_for(self._services.admin_url, 1)
        with owner.connect() as connection:
            migrate(connection)
            register.shipped(connection)
            connection.commit()
            self._urls = create_logins(connection, self._services.admin_url)
        owner.dispose()
        self._mail.start()
        self._cleanup.callback(self._mail.stop)
        self._endpoint.start()
        self._cleanup.callback(self._endpoint.stop)
        for name in [name for name in os.environ if name.startswith("NOTIFIER_")]:
            if name != "NOTIFIER_POSTGRES_BIN":
                del os.environ[name]
        self._port = _free_port()
        os.environ.update(
            {
                "NOTIFIER_DATABASE_URL": self._urls["engine"],
                "NOTIFIER_REDIS_URL": self._services.redis_url,
                "NOTIFIER_SECRET_KEYS": Fernet.generate_key().decode(),
                "NOTIFIER_HTTP_PORT": str(self._port),
                "NOTIFIER_PUBLIC_URL": f"http://127.0.0.1:{self._port}",
                "NOTIFIER_DATA_DIR": str(self._folder / "data"),
                "NOTIFIER_SMTP_HOST": "127.0.0.1",
                "NOTIFIER_SMTP_PORT": str(self._mail.port),
                "NOTIFIER_SMTP_SECURITY": "none",
                "NOTIFIER_SMTP_TIMEOUT_SECONDS": "2",
                "NOTIFIER_SMTP_FROM": "Acme <hello@acme.example>",
                "NOTIFIER_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
                "NOTIFIER_WEBHOOK_TIMEOUT_SECONDS": "2",
                "NOTIFIER_LEASE_SECONDS": str(LEASE),
                "NOTIFIER_FLUSH_SECONDS": "0.25",
                "NOTIFIER_RETRY_DELAYS": "1 2 4 8",
            }
        )
        for cached in (settings, store_engine.pool, queue.redis, queue.producer):
            cached.cache_clear()
        self._configure_log()
        self._cleanup.callback(lambda: store_engine.pool().dispose())
        self._say(
            f"Postgres and Valkey booted in {booted - began:.1f} s, "
            f"schema migrated in {time.monotonic() - booted:.1f} s"
        )

    def _configure_log(self) -> None:
        """This process speaks to a person; the programs keep their JSON."""
        os.environ["NOTIFIER_LOG_FORMAT"] = "text"
        log.configure()
        del os.environ["NOTIFIER_LOG_FORMAT"]
        settings.cache_clear()

    def addresses(self) -> str:
        """Where to look around while the demo stays up."""
        return (
            f"\nStill up:\n  API        http://127.0.0.1:{self._port}/\n"
            f"  API key    {self._key}\n"
            f"  Postgres   {self._services.admin_url}\n  Redis      {self._services.redis_url}\n"
            f"  logs       {self._folder / 'logs'}\n"
            f"  SMTP       127.0.0.1:{self._mail.port}\nCtrl-C ends it."
        )

    def play(self, *, relay: bool) -> Report:
        """All of it; raises `TookTooLong` where something gets stuck.

        relay: without it, nothing rings again what the faults make everybody forget.
        """
        self._populate()
        self._stack = self._cleanup.enter_context(Stack(usual(2), logs=self._folder / "logs"))
        self._await(self._api_answers, 30, "the API answers")
        self._say("API, relay, beat and two workers are up")
        self._emit_catalogue()
        self._await(self._finished, 60, "the catalogue is delivered")
        self._break_things(relay)
        return self.report()

    def report(self) -> Report:
        """What has come of it so far."""
        with store_engine.connect() as connection:
            made = account(connection, self._mail, self._endpoint)
        made.killed, made.wiped, made.rates = self._killed, self._wiped, self._rates
        return made

    def _populate(self) -> None:
        began = time.monotonic()
        with store_engine.connect() as connection, connection.begin():
            self._tenant = audience.create_tenant(connection, "Acme")
            _, self._key = keys.create_key(connection, self._tenant, "demo")
            ids: dict[str, uuid.UUID] = {}
            for first in range(0, self._recipients, 5000):
                last = min(first + 5000, self._recipients)
                ids |= audience.upsert_recipients(
                    connection, self._tenant, [self._person(n) for n in range(first, last)]
                )
            team = [ids[f"user-{n}"] for n in range(20)]
            for kind in catalogue.load():
                audience.subscribe(connection, self._tenant, kind.type, team)
            audience.put_topic(connection, self._tenant, "on-call", team[:5])
            audience.prefer(connection, self._tenant, team[3], "*", "email", enabled=False)
            audience.prefer(
                connection, self._tenant, team[4], "category:work", "inapp", enabled=False
            )
            for n in range(100, 140):
                audience.prefer(
                    connection,
                    self._tenant,
                    ids[f"user-{n}"],
                    "campaign.completed",
                    "email",
                    enabled=False,
                )
            audience.suppress(
                connection, self._tenant, "email", "user-7@customers.example", "complaint"
            )
        self._say(
            f"Tenant Acme: {self._recipients} recipients in {len(ZONES)} time zones "
            f"({time.monotonic() - began:.1f} s)"
        )

    def _person(self, n: int) -> dict[str, Any]:
        points = [{"channel": "email", "address": f"user-{n}@customers.example"}]
        if n < 200:
            points += [
                {
                    "channel": "webhook",
                    "address": f"{self._endpoint.url}/{n}",
                    "secret": SECRET,
                },
                {"channel": "sms", "address": f"+1415555{n:04d}"},
                {"channel": "push", "address": f"fcm:token-{n}"},
            ]
        return {
            "external_id": f"user-{n}",
            "name": f"User {n}",
            "is_admin": n < 3,
            "timezone": ZONES[n % len(ZONES)],
            # Some have no address at all: their pairs are refused, and say so.
            "contact_points": [] if n % 97 == 96 else points,
        }

    def _emit_catalogue(self) -> None:
        """Every event type: in Python's transaction, by a trigger, over HTTP, by command line."""
        kinds = {kind.type: kind for kind in catalogue.load()}
        faces: dict[str, list[str]] = {"python": [], "trigger": [], "http": [], "cli": []}
        for place, kind in enumerate(kinds.values()):
            if kind.type == "user.signup":
                self._sign_up("user-1", "user-1@customers.example")
                faces["trigger"].append(kind.type)
            elif place % 3 == 0:
                self._post(kind)
                faces["http"].append(kind.type)
            elif place % 3 == 1 and len(faces["cli"]) < 3:
                self._run_cli(kind)
                faces["cli"].append(kind.type)
            else:
                with store_engine.connect() as connection, connection.begin():
                    emit(connection, kind.type, kind.example, tenant=self._tenant)
                faces["python"].append(kind.type)
        with store_engine.connect() as connection, connection.begin():
            emit(
                connection,
                "incident.opened",
                kinds["incident.opened"].example,
                tenant=self._tenant,
                to={
                    "recipients": [f"user-{n}" for n in range(200)],
                    "channels": ["webhook", "sms", "push"],
                },
                source="worker_job",
            )
        for face, types in faces.items():
            self._say(f"  emitted by {face:8} {', '.join(types)}")

    def _sign_up(self, user: str, email: str) -> None:
        """An application's own table, whose trigger emits in the same transaction."""
        owner = engine_for(self._services.admin_url, 1)
        with owner.begin() as connection:
            raw = connection.connection.driver_connection
            assert raw is not None
            raw.execute(
                "CREATE TABLE public.users (id text PRIMARY KEY, email text NOT NULL);"
                "CREATE FUNCTION public.emit_signup() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "PERFORM notifier.emit_notification_event(TG_ARGV[0]::uuid, 'user.signup', "
                "jsonb_build_object('email', NEW.email), "
                "jsonb_build_object('recipients', jsonb_build_array(NEW.id))); "
                "RETURN NEW; END $$;"
                "CREATE TRIGGER signup AFTER INSERT ON public.users FOR EACH ROW "
                f"EXECUTE FUNCTION public.emit_signup('{self._tenant}');"
                "GRANT INSERT ON public.users TO notifier_producer;"
            )
        owner.dispose()
        producer = engine_for(self._urls["producer"], 1)
        with producer.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO public.users (id, email) VALUES (%s, %s)", (user, email)
            )
        producer.dispose()

    def _post(self, kind: catalogue.EventType) -> None:
        answer = requests.post(
            f"http://127.0.0.1:{self._port}/v1/events",
            json={"event_type": kind.type, "payload": kind.example},
            headers={"Authorization": f"Bearer {self._key}"},
            timeout=10,
        )
        answer.raise_for_status()

    def _run_cli(self, kind: catalogue.EventType) -> None:
        arguments = ["emit", kind.type, "--tenant", str(self._tenant)]
        subprocess.run(
            [
                *(sys.executable, "-m", "notifier.cli", *arguments),
                *("--payload", json.dumps(kind.example), "--source", "cron_scheduler"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def _break_things(self, relay: bool) -> None:
        """A campaign to everybody; SIGKILL for a worker that holds some of it; Redis emptied."""
        kind = next(kind for kind in catalogue.load() if kind.type == "campaign.completed")
        before, began = self._mail.taken.total(), time.monotonic()
        with store_engine.connect() as connection, connection.begin():
            emit(
                connection,
                kind.type,
                kind.example,
                tenant=self._tenant,
                to={"tenant": True, "channels": ["email", "inapp"]},
                lane="bulk",
            )
        self._say(f"\nA campaign to {self._recipients} recipients, by e-mail and inbox")
        self._await(
            lambda: self._mail.taken.total() > before + 100 and self._busy(),
            30,
            "a worker is sending mail while more waits in Redis",
        )
        if not relay:
            self._say("--no-relay: stopping the relay for good")
            self._stack.end("relay")
        with store_engine.connect() as connection:
            held = ledger.held(connection, "email")
        for pid in reversed(self._stack.pids("worker-1")):
            os.kill(pid, signal.SIGKILL)
        self._killed = {"program": "worker-1", **held}
        self._say(
            f"SIGKILL for worker-1 and its processes: dispatch {held['dispatch']} is leased for "
            f"another {held['lease_left']} s with {held['deliveries']} deliveries on it"
        )
        waiting = self._queued()
        self._services.restart_redis(wipe=True)
        self._wiped = {"messages": sum(waiting.values()), **waiting}
        self._say(f"Redis killed and wiped with messages in its queues: {waiting}")
        broke = time.monotonic()
        self._await(self._finished, PATIENCE if relay else 12, "everything is delivered")
        ended = time.monotonic()
        with store_engine.connect() as connection:
            sent = ledger.sent_of_type(connection, kind.type)
        self._rates = {
            "campaign_deliveries_per_s": round(sent / (ended - began), 1),
            "campaign_seconds": round(ended - began, 1),
            "seconds_from_faults_to_end": round(ended - broke, 1),
        }

    def _busy(self) -> bool:
        with store_engine.connect() as connection:
            held = ledger.held(connection, "email")
        return bool(held) and sum(self._queued().values()) > 0

    def _queued(self) -> dict[str, int]:
        lengths = {name: queue.redis().llen(name) for name in queue.queue_names()}
        return {name: int(length) for name, length in lengths.items() if length}

    def _finished(self) -> bool:
        with store_engine.connect() as connection:
            return ledger.idle(connection)

    def _api_answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self._port}/readyz", timeout=1).ok
        except requests.RequestException:
            return False

    def _await(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        give_up = time.monotonic() + seconds
        while not true():
            if time.monotonic() > give_up:
                raise TookTooLong(f"within {seconds:g} s it is not so that {what}")
            if self._stopping.wait(0.005):
                raise TookTooLong("stopped by hand")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
