"""The demo's play: prepare, emit through every face, kill, wipe, wait, report."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import requests
from cryptography.fernet import Fernet

from notifier import log, queue, register
from notifier.demo.company import ZONES, Company
from notifier.demo.receivers import Carrier, Endpoint, MailServer
from notifier.demo.report import Report, account
from notifier.errors import NotifierError
from notifier.local import Services, boot
from notifier.local.stack import Stack, usual
from notifier.settings import settings
from notifier.store import account as ledger
from notifier.store import engine as store_engine
from notifier.store.engine import engine_for
from notifier.store.migrate import migrate
from notifier.store.roles import create_logins

LEASE = 4
PATIENCE = 60.0
"""Seconds after the faults until what is not finished counts as stuck."""

CAMPAIGN = "campaign.completed"
CAPTURED = ",".join(
    f"{channel}=sandbox" for channel in ("voice", "push", "slack", "teams", "apprise")
)


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
        self._carrier = Carrier()
        self._killed: dict[str, Any] = {}
        self._wiped: dict[str, Any] = {}
        self._rates: dict[str, float] = {}
        self._ended: set[str] = set()
        """Programs that are meant not to run."""

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
        for receiver in (self._endpoint, self._carrier):
            receiver.start()
            self._cleanup.callback(receiver.stop)
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
                "NOTIFIER_PROVIDERS": f"sms=twilio+sandbox,{CAPTURED}",
                "NOTIFIER_TWILIO_ACCOUNT_SID": "AC" + "0" * 32,
                "NOTIFIER_TWILIO_AUTH_TOKEN": "demo",
                "NOTIFIER_TWILIO_FROM": "+14155550000",
                "NOTIFIER_TWILIO_API_URL": self._carrier.origin,
                "NOTIFIER_TWILIO_TIMEOUT_SECONDS": "2",
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
        captured = self._folder / "sandbox.html"
        captured.write_text(self._company.captured_page(), encoding="utf-8")
        return (
            f"\nStill up:\n  API        http://127.0.0.1:{self._port}/\n"
            f"  API key    {self._company.key}\n"
            f"  Postgres   {self._services.admin_url}\n  Redis      {self._services.redis_url}\n"
            f"  logs       {self._folder / 'logs'}\n"
            f"  sandbox    file://{captured} shows what the channels without a provider sent\n"
            f"  SMTP       127.0.0.1:{self._mail.port}\nCtrl-C ends it."
        )

    def play(self, *, relay: bool) -> Report:
        """All of it; raises `TookTooLong` where something gets stuck.

        relay: without it, nothing rings again what the faults make everybody forget.
        """
        self._settle_in()
        self._stack = self._cleanup.enter_context(Stack(usual(2), logs=self._folder / "logs"))
        self._await(self._api_answers, 30, "the API answers")
        self._say("API, relay, beat and two workers are up")
        for face, types in self._company.emit_everything().items():
            self._say(f"  emitted by {face:8} {', '.join(types)}")
        self._await(self._only_steps_left, 60, "the catalogue is delivered")
        self._take_care()
        self._break_things(relay)
        if relay:
            self._lose_a_provider()
        return self.report()

    def report(self) -> Report:
        """What has come of it so far."""
        with store_engine.connect() as connection:
            made = account(connection, self._mail, self._endpoint)
        made.killed, made.wiped, made.rates = self._killed, self._wiped, self._rates
        return made

    def _settle_in(self) -> None:
        began = time.monotonic()
        self._company = Company(
            self._recipients,
            endpoint=self._endpoint.url,
            api=f"http://127.0.0.1:{self._port}",
            owner_url=self._services.admin_url,
            producer_url=self._urls["producer"],
        )
        self._company.move_in()
        self._say(
            f"Tenant Acme: {self._recipients} recipients in {len(ZONES)} time zones "
            f"({time.monotonic() - began:.1f} s)"
        )

    def _take_care(self) -> None:
        """Press the button behind a link of the incident's mail: nobody else is asked."""
        requests.post(self._mail.links[0], timeout=10).raise_for_status()
        self._await(self._finished, 10, "an acknowledgement ends the escalation")
        self._say("One recipient acknowledged the incident by the link in its mail")

    def _lose_a_provider(self) -> None:
        """The carrier fails and comes back; meanwhile nobody acknowledges an incident."""
        self._carrier.works = False
        self._text(range(20, 60))
        self._await(self._finished, 30, "the other provider sends what the carrier does not take")
        self._say(
            f"The carrier answered {self._carrier.turned_away} SMS with 503: its breaker opened, "
            "the sandbox took over"
        )
        self._carrier.works = True
        self._company.emit(
            "incident.opened",
            {"topics": ["on-call"], "channels": ["email"]},
            escalation=[
                {"after": 1, "channels": ["sms", "push"]},
                {"after": 1, "channels": ["voice"]},
            ],
        )
        self._await(self._finished, 30, "the escalation has come to its end")
        self._say("Nobody acknowledged the next incident: by SMS and push, then by telephone")
        before = self._through_carrier()
        give_up = time.monotonic() + 60
        while self._through_carrier() == before and time.monotonic() < give_up:
            self._text([20])
            self._await(self._finished, 30, "an SMS is sent")
            self._stopping.wait(1)
        self._text(range(60, 80))
        self._await(self._finished, 30, "the carrier is taken back")
        self._say(f"The carrier was tried, and taken back: {self._through_carrier() - before} SMS")

    def _text(self, people: Iterable[int]) -> None:
        to = {"recipients": [f"user-{n}" for n in people], "channels": ["sms"]}
        self._company.emit("task.due_soon", to)

    def _through_carrier(self) -> int:
        with store_engine.connect() as connection:
            return ledger.sent_through(connection, "twilio")

    def _break_things(self, relay: bool) -> None:
        """A campaign to everybody; SIGKILL for a worker that holds some of it; Redis emptied."""
        before, began = self._mail.taken.total(), time.monotonic()
        self._company.emit(CAMPAIGN, {"tenant": True, "channels": ["email", "inapp"]}, lane="bulk")
        self._say(f"\nA campaign to {self._recipients} recipients, by e-mail and inbox")
        self._await(
            lambda: self._mail.taken.total() > before + 100 and self._busy(),
            30,
            "a worker is sending mail while more waits in Redis",
        )
        if not relay:
            self._say("--no-relay: stopping the relay for good")
            self._stack.end("relay")
            self._ended.add("relay")
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
            sent = ledger.sent_of_type(connection, CAMPAIGN)
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

    def _only_steps_left(self) -> bool:
        with store_engine.connect() as connection:
            return ledger.only_steps_left(connection)

    def _api_answers(self) -> bool:
        try:
            return requests.get(f"http://127.0.0.1:{self._port}/readyz", timeout=1).ok
        except requests.RequestException:
            return False

    def _await(self, true: Callable[[], bool], seconds: float, what: str) -> None:
        give_up = time.monotonic() + seconds
        while not true():
            if ended := [name for name in self._stack.failed() if name not in self._ended]:
                words = self._stack.log(ended[0]).read_text().splitlines()[-1:]
                raise TookTooLong(f"{ended[0]} can not work: {' '.join(words)}")
            if time.monotonic() > give_up:
                raise TookTooLong(f"within {seconds:g} s it is not so that {what}")
            if self._stopping.wait(0.005):
                raise TookTooLong("stopped by hand")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
