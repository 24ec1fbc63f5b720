"""Emitting over HTTP and reading back what came of it."""

import uuid
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import Connection

from notifier.store import suppressions
from tests.conftest import Database
from tests.http.conftest import TASK, Client, event, problem

COUNT = "SELECT count(*) FROM notifier.notification_events"


def test_an_emit_answers_with_the_event_and_its_counts(database: Database, acme: Client) -> None:
    response = acme("POST", "/v1/events", event())
    assert response.status_code == 202
    body = response.json()
    assert body["id"] == str(database.one("SELECT id FROM notifier.notification_events"))
    assert (body["is_new"], body["matched"], body["created"], body["refused"]) == (True, 3, 2, 1)


def test_every_option_of_an_emit_reaches_the_event(acme: Client) -> None:
    options = {
        "idempotency_key": "k",
        "scheduled_for": "2027-01-01T09:00:00Z",
        "expires_at": "2027-01-02T11:00:00+02:00",
        "lane": "bulk",
        "source": "worker_job",
        "actor": "ada",
        "correlation_id": "c-1",
    }
    made = acme("POST", "/v1/events", event(**options)).json()
    found = acme("GET", f"/v1/events/{made['id']}").json()
    assert {name: found[name] for name in options} == {
        **options,
        "expires_at": "2027-01-02T09:00:00Z",
    }
    assert found["payload"] == TASK
    assert found["audience"] == {"recipients": ["ada"]}
    assert found["event_type"] == "task.due_soon"


def test_a_key_used_again_answers_200_and_another_body_409(
    database: Database, acme: Client
) -> None:
    first = acme("POST", "/v1/events", event(idempotency_key="k"))
    again = acme("POST", "/v1/events", event(idempotency_key="k"))
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == {**first.json(), "is_new": False}
    lane = event(idempotency_key="k", lane="bulk")
    problem(acme("POST", "/v1/events", lane), 409, "idempotency_conflict", "idempotency_key")
    assert database.one(COUNT) == 1


def test_a_retry_may_come_with_another_correlation_id(acme: Client) -> None:
    for correlation, status in (("one", 202), ("two", 200)):
        response = acme(
            "POST",
            "/v1/events",
            event(idempotency_key="k"),
            headers={"X-Correlation-Id": correlation},
        )
        assert response.status_code == status
        assert response.headers["X-Correlation-Id"] == correlation
        assert response.json()["correlation_id"] == "one"


def test_the_same_key_from_many_at_once_makes_one_event(database: Database, acme: Client) -> None:
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(
                lambda _: acme("POST", "/v1/events", event(idempotency_key="k")).json(), range(24)
            )
        )
    assert len({answer["id"] for answer in answers}) == 1
    assert [answer["is_new"] for answer in answers].count(True) == 1
    assert database.one(COUNT) == 1


def test_an_emit_without_a_correlation_id_takes_that_of_the_request(acme: Client) -> None:
    sent = {"X-Correlation-Id": "from-the-header"}
    made = acme("POST", "/v1/events", event(), headers=sent).json()
    assert made["correlation_id"] == "from-the-header"
    made = acme("POST", "/v1/events", event(correlation_id="own"), headers=sent).json()
    assert made["correlation_id"] == "own"
    plain = acme("POST", "/v1/events", event())
    assert plain.json()["correlation_id"] == plain.json()["id"]
    assert plain.headers["X-Correlation-Id"]


def test_a_batch_emits_what_it_can_and_says_what_is_wrong_with_the_rest(
    database: Database, acme: Client
) -> None:
    items = [
        event(idempotency_key="b"),
        event(event_type="no.such"),
        {**event(), "payload": {"task": {"title": 5}}},
        event(idempotency_key="a"),
        event(idempotency_key="b"),
        event(idempotency_key="b", actor="x"),
        {**event(), "colour": "red"},
        "nonsense",
        event(audience={"recipients": ["nobody"]}),
        event(event_type=7),
        {"event_type": "task.due_soon"},
    ]
    response = acme("POST", "/v1/events/batch", {"events": items})
    assert response.status_code == 200
    results = response.json()["results"]
    assert [result["status"] for result in results] == [
        202,
        422,
        422,
        202,
        200,
        409,
        422,
        422,
        422,
        422,
        422,
    ]
    assert [result["problem"]["field"] for result in results if "problem" in result] == [
        "event_type",
        "payload.task.due_at",
        "idempotency_key",
        "colour",
        "body",
        "audience.recipients[0]",
        "event_type",
        "payload",
    ]
    assert results[4]["event"]["id"] == results[0]["event"]["id"]
    assert database.one(COUNT) == 2


def test_what_the_database_can_not_hold_does_not_break_the_rest_of_a_batch(
    database: Database, acme: Client
) -> None:
    deep: object = 1
    for _ in range(900):
        deep = [deep]
    huge = {**event(), "payload": {**TASK, "x": 10**4000}}
    items = [event(), {**event(), "payload": {"deep": deep}}, huge, event()]
    results = acme("POST", "/v1/events/batch", {"events": items}).json()["results"]
    assert [result["status"] for result in results] == [202, 422, 422, 202]
    assert database.one(COUNT) == 2


def test_a_batch_holds_one_to_a_thousand_events(database: Database, acme: Client) -> None:
    for items in ([], [event()] * 1001, "x", None):
        problem(
            acme("POST", "/v1/events/batch", {"events": items}), 422, "invalid_request", "events"
        )
    assert database.one(COUNT) == 0
    results = acme("POST", "/v1/events/batch", {"events": [event()] * 1000}).json()["results"]
    assert {result["status"] for result in results} == {202}
    assert database.one(COUNT) == 1000


def test_batches_with_the_same_keys_in_another_order_do_not_block_each_other(
    database: Database, acme: Client
) -> None:
    items = [event(idempotency_key=f"k{n}") for n in range(60)]
    batches = [items, items[::-1]] * 3
    with ThreadPoolExecutor(6) as pool:
        answers = list(
            pool.map(lambda given: acme("POST", "/v1/events/batch", {"events": given}), batches)
        )
    assert {answer.status_code for answer in answers} == {200}
    assert {r["status"] for a in answers for r in a.json()["results"]} <= {200, 202}
    assert database.one(COUNT) == 60


def test_an_event_shows_how_many_deliveries_stand_in_each_status(acme: Client) -> None:
    made = acme("POST", "/v1/events", event(audience={"recipients": ["ada", "bob"]})).json()
    found = acme("GET", f"/v1/events/{made['id']}").json()
    assert (found["matched"], found["created"], found["refused"]) == (6, 4, 2)
    assert found["statuses"] == {"queued": 4, "refused": 2}
    assert found["fanned_out_at"]
    assert found["cancelled_at"] is None


def test_deliveries_come_in_pages_and_every_one_once(acme: Client) -> None:
    made = acme("POST", "/v1/events", event(audience={"tenant": True})).json()
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = acme("GET", f"/v1/events/{made['id']}/deliveries", params=query).json()
        assert len(page["deliveries"]) <= 2
        seen += [delivery["id"] for delivery in page["deliveries"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert len(seen) == len(set(seen)) == 9


def test_why_did_bob_not_get_it_is_one_call(connection: Connection, acme: Client) -> None:
    suppressions.add(connection, acme.tenant, "email", "bob@example.com", "complaint")
    connection.commit()
    made = acme("POST", "/v1/events", event(audience={"tenant": True})).json()
    page = acme(
        "GET",
        f"/v1/events/{made['id']}/deliveries",
        params={"recipient": "bob", "channel": "email", "status": "refused"},
    ).json()
    (delivery,) = page["deliveries"]
    assert (delivery["recipient"], delivery["reason"]) == ("bob", "suppressed_address")
    assert delivery["address"] == "bob@example.com"


def test_a_cancelled_event_is_never_sent_and_says_what_was_stopped(
    database: Database, acme: Client
) -> None:
    made = acme("POST", "/v1/events", event()).json()
    answer = acme("POST", f"/v1/events/{made['id']}/cancel")
    assert answer.json() == {
        "stopped": 2,
        "in_flight": 0,
        "sent": 0,
        "is_first": True,
        "fanned_out": True,
    }
    found = acme("GET", f"/v1/events/{made['id']}").json()
    assert found["statuses"] == {"cancelled": 2, "refused": 1}
    assert found["cancelled_at"]
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0
    (actor,) = database.query("SELECT DISTINCT actor FROM notifier.event_cancellations")
    assert actor[0].startswith("api_key:")


def test_a_scheduled_event_is_cancelled_before_it_fans_out(
    database: Database, acme: Client
) -> None:
    made = acme("POST", "/v1/events", event(scheduled_for="2099-01-01T00:00:00Z")).json()
    nothing = {"stopped": 0, "in_flight": 0, "sent": 0, "fanned_out": False}
    for is_first in (True, False):
        answer = acme("POST", f"/v1/events/{made['id']}/cancel")
        assert answer.json() == nothing | {"is_first": is_first}
    assert database.one("SELECT count(*) FROM notifier.dispatches") == 0


def test_a_cancelled_delivery_leaves_its_siblings_and_shows_its_journey(
    database: Database, acme: Client
) -> None:
    made = acme("POST", "/v1/events", event(audience={"tenant": True})).json()
    page = acme("GET", f"/v1/events/{made['id']}/deliveries", params={"status": "queued"}).json()
    chosen = page["deliveries"][0]
    answer = acme("POST", f"/v1/deliveries/{chosen['id']}/cancel")
    assert answer.json() == {
        "stopped": 1,
        "in_flight": 0,
        "sent": 0,
        "is_first": True,
        "fanned_out": True,
    }
    found = acme("GET", f"/v1/deliveries/{chosen['id']}").json()
    assert found["status"] == "cancelled"
    (step,) = found["journey"]
    assert (step["from"], step["to"], step["actor"]) == ("queued", "cancelled", "operator")
    assert database.statuses()["queued"] == 5
    again = acme("POST", f"/v1/deliveries/{chosen['id']}/cancel")
    assert again.json() == {
        "stopped": 0,
        "in_flight": 0,
        "sent": 0,
        "is_first": False,
        "fanned_out": True,
    }


def test_a_delivery_a_worker_holds_is_in_flight_and_stays_on_its_dispatch(
    database: Database, connection: Connection, acme: Client
) -> None:
    made = acme("POST", "/v1/events", event()).json()
    connection.exec_driver_sql(
        "UPDATE notifier.dispatches SET token = notifier.new_id(), "
        "lease_until = clock_timestamp() + interval '1 minute'"
    )
    connection.commit()
    answer = acme("POST", f"/v1/events/{made['id']}/cancel")
    assert answer.json() == {
        "stopped": 0,
        "in_flight": 2,
        "sent": 0,
        "is_first": True,
        "fanned_out": True,
    }
    assert database.one("SELECT sum(cardinality(delivery_ids)) FROM notifier.dispatches") == 2


def test_a_delivery_whose_provider_may_have_it_is_not_called_stopped(
    database: Database, connection: Connection, acme: Client
) -> None:
    made = acme("POST", "/v1/events", event()).json()
    connection.exec_driver_sql(
        "UPDATE notifier.notification_deliveries SET status = 'sending' WHERE channel = 'email'"
    )
    connection.exec_driver_sql(
        "UPDATE notifier.notification_deliveries SET status = 'queued' "
        "WHERE channel = 'sms' AND reason IS NULL"
    )
    connection.commit()
    answer = acme("POST", f"/v1/events/{made['id']}/cancel").json()
    assert answer["in_flight"] == 1
    assert database.statuses()["sending"] == 1
    assert database.one("SELECT sum(cardinality(delivery_ids)) FROM notifier.dispatches") == 1


def test_what_is_not_there_is_a_404(acme: Client) -> None:
    missing = uuid.uuid4()
    for method, path, field in (
        ("GET", f"/v1/events/{missing}", "event_id"),
        ("GET", f"/v1/events/{missing}/deliveries", "event_id"),
        ("POST", f"/v1/events/{missing}/cancel", "event"),
        ("GET", f"/v1/deliveries/{missing}", "delivery_id"),
        ("POST", f"/v1/deliveries/{missing}/cancel", "delivery"),
        ("GET", "/v1/recipients/nobody", "external_id"),
    ):
        problem(acme(method, path), 404, "not_found", field)
