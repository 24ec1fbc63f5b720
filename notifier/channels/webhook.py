"""Webhooks: a signed POST to an endpoint of the recipient's own, as Standard Webhooks say.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import base64
import hmac
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from notifier.channels import addresses, crew, egress, http, variables
from notifier.channels.api import outcome
from notifier.channels.contract import MayStart, Message, Outcomes, Provider
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.retry import LONGEST_WAIT
from notifier.signing import endpoint_keys
from notifier.words import Channel

CONCURRENCY = "NOTIFIER_WEBHOOK_CONCURRENCY"
TIMEOUT = "NOTIFIER_WEBHOOK_TIMEOUT_SECONDS"
ALLOW_NETWORKS = "NOTIFIER_WEBHOOK_ALLOW_NETWORKS"
CA_FILE = "NOTIFIER_WEBHOOK_CA_FILE"


class Webhook(Provider):
    """POSTs `parts["body"]` to the address, signed with every secret of the endpoint."""

    name = "webhook"
    channels = frozenset({Channel.WEBHOOK})
    shares_fate = False

    def __init__(
        self,
        *,
        concurrency: int = 8,
        deadline: timedelta = timedelta(seconds=15),
        allowed: Sequence[egress.Network] = (),
        ca_file: str | None = None,
    ) -> None:
        self.deadline = deadline
        self.at_once = concurrency
        self._client = http.Client(ca_file, allowed)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Webhook":
        allowed = variables.networks(environment, ALLOW_NETWORKS)
        try:
            return cls(
                concurrency=variables.whole(environment, CONCURRENCY, 8, 1, 64),
                # The specification advises 15 to 30 s; the engine's lease allows no more.
                deadline=timedelta(seconds=variables.whole(environment, TIMEOUT, 15, 1, 25)),
                allowed=allowed,
                ca_file=variables.existing_file(environment, CA_FILE),
            )
        except OSError as fault:
            raise SettingError(CA_FILE, "a file of PEM certificates") from fault

    @classmethod
    def variables(cls) -> Sequence[str]:
        return (CONCURRENCY, TIMEOUT, ALLOW_NETWORKS, CA_FILE)

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        return crew.share(messages, self._post, self.at_once, may_start)

    def check_address(self, channel: Channel, address: str) -> str | None:
        return addresses.check_address(channel, address)

    def close(self) -> None:
        self._client.close()

    def _post(self, message: Message) -> Outcome:
        ends = time.monotonic() + self.deadline.total_seconds()
        body = message.parts.get("body")
        if body is None:
            return Rejected("missing_part", "a webhook needs the part `body`")
        try:
            to = http.target(message.address)
        except ValueError:
            return Rejected("invalid_address", addresses.EXPECTED_URL)
        content = body.encode("utf-8", "replace")
        try:
            signed = signature_headers(
                message.secret, str(message.delivery_id), int(time.time()), content
            )
        except ValueError as fault:
            return Rejected("no_secret", str(fault))
        headers = (*CONSTANT_HEADERS, *signed)
        return outcome(
            lambda: self._client.request("POST", to, headers, content, ends),
            lambda answer: judge(answer, datetime.now(UTC)),
        )


CONSTANT_HEADERS = (("Content-Type", "application/json"), ("User-Agent", "notifier"))


def signature_headers(
    secrets: str | None, message_id: str, timestamp: int, body: bytes
) -> list[tuple[str, str]]:
    """The three `webhook-…` headers: one `v1` signature for each of the secrets.

    secrets: as `endpoint_keys` reads them.
    An unsigned request can not be told from a forged one, so ValueError without a secret.
    """
    keys = endpoint_keys(secrets or "")
    if not keys:
        raise ValueError("the endpoint has no signing secret")
    signed = f"{message_id}.{timestamp}.".encode() + body
    signatures = (
        "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode() for key in keys
    )
    return [
        ("webhook-id", message_id),
        ("webhook-timestamp", str(timestamp)),
        ("webhook-signature", " ".join(signatures)),
    ]


def judge(answer: http.Answer, now: datetime) -> Outcome:
    """What an answer means, by the specification's "Delivery success and failure".

    2xx is success and anything else a failure to be tried again, with two exceptions:
    410 asks never to be called again, and a redirect is not followed but mended by the
    endpoint's owner, so that repeating it is pointless.
    """
    status = answer.status
    if 200 <= status < 300:
        return Accepted(raw=answer.line, delivered=True)
    if status == 410:
        return Rejected("410", "the endpoint is gone for good", address_dead=True)
    if 300 <= status < 400:
        return Rejected("redirect", f"{answer.line}: redirects are not followed")
    if status < 200:
        return Unsure(f"{answer.line}: no final answer")
    wait = http.retry_after(answer.headers.get("retry-after"), now, LONGEST_WAIT)
    return RetryLater(str(status), answer.line, after=wait)
