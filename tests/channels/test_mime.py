"""The hand-made message bytes, read back by the standard library."""

import email
import email.policy
import time
from datetime import UTC, datetime
from email.header import decode_header, make_header
from email.message import EmailMessage
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notifier.channels.contract import Attachment
from notifier.channels.mime import LINE_LIMIT, Composer, Sender
from notifier.outcome import Rejected
from tests.channels.conftest import make_message

NOW = datetime(2026, 11, 21, 5, 0, tzinfo=UTC)
SENDER = Sender("Notifier <notify@example.org>")
SCALARS = st.characters(exclude_categories=["Cs"])
HEADER_TEXT = st.text(st.characters(exclude_categories=("Cs", "Cc", "Zl", "Zp")), max_size=300)
BODY = st.text(SCALARS, max_size=2000) | st.text(st.sampled_from("ab .\r\n=\t-"), max_size=3000)


def composed(**fields: Any) -> bytes:
    message = make_message(**fields)
    made = Composer(SENDER, NOW).compose(message, message.address)
    assert isinstance(made, bytes)
    return made


def parsed(octets: bytes) -> EmailMessage:
    message = email.message_from_bytes(octets, policy=email.policy.default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def normal(text: str) -> str:
    """What a body becomes: one kind of line end, and the last line ended."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return lines if lines.endswith("\n") else lines + "\n"


def body_of(part: Any) -> str:
    octets = part.get_payload(decode=True)
    return str(octets.decode("utf-8")).replace("\r\n", "\n")


def test_headers_are_complete() -> None:
    message = make_message(unsubscribe_url="https://example.org/u/abc?d=1")
    made = Composer(SENDER, NOW).compose(message, message.address)
    assert isinstance(made, bytes)
    mail = parsed(made)
    assert dict(mail.items()) == {
        "From": "Notifier <notify@example.org>",
        "Date": "Sat, 21 Nov 2026 05:00:00 +0000",
        "MIME-Version": "1.0",
        "Auto-Submitted": "auto-generated",
        "To": "ada@example.com",
        "Subject": "Due soon",
        "Message-ID": f"<{message.delivery_id}@example.org>",
        "X-Notifier-Delivery": str(message.delivery_id),
        "X-Notifier-Correlation": message.correlation_id,
        "List-Unsubscribe": "<https://example.org/u/abc?d=1>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "Content-Type": 'text/plain; charset="utf-8"',
        "Content-Transfer-Encoding": "7bit",
    }


def test_text_and_html_are_alternatives_with_html_last() -> None:
    mail = parsed(composed(parts={"subject": "s", "text": "Grüße", "html": "<p>" + "ü" * 999}))
    assert mail.get_content_type() == "multipart/alternative"
    text, html = mail.iter_parts()
    assert (text.get_content_type(), body_of(text)) == ("text/plain", "Grüße\n")
    assert (html.get_content_type(), body_of(html)) == ("text/html", "<p>" + "ü" * 999 + "\n")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("plain", "7bit"),
        ("x" * 998, "7bit"),
        ("x" * 999, "quoted-printable"),
        ("a bell \a", "quoted-printable"),
        ("Ein Gruß aus der Küche, mit viel gewöhnlichem Text", "quoted-printable"),
        ("Привет, мир", "base64"),
    ],
)
def test_a_body_takes_the_plainest_encoding_that_is_safe(text: str, encoding: str) -> None:
    assert parsed(composed(parts={"subject": "", "text": text}))["Content-Transfer-Encoding"] == (
        encoding
    )


@settings(max_examples=300, deadline=None)
@given(subject=HEADER_TEXT, text=BODY, html=BODY | st.none())
def test_subject_and_bodies_come_back(subject: str, text: str, html: str | None) -> None:
    parts = {"subject": subject, "text": text} | ({"html": html} if html is not None else {})
    octets = composed(parts=parts)
    assert octets.endswith(b"\r\n")
    lines = octets.split(b"\r\n")
    assert max(map(len, lines)) <= LINE_LIMIT
    assert octets.isascii()
    assert b"\n" not in octets.replace(b"\r\n", b"")
    assert b"\r" not in octets.replace(b"\r\n", b"")
    head = octets.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert max(map(len, head)) <= 78
    mail = parsed(octets)
    assert str(mail["Subject"]) == subject
    found = list(mail.iter_parts()) if html is not None else [mail]
    assert [body_of(part) for part in found] == [normal(text)] + (
        [normal(html)] if html is not None else []
    )


@settings(max_examples=300, deadline=None)
@given(name=HEADER_TEXT.map(lambda text: " ".join(text.split())).filter(bool))
def test_a_senders_name_comes_back(name: str) -> None:
    quoted = name.replace("\\", "\\\\").replace('"', '\\"')
    sender = Sender(f'"{quoted}" <notify@example.org>')
    message = make_message()
    octets = Composer(sender, NOW).compose(message, message.address)
    assert isinstance(octets, bytes)
    assert parsed(octets)["From"].addresses[0].addr_spec == "notify@example.org"
    # The standard library's own phrase parser keeps the blank between two encoded words,
    # which RFC 2047, 6.2 has a reader drop; `make_header` drops it.
    folded = email.message_from_bytes(octets, policy=email.policy.compat32)["From"]
    shown = folded.replace("\n ", " ").removesuffix(" <notify@example.org>")
    if name.isascii() and shown.startswith('"'):
        shown = shown[1:-1].replace('\\"', '"').replace("\\\\", "\\")
    assert str(make_header(decode_header(shown))) == name


@settings(max_examples=200, deadline=None)
@given(
    before=st.text(SCALARS, max_size=20),
    bad=st.sampled_from("\r\n\0"),
    after=st.text(SCALARS, max_size=20),
    field=st.sampled_from(["subject", "unsubscribe", "to"]),
)
def test_line_breaks_and_nul_are_refused_in_every_header(
    before: str, bad: str, after: str, field: str
) -> None:
    value = before + bad + after
    fields: dict[str, Any] = {}
    if field == "subject":
        fields["parts"] = {"subject": value, "text": "t"}
    if field == "unsubscribe":
        fields["unsubscribe_url"] = value
    recipient = value if field == "to" else "ada@example.com"
    made = Composer(SENDER, NOW).compose(make_message(**fields), recipient)
    assert isinstance(made, Rejected)
    assert made.code == "invalid_header"


@pytest.mark.parametrize("text", ["", "x", "a@", "a@b@c", "A <a@example.org>\n", "a@exa mple.org"])
def test_a_sender_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="e-mail"):
        Sender(text)


def test_the_same_delivery_has_the_same_message_id_at_every_attempt() -> None:
    first = make_message()
    again = make_message(delivery_id=first.delivery_id, attempt=2)
    ids = set()
    for message in (first, again):
        made = Composer(SENDER, datetime.now(UTC)).compose(message, message.address)
        assert isinstance(made, bytes)
        ids.add(parsed(made)["Message-ID"])
    assert ids == {f"<{first.delivery_id}@example.org>"}


def test_a_surrogate_that_stands_alone_does_not_stop_a_mail() -> None:
    mail = parsed(composed(parts={"subject": "a\ud800b", "text": "c\udfffd"}))
    assert (str(mail["Subject"]), body_of(mail)) == ("a?b", "c?d\n")


def test_composing_stays_far_below_the_cost_of_sending() -> None:
    message = make_message(
        parts={"subject": "Grüße, Ada", "text": "Hallo Ada\n" * 40, "html": "<p>Grüße</p>\n" * 80}
    )
    composer = Composer(SENDER, NOW)
    began = time.process_time()
    for _ in range(500):
        composer.compose(message, message.address)
    assert (time.process_time() - began) / 500 < 0.000_5


FILES = (
    Attachment("invoice 17.pdf", "application/pdf", bytes(range(256)) * 9),
    Attachment('Grüße aus Köln; "eilig".txt', "text/plain", "Grüße".encode()),
    Attachment("ж" * 127, "application/octet-stream", b"\r\n.\r\n--=_"),
)


@pytest.mark.parametrize("parts", [{}, {"html": "<p>Hello</p>"}])
def test_files_follow_the_text(parts: dict[str, str]) -> None:
    octets = composed(parts={"subject": "s", "text": "Hello", **parts}, attachments=FILES)
    assert max(map(len, octets.split(b"\r\n"))) <= LINE_LIMIT
    mail = parsed(octets)
    assert mail.get_content_type() == "multipart/mixed"
    said, *files = mail.iter_parts()
    if parts:
        assert said.get_content_type() == "multipart/alternative"
        assert [part.get_content_type() for part in said.iter_parts()] == [
            "text/plain",
            "text/html",
        ]
    else:
        assert (said.get_content_type(), body_of(said)) == ("text/plain", "Hello\n")
    found = [(f.get_filename(), f.get_content_type(), f.get_payload(decode=True)) for f in files]
    assert found == [(file.name, file.media_type, file.content) for file in FILES]
    assert {file.get_content_disposition() for file in files} == {"attachment"}


@settings(deadline=None, max_examples=60)
@given(
    name=st.text(st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="/\\")).filter(
        lambda name: 1 <= len(name.encode()) <= 255
    ),
    content=st.binary(min_size=1, max_size=400),
)
def test_any_file_is_read_back(name: str, content: bytes) -> None:
    octets = composed(attachments=[Attachment(name, "application/x-anything", content)])
    assert max(map(len, octets.split(b"\r\n"))) <= LINE_LIMIT
    _, file = parsed(octets).iter_parts()
    assert (file.get_filename(), file.get_payload(decode=True)) == (name, content)


def test_a_mail_in_a_file_is_a_file() -> None:
    eml = b"Subject: forwarded\r\n\r\nHello\r\n"
    _, file = parsed(
        composed(attachments=[Attachment("a.eml", "message/rfc822", eml)])
    ).iter_parts()
    assert (file.get_filename(), file.get_payload(decode=True)) == ("a.eml", eml)
