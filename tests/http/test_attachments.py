"""Files over HTTP."""

import uuid

import pytest

from tests.conftest import Database
from tests.http.conftest import Client, event

PDF = b"%PDF-1.7 \x00\xff"


def test_a_file_is_kept_and_named_by_an_event(acme: Client, database: Database) -> None:
    posted = acme(
        *("POST", "/v1/attachments?name=Gr%C3%BC%C3%9Fe.pdf"),
        data=PDF,
        headers={"Content-Type": "application/pdf; version=1.7"},
    )
    assert posted.status_code == 201
    file = uuid.UUID(posted.json()["id"])
    kept = database.query(
        "SELECT id, tenant_id, name, media_type, content FROM notifier.attachments"
    )
    assert [tuple(row) for row in kept] == [
        (file, acme.tenant, "Grüße.pdf", "application/pdf", PDF)
    ]
    emitted = acme("POST", "/v1/events", event(attachments=[str(file)]))
    assert emitted.status_code == 202, emitted.text
    assert database.one("SELECT attachments FROM notifier.notification_events") == [file]


@pytest.mark.parametrize("content_type", [None, "application/x-www-form-urlencoded"])
def test_without_a_content_type_its_name_says_what_it_is(
    acme: Client, database: Database, content_type: str | None
) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    posted = acme("POST", "/v1/attachments?name=notes.txt", data=b"x", headers=headers)
    assert posted.status_code == 201
    assert database.one("SELECT media_type FROM notifier.attachments") == "text/plain"


@pytest.mark.parametrize(
    ("query", "body", "content_type", "field"),
    [
        ("name=a%2Fb", PDF, "a/b", "name"),
        ("name=a%00", PDF, "a/b", "name"),
        ("name=a", b"", "a/b", "content"),
        ("name=a", PDF, "pdf", "media_type"),
        ("", PDF, "a/b", "name"),
    ],
)
def test_what_is_wrong_is_named(
    acme: Client, query: str, body: bytes, content_type: str, field: str
) -> None:
    refused = acme(
        "POST", f"/v1/attachments?{query}", data=body, headers={"Content-Type": content_type}
    )
    assert refused.status_code == 422
    assert refused.json()["field"] == field


def test_the_largest_file_is_taken_and_a_larger_one_is_not(acme: Client) -> None:
    assert acme("POST", "/v1/attachments?name=a", data=b"x" * 7_000_000).status_code == 201
    refused = acme("POST", "/v1/attachments?name=a", data=b"x" * 7_000_001)
    assert (refused.status_code, refused.json()["field"]) == (422, "content")
    assert acme("POST", "/v1/attachments?name=a", data=b"x" * (9 << 20)).status_code == 413


def test_another_tenants_file_is_unknown(acme: Client, other: Client) -> None:
    file = other("POST", "/v1/attachments?name=a", data=PDF).json()["id"]
    refused = acme("POST", "/v1/events", event(attachments=[file]))
    assert refused.status_code == 422
    assert refused.json()["field"] == "attachments[0]"
