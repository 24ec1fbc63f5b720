"""One correlation id from the producer to the provider: rows, logs and bytes on the wire."""

import json
import uuid
from pathlib import Path

from sqlalchemy import Connection

from notifier import emit
from notifier.demo.receivers import MailServer
from notifier.local.stack import Stack
from tests.conftest import Database
from tests.test_emit import TASK
from tests.test_kill import finished, until


def test_the_id_of_the_producer_is_in_the_event_the_workers_log_and_the_mail(
    database: Database, connection: Connection, tenant: uuid.UUID, tmp_path: Path
) -> None:
    mail = MailServer()
    mail.start()
    emit(
        connection,
        "task.due_soon",
        TASK,
        tenant=tenant,
        to={"recipients": ["ada"], "channels": ["email"]},
        correlation_id="order-4711",
    )
    connection.commit()
    settings = {
        "NOTIFIER_SMTP_HOST": "127.0.0.1",
        "NOTIFIER_SMTP_PORT": str(mail.port),
        "NOTIFIER_SMTP_SECURITY": "none",
        "NOTIFIER_SMTP_FROM": "hello@acme.example",
    }
    programs = {"relay": ["relay"], "worker": ["worker", "-c", "1"]}
    with Stack(programs, logs=tmp_path, environment=settings) as running:
        until(lambda: finished(database), 30, "sent")
        lines = [
            json.loads(line)
            for line in running.log("worker").read_text().splitlines()
            if line.startswith("{")
        ]
    mail.stop()
    assert "X-Notifier-Correlation: order-4711\r\n" in mail.example
    recorded = [line for line in lines if line["event"] == "recorded"]
    assert [line["correlation_ids"] for line in recorded] == [["order-4711"]]
    assert "ada@example.com" not in running.log("worker").read_text()
