"""The demo's company: its people, and the ways in which its programs emit."""

import json
import subprocess
import sys
import uuid
from typing import Any

import requests

from notifier import catalogue, emit, sandbox
from notifier.store import audience, keys, suppressions
from notifier.store.engine import connect, engine_for
from notifier.words import Channel

ZONES = ("Asia/Tokyo", "Europe/Paris", "America/New_York", "Pacific/Chatham", "Africa/Lagos", "UTC")
SECRET = "whsec_" + "bm90aWZpZXIgZGVtbyBzaWduaW5nIGtleSAxMjM0NTY="


class Company:
    """Acme.

    people: how many. endpoint: where webhooks go. api: where the HTTP API answers.
    owner_url, producer_url: logins of the database's owner and of a producer.
    tenant, key: who it is, and the key it uses the API with.
    """

    def __init__(
        self, people: int, *, endpoint: str, api: str, owner_url: str, producer_url: str
    ) -> None:
        self._people = people
        self._endpoint = endpoint
        self._api = api
        self._owner_url = owner_url
        self._producer_url = producer_url
        self._kinds = {kind.type: kind for kind in catalogue.load()}
        with connect() as connection, connection.begin():
            self.tenant = audience.create_tenant(connection, "Acme")
            _, self.key = keys.create_key(connection, self.tenant, "demo")

    def move_in(self) -> None:
        """Write everybody down, with what they want and do not want."""
        with connect() as connection, connection.begin():
            ids: dict[str, uuid.UUID] = {}
            for first in range(0, self._people, 5000):
                last = min(first + 5000, self._people)
                ids |= audience.upsert_recipients(
                    connection, self.tenant, [self._person(n) for n in range(first, last)]
                )
            team = [ids[f"user-{n}"] for n in range(20)]
            for name in self._kinds:
                audience.subscribe(connection, self.tenant, name, team)
            audience.put_topic(connection, self.tenant, "on-call", team[:5])
            audience.prefer(connection, self.tenant, team[3], "*", "email", enabled=False)
            audience.prefer(
                connection, self.tenant, team[4], "category:work", "inapp", enabled=False
            )
            for n in range(100, 140):
                audience.prefer(
                    connection,
                    self.tenant,
                    ids[f"user-{n}"],
                    "campaign.completed",
                    "email",
                    enabled=False,
                )
            suppressions.add(
                connection, self.tenant, "email", "user-7@customers.example", "complaint"
            )

    def _person(self, n: int) -> dict[str, Any]:
        points = [{"channel": "email", "address": f"user-{n}@customers.example"}]
        if n < 200:
            points += [
                {
                    "channel": "webhook",
                    "address": f"{self._endpoint}/{n}",
                    "secret": SECRET,
                },
                {"channel": "sms", "address": f"+1415555{n:04d}"},
                {"channel": "push", "address": f"fcm:token-of-user-{n}"},
            ]
        if n < 20:
            points += [
                {"channel": "voice", "address": f"+1415555{n:04d}"},
                {"channel": "slack", "address": f"C0123456{n:02d}"},
                {"channel": "teams", "address": f"https://acme.webhook.office.com/webhookb2/{n}"},
                {"channel": "apprise", "address": f"json://127.0.0.1/{n}"},
            ]
        return {
            "external_id": f"user-{n}",
            "name": f"User {n}",
            "is_admin": n < 3,
            "timezone": ZONES[n % len(ZONES)],
            # Some have no address at all: their pairs are refused, and say so.
            "contact_points": [] if n % 97 == 96 else points,
        }

    def emit(self, event_type: str, to: Any = "subscribers", **options: Any) -> None:
        """Emit an event type's example in a transaction of its own."""
        with connect() as connection, connection.begin():
            example = self._kinds[event_type].example
            emit(connection, event_type, example, tenant=self.tenant, to=to, **options)

    def captured_page(self) -> str:
        """The page of what the sandbox has captured, some of each channel's."""
        with connect() as connection:
            found = [
                message
                for channel in Channel
                for message in sandbox.listed(connection, self.tenant, channel=channel, limit=20)
            ]
            return sandbox.page(connection, self.tenant, found)

    def emit_everything(self) -> dict[str, list[str]]:
        """Every event type: in Python's transaction, by a trigger, over HTTP, by command line; by
        which of them each went."""
        faces: dict[str, list[str]] = {"python": [], "trigger": [], "http": [], "cli": []}
        for place, kind in enumerate(self._kinds.values()):
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
                self.emit(kind.type)
                faces["python"].append(kind.type)
        self.emit(
            "incident.opened",
            {
                "recipients": [f"user-{n}" for n in range(200)],
                "channels": ["webhook", "sms", "push"],
            },
            source="worker_job",
            escalation=[],
        )
        on_call = {"topics": ["on-call"], "channels": list(Channel)}
        self.emit("incident.opened", on_call, escalation=[])
        return faces

    def _sign_up(self, user: str, email: str) -> None:
        """An application's own table, whose trigger emits in the same transaction."""
        owner = engine_for(self._owner_url, 1)
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
                f"EXECUTE FUNCTION public.emit_signup('{self.tenant}');"
                "GRANT INSERT ON public.users TO notifier_producer;"
            )
        owner.dispose()
        producer = engine_for(self._producer_url, 1)
        with producer.begin() as connection:
            connection.exec_driver_sql(
                "INSERT INTO public.users (id, email) VALUES (%s, %s)", (user, email)
            )
        producer.dispose()

    def _post(self, kind: catalogue.EventType) -> None:
        answer = requests.post(
            f"{self._api}/v1/events",
            json={"event_type": kind.type, "payload": kind.example},
            headers={"Authorization": f"Bearer {self.key}"},
            timeout=10,
        )
        answer.raise_for_status()

    def _run_cli(self, kind: catalogue.EventType) -> None:
        arguments = ["emit", kind.type, "--tenant", str(self.tenant)]
        subprocess.run(
            [
                *(sys.executable, "-m", "notifier.cli", *arguments),
                *("--payload", json.dumps(kind.example), "--source", "cron_scheduler"),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )
