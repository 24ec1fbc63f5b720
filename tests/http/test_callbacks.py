"""Where providers call back, over real HTTP and as the API's own role."""

import uuid
from collections.abc import Iterator

import pytest
import requests

from notifier.channels.twilio import Twilio
from tests.conftest import Database
from tests.vendors import ses
from tests.vendors import twilio as vendor
from tests.vendors.server import Said


@pytest.fixture
def twilio(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[vendor.Twilio]:
    assert database, "which clears the environment first"
    with vendor.Twilio() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def url(twilio: vendor.Twilio, url: str) -> str:
    """The API, with Twilio configured."""
    return url


def kept(database: Database) -> list[dict[str, object]]:
    return [row[0] for row in database.query("SELECT fact FROM notifier.callbacks ORDER BY id")]


def test_a_signed_call_back_is_kept_and_a_worker_is_called(
    database: Database, twilio: vendor.Twilio, url: str
) -> None:
    delivery = uuid.uuid4()
    given = {"MessageSid": "SM1", "MessageStatus": "delivered"}
    for _ in range(3):
        answer = twilio.call_back(f"{url}/webhooks/twilio?delivery={delivery}", **given)
        assert (answer.status_code, answer.content) == (204, b"")
    fact = {
        "fact": "told",
        "status": "delivered",
        "raw": "delivered",
        "provider_message_id": "SM1",
        "delivery_id": str(delivery),
    }
    assert kept(database) == [fact] * 3
    rows = database.query("SELECT kind, lane, channel FROM notifier.dispatches")
    assert [tuple(row) for row in rows] == [("receive", "critical", None)]


def test_a_key_is_answered_in_twilios_language(
    database: Database, twilio: vendor.Twilio, url: str
) -> None:
    where = f"{url}/webhooks/twilio?delivery={uuid.uuid4()}&act=keypress"
    answer = twilio.call_back(where, CallSid="CA1", CallStatus="in-progress", Digits="1")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/xml")
    assert "acknowledged" in answer.text
    assert [fact["fact"] for fact in kept(database)] == ["acknowledged"]


def test_a_forged_one_is_refused_and_leaves_nothing(
    database: Database, twilio: vendor.Twilio, url: str
) -> None:
    given = {"MessageSid": "SM1", "MessageStatus": "delivered"}
    answer = twilio.call_back(f"{url}/webhooks/twilio", token="e" * 32, **given)
    assert answer.status_code == 403
    assert answer.json()["type"] == "urn:notifier:problem:forged"
    assert requests.post(f"{url}/webhooks/twilio", data=given, timeout=10).status_code == 403
    assert requests.get(f"{url}/webhooks/twilio", timeout=10).status_code == 403
    assert kept(database) == []


def test_one_that_makes_no_sense_is_answered_so_that_it_is_not_repeated(
    database: Database, twilio: vendor.Twilio, url: str
) -> None:
    assert twilio.call_back(f"{url}/webhooks/twilio", Foo="bar").status_code == 204
    assert kept(database) == []


@pytest.mark.parametrize("name", ["smtp", "nobody", "..", "%00"])
def test_a_provider_that_does_not_call_back_is_not_found_or_not_heard(
    database: Database, url: str, name: str
) -> None:
    answer = requests.post(f"{url}/webhooks/{name}", data={"a": "b"}, timeout=10)
    assert answer.status_code == 404
    assert kept(database) == []


def test_one_that_is_too_large_is_refused(
    database: Database, twilio: vendor.Twilio, url: str
) -> None:
    answer = twilio.call_back(f"{url}/webhooks/twilio", MessageSid="x" * (1 << 20))
    assert answer.status_code == 413
    assert kept(database) == []


def test_the_url_twilio_is_given_is_the_one_it_is_heard_at(twilio: vendor.Twilio, url: str) -> None:
    provider = Twilio.from_environment(twilio.environment() | {"NOTIFIER_PUBLIC_URL": url})
    assert provider is not None
    delivery = uuid.uuid4()
    where = provider._url(delivery)
    assert where is not None
    answer = twilio.call_back(where, MessageSid="SM1", MessageStatus="sent")
    assert answer.status_code == 204
    provider.close()


@pytest.fixture
def amazon(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[ses.Ses]:
    assert database, "which clears the environment first"
    with ses.Ses() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


def test_one_that_can_not_be_checked_now_is_asked_for_again(
    database: Database, amazon: ses.Ses, url: str
) -> None:
    message = amazon.notification(ses.record("Bounce", uuid.uuid4()))
    amazon.before = lambda _: Said(503, b"")
    answer = requests.post(f"{url}/webhooks/ses", json=message, timeout=10)
    # SNS comes again after a 5xx, and after nothing else.
    assert (answer.status_code, answer.json()["code"]) == (503, "not_now")
    assert kept(database) == []
    amazon.before = lambda _: None
    assert requests.post(f"{url}/webhooks/ses", json=message, timeout=10).status_code == 204
    assert [fact["raw"] for fact in kept(database)] == ["Bounce"]
