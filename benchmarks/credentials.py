"""Keys that the vendors' providers want, made anew for each benchmark and of no use elsewhere."""

import base64
import datetime
import ipaddress
import json
import os
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Credentials:
    """A folder of key files, and keys as text.

    certificate: of loopback, with its key; what stands in for the vendor serves it.
    vapid: a private key of Web Push. browser, secret: the keys of a subscription, in base64url.
    """

    folder: Path
    certificate: Path
    vapid: str
    browser: str
    secret: str


def make(folder: Path) -> Credentials:
    """Write every file into `folder`."""
    certificate = folder / "loopback.pem"
    certificate.write_bytes(_loopback())
    (folder / "apns.p8").write_bytes(_pem(ec.generate_private_key(ec.SECP256R1())))
    return Credentials(
        folder,
        certificate,
        vapid=_base64(
            ec.generate_private_key(ec.SECP256R1()).private_numbers().private_value.to_bytes(32)
        ),
        browser=_base64(
            ec.generate_private_key(ec.SECP256R1())
            .public_key()
            .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        ),
        secret=_base64(os.urandom(16)),
    )


def service_account(folder: Path, origin: str) -> None:
    """The file of a Firebase service account whose tokens come from `origin`."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    account = {
        "type": "service_account",
        "project_id": "bench",
        "client_email": "bench@bench.example",
        "private_key": _pem(key).decode(),
        "private_key_id": "1",
        "token_uri": f"{origin}/token",
    }
    (folder / "account.json").write_text(json.dumps(account))


def _loopback() -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "notifier benchmark")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _pem(key) + certificate.public_bytes(serialization.Encoding.PEM)


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
