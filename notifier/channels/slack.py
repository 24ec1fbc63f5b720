"""Slack: what a bot posts, incoming webhooks, and presses of the Acknowledge button.

https://docs.slack.dev/reference/methods/chat.postMessage
https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks
https://docs.slack.dev/authentication/verifying-requests-from-slack
https://docs.slack.dev/reference/interaction-payloads/block_actions-payload

Slack documents no idempotency key. The errors of chat.postMessage know a `client_msg_id` by which a
repeat is found, though it is none of the documented arguments: each message carries its delivery's
id as that, and nothing here relies on it. The same id is in the message's `metadata`, where apps of
the workspace can read it. A webhook has neither: what it repeats after an attempt in doubt is seen
twice.
"""

import hmac
import json
import re
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

from notifier.channels import addresses, crew, http, slack_blocks, slack_oauth, variables
from notifier.channels.api import Api, address_of, busy, content, outcome
from notifier.channels.contract import (
    Acknowledged,
    Call,
    Forged,
    Heard,
    MayStart,
    Message,
    Misunderstood,
    Outcomes,
    Provider,
)
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.retry import LONGEST_WAIT
from notifier.words import Channel

if TYPE_CHECKING:
    import requests

TOKEN = "NOTIFIER_SLACK_BOT_TOKEN"
WEBHOOKS = "NOTIFIER_SLACK_WEBHOOKS"
SIGNING_SECRET = "NOTIFIER_SLACK_SIGNING_SECRET"
CONCURRENCY = "NOTIFIER_SLACK_CONCURRENCY"
TIMEOUT = "NOTIFIER_SLACK_TIMEOUT_SECONDS"
API_URL = "NOTIFIER_SLACK_API_URL"
HOOKS_URL = "NOTIFIER_SLACK_HOOKS_URL"

_API = "https://slack.com/api"
_HOOKS = "https://hooks.slack.com"

FRESH = 300
"""Seconds for which a signature is taken, as Slack's page on them advises. A call that is repeated
within says the same again, and a second acknowledgement changes nothing."""

# https://docs.slack.dev/reference/methods/chat.postMessage#errors. What is not listed, rate limits
# and the troubles of the token and its workspace among it, is tried again.
NEVER: frozenset[str] = frozenset(
    {
        # Said of private channels and people the bot may not see, too: not of dead ones only.
        "channel_not_found",
        "not_in_channel",
        "restricted_action",
        "restricted_action_non_threadable_channel",
        "restricted_action_read_only_channel",
        "restricted_action_thread_only_channel",
        "messages_tab_disabled",
        "team_not_found",  # a channel's name where the token is one of an organisation
        "msg_too_long",
        "msg_blocks_too_long",
        "no_text",
        "invalid_blocks",
        "invalid_blocks_format",
        "invalid_arguments",
        "invalid_metadata_format",
        "invalid_metadata_schema",
        "metadata_too_large",
        "too_many_attachments",
        # A message of this id was posted and is there no more.
        "duplicate_channel_not_found",
        "duplicate_message_not_found",
    }
)
DEAD: frozenset[str] = frozenset({"is_archived"})
DOUBTFUL: frozenset[str] = frozenset({"internal_error", "fatal_error"})
"""Of these the page says that part of the operation may have succeeded."""

# https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks#handling_errors and
# https://api.slack.com/changelog/2016-05-17-changes-to-errors-for-incoming-webhooks: the body.
HOOK_NEVER: frozenset[str] = frozenset(
    {
        "action_prohibited",
        "posting_to_general_channel_denied",
        "invalid_payload",
        "invalid_blocks",
        "no_text",
        "too_many_attachments",
        "user_not_found",
    }
)
HOOK_DEAD: frozenset[str] = frozenset(
    {
        "channel_is_archived",
        "channel_not_found",  # a webhook has one channel, chosen when it was made
        "invalid_token",
        "no_active_hooks",
        "no_service",
        "no_service_id",
        "no_team",
        "team_disabled",
    }
)


class Slack(Provider):
    """A bot's messages to channels and people, and incoming webhooks."""

    name = "slack"
    channels = frozenset({Channel.SLACK})
    oauth_variables = slack_oauth.VARIABLES

    def __init__(
        self,
        token: str | None,
        *,
        oauth: slack_oauth.SlackOAuth | None = None,
        signing_secret: str | None = None,
        concurrency: int = 4,
        deadline: timedelta = timedelta(seconds=15),
        base: str = _API,
        hooks_base: str = _HOOKS,
    ) -> None:
        self.at_once = concurrency
        self.deadline = deadline
        self.oauth = oauth
        self._token, self._signing_secret = token, signing_secret
        self._api = Api(base, deadline.total_seconds())
        self._hooks = Api(hooks_base, deadline.total_seconds())

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Slack | None":
        token = variables.text(environment, TOKEN)
        webhooks = variables.one_of(environment, WEBHOOKS, "no", ("yes", "no")) == "yes"
        signing_secret = variables.text(environment, SIGNING_SECRET)
        concurrency = variables.whole(environment, CONCURRENCY, 4, 1, 64)
        seconds = variables.whole(environment, TIMEOUT, 15, 1, 25)
        base = address_of(environment, API_URL, _API)
        hooks_base = address_of(environment, HOOKS_URL, _HOOKS)
        oauth = slack_oauth.from_environment(environment, base)
        if token is None and oauth is None and not webhooks:
            if signing_secret is not None:
                others = f"{WEBHOOKS}=yes or {slack_oauth.CLIENT_ID}"
                expected = f"a bot's token, or {others}, because of {SIGNING_SECRET}"
                raise SettingError(TOKEN, expected)
            return None
        return cls(
            token,
            oauth=oauth,
            signing_secret=signing_secret,
            concurrency=concurrency,
            deadline=timedelta(seconds=seconds),
            base=base,
            hooks_base=hooks_base,
        )

    @classmethod
    def variables(cls) -> Sequence[str]:
        return (
            *(TOKEN, *slack_oauth.VARIABLES, WEBHOOKS, SIGNING_SECRET),
            *(CONCURRENCY, TIMEOUT, API_URL, HOOKS_URL),
        )

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        return crew.share(messages, self._send, self.at_once, may_start)

    def check_address(self, channel: Channel, address: str) -> str | None:
        return addresses.check_address(channel, address)

    def check(self) -> str | None:
        """Whether Slack knows the token."""
        if self._token is None:
            return None
        try:
            answer = self._api.call("POST", "/auth.test", headers=self._authorization(self._token))
        except (http.NotSent, http.Unanswered) as fault:
            return str(fault)
        given = content(answer)
        return None if given.get("ok") is True else _words(given) or f"HTTP {answer.status_code}"

    def close(self) -> None:
        self._api.close()
        self._hooks.close()
        if self.oauth is not None:
            self.oauth.close()

    # Sending

    def _send(self, message: Message) -> Outcome:
        if not message.parts.get("text", "").strip():
            return Rejected("missing_part", "slack needs the part `text`")
        expected = addresses.check_address(Channel.SLACK, message.address)
        if expected:
            return Rejected("invalid_address", expected)
        body = slack_blocks.compose(message, button=self._signing_secret is not None)
        if message.address.startswith(addresses.SLACK_HOOK):
            path = urlsplit(message.address).path
            return outcome(lambda: self._post(self._hooks, path, body), judge_hook)
        token = self._token if message.token is None else message.token
        if not token:
            why = "no workspace is connected" if self.oauth else f"{TOKEN} is not set"
            return Rejected("no_token", f"{why}, so only webhooks can be posted to")
        body |= {
            "channel": message.address,
            "client_msg_id": str(message.delivery_id),
            "metadata": {
                "event_type": "notifier_delivery",
                "event_payload": {"id": str(message.delivery_id)},
            },
            # A preview would be fetched from the page that acknowledges.
            "unfurl_links": False,
            "unfurl_media": False,
        }
        headers = self._authorization(token)
        return outcome(lambda: self._post(self._api, "/chat.postMessage", body, headers), judge)

    def _authorization(self, token: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {token}"}

    def _post(
        self, api: Api, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> "requests.Response":
        # Without the charset Slack answers with a warning.
        kind = {"Content-Type": "application/json; charset=utf-8"}
        return api.call(
            "POST", path, data=json.dumps(body).encode(), headers=kind | dict(headers or {})
        )

    # Hearing

    def hear(self, call: Call) -> Heard:
        if self._signing_secret is None:
            raise Forged(f"{SIGNING_SECRET} is not set, so nothing can be verified")
        stamp = call.headers.get("x-slack-request-timestamp", "")
        given = call.headers.get("x-slack-signature", "")
        expected = signature_of(call.body, stamp, self._signing_secret)
        if not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
            raise Forged("X-Slack-Signature is missing or does not fit")
        if not re.fullmatch("[0-9]{1,12}", stamp) or abs(time.time() - int(stamp)) > FRESH:
            raise Forged(f"X-Slack-Request-Timestamp is more than {FRESH} seconds away")
        return _read(call)


def signature_of(body: bytes, stamp: str, secret: str) -> str:
    """`X-Slack-Signature`: HMAC-SHA256 over version, timestamp and the body as it came."""
    signed = f"v0:{stamp}:".encode("utf-8", "replace") + body
    return "v0=" + hmac.digest(secret.encode(), signed, "sha256").hex()


def judge(answer: "requests.Response") -> Outcome:
    """What the answer of chat.postMessage means: it is 200 for refusals, too."""
    if (later := busy(answer)) is not None:
        return later
    given = content(answer)
    if given.get("ok") is True:
        return Accepted(f"{given.get('channel')}:{given.get('ts')}", "ok", delivered=True)
    code = given.get("error")
    if not isinstance(code, str):
        if answer.ok:
            return Unsure("the answer does not say what became of it")
        return RetryLater(str(answer.status_code), answer.text[:300])
    reason = _words(given)
    if code in DOUBTFUL:
        return Unsure(reason)
    if code in NEVER or code in DEAD:
        return Rejected(code, reason, address_dead=code in DEAD)
    return RetryLater(code, reason, after=_wait(answer))


def judge_hook(answer: "requests.Response") -> Outcome:
    """What the answer of an incoming webhook means: its body is a word."""
    if (later := busy(answer)) is not None:
        return later
    word = answer.text.strip()[:100]
    if answer.ok:
        return Accepted(raw=word, delivered=True)
    status = answer.status_code
    code = word if word in HOOK_NEVER or word in HOOK_DEAD else str(status)
    reason = f"HTTP {status}: {word}"
    if word in HOOK_DEAD or status in (404, 410):
        return Rejected(code, reason, address_dead=True)
    if word in HOOK_NEVER:
        return Rejected(code, reason)
    return RetryLater(code, reason, after=_wait(answer))


def _wait(answer: "requests.Response") -> timedelta | None:
    return http.retry_after(answer.headers.get("retry-after"), datetime.now(UTC), LONGEST_WAIT)


def _words(given: Mapping[str, Any]) -> str:
    """A refusal in Slack's own words: its code, and what it says of it."""
    said = [str(given.get("error", ""))]
    if given.get("needed"):
        said.append(f"needs {given['needed']}")
    more = given.get("response_metadata")
    if isinstance(more, dict) and isinstance(more.get("messages"), list):
        said += [str(each) for each in more["messages"]]
    return "; ".join(said)[:300]


def _read(call: Call) -> Heard:
    """A signed call: the press of a button, or the question whether we are who Slack was told."""
    if "json" in call.headers.get("content-type", ""):
        event = _object(call.body)
        if event.get("type") == "url_verification":
            return Heard([], str(event.get("challenge", "")))
        raise Misunderstood(f"an event of type {str(event.get('type'))[:50]!r}")
    form = dict(parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True))
    pressed = _object(form.get("payload", "").encode())
    actions = pressed.get("actions")
    if pressed.get("type") != "block_actions" or not isinstance(actions, list):
        raise Misunderstood(f"an interaction of type {str(pressed.get('type'))[:50]!r}")
    # Slack wants 200 within three seconds, and shows an error otherwise.
    return Heard(
        [
            Acknowledged(_delivery(action.get("value")), "button")
            for action in actions
            if isinstance(action, dict) and action.get("action_id") == slack_blocks.ACKNOWLEDGE
        ],
        status=200,
    )


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise Misunderstood("no JSON") from None
    if not isinstance(value, dict):
        raise Misunderstood("JSON, but no object")
    return value


def _delivery(value: object) -> UUID:
    try:
        return UUID(str(value))
    except ValueError:
        raise Misunderstood("a button of ours whose value is no delivery") from None
