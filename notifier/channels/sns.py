"""What Amazon SNS posts to a subscriber: whether it is its own, and of the topic we know.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html
https://docs.aws.amazon.com/sns/latest/dg/http-subscription-confirmation-json.html

Whoever has an AWS account has SNS sign what they like: only the topic's name tells them from us.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

from notifier.channels import http
from notifier.channels.api import Api
from notifier.channels.contract import Call, Forged, Misunderstood, NotNow

if TYPE_CHECKING:
    import requests

SECONDS = 5.0
"""For a certificate, or for a confirmation. SNS waits 15 seconds for the answer to its post."""

KEPT = 16
"""Certificates kept at most; there is one a year."""

_ARN = re.compile(r"arn:(aws|aws-cn|aws-us-gov):sns:([a-z]{2}(?:-[a-z]+)+-\d+):\d{12}:[\w-]{1,256}")
_SUFFIX = {"aws": "amazonaws.com", "aws-us-gov": "amazonaws.com", "aws-cn": "amazonaws.com.cn"}
_CERTIFICATE = re.compile(r"/SimpleNotificationService-[A-Za-z0-9]{1,64}\.pem")

_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        *("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"),
    ),
}
_SIGNED["UnsubscribeConfirmation"] = _SIGNED["SubscriptionConfirmation"]
"""The fields that a signature covers, by the message's type; those that are absent are left out."""


class Topic:
    """One topic that we are subscribed to. Threads may share it."""

    def __init__(self, arn: str, base: str | None = None) -> None:
        """base: where to fetch what is SNS's, instead of from the topic's own region.

        Raises ValueError where `arn` is no topic's.
        """
        found = _ARN.fullmatch(arn)
        if found is None:
            raise ValueError("no ARN of an SNS topic")
        partition, region = found.groups()
        self._arn = arn
        self._host = f"sns.{region}.{_SUFFIX[partition]}"
        self._api = Api(base or f"https://{self._host}", SECONDS)
        self._keys: dict[str, Any] = {}

    def hear(self, call: Call) -> str | None:
        """What was published. None: a confirmation, and it is confirmed.

        Raises `Forged`, `NotNow` or `Misunderstood`.
        """
        message = self._verified(call.body)
        match message["Type"]:
            case "Notification":
                return message["Message"]
            case "SubscriptionConfirmation":
                self._confirm(message.get("SubscribeURL", ""))
                return None
        raise Misunderstood("the subscription to the topic has ended")

    def _verified(self, body: bytes) -> Mapping[str, str]:
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            raise Forged("the body is no JSON") from None
        if not isinstance(given, dict):
            raise Forged("the body is no JSON object")
        message = {name: value for name, value in given.items() if isinstance(value, str)}
        if message.get("TopicArn") != self._arn:
            raise Forged("it is of another topic, or of none")
        covered = _SIGNED.get(message.get("Type", ""))
        if covered is None or "Message" not in message:
            raise Forged("Type or Message is missing or unknown")
        text = "".join(f"{name}\n{message[name]}\n" for name in covered if name in message)
        self._check(message, text.encode("utf-8", "replace"))
        return message

    def _check(self, message: Mapping[str, str], text: bytes) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        by_version = {"1": hashes.SHA1(), "2": hashes.SHA256()}
        try:
            hashed = by_version[message["SignatureVersion"]]
            signature = base64.b64decode(message["Signature"], validate=True)
        except (KeyError, binascii.Error, ValueError) as fault:
            raise Forged("the signature is missing, or of an unknown kind") from fault
        key = self._key(message.get("SigningCertURL", ""))
        try:
            key.verify(signature, text, padding.PKCS1v15(), hashed)
        except InvalidSignature as fault:
            raise Forged("the signature does not fit") from fault

    def _key(self, url: str) -> Any:
        """The public key of the certificate at `url`, which only SNS itself can have put there."""
        parts = self._own(url)
        if parts is None or parts.query or not _CERTIFICATE.fullmatch(parts.path):
            raise Forged("SigningCertURL is not one of the topic's region")
        known = self._keys.get(parts.path)
        if known is not None:
            return known
        answer = self._get(parts.path)
        if answer.status_code != 200:
            raise Forged(f"SigningCertURL: HTTP {answer.status_code}")
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

        try:
            key = x509.load_pem_x509_certificate(answer.content).public_key()
        except ValueError as fault:
            raise Forged("SigningCertURL leads to no certificate") from fault
        if not isinstance(key, RSAPublicKey):
            raise Forged("SigningCertURL leads to a certificate of another kind")
        if len(self._keys) >= KEPT:
            self._keys.clear()
        self._keys[parts.path] = key
        return key

    def _confirm(self, url: str) -> None:
        parts = self._own(url)
        if parts is None:
            raise Misunderstood("SubscribeURL is not one of the topic's region")
        answer = self._get(f"{parts.path}?{parts.query}")
        if answer.status_code != 200:
            raise Misunderstood(f"SubscribeURL: HTTP {answer.status_code}")

    def _own(self, url: str) -> SplitResult | None:
        """The parts of a URL that leads to SNS in the topic's region."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return None
        own = parts.scheme == "https" and parts.netloc == self._host
        return parts if own else None

    def _get(self, path: str) -> "requests.Response":
        try:
            answer = self._api.call("GET", path)
        except (http.NotSent, http.Unanswered) as fault:
            raise NotNow(f"SNS can not be reached: {fault}") from fault
        finally:
            self._api.close()  # nothing of SNS is fetched often enough to keep a connection
        if answer.status_code == 429 or answer.status_code >= 500:
            raise NotNow(f"SNS answers HTTP {answer.status_code}")
        return answer
