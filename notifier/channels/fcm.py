"""Push through Firebase Cloud Messaging: Android, and whatever else registered with it.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
https://developers.google.com/identity/protocols/oauth2/service-account#httprest
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notifier.channels import addresses, crew, fcm_token, http, push, variables
from notifier.channels.api import Api, address_of, busy, content, outcome
from notifier.channels.contract import MayStart, Message, Outcomes, Provider
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater
from notifier.retry import LONGEST_WAIT
from notifier.words import Channel

if TYPE_CHECKING:
    import requests

SERVICE_ACCOUNT = "NOTIFIER_FCM_SERVICE_ACCOUNT_FILE"
CONCURRENCY = "NOTIFIER_FCM_CONCURRENCY"
TIMEOUT = "NOTIFIER_FCM_TIMEOUT_SECONDS"
API_URL = "NOTIFIER_FCM_API_URL"

LONGEST = 4096
"""Bytes of a message's notification and data at most (ErrorCode, INVALID_ARGUMENT)."""

QUOTA_WAIT = timedelta(seconds=60)
"""How long to wait after 429 where it does not say
(https://firebase.google.com/docs/cloud-messaging/scale-fcm)."""

THIRD_PARTY = "THIRD_PARTY_AUTH_ERROR"
"""Comes with 401 as an access token that is refused does, but is about the project's own keys for
Apple and for browsers."""

# ErrorCode. What is not listed is tried again: UNAVAILABLE, QUOTA_EXCEEDED, THIRD_PARTY.
DEAD: frozenset[str] = frozenset({"UNREGISTERED"})
NEVER: frozenset[str] = frozenset(
    {
        "INVALID_ARGUMENT",
        "SENDER_ID_MISMATCH",  # the token is another project's: as likely our mistake as the app's
    }
)


class FCM(Provider):
    """With a service account of the Firebase project."""

    name = "fcm"
    channels = frozenset({Channel.PUSH})

    def __init__(
        self,
        account: fcm_token.Account,
        *,
        concurrency: int = 8,
        deadline: timedelta = timedelta(seconds=15),
        base: str = "https://fcm.googleapis.com",
    ) -> None:
        self.at_once = concurrency
        self.deadline = deadline
        # A send may have to fetch a token first: each of the two calls has half of the time.
        seconds = deadline.total_seconds() / 2
        self._path = f"/v1/projects/{account.project}/messages:send"
        self._token = fcm_token.Token(account, seconds)
        self._api = Api(base, seconds)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "FCM | None":
        path = variables.existing_file(environment, SERVICE_ACCOUNT)
        concurrency = variables.whole(environment, CONCURRENCY, 8, 1, 64)
        seconds = variables.whole(environment, TIMEOUT, 15, 2, 25)
        base = address_of(environment, API_URL, "https://fcm.googleapis.com")
        if path is None:
            return None
        try:
            account = fcm_token.Account.read(json.loads(Path(path).read_text()))
        except (OSError, ValueError, RecursionError) as fault:
            raise SettingError(
                SERVICE_ACCOUNT,
                "the JSON file of a service account, with project_id, client_email, private_key "
                f"and token_uri ({fault})",
            ) from fault
        return cls(account, concurrency=concurrency, deadline=timedelta(seconds=seconds), base=base)

    @classmethod
    def variables(cls) -> Sequence[str]:
        return (SERVICE_ACCOUNT, CONCURRENCY, TIMEOUT, API_URL)

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        return crew.share(messages, self._send, self.at_once, may_start)

    def check_address(self, channel: Channel, address: str) -> str | None:
        wrong = addresses.check_address(channel, address)
        if wrong is None and push.fcm_token(address) is None:
            wrong = push.EXPECTED_FCM
        return wrong

    def check(self) -> str | None:
        """Whether Google gives a token for the service account."""
        try:
            self._token.get()
        except (http.NotSent, http.Unanswered) as fault:
            return str(fault)
        return None

    def close(self) -> None:
        self._token.close()
        self._api.close()

    def _send(self, message: Message) -> Outcome:
        said = push.said(self, message, LONGEST, partial(_said, message))
        if isinstance(said, Rejected):
            return said
        try:
            token = self._token.get()
        except (http.NotSent, http.Unanswered) as fault:
            # Nothing was sent, whatever became of the question for a token.
            return RetryLater("token", f"no access token: {fault}")
        body = {"message": {"token": push.fcm_token(message.address), **said, **_how(message)}}
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json; charset=UTF-8",
        }
        return outcome(
            lambda: self._api.call("POST", self._path, data=push.packed(body), headers=headers),
            partial(self._judge, token),
        )

    def _judge(self, token: str, answer: "requests.Response") -> Outcome:
        came = judge(answer)
        if answer.status_code == 401 and not (
            isinstance(came, RetryLater) and came.code == THIRD_PARTY
        ):
            self._token.forget(token)
        return came


def _said(message: Message, text: str) -> dict[str, Any]:
    title = message.parts.get("title")
    return {
        "notification": {**({"title": title} if title else {}), "body": text},
        "data": push.extras(message),
    }


def _how(message: Message) -> dict[str, Any]:
    """The same wishes in the words of the three kinds of device a token may belong to."""
    now = datetime.now(UTC)
    seconds, tag = push.seconds_left(message, now), push.collapse(message)
    url, badge = message.parts.get("url", ""), push.badge_of(message)
    return {
        "android": {
            "priority": "HIGH" if message.urgent else "NORMAL",
            "ttl": f"{seconds}s",
            # A device that is away is kept messages of four keys at most, so that only what is
            # meant to be replaced may have one. The tag replaces what is shown already.
            **({"collapse_key": tag} if message.parts.get("collapse_key") else {}),
            # At 0 Android counts by itself.
            "notification": {"tag": tag, **({"notification_count": badge} if badge else {})},
        },
        "apns": {
            "headers": {
                "apns-expiration": str(int(now.timestamp()) + seconds),
                "apns-collapse-id": tag,
            },
            **({} if badge is None else {"payload": {"aps": {"badge": badge}}}),
        },
        "webpush": {
            "headers": {"TTL": str(seconds), "Urgency": "high" if message.urgent else "normal"},
            # https://…/projects.messages#webpushfcmoptions: https only
            **({"fcm_options": {"link": url}} if url.startswith("https://") else {}),
        },
    }


def judge(answer: "requests.Response") -> Outcome:
    """What the answer to a message means, by the `errorCode` among its details."""
    error = content(answer).get("error")
    error = error if isinstance(error, dict) else {}
    details = error.get("details")
    details = details if isinstance(details, list) else []
    details = [each for each in details if isinstance(each, dict)]
    code = next((str(each["errorCode"]) for each in details if each.get("errorCode")), None)
    code = code or str(error.get("status") or answer.status_code)
    reason = str(error.get("message") or answer.reason)[:300]
    if answer.status_code == 429:
        wait = http.retry_after(answer.headers.get("retry-after"), datetime.now(UTC), LONGEST_WAIT)
        wait = QUOTA_WAIT if wait is None else wait
        return RetryLater(code, reason, after=wait, throttled=True)
    if (later := busy(answer)) is not None:
        return later
    if answer.ok:
        name = content(answer).get("name")
        return Accepted(str(name) if name else None, str(answer.status_code))
    if code in DEAD:
        return Rejected(code, reason, address_dead=True)
    if code in NEVER:
        dead = code == "INVALID_ARGUMENT" and _names_the_token(details, reason)
        return Rejected(code, reason, address_dead=dead)
    return RetryLater(code, reason)


def _names_the_token(details: Sequence[Mapping[str, Any]], reason: str) -> bool:
    """Whether what is invalid is the token itself."""
    violations = [each.get("fieldViolations") for each in details]
    fields = [
        violation.get("field")
        for listed in violations
        if isinstance(listed, list)
        for violation in listed
        if isinstance(violation, dict)
    ]
    return "message.token" in fields or "registration token" in reason
