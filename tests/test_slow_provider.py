"""A provider that hangs holds its own channel, and no other."""

import uuid
from pathlib import Path

from sqlalchemy import Connection

from notifier import emit
from notifier.local.stack import Stack
from notifier.store import audience
from tests.channels.conftest import SECRET
from tests.channels.http_server import HttpServer
from tests.conftest import Database
from tests.test_emit import TASK
from tests.test_kill import until

DEADLINE = 2


def test_processes_that_all_wait_for_one_provider_let_the_other_channels_go_on(
    database: Database, connection: Connection, tenant: uuid.UUID, tmp_path: Path
) -> None:
    with HttpServer() as endpoint:
        people = [f"p{n}" for n in range(200)]
        audience.upsert_recipients(
            connection,
            tenant,
            [
                {
                    "external_id": name,
                    "contact_points": [
                        {
                            "channel": "webhook",
                            "address": endpoint.url("/line/hang"),
                            "secret": SECRET,
                        }
                    ],
                }
                for name in people
            ],
        )

        def send(to: dict[str, object]) -> None:
            emit(connection, "task.due_soon", TASK, tenant=tenant, to=to)
            connection.commit()

        for first in range(0, 200, 50):
            send({"recipients": people[first : first + 50], "channels": ["webhook"]})
        with Stack(
            {"relay": ["relay"], "worker": ["worker", "-c", "2"]},
            logs=tmp_path / "logs",
            environment={
                "NOTIFIER_PROVIDERS": "*=sandbox,webhook=webhook",
                "NOTIFIER_WEBHOOK_ALLOW_NETWORKS": "127.0.0.0/8",
                "NOTIFIER_WEBHOOK_TIMEOUT_SECONDS": str(DEADLINE),
            },
        ):
            held = (
                "SELECT count(*) FROM notifier.dispatches "
                "WHERE channel = 'webhook' AND lease_until > now()"
            )
            until(lambda: database.one(held) == 2, 30, "both processes wait for the endpoint")
            for n in range(10):
                send({"addresses": [{"channel": "sms", "address": f"+1415555{n:04d}"}]})
            took = until(
                lambda: database.statuses().get("sent") == 10, 15, "the other channel goes on"
            )
            assert database.statuses().get("queued", 0) + database.statuses().get("retrying", 0)
        assert took < DEADLINE + 8, "one deadline, and not a turn of each process"
