"""The page behind a magic link: looked at as often as one likes, used once."""

import threading
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import requests
from sqlalchemy import Connection

from notifier import emit, magic_links
from tests.conftest import Database
from tests.http.conftest import TASK, Client, event, problem

LADDER = [{"after": 300, "channels": ["sms"]}]


def links(
    database: Database,
    connection: Connection,
    acme: Client,
    names: tuple[str, ...] = ("ada",),
    until: datetime | None = None,
) -> list[str]:
    """The links of an event that asks for an acknowledgement, as its e-mails have them."""
    made = emit(
        connection,
        "task.due_soon",
        TASK,
        tenant=acme.tenant,
        to={"recipients": list(names), "channels": ["email"]},
        escalation=LADDER,
    )
    connection.commit()
    with database.pool.begin() as engine:
        ids = engine.exec_driver_sql(
            "SELECT id FROM notifier.notification_deliveries WHERE event_id = %s", (made.id,)
        ).scalars()
        return list(magic_links.make(engine, dict.fromkeys(ids, until)).values())


def visit(method: str, link: str) -> requests.Response:
    """As a browser does that nobody has been seen with before."""
    with requests.Session() as session:
        session.trust_env = False
        return session.request(method, link, timeout=30)


def acknowledged(database: Database) -> list[str]:
    return [row[0] for row in database.query("SELECT how FROM notifier.acknowledgements")]


def test_looking_changes_nothing_and_the_button_acknowledges(
    database: Database, connection: Connection, acme: Client
) -> None:
    (link,) = links(database, connection, acme)
    for _ in range(3):
        page = visit("GET", link)
        assert page.status_code == 200
        assert '<form method="post">' in page.text
        assert page.headers["Cache-Control"] == "no-store"
        assert page.headers["Referrer-Policy"] == "no-referrer"
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert acknowledged(database) == []
    assert database.statuses() == {"queued": 1}
    done = visit("POST", link)
    assert done.status_code == 200
    assert "Acknowledged" in done.text
    assert acknowledged(database) == ["link"]
    assert database.statuses() == {"cancelled": 1}
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0
    for again in (visit("GET", link), visit("POST", link)):
        assert again.status_code == 410
        assert "used before" in again.text


def test_fifty_presses_at_once_are_one(
    database: Database, connection: Connection, acme: Client
) -> None:
    (link,) = links(database, connection, acme)
    answers: list[int] = []

    def press() -> None:
        answers.append(visit("POST", link).status_code)

    threads = [threading.Thread(target=press) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(answers) == [200] + [410] * 49
    assert acknowledged(database) == ["link"]


def test_the_link_of_another_message_says_that_somebody_was_faster(
    database: Database, connection: Connection, acme: Client
) -> None:
    first, second = links(database, connection, acme, ("ada", "bob"))
    visit("POST", first)
    late = visit("POST", second)
    assert late.status_code == 200
    assert "Acknowledged before" in late.text
    assert acknowledged(database) == ["link"]


def test_an_old_link_does_nothing(database: Database, connection: Connection, acme: Client) -> None:
    over = datetime.now(UTC) - timedelta(seconds=1)
    (link,) = links(database, connection, acme, until=over)
    for answer in (visit("GET", link), visit("POST", link)):
        assert answer.status_code == 410
        assert "too old" in answer.text
    assert acknowledged(database) == []


@pytest.mark.parametrize("token", ["x", "A" * 43, "A" * 42 + "%00", "..%2f..", "é" * 43])
def test_what_is_no_link_of_ours_does_not_work(url: str, token: str) -> None:
    for answer in (
        visit("GET", f"{url}/a/{token}"),
        visit("POST", f"{url}/a/{token}"),
    ):
        assert answer.status_code == 404


def test_the_api_acknowledges_and_tells(database: Database, acme: Client, other: Client) -> None:
    made = acme("POST", "/v1/events", event(escalation=LADDER)).json()
    before = acme("GET", f"/v1/events/{made['id']}").json()
    assert before["escalation"] == LADDER
    assert before["acknowledged_at"] is None
    path = f"/v1/events/{made['id']}/acknowledge"
    problem(other("POST", path), 404, "not_found", "event")
    said = acme("POST", path)
    assert said.status_code == 200
    assert said.json() == {"event_id": made["id"], "is_first": True, "stopped": made["created"]}
    again = acme("POST", path).json()
    assert (again["is_first"], again["stopped"]) == (False, 0)
    after = acme("GET", f"/v1/events/{made['id']}").json()
    assert after["acknowledged_by"].startswith("api_key:")
    assert after["cancelled_at"] is not None


def test_a_delivery_is_acknowledged_for_its_event(database: Database, acme: Client) -> None:
    made = acme("POST", "/v1/events", event(escalation=LADDER)).json()
    delivery = database.query("SELECT id FROM notifier.notification_deliveries LIMIT 1")[0][0]
    said = acme("POST", f"/v1/deliveries/{delivery}/acknowledge").json()
    assert (said["event_id"], said["is_first"]) == (made["id"], True)
    problem(
        acme("POST", f"/v1/deliveries/{uuid.uuid4()}/acknowledge"), 404, "not_found", "delivery"
    )


def test_a_wrong_escalation_is_named(acme: Client) -> None:
    body = event(escalation=[{"after": 60, "channels": ["fax"]}])
    problem(acme("POST", "/v1/events", body), 422, "invalid_option", "escalation[0].channels")


def test_an_event_type_tells_its_escalation(acme: Client) -> None:
    types = {t["name"]: t for t in acme("GET", "/v1/event-types").json()["event_types"]}
    assert [step["channels"] for step in types["incident.opened"]["escalation"]] == [
        ["push", "slack", "teams"],
        ["voice"],
    ]
    assert types["task.due_soon"]["escalation"] == []
