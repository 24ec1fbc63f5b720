"""Presses of Slack's buttons, over real HTTP and as the API's own role."""

import json
import uuid
from collections.abc import Iterator

import pytest
import requests

from tests.conftest import Database
from tests.vendors import slack as vendor


@pytest.fixture
def slack(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[vendor.Slack]:
    assert database, "which clears the environment first"
    with vendor.Slack() as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def url(slack: vendor.Slack, url: str) -> str:
    """Where Slack calls: the API, with Slack configured."""
    return f"{url}/webhooks/slack"


def kept(database: Database) -> list[dict[str, object]]:
    return [row[0] for row in database.query("SELECT fact FROM notifier.callbacks ORDER BY id")]


def test_a_signed_press_is_kept_and_a_worker_is_called(
    database: Database, slack: vendor.Slack, url: str
) -> None:
    delivery = uuid.uuid4()
    body, headers = vendor.pressed(str(delivery))
    for _ in range(2):
        answer = requests.post(url, data=body, headers=headers, timeout=10)
        assert (answer.status_code, answer.content) == (200, b"")
    fact = {"fact": "acknowledged", "delivery_id": str(delivery), "by": "button"}
    assert kept(database) == [fact] * 2
    rows = database.query("SELECT kind, lane, channel FROM notifier.dispatches")
    assert [tuple(row) for row in rows] == [("receive", "critical", None)]


def test_a_forged_or_old_press_is_refused_and_leaves_nothing(
    database: Database, slack: vendor.Slack, url: str
) -> None:
    value = str(uuid.uuid4())
    for bad in ({"secret": "another"}, {"at": 1_531_420_618.0}):
        body, headers = vendor.pressed(value, **bad)
        answer = requests.post(url, data=body, headers=headers, timeout=10)
        assert answer.status_code == 403
        assert answer.json()["type"] == "urn:notifier:problem:forged"
    assert requests.post(url, data=vendor.pressed(value)[0], timeout=10).status_code == 403
    assert kept(database) == []


def test_another_buttons_press_is_answered_and_leaves_nothing(
    database: Database, slack: vendor.Slack, url: str
) -> None:
    body, headers = vendor.pressed("x", action="approve")
    assert requests.post(url, data=body, headers=headers, timeout=10).status_code == 200
    assert kept(database) == []


def test_slack_is_told_that_we_are_there(slack: vendor.Slack, url: str) -> None:
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw1aBm2rZgRNFdxV"}).encode()
    headers = {"Content-Type": "application/json", **vendor.signed(body)}
    answer = requests.post(url, data=body, headers=headers, timeout=10)
    assert (answer.status_code, answer.text) == (200, "3eZbrw1aBm2rZgRNFdxV")
    assert answer.headers["content-type"].startswith("text/plain")
