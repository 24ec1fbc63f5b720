"""DKIM signatures as a receiver verifies them: the mail as a server got it, and another's code."""

import base64
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.channels.dkim import Signer
from notifier.channels.mime import Composer, Sender
from notifier.channels.smtp import Smtp
from notifier.errors import SettingError
from notifier.outcome import Accepted
from tests.channels.conftest import always, make_message
from tests.channels.smtp_server import SmtpServer

SELECTOR, DOMAIN = "s2026", "example.org"

Key = rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


@cache
def key_of(kind: str) -> Key:
    if kind == "rsa":
        return rsa.generate_private_key(65537, 2048)
    return ed25519.Ed25519PrivateKey.generate()


def pem(key: Any, password: bytes | None = None) -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    octets: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
    )
    return octets


def published(kind: str) -> Callable[..., bytes]:
    """The DNS of example.org: the key's record, and nothing else."""
    public = key_of(kind).public_key()
    if isinstance(public, rsa.RSAPublicKey):
        octets = public.public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    else:
        octets = public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    record = f"v=DKIM1; k={kind}; p={base64.b64encode(octets).decode()}".encode()

    def look_up(name: bytes, timeout: int = 5) -> bytes:
        return record if name == f"{SELECTOR}._domainkey.{DOMAIN}.".encode() else b""

    return look_up


def verifies(mail: bytes, kind: str) -> bool:
    return bool(dkim.verify(mail, dnsfunc=published(kind)))


def tags_of(mail: bytes) -> dict[str, str]:
    value = mail.partition(b":")[2].split(b"\r\nFrom:")[0].decode()
    pairs = (entry.partition("=") for entry in "".join(value.split()).split(";"))
    return {name: given for name, _, given in pairs}


@pytest.fixture(params=["rsa", "ed25519"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def provider(kind: str, smtp_server: SmtpServer, tmp_path: Path) -> Iterator[Smtp]:
    file = tmp_path / "dkim.pem"
    file.write_bytes(pem(key_of(kind)))
    made = Smtp.from_environment(environment(smtp_server, file))
    assert made is not None
    yield made
    made.close()


def environment(server: SmtpServer, file: Path | str, **more: str) -> dict[str, str]:
    usual = {"HOST": "127.0.0.1", "PORT": str(server.port), "SECURITY": "none"}
    usual |= {"FROM": f"Acmé <notify@{DOMAIN}>", "TIMEOUT_SECONDS": "5"}
    usual |= {"DKIM_KEY": str(file), "DKIM_SELECTOR": SELECTOR}
    return {f"NOTIFIER_SMTP_{name}": value for name, value in (usual | more).items()}


def received(server: SmtpServer, provider: Smtp, **fields: Any) -> bytes:
    ((_, outcome),) = provider.send([make_message(**fields)], always)
    assert isinstance(outcome, Accepted)
    return server.mails[-1][2]


@pytest.mark.parametrize(
    "parts",
    [
        {"subject": "Due soon", "text": "Your task is due."},
        {"subject": "Größe " * 30, "text": "Grüße  mit\tvielen   Leerzeichen \n\n\n"},
        {"subject": "", "text": ""},
        {"subject": "dots", "text": ".\n..\n.x\n", "html": "<p>" + "ü" * 2000 + "</p>"},
        {"subject": "a " * 200, "text": "x" * 3000, "html": "<p>Hi</p>\r\n.\r\n"},
        {"subject": " two  blanks ", "text": " \t \n \n"},
    ],
)
def test_what_a_server_received_verifies(
    smtp_server: SmtpServer, provider: Smtp, kind: str, parts: dict[str, str]
) -> None:
    mail = received(
        smtp_server, provider, parts=parts, unsubscribe_url="https://notify.example.org/u/t"
    )
    assert verifies(mail, kind)


def test_the_signature_covers_all_there_is(
    smtp_server: SmtpServer, provider: Smtp, kind: str
) -> None:
    parts = {"subject": "Due soon", "text": "Your task is due.", "html": "<p>Due</p>"}
    mail = received(smtp_server, provider, parts=parts, unsubscribe_url="https://a.example/u")
    tags = tags_of(mail)
    assert (tags["v"], tags["a"]) == ("1", f"{kind}-sha256")
    assert (tags["c"], tags["d"], tags["s"]) == ("relaxed/relaxed", DOMAIN, SELECTOR)
    assert abs(int(tags["t"]) - time.time()) < 60
    covered = tags["h"].split(":")
    names = [
        line.partition(b":")[0].lower().decode()
        for line in mail.partition(b"\r\n\r\n")[0].split(b"\r\n")
        if line[:1] not in b" \t"
    ]
    assert set(covered) == set(names) - {"dkim-signature"}
    assert {"message-id", "mime-version", "content-type"} <= set(covered)
    assert {"list-unsubscribe", "list-unsubscribe-post"} <= set(covered)
    for once in ("from", "to", "subject", "date"):
        assert covered.count(once) == 2, "so that a second one breaks the signature"
    assert max(map(len, mail.split(b"\r\n"))) <= 78


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        (b"Subject: Due soon", b"Subject: Pay now"),
        (b"To: ada@", b"To: eve@"),
        (b"Your task", b"Your cash"),
        (b"List-Unsubscribe: <https://a.example", b"List-Unsubscribe: <https://e.example"),
        (b"Subject:", b"Subject: Pay now\r\nSubject:"),
        (b"From:", b"From: eve@example.com\r\nFrom:"),
        (b"Message-ID: <", b"Message-ID: <0"),
        (b"charset=utf-8", b"charset=utf-7"),
    ],
)
def test_a_change_on_the_way_is_noticed(
    smtp_server: SmtpServer, provider: Smtp, kind: str, was: bytes, becomes: bytes
) -> None:
    mail = received(smtp_server, provider, unsubscribe_url="https://a.example/u")
    assert verifies(mail, kind)
    changed = mail.replace(was, becomes, 1)
    assert changed != mail
    assert not verifies(changed, kind)


def test_a_relay_may_fold_anew_and_add_its_own(
    smtp_server: SmtpServer, provider: Smtp, kind: str
) -> None:
    mail = received(smtp_server, provider, parts={"subject": "Due soon now", "text": "a b\n"})
    folded = mail.replace(b"Subject: Due soon now", b"subject:Due  soon\r\n\t now  ")
    assert verifies(b"Received: from a by b\r\n" + folded + b"\r\n \r\n", kind)


BODY = st.text(st.sampled_from("ab .\r\n=\t-ü"), max_size=300)


@settings(max_examples=60, deadline=None)
@given(
    subject=st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=100),
    text=BODY,
    html=BODY | st.none(),
)
def test_any_mail_verifies(subject: str, text: str, html: str | None) -> None:
    parts = {"subject": subject, "text": text} | ({"html": html} if html is not None else {})
    message = make_message(parts=parts)
    mail = Composer(Sender(f"notify@{DOMAIN}"), datetime.now(UTC)).compose(message, message.address)
    assert isinstance(mail, bytes)
    assert verifies(Signer(DOMAIN, SELECTOR, pem(key_of("ed25519"))).signed(mail), "ed25519")


def test_a_domain_of_its_own_can_be_named(
    smtp_server: SmtpServer, tmp_path: Path, kind: str
) -> None:
    file = tmp_path / "dkim.pem"
    file.write_bytes(pem(key_of(kind)))
    given = environment(smtp_server, file, FROM="a@mail.example.org", DKIM_DOMAIN=DOMAIN)
    provider = Smtp.from_environment(given)
    assert provider is not None
    assert verifies(received(smtp_server, provider), kind)
    provider.close()


def test_without_a_key_nothing_is_signed(smtp_server: SmtpServer) -> None:
    given = environment(smtp_server, "", DKIM_SELECTOR="")
    provider = Smtp.from_environment(given)
    assert provider is not None
    assert b"DKIM-Signature" not in received(smtp_server, provider)
    provider.close()


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"DKIM_KEY": ""}, "DKIM_KEY"),
        ({"DKIM_SELECTOR": ""}, "DKIM_SELECTOR"),
        ({"DKIM_SELECTOR": "a b"}, "DKIM_SELECTOR"),
        ({"DKIM_SELECTOR": "a;d=evil.example"}, "DKIM_SELECTOR"),
        ({"DKIM_DOMAIN": "exämple.org"}, "DKIM_DOMAIN"),
        ({"DKIM_DOMAIN": "-.org"}, "DKIM_DOMAIN"),
        ({"DKIM_KEY": "", "DKIM_SELECTOR": "", "DKIM_DOMAIN": DOMAIN}, "DKIM_KEY"),
        ({"DKIM_KEY": "/nowhere/dkim.pem"}, "DKIM_KEY"),
    ],
)
def test_a_wrong_setting_is_named(
    smtp_server: SmtpServer, tmp_path: Path, more: dict[str, str], named: str
) -> None:
    file = tmp_path / "dkim.pem"
    file.write_bytes(pem(key_of("ed25519")))
    with pytest.raises(SettingError) as caught:
        Smtp.from_environment(environment(smtp_server, file, **more))
    assert caught.value.variable == f"NOTIFIER_SMTP_{named}"


@pytest.mark.parametrize(
    "octets",
    [
        b"no key",
        b"",
        pem(ed25519.Ed25519PrivateKey.generate(), b"password"),
        pem(ec.generate_private_key(ec.SECP256R1())),
    ],
)
def test_a_file_that_holds_no_usable_key_is_refused(
    smtp_server: SmtpServer, tmp_path: Path, octets: bytes
) -> None:
    file = tmp_path / "dkim.pem"
    file.write_bytes(octets)
    with pytest.raises(SettingError, match="NOTIFIER_SMTP_DKIM_KEY"):
        Smtp.from_environment(environment(smtp_server, file))
