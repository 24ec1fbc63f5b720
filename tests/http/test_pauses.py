"""A tenant pauses what is its own, over HTTP."""

import uuid

from tests.conftest import Database
from tests.http.conftest import Client


def test_a_pause_is_begun_read_and_ended(database: Database, acme: Client) -> None:
    begun = acme("POST", "/v1/pauses", {"channel": "sms", "reason": "carrier trouble"})
    assert begun.status_code == 201
    (pause,) = acme("GET", "/v1/pauses").json()["pauses"]
    assert pause["id"] == begun.json()["id"]
    assert (pause["channel"], pause["reason"]) == ("sms", "carrier trouble")
    assert pause["tenant_id"] == str(acme.tenant)
    assert pause["actor"].startswith("api_key:")
    ended = acme("DELETE", f"/v1/pauses/{pause['id']}")
    assert ended.json() == {"dispatches": 0}
    assert acme("GET", "/v1/pauses").json() == {"pauses": []}
    kinds = database.query("SELECT kind, tenant_id FROM notifier.admin_system_events ORDER BY id")
    assert [tuple(row) for row in kinds] == [("paused", acme.tenant), ("resumed", acme.tenant)]


def test_another_tenants_pause_is_none_of_ours(acme: Client, other: Client) -> None:
    pause = acme("POST", "/v1/pauses", {"reason": "holidays"}).json()["id"]
    assert other("GET", "/v1/pauses").json() == {"pauses": []}
    assert other("DELETE", f"/v1/pauses/{pause}").status_code == 404
    assert acme("DELETE", f"/v1/pauses/{pause}").status_code == 200
    assert acme("DELETE", f"/v1/pauses/{uuid.uuid4()}").status_code == 404


def test_a_wrong_field_is_named(database: Database, acme: Client) -> None:
    for body, field in (
        ({}, "reason"),
        ({"reason": ""}, "reason"),
        ({"reason": "x", "channel": "fax"}, "channel"),
        ({"reason": "x", "provider": "pigeon"}, "provider"),
        ({"reason": "x", "provider": "smtp", "channel": "sms"}, "provider"),
        ({"reason": "x", "event_type": "no.such"}, "event_type"),
        ({"reason": "x", "until": "2020-01-01T00:00:00Z"}, "until"),
        ({"reason": "x", "until": "2030-01-01T00:00:00"}, "until"),
        ({"reason": "x", "why": "y"}, "why"),
    ):
        answer = acme("POST", "/v1/pauses", body)
        assert answer.status_code == 422, body
        assert field in answer.json()["detail"], answer.json()
    assert database.one("SELECT count(*) FROM notifier.pauses") == 0
