"""Messages, certificates and servers for the channel tests."""

import datetime
import ipaddress
import ssl
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from notifier.channels.contract import Message
from notifier.words import Channel
from tests.channels.http_server import HttpServer
from tests.channels.smtp_server import SmtpServer

SECRET = "whsec_" + "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

ADDRESSES = {
    Channel.EMAIL: "ada@example.com",
    Channel.SMS: "+4915112345678",
    Channel.VOICE: "+4915112345678",
    Channel.PUSH: "fcm:cXk3Zr:APA91bF-token_1",
    Channel.WEBHOOK: "https://example.com/hook",
    Channel.SLACK: "C0123456789",
    Channel.TEAMS: "https://prod-1.westeurope.logic.azure.com:443/workflows/1/triggers/manual/run",
    Channel.APPRISE: "json://example.com/hook",
}

MakeMessage = Callable[..., Message]


def make_message(channel: Channel = Channel.EMAIL, **fields: Any) -> Message:
    """A message of the channel that nothing is wrong with, changed by `fields`."""
    usual: dict[str, Any] = {
        "delivery_id": uuid.uuid4(),
        "event_id": uuid.uuid4(),
        "tenant_id": uuid.uuid4(),
        "event_type": "task.due_soon",
        "channel": channel,
        "address": ADDRESSES.get(channel, "somewhere"),
        "parts": {
            "subject": "Due soon",
            "text": "Your task is due.",
            "title": "Due soon",
            "message": "Your task is due.",
            "body": '{"type":"task.due_soon"}',
        },
        "attempt": 1,
        "correlation_id": "c-1",
        "secret": SECRET if channel is Channel.WEBHOOK else None,
    }
    return Message(**{**usual, **fields})


def always() -> bool:
    """Nobody said stop."""
    return True


class Certificate:
    """A self-signed certificate for loopback and `hook.test`, and contexts made of it."""

    def __init__(self, folder: Path) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "notifier test")])
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.path = str(folder / "certificate.pem")
        self._key = str(folder / "key.pem")
        Path(self.path).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        Path(self._key).write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )

    def server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.path, self._key)
        return context


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return Certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def smtp_server() -> Iterator[SmtpServer]:
    with SmtpServer() as server:
        yield server


@pytest.fixture
def http_server() -> Iterator[HttpServer]:
    with HttpServer() as server:
        yield server
