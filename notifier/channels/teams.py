"""Microsoft Teams: an Adaptive Card for the webhook of a workflow.

https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using
https://learn.microsoft.com/en-us/connectors/teams/
https://adaptivecards.io/explorer/

A workflow answers before it has posted, and tells nobody what became of it: what it accepted
counts as sent, never as delivered. It takes no idempotency key, so that a message which is sent
again after an attempt in doubt is posted again.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from notifier.channels import addresses, crew, egress, http, variables
from notifier.channels.api import outcome
from notifier.channels.contract import MayStart, Message, Outcomes, Provider
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.retry import LONGEST_WAIT
from notifier.words import Channel

ENABLED = "NOTIFIER_TEAMS_ENABLED"
HOSTS = "NOTIFIER_TEAMS_HOSTS"
CONCURRENCY = "NOTIFIER_TEAMS_CONCURRENCY"
TIMEOUT = "NOTIFIER_TEAMS_TIMEOUT_SECONDS"
ALLOW_NETWORKS = "NOTIFIER_TEAMS_ALLOW_NETWORKS"
CA_FILE = "NOTIFIER_TEAMS_CA_FILE"

MICROSOFT = (".logic.azure.com", ".powerplatform.com", ".webhook.office.com")
"""Ends of the hosts at which Microsoft makes webhooks of workflows and, before them, connectors."""

LONGEST = 20_000
"""Bytes of a request at most. Teams takes "approximately 28 KB" of what it makes of a card
(https://learn.microsoft.com/en-us/connectors/teams/), and cards of 20.7 kB have been refused
(https://stackoverflow.com/questions/58474127)."""

LONGEST_TITLE = 300
LONGEST_LINK = 2000

_WEB = re.compile(r"https?://[^\s]+")
_HOST = re.compile(r"(\*\.)?[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


class Teams(Provider):
    """Cards for workflows that begin "when a Teams webhook request is received"."""

    name = "teams"
    channels = frozenset({Channel.TEAMS})

    def __init__(
        self,
        *,
        hosts: Sequence[str] = (),
        concurrency: int = 4,
        deadline: timedelta = timedelta(seconds=15),
        allowed: Sequence[egress.Network] = (),
        ca_file: str | None = None,
    ) -> None:
        self.at_once = concurrency
        self.deadline = deadline
        self._ends = (*MICROSOFT, *(host[1:] for host in hosts if host.startswith("*.")))
        self._hosts = frozenset(host for host in hosts if not host.startswith("*."))
        self._client = http.Client(ca_file, allowed)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Teams | None":
        enabled = variables.one_of(environment, ENABLED, "no", ("yes", "no")) == "yes"
        hosts = [host.strip().lower() for host in environment.get(HOSTS, "").split(",")]
        hosts = [host for host in hosts if host]
        if not all(_HOST.fullmatch(host) for host in hosts):
            raise SettingError(HOSTS, "a comma list of hosts, such as hooks.example.com,*.corp.net")
        concurrency = variables.whole(environment, CONCURRENCY, 4, 1, 64)
        seconds = variables.whole(environment, TIMEOUT, 15, 1, 25)
        allowed = variables.networks(environment, ALLOW_NETWORKS)
        ca_file = variables.existing_file(environment, CA_FILE)
        if not enabled:
            return None
        try:
            return cls(
                hosts=hosts,
                concurrency=concurrency,
                deadline=timedelta(seconds=seconds),
                allowed=allowed,
                ca_file=ca_file,
            )
        except OSError as fault:
            raise SettingError(CA_FILE, "a file of PEM certificates") from fault

    @classmethod
    def variables(cls) -> Sequence[str]:
        return (ENABLED, HOSTS, CONCURRENCY, TIMEOUT, ALLOW_NETWORKS, CA_FILE)

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        return crew.share(messages, self._post, self.at_once, may_start)

    def check_address(self, channel: Channel, address: str) -> str | None:
        expected = addresses.check_address(channel, address)
        if expected:
            return expected
        try:
            host = http.target(address).host.lower()
        except ValueError:  # a host that has no form in ASCII
            return addresses.EXPECTED_TEAMS
        if host in self._hosts or host.endswith(self._ends):
            return None
        known = ", ".join(f"*{end}" for end in MICROSOFT)
        return f"{addresses.EXPECTED_TEAMS} at {known} or a host that {HOSTS} names"

    def close(self) -> None:
        self._client.close()

    def _post(self, message: Message) -> Outcome:
        ends = time.monotonic() + self.deadline.total_seconds()
        if not message.parts.get("text", "").strip():
            return Rejected("missing_part", "teams needs the part `text`")
        expected = self.check_address(Channel.TEAMS, message.address)
        if expected:
            return Rejected("invalid_address", expected)
        to = http.target(message.address)
        body = compose(message)
        return outcome(
            lambda: self._client.request("POST", to, _HEADERS, body, ends),
            lambda answer: judge(answer, datetime.now(UTC)),
        )


_HEADERS = (("Content-Type", "application/json; charset=utf-8"), ("User-Agent", "notifier"))


def compose(message: Message) -> bytes:
    """The body of the request; a text that makes it too long is shortened, never the card."""
    title = _short(message.parts.get("title", "").strip(), LONGEST_TITLE)
    text = message.parts["text"].strip()
    url = message.parts.get("url", "").strip()
    actions = []
    if _WEB.fullmatch(url) and len(url) <= LONGEST_LINK:
        actions.append({"type": "Action.OpenUrl", "title": "Open", "url": url})
    elif url:
        text = f"{text}\n{url}"
    if message.acknowledge_url is not None:
        acknowledge = {"title": "Acknowledge", "url": message.acknowledge_url}
        actions.append({"type": "Action.OpenUrl", **acknowledge, "style": "positive"})
    body = _envelope(title, text, actions)
    low, high = 0, min(len(text), LONGEST)
    if len(body) > LONGEST:
        while low < high:
            middle = (low + high + 1) // 2
            if len(_envelope(title, _short(text, middle), actions)) <= LONGEST:
                low = middle
            else:
                high = middle - 1
        body = _envelope(title, _short(text, low), actions)
    return body


def _envelope(title: str, text: str, actions: Sequence[Mapping[str, str]]) -> bytes:
    blocks = [_block(line, gap) for line, gap in _lines(text)]
    if title:
        blocks.insert(0, _block(title, "Default", size="Large", weight="Bolder"))
    card: dict[str, Any] = {
        "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
        "type": "AdaptiveCard",
        "version": "1.4",
        "fallbackText": title or _short(text, LONGEST_TITLE),
        "body": blocks,
    }
    if actions:
        card["actions"] = actions
    attachment = {
        "contentType": "application/vnd.microsoft.card.adaptive",
        "contentUrl": None,
        "content": card,
    }
    envelope = {"type": "message", "attachments": [attachment]}
    return json.dumps(envelope, ensure_ascii=False).encode("utf-8", "replace")


def _block(text: str, spacing: str, **look: str) -> dict[str, Any]:
    # A TextBlock reads Markdown: a link in what a user typed would be one in the card.
    run = {"type": "TextRun", "text": text, **look}
    return {"type": "RichTextBlock", "spacing": spacing, "inlines": [run]}


def _lines(text: str) -> list[tuple[str, str]]:
    """Each line that is not blank, and the gap before it: runs of text know no line ends."""
    found: list[tuple[str, str]] = []
    gap = "Default"
    for line in text.splitlines():
        if line.strip():
            found.append((line, gap))
            gap = "None"
        else:
            gap = "Default"
    return found


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: max(most - 1, 0)] + "…"


_RELAYED = re.compile(r"returned HTTP error (\d{3})")
"""How a connector's webhook says, under 200, that Teams refused:
https://learn.microsoft.com/en-us/microsoftteams/platform/webhooks-and-connectors/how-to/connectors-using"""


def judge(answer: http.Answer, now: datetime) -> Outcome:
    """What an answer means. After 500, 502 and 504 nobody knows whether the workflow has begun."""
    status, line = answer.status, answer.line
    if 200 <= status < 300:
        relayed = _RELAYED.search(answer.body[:1000].decode("utf-8", "replace"))
        if relayed is None:
            return Accepted(raw=line)
        status, line = int(relayed[1]), f"Teams returned HTTP error {relayed[1]}"
    if status in (404, 410):
        return Rejected(str(status), f"{line}: there is no such webhook", address_dead=True)
    if 300 <= status < 400:
        return Rejected("redirect", f"{line}: redirects are not followed")
    if status in (400, 401, 403, 405, 413, 415):
        said = answer.body[:200].decode("utf-8", "replace").strip()
        return Rejected(str(status), f"{line}: {said}" if said else line)
    if status < 200 or status in (500, 502, 504):
        return Unsure(f"{line}: no final answer")
    wait = http.retry_after(answer.headers.get("retry-after"), now, LONGEST_WAIT)
    return RetryLater(str(status), line, after=wait)
