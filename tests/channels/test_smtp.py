"""The SMTP provider against a real server on loopback, which answers as scripted."""

import email
import email.policy
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from notifier.channels.smtp import Smtp, stuffed
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from tests.channels import tricks
from tests.channels.conftest import Certificate, always, make_message
from tests.channels.smtp_server import SmtpServer
from tests.channels.stands import Stand


@contextmanager
def stand(_: Path) -> Iterator[Stand]:
    with SmtpServer() as server:
        settings = {"HOST": "127.0.0.1", "PORT": str(server.port), "SECURITY": "none"}
        settings |= {"FROM": "notify@example.org"}
        environment = {f"NOTIFIER_SMTP_{name}": value for name, value in settings.items()}
        yield Stand(environment, lambda: len(server.mails))


def environment(server: SmtpServer, **more: str) -> dict[str, str]:
    usual = {"HOST": "127.0.0.1", "PORT": str(server.port), "SECURITY": "none"}
    usual |= {"FROM": "Notifier <notify@example.org>", "TIMEOUT_SECONDS": "1"}
    return {f"NOTIFIER_SMTP_{name}": value for name, value in (usual | more).items()}


def provider_for(server: SmtpServer, **more: str) -> Smtp:
    made = Smtp.from_environment(environment(server, **more))
    assert made is not None
    return made


@pytest.fixture
def provider(smtp_server: SmtpServer) -> Iterator[Smtp]:
    made = provider_for(smtp_server)
    yield made
    made.close()


def outcome_of(provider: Smtp, **fields: Any) -> Outcome:
    ((_, outcome),) = provider.send([make_message(**fields)], always)
    return outcome


def test_a_mail_arrives_with_its_envelope(smtp_server: SmtpServer, provider: Smtp) -> None:
    assert outcome_of(provider) == Accepted(raw="250 2.0.0 queued as 1")
    ((sender, recipient, data),) = smtp_server.mails
    assert sender == "MAIL FROM:<notify@example.org>"
    assert recipient == "RCPT TO:<ada@example.com>"
    assert data.endswith(b"\r\n\r\nYour task is due.\r\n")


def test_lines_that_begin_with_a_dot_arrive_whole(smtp_server: SmtpServer, provider: Smtp) -> None:
    text = ".\n..two\r\n.\rend\n."
    outcome_of(provider, parts={"subject": "s", "text": text})
    body = smtp_server.mails[0][2].split(b"\r\n\r\n", 1)[1]
    assert body == b".\r\n..two\r\n.\r\nend\r\n.\r\n"
    assert stuffed(b"A: b\r\n\r\n.\r\n..\r\n") == b"A: b\r\n\r\n..\r\n...\r\n.\r\n"


def test_a_connection_is_kept_over_batches(smtp_server: SmtpServer, provider: Smtp) -> None:
    for _ in range(3):
        list(provider.send([make_message()], always))
    assert smtp_server.connections == 1
    list(provider.send([make_message() for _ in range(100)], always))
    assert smtp_server.connections <= 4
    assert len(smtp_server.mails) == 103


def test_without_pipelining_one_command_is_sent_at_a_time() -> None:
    with SmtpServer(pipelining=False) as server:
        provider = provider_for(server, CONNECTIONS="1")
        server.will("RCPT", "550 5.1.1 no such user")
        outcomes = [o for _, o in provider.send([make_message(), make_message()], always)]
        provider.close()
    assert outcomes == [
        Rejected("550", "550 5.1.1 no such user", address_dead=True),
        Accepted(raw="250 2.0.0 queued as 1"),
    ]
    assert [c.split(" ")[0] for c in server.commands if c != "QUIT"] == [
        *("EHLO", "MAIL", "RCPT"),
        *("RSET", "MAIL", "RCPT", "DATA"),
    ]


@pytest.mark.parametrize(
    ("verb", "answer", "expected"),
    [
        ("RCPT", "550 5.1.1 unknown", Rejected("550", "550 5.1.1 unknown", True)),
        ("RCPT", "550 5.1.2 no domain", Rejected("550", "550 5.1.2 no domain", True)),
        ("RCPT", "553 5.1.3 syntax", Rejected("553", "553 5.1.3 syntax", True)),
        ("RCPT", "556 5.1.10 null MX", Rejected("556", "556 5.1.10 null MX", True)),
        ("RCPT", "550 unknown", Rejected("550", "550 unknown")),
        ("RCPT", "550 5.7.1 policy", Rejected("550", "550 5.7.1 policy")),
        ("RCPT", "550 5.1.11 other", Rejected("550", "550 5.1.11 other")),
        ("RCPT", "552 5.2.2 full", Rejected("552", "552 5.2.2 full")),
        ("RCPT", "450 4.2.1 greylisted", RetryLater("450", "450 4.2.1 greylisted")),
        ("RCPT", "530 5.7.0 log in", RetryLater("auth", "530 5.7.0 log in")),
        ("MAIL", "550 5.1.1 sender", Rejected("550", "550 5.1.1 sender")),
        ("MAIL", "451 4.3.0 busy", RetryLater("451", "451 4.3.0 busy")),
        ("MAIL", "299 odd", RetryLater("protocol", "unexpected answer: 299 odd")),
        ("DATA", "451 4.3.0 disk", RetryLater("451", "451 4.3.0 disk")),
        ("DATA", "554 5.6.0 no", Rejected("554", "554 5.6.0 no")),
        ("DOT", "452 4.3.1 full", RetryLater("452", "452 4.3.1 full")),
        ("DOT", "421 4.3.2 bye", RetryLater("421", "421 4.3.2 bye")),
        ("DOT", "550 5.7.1 spam", Rejected("550", "550 5.7.1 spam")),
        ("DOT", "550 5.1.1 late", Rejected("550", "550 5.1.1 late", True)),
    ],
)
def test_replies_become_outcomes(
    smtp_server: SmtpServer, provider: Smtp, verb: str, answer: str, expected: Outcome
) -> None:
    smtp_server.will(verb, answer)
    assert outcome_of(provider) == expected
    assert outcome_of(provider) == Accepted(raw="250 2.0.0 queued as 1")
    assert len(smtp_server.mails) == 1
    assert "NESTED" not in smtp_server.commands


def test_a_refused_recipient_is_sent_no_message_even_if_the_server_asks(
    smtp_server: SmtpServer, provider: Smtp
) -> None:
    smtp_server.will("RCPT", "550 5.1.1 unknown")
    smtp_server.will("DATA", "354 go on")
    assert outcome_of(provider) == Rejected("550", "550 5.1.1 unknown", True)
    assert isinstance(outcome_of(provider), Accepted)
    assert smtp_server.connections == 1
    assert len(smtp_server.mails) == 1


@pytest.mark.parametrize("stage", ["MAIL", "RCPT", "DATA"])
def test_a_kept_connection_that_died_is_replaced_once(
    smtp_server: SmtpServer, provider: Smtp, stage: str
) -> None:
    outcome_of(provider)
    smtp_server.will(stage, SmtpServer.CUT)
    assert isinstance(outcome_of(provider), Accepted)
    assert smtp_server.connections == 2
    smtp_server.will(stage, SmtpServer.CUT, SmtpServer.CUT, SmtpServer.CUT)
    outcome = outcome_of(provider)
    assert isinstance(outcome, RetryLater)
    assert outcome.code == "disconnected"
    assert smtp_server.connections == 3


def test_a_server_that_hung_up_meanwhile_costs_no_attempt(
    smtp_server: SmtpServer, provider: Smtp
) -> None:
    outcome_of(provider)
    smtp_server.hang_up()
    assert isinstance(outcome_of(provider), Accepted)


def test_421_on_a_kept_connection_costs_no_attempt(smtp_server: SmtpServer, provider: Smtp) -> None:
    outcome_of(provider)
    smtp_server.will("MAIL", "421 4.4.2 idle too long")
    assert isinstance(outcome_of(provider), Accepted)
    assert len(smtp_server.mails) == 2


def test_421_on_a_fresh_connection_is_told(smtp_server: SmtpServer, provider: Smtp) -> None:
    smtp_server.will("RCPT", "421 4.7.0 slow down")
    assert outcome_of(provider) == RetryLater("421", "421 4.7.0 slow down")


BEFORE_THE_DOT = ("GREETING", "EHLO", "MAIL", "RCPT", "DATA")
SOON = 0.3


@pytest.fixture
def hasty(provider: Smtp) -> Smtp:
    """A provider that gives up soon."""
    provider.deadline = timedelta(seconds=SOON)
    return provider


@pytest.mark.parametrize("how", [*tricks.TRICKS, "xyz", SmtpServer.LOST])
def test_no_answer_after_the_final_dot_is_unsure_and_never_repeated(
    smtp_server: SmtpServer, hasty: Smtp, how: str
) -> None:
    outcome_of(hasty)
    smtp_server.will("DOT", how)
    began = time.monotonic()
    assert isinstance(outcome_of(hasty), Unsure)
    assert time.monotonic() - began < SOON + 1
    assert sum(c == "DATA" for c in smtp_server.commands) == 2
    assert isinstance(outcome_of(hasty), Accepted)
    assert smtp_server.connections == 2, "on a connection of its own"


@pytest.mark.parametrize("stage", BEFORE_THE_DOT)
@pytest.mark.parametrize("how", tricks.TRICKS)
def test_the_deadline_holds_at_every_stage(
    smtp_server: SmtpServer, hasty: Smtp, stage: str, how: str
) -> None:
    smtp_server.will(stage, how)
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert isinstance(outcome_of(hasty), RetryLater)
    assert time.monotonic() - began < SOON + 1
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10
    assert not smtp_server.mails
    assert isinstance(outcome_of(hasty), Accepted)


@pytest.mark.parametrize("stage", BEFORE_THE_DOT[2:])
def test_the_deadline_holds_over_a_kept_connection_and_the_one_that_replaces_it(
    smtp_server: SmtpServer, hasty: Smtp, stage: str
) -> None:
    outcome_of(hasty)
    smtp_server.will(stage, tricks.CUT, tricks.DRIP)
    began = time.monotonic()
    assert isinstance(outcome_of(hasty), RetryLater)
    assert time.monotonic() - began < SOON + 1


@pytest.mark.parametrize("stage", ["GREETING", "EHLO"])
@pytest.mark.parametrize("answer", ["421 4.3.2 later", "451 4.3.0 busy", "554 5.3.2 never"])
def test_a_server_that_will_not_begin_is_not_the_messages_fault(
    smtp_server: SmtpServer, provider: Smtp, stage: str, answer: str
) -> None:
    smtp_server.will(stage, answer)
    assert outcome_of(provider) == RetryLater(answer[:3], answer[4:])
    assert isinstance(outcome_of(provider), Accepted)


@pytest.mark.parametrize("how", tricks.TRICKS)
@pytest.mark.parametrize("stage", ["STARTTLS", "TLS", "AUTH"])
def test_the_deadline_holds_while_a_connection_is_secured_and_logged_in(
    certificate: Certificate, stage: str, how: str
) -> None:
    with SmtpServer(tls=certificate.server_context(), login=("ada", "secret")) as server:
        provider = provider_for(
            server,
            SECURITY="starttls",
            CA_FILE=certificate.path,
            USERNAME="ada",
            PASSWORD="secret",
        )
        provider.deadline = timedelta(seconds=SOON)
        server.will(stage, how)
        began = time.monotonic()
        assert isinstance(outcome_of(provider), RetryLater)
        assert time.monotonic() - began < SOON + 1
        assert not any(c.startswith("MAIL") for c in server.commands)
        provider.close()


@pytest.mark.parametrize("answer", ["454 4.7.0 not now", "501 5.5.4 no", "xyz"])
def test_a_refused_starttls_sends_nothing_in_the_clear(
    certificate: Certificate, answer: str
) -> None:
    with SmtpServer(tls=certificate.server_context()) as server:
        provider = provider_for(server, SECURITY="starttls", CA_FILE=certificate.path)
        server.will("STARTTLS", answer)
        assert isinstance(outcome_of(provider), RetryLater)
        assert not any(c.startswith(("MAIL", "DATA")) for c in server.commands)
        provider.close()


def test_nobody_listening_is_retried_later(smtp_server: SmtpServer) -> None:
    provider = provider_for(smtp_server, PORT="1")
    assert outcome_of(provider) == RetryLater(
        "connect", "no connection: ConnectionRefusedError (Connection refused)"
    )
    assert provider.check() == (
        "connect: no connection: ConnectionRefusedError (Connection refused)"
    )


def test_a_greeting_that_refuses_is_not_the_messages_fault(
    smtp_server: SmtpServer, provider: Smtp
) -> None:
    smtp_server.will("GREETING", "554 5.7.1 no service")
    assert outcome_of(provider) == RetryLater("554", "5.7.1 no service")


def test_a_refused_login_is_not_the_messages_fault() -> None:
    with SmtpServer(login=("ada", "secret")) as server:
        provider = provider_for(server, USERNAME="ada", PASSWORD="wrong")
        server.will("AUTH", "535 5.7.8 no", "535 5.7.8 no")
        outcome = outcome_of(provider)
        assert outcome == RetryLater("auth", "login refused: 535 5.7.8 no")
        assert isinstance(outcome_of(provider), Accepted)
        provider.close()


def test_starttls_is_used_and_required(certificate: Certificate) -> None:
    with SmtpServer(tls=certificate.server_context()) as server:
        trusting = provider_for(
            server, SECURITY="starttls", HOST="localhost", CA_FILE=certificate.path
        )
        assert isinstance(outcome_of(trusting), Accepted)
        assert [c.split(" ")[0] for c in server.commands[:4]] == [
            *("EHLO", "STARTTLS", "EHLO", "MAIL")
        ]
        server.will("DOT", SmtpServer.DRIP)
        assert isinstance(outcome_of(trusting), Unsure)
        trusting.close()
        stranger = provider_for(server, SECURITY="starttls")
        outcome = outcome_of(stranger)
        assert isinstance(outcome, RetryLater)
        assert outcome.code == "tls"
    with SmtpServer() as plain:
        outcome = outcome_of(provider_for(plain, SECURITY="starttls"))
        assert outcome == RetryLater("tls", "the server offers no STARTTLS")
        assert not any(c.startswith("MAIL") for c in plain.commands)


def test_tls_from_the_first_byte(certificate: Certificate) -> None:
    with SmtpServer(tls=certificate.server_context(), implicit_tls=True) as server:
        provider = provider_for(server, SECURITY="tls", CA_FILE=certificate.path)
        assert isinstance(outcome_of(provider), Accepted)
        assert provider.check() is None
        provider.close()


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"address": "a@example.com>\r\nDATA"}, "invalid_header"),
        ({"address": "a b@example.com"}, "invalid_address"),
        ({"address": "grüße@example.com"}, "smtputf8"),
        ({"parts": {"subject": "a\r\nBcc: x@example.com", "text": "t"}}, "invalid_header"),
        ({"parts": {"subject": "a\0", "text": "t"}}, "invalid_header"),
        ({"unsubscribe_url": "https://e.com/\r\nX: y"}, "invalid_header"),
        ({"parts": {"subject": "a"}}, "missing_part"),
    ],
)
def test_what_can_not_be_a_mail_never_reaches_the_server(
    smtp_server: SmtpServer, provider: Smtp, fields: dict[str, object], code: str
) -> None:
    outcome = outcome_of(provider, **fields)
    assert isinstance(outcome, Rejected)
    assert outcome.code == code
    assert smtp_server.connections == 0


def test_a_domain_that_is_not_ascii_is_sent_in_idna(
    smtp_server: SmtpServer, provider: Smtp
) -> None:
    assert isinstance(outcome_of(provider, address="ada@bücher.example"), Accepted)
    assert smtp_server.mails[0][1] == "RCPT TO:<ada@xn--bcher-kva.example>"


def test_a_server_written_by_others_understands_us() -> None:
    received: list[Envelope] = []

    class Handler:
        async def handle_DATA(self, _: object, __: object, envelope: Envelope) -> str:
            received.append(envelope)
            return "250 taken"

    controller = Controller(Handler(), hostname="127.0.0.1", port=0)
    controller.port = _free_port()
    controller.start()
    try:
        settings = {"HOST": "127.0.0.1", "PORT": str(controller.port), "SECURITY": "none"}
        settings |= {"FROM": "notify@example.org"}
        provider = Smtp.from_environment({f"NOTIFIER_SMTP_{k}": v for k, v in settings.items()})
        assert provider is not None
        text = ".\n.. dots\nGrüße\n"
        messages = [make_message(parts={"subject": "s", "text": text}) for _ in range(20)]
        assert all(isinstance(outcome, Accepted) for _, outcome in provider.send(messages, always))
        provider.close()
    finally:
        controller.stop()
    assert len(received) == 20
    assert received[0].rcpt_tos == ["ada@example.com"]
    assert isinstance(received[0].content, bytes)
    mail = email.message_from_bytes(received[0].content, policy=email.policy.default)
    assert mail.get_payload(decode=True) == text.replace("\n", "\r\n").encode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HOST", "not a host"),
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "smtp"),
        ("SECURITY", "ssl"),
        ("FROM", ""),
        ("FROM", "nobody"),
        ("FROM", "a@example.org\r\nBcc: b@example.org"),
        ("CONNECTIONS", "0"),
        ("CONNECTIONS", "33"),
        ("TIMEOUT_SECONDS", "-1"),
        ("TIMEOUT_SECONDS", "9" * 5000),
        ("CA_FILE", "/does/not/exist"),
        ("CA_FILE", __file__),
        ("USERNAME", "ünï"),
    ],
)
def test_a_wrong_setting_is_named(smtp_server: SmtpServer, name: str, value: str) -> None:
    more = {name: value} | ({"PASSWORD": "p"} if name == "USERNAME" else {})
    with pytest.raises(SettingError) as caught:
        Smtp.from_environment(environment(smtp_server, **more))
    assert caught.value.variable == f"NOTIFIER_SMTP_{name}"


@pytest.mark.parametrize(("given", "missing"), [("USERNAME", "PASSWORD"), ("PASSWORD", "USERNAME")])
def test_user_name_and_password_go_together(
    smtp_server: SmtpServer, given: str, missing: str
) -> None:
    with pytest.raises(SettingError) as caught:
        Smtp.from_environment(environment(smtp_server, **{given: "x"}))
    assert caught.value.variable == f"NOTIFIER_SMTP_{missing}"


def test_without_a_host_it_is_not_configured() -> None:
    assert Smtp.from_environment({"NOTIFIER_SMTP_PORT": "25"}) is None


def test_the_deadline_is_the_setting(smtp_server: SmtpServer) -> None:
    assert provider_for(smtp_server, TIMEOUT_SECONDS="7").deadline == timedelta(seconds=7)
