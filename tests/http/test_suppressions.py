"""A tenant sees, adds and lifts its own suppressions, over HTTP."""

import pytest
from sqlalchemy import Connection

from notifier.store import suppressions as store
from notifier.store.suppressions import RECIPIENTS_WORD
from notifier.words import Channel
from tests.channels.conftest import ADDRESSES
from tests.conftest import Database
from tests.http.conftest import Client, event, problem

ADA = {"channel": "email", "address": "ada@example.com"}
TO_ADA = {"recipients": ["ada"], "channels": ["email"]}


def refused(acme: Client) -> int:
    return int(acme("POST", "/v1/events", event(audience=TO_ADA)).json()["refused"])


def test_a_suppression_is_added_read_and_lifted(acme: Client) -> None:
    added = acme("POST", "/v1/suppressions", {**ADA, "reason": "asked by telephone"})
    assert (added.status_code, added.json()) == (201, {"is_new": True})
    again = acme("POST", "/v1/suppressions", {**ADA, "reason": "another"})
    assert (again.status_code, again.json()) == (200, {"is_new": False})
    page = acme("GET", "/v1/suppressions").json()
    (found,) = page["suppressions"]
    assert found.pop("created_at").endswith("Z")
    assert found == {**ADA, "reason": "asked by telephone"}
    assert page["next_cursor"] is None
    assert refused(acme) == 1
    lifted = acme("DELETE", "/v1/suppressions", ADA)
    assert lifted.json() == {"reason": "asked by telephone", "contact_points": 0}
    assert acme("GET", "/v1/suppressions").json() == {"suppressions": [], "next_cursor": None}
    assert refused(acme) == 0
    problem(acme("DELETE", "/v1/suppressions", ADA), 404, "not_found", "address")


def test_a_retired_contact_point_can_be_used_again(database: Database, acme: Client) -> None:
    with database.pool.begin() as writer:
        writer.exec_driver_sql("UPDATE notifier.contact_points SET dead_at = now()")
    assert refused(acme) == 1
    lifted = acme("DELETE", "/v1/suppressions", ADA)
    assert lifted.json() == {"reason": None, "contact_points": 1}
    assert refused(acme) == 0
    points = acme("GET", "/v1/recipients/ada").json()["contact_points"]
    assert [point["dead_at"] is None for point in points] == [True, False]


def test_another_tenants_is_neither_seen_nor_lifted(
    database: Database, acme: Client, other: Client
) -> None:
    assert other("POST", "/v1/suppressions", {**ADA, "reason": "theirs"}).ok
    assert acme("GET", "/v1/suppressions").json()["suppressions"] == []
    assert refused(acme) == 0
    problem(acme("DELETE", "/v1/suppressions", ADA), 404, "not_found", "address")
    assert database.one("SELECT tenant_id FROM notifier.suppressions") == other.tenant


@pytest.mark.parametrize("reason", RECIPIENTS_WORD)
def test_a_tenant_does_not_lift_what_a_recipient_said(
    database: Database, connection: Connection, acme: Client, reason: str
) -> None:
    store.add(connection, acme.tenant, "email", "ada@example.com", reason)
    connection.commit()
    problem(acme("DELETE", "/v1/suppressions", ADA), 409, "recipients_word", "address")
    asked = {**ADA, "override": True}
    problem(acme("DELETE", "/v1/suppressions", asked), 422, "invalid_request", "override")
    assert database.one("SELECT reason FROM notifier.suppressions") == reason


def test_pages_hold_each_once_and_tell_no_secret(acme: Client) -> None:
    for n in range(3):
        body = {"channel": "email", "address": f"a{n}@example.com", "reason": "x"}
        assert acme("POST", "/v1/suppressions", body).ok
    body = {"channel": "push", "address": ADDRESSES[Channel.PUSH], "reason": "x"}
    assert acme("POST", "/v1/suppressions", body).ok
    seen, query = [], {"limit": "1"}
    while True:
        page = acme("GET", "/v1/suppressions", params=query).json()
        seen += page["suppressions"]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert [(each["channel"], each["address"]) for each in seen] == [
        ("push", None),
        *(("email", f"a{n}@example.com") for n in (2, 1, 0)),
    ]
    only = acme("GET", "/v1/suppressions", params={"channel": "push"}).json()["suppressions"]
    assert only == seen[:1]


def test_a_wrong_field_is_named_and_nothing_is_written(database: Database, acme: Client) -> None:
    for body, field in (
        ({**ADA}, "reason"),
        ({**ADA, "reason": ""}, "reason"),
        ({**ADA, "reason": "  "}, "reason"),
        ({**ADA, "reason": "x", "channel": "fax"}, "channel"),
        ({**ADA, "reason": "x", "channel": "inapp"}, "channel"),
        ({**ADA, "reason": "x", "address": "ada"}, "address"),
        ({**ADA, "reason": "x", "tenant": "other"}, "tenant"),
    ):
        answer = acme("POST", "/v1/suppressions", body)
        assert (answer.status_code, answer.json()["field"]) == (422, field), body
    for body, field in (({**ADA, "address": "ada"}, "address"), ({"channel": "email"}, "address")):
        answer = acme("DELETE", "/v1/suppressions", body)
        assert (answer.status_code, answer.json()["field"]) == (422, field), body
    for cursor in ("x", "eA", "MjAyNi0wMS0wMSB4", "MjAyNi0wMS0wMVQwMDowMCswMDowMCBa"):
        answer = acme("GET", "/v1/suppressions", params={"cursor": cursor})
        assert (answer.status_code, answer.json()["field"]) == (422, "cursor"), cursor
    assert database.one("SELECT count(*) FROM notifier.suppressions") == 0
