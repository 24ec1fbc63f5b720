"""Amazon SES's SendEmail (API v2), and SNS as far as it posts to a subscriber.

As https://docs.aws.amazon.com/ses/latest/APIReference-V2/API_SendEmail.html,
https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html and
https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html show them. Signatures
of requests are worked out anew here, from what came over the wire.
"""

import base64
import email
import email.policy
import hashlib
import hmac
import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from functools import cache
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from tests.vendors.server import Asked, Said, Vendor

REGION = "eu-central-1"
KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
SENDER = "notify@example.org"
SET = "events"
TOPIC = f"arn:aws:sns:{REGION}:123456789012:ses-events"
SNS = f"https://sns.{REGION}.amazonaws.com"
CERTIFICATE = "/SimpleNotificationService-7506a1e35b36ef5a444dd1a8e7cc3ed8.pem"

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, "
    r"SignedHeaders=([a-z0-9;-]+), Signature=([0-9a-f]{64})"
)


class Ses(Vendor):
    """messages: the mails that were taken, by message id. requests: what came with each.

    confirmed: the tokens of subscriptions that were confirmed. certificate: what is served as SNS's.
    verified: the recipients that a sandbox account may write to; None: it is out of the sandbox.
    """

    def __init__(self) -> None:
        super().__init__()
        self.messages: dict[str, EmailMessage] = {}
        self.requests: dict[str, dict[str, Any]] = {}
        self.confirmed: list[str] = []
        self.session_token: str | None = None
        self.sending = True
        self.verified: set[str] | None = None
        self.signing, self.certificate = _signing()

    def environment(self) -> dict[str, str]:
        """What points the provider here."""
        return {
            "NOTIFIER_SES_ACCESS_KEY_ID": KEY_ID,
            "NOTIFIER_SES_SECRET_ACCESS_KEY": SECRET,
            "NOTIFIER_SES_REGION": REGION,
            "NOTIFIER_SES_FROM": f"Acme <{SENDER}>",
            "NOTIFIER_SES_CONFIGURATION_SET": SET,
            "NOTIFIER_SES_TOPIC_ARN": TOPIC,
            "NOTIFIER_SES_API_URL": self.url,
            "NOTIFIER_SES_SNS_URL": self.url,
        }

    def answer(self, asked: Asked) -> Said:
        match (asked.method, asked.path):
            case ("GET", path) if path == CERTIFICATE:
                return Said(200, self.certificate, {"Content-Type": "application/octet-stream"})
            case ("GET", "/") if asked.query.get("Action") == "ConfirmSubscription":
                if asked.query.get("TopicArn") != TOPIC:
                    return Said(404, b"<ErrorResponse/>", {"Content-Type": "text/xml"})
                self.confirmed.append(asked.query["Token"])
                return Said(200, b"<ConfirmSubscriptionResponse/>", {"Content-Type": "text/xml"})
        fault = self._unsigned(asked)
        if fault is not None:
            return _error(403, *fault)
        match (asked.method, asked.path):
            case ("POST", "/v2/email/outbound-emails"):
                return self._send(asked)
            case ("GET", "/v2/email/account"):
                state = {"SendingEnabled": self.sending, "ProductionAccessEnabled": True}
                return Said(200, state | {"EnforcementStatus": "HEALTHY"})
        return _error(404, "UnknownOperationException", "")

    def _unsigned(self, asked: Asked) -> tuple[str, str] | None:
        """The error's name and words, where the request is not signed as AWS wants it."""
        given = _AUTHORIZATION.fullmatch(asked.headers.get("authorization", ""))
        if given is None:
            return "MissingAuthenticationTokenException", "Missing Authentication Token"
        key_id, day, region, service, names, signature = given.groups()
        stamp = asked.headers.get("x-amz-date", "")
        if key_id != KEY_ID or asked.headers.get("x-amz-security-token") != self.session_token:
            return "UnrecognizedClientException", "The security token included is invalid."
        if (region, service) != (REGION, "ses"):
            return "InvalidSignatureException", f"Credential should be scoped to {REGION}, ses"
        sent = datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if abs(datetime.now(UTC) - sent) > timedelta(minutes=5) or not stamp.startswith(day):
            return "InvalidSignatureException", "Signature expired"
        required = {"host"} | {name for name in asked.headers if name.startswith("x-amz-")}
        required |= {"content-type"} & set(asked.headers)
        if not required <= set(names.split(";")) or names.split(";") != sorted(names.split(";")):
            return "InvalidSignatureException", "a header that must be signed is not"
        canonical = f"{asked.method}\n{asked.path}\n\n"
        for name in names.split(";"):
            canonical += f"{name}:{asked.headers[name].strip()}\n"
        canonical += f"\n{names}\n{hashlib.sha256(asked.body).hexdigest()}"
        key = f"AWS4{SECRET}".encode()
        for part in (day, region, service, "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{day}/{region}/{service}/aws4_request\n"
        text += hashlib.sha256(canonical.encode()).hexdigest()
        if hmac.new(key, text.encode(), hashlib.sha256).hexdigest() != signature:
            words = "The request signature we calculated does not match the signature you provided."
            return "InvalidSignatureException", words
        return None

    def _send(self, asked: Asked) -> Said:
        if asked.headers.get("content-type") != "application/json":
            return _error(400, "SerializationException", "")
        body = asked.json
        for tag in body.get("EmailTags", []):
            for field in ("Name", "Value"):
                if not re.fullmatch(r"[A-Za-z0-9_-]{1,256}", tag.get(field, "")):
                    return _error(400, "BadRequestException", f"Invalid tag {field}: {tag}.")
        if body.get("ConfigurationSetName") not in (None, SET):
            words = f"Configuration set <{body['ConfigurationSetName']}> does not exist."
            return _error(404, "NotFoundException", words)
        raw = base64.b64decode(body["Content"]["Raw"]["Data"], validate=True)
        if any(len(line) > 998 for line in raw.split(b"\r\n")):
            return _error(400, "BadRequestException", "a line is too long")
        mail = email.message_from_bytes(raw, policy=email.policy.default)
        assert isinstance(mail, EmailMessage)
        failed = [] if mail["From"].addresses[0].addr_spec == SENDER else [mail["From"]]
        if self.verified is not None:
            failed += [
                each for each in body["Destination"]["ToAddresses"] if each not in self.verified
            ]
        if failed:
            words = (
                "Email address is not verified. The following identities failed the check in "
                f"region {REGION.upper()}: {', '.join(failed)}"
            )
            return _error(400, "MessageRejected", words)
        for address in body["Destination"]["ToAddresses"]:
            if not re.fullmatch(r"[\x21-\x7e]+@[\x21-\x7e]+\.[a-z]+", address):
                return _error(400, "BadRequestException", "Missing final '@domain'")
        told = f"01070{uuid.uuid4().hex[:11]}-{uuid.uuid4()}-000000"
        with self.lock:
            self.messages[told] = mail
            self.requests[told] = body
        return Said(200, {"MessageId": told})

    def notification(self, event: Any, version: str = "1", **changed: str) -> dict[str, str]:
        """An event as SNS posts it; `changed` before it is signed."""
        message = {
            "Type": "Notification",
            "MessageId": str(uuid.uuid4()),
            "TopicArn": TOPIC,
            "Subject": "Amazon SES Email Event Notification",
            "Message": event if isinstance(event, str) else json.dumps(event),
            "Timestamp": "2026-11-21T10:00:00.000Z",
            "UnsubscribeURL": f"{SNS}/?Action=Unsubscribe&SubscriptionArn={TOPIC}:1",
            **changed,
        }
        return self.signed(message, version)

    def confirmation(self, version: str = "1", **changed: str) -> dict[str, str]:
        """What SNS posts first; `changed` before it is signed."""
        token = uuid.uuid4().hex
        message = {
            "Type": "SubscriptionConfirmation",
            "MessageId": str(uuid.uuid4()),
            "Token": token,
            "TopicArn": TOPIC,
            "Message": f"You have chosen to subscribe to the topic {TOPIC}.\nTo confirm …",
            "SubscribeURL": f"{SNS}/?Action=ConfirmSubscription&TopicArn={TOPIC}&Token={token}",
            "Timestamp": "2026-11-21T10:00:00.000Z",
            **changed,
        }
        return self.signed(message, version)

    def signed(self, message: dict[str, str], version: str) -> dict[str, str]:
        names = ["Message", "MessageId", "Timestamp", "TopicArn", "Type"]
        if message["Type"] == "Notification":
            names += ["Subject"] if "Subject" in message else []
        else:
            names += ["SubscribeURL", "Token"]
        text = "".join(f"{name}\n{message[name]}\n" for name in sorted(names)).encode()
        digest = hashes.SHA1() if version == "1" else hashes.SHA256()
        signature = self.signing.sign(text, padding.PKCS1v15(), digest)
        return {
            "SigningCertURL": f"{SNS}{CERTIFICATE}",
            **message,
            "SignatureVersion": version,
            "Signature": base64.b64encode(signature).decode(),
        }


def record(word: str, delivery: uuid.UUID | None = None, /, **particulars: Any) -> dict[str, Any]:
    """An event as SES publishes it, with the particulars of its kind under their own name."""
    tags = {"ses:configuration-set": [SET], "ses:from-domain": ["example.org"]}
    if delivery is not None:
        tags["notifier_delivery"] = [str(delivery)]
    mail = {
        "timestamp": "2017-08-05T00:40:02.012Z",
        "source": f"Acme <{SENDER}>",
        "sendingAccountId": "123456789012",
        "messageId": "EXAMPLE7c191be45-e9aedb9a-02f9-4d12-a87d-dd0099a07f8a-000000",
        "destination": ["ada@example.com"],
        "headersTruncated": False,
        "headers": [{"name": "From", "value": f"Acme <{SENDER}>"}],
        "tags": tags,
    }
    return {"eventType": word, "mail": mail, **particulars}


def _error(status: int, name: str, message: str) -> Said:
    return Said(
        status, {"message": message}, {"x-amzn-ErrorType": f"{name}:http://amazon.com/ses/"}
    )


@cache
def _signing() -> tuple[rsa.RSAPrivateKey, bytes]:
    key = rsa.generate_private_key(65537, 2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return key, certificate.public_bytes(serialization.Encoding.PEM)
