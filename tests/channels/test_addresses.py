"""The form of addresses, channel by channel."""

import pytest
from email_validator import EmailNotValidError, validate_email
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.provisional import domains

from notifier.channels.addresses import ascii_email, check_address
from notifier.words import Channel
from tests.conftest import Database

# The keys of RFC 8291, 5.
P256DH = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
SUBSCRIPTION = (
    '{"endpoint": "https://push.example.net/1", '
    f'"keys": {{"p256dh": "{P256DH}", "auth": "BTBZMqHH6r4Tts7J_aSIgg"}}}}'
)

GOOD = [
    (Channel.EMAIL, "ada@example.com"),
    (Channel.EMAIL, "ada+tag.x@sub.example.co.uk"),
    (Channel.EMAIL, "ada@bücher.example"),
    (Channel.EMAIL, "grüße@example.com"),
    (Channel.SMS, "+4915112345678"),
    (Channel.VOICE, "+12025550123"),
    (Channel.WEBHOOK, "https://example.com/hook?x=1"),
    (Channel.WEBHOOK, "http://[2a00::1]:8080/"),
    (Channel.SLACK, "#general"),
    (Channel.PUSH, "fcm:" + "x" * 2044),
    (Channel.PUSH, "apns:" + "0aF1" * 16),
    (Channel.PUSH, SUBSCRIPTION),
    (Channel.PUSH, SUBSCRIPTION.replace('"}}', '=="}, "expirationTime": null}')),
    (Channel.SLACK, "#überraschung-2_b"),
    (Channel.SLACK, "C0123456789"),
    (Channel.SLACK, "G0123456789"),
    (Channel.SLACK, "D0123456789"),
    (Channel.SLACK, "U0123456789"),
    (Channel.SLACK, "W0123456789"),
    (Channel.SLACK, "https://hooks.slack.com/services/T00000000/B00000000/XXXXXXXXXXXX"),
    (Channel.TEAMS, "https://prod-1.westeurope.logic.azure.com:443/workflows/1/run?sp=%2Fa&sig=b"),
    (Channel.TEAMS, "https://a.09.environment.api.powerplatform.com/powerautomate/workflows/1"),
    (Channel.APPRISE, "json://user:password@example.com/path?+X-Own=1"),
    (Channel.APPRISE, "JSONS://example.com"),
    (Channel.INAPP, "user-1"),
]

BAD = [
    (Channel.EMAIL, "ada"),
    (Channel.EMAIL, "ada@"),
    (Channel.EMAIL, "ada@example"),
    (Channel.EMAIL, "ada@@example.com"),
    (Channel.EMAIL, "ada@example..com"),
    (Channel.EMAIL, "a" * 65 + "@example.com"),
    (Channel.EMAIL, "ada@example.com\nBcc: eve@example.com"),
    (Channel.EMAIL, "Ada <ada@example.com>"),
    (Channel.SMS, "4915112345678"),
    (Channel.SMS, "+0915112345678"),
    (Channel.SMS, "+49 151 12345678"),
    (Channel.SMS, "+1234567890123456"),
    (Channel.SMS, "+٤٩١٥١١٢٣٤٥"),
    (Channel.VOICE, "+123"),
    (Channel.WEBHOOK, "ftp://example.com/"),
    (Channel.WEBHOOK, "https://user:word@example.com/"),
    (Channel.WEBHOOK, "https:///path"),
    (Channel.WEBHOOK, "https://example.com:0/"),
    (Channel.WEBHOOK, "https://example.com/a b"),
    (Channel.SLACK, ""),
    (Channel.SLACK, "   "),
    (Channel.SLACK, "general"),
    (Channel.SLACK, "#"),
    (Channel.SLACK, "#two words"),
    (Channel.SLACK, "#" + "x" * 81),
    (Channel.SLACK, "c0123456789"),
    (Channel.SLACK, "B0123456789"),
    (Channel.SLACK, "@ada"),
    (Channel.SLACK, "http://hooks.slack.com/services/T/B/x"),
    (Channel.SLACK, "https://hooks.slack.com/services/"),
    (Channel.SLACK, "https://hooks.slack.com/services/T/B/x?y"),
    (Channel.SLACK, "https://hooks.slack.com.example.com/services/T/B/x"),
    (Channel.SLACK, "https://hooks.slack.com/workflows/T/B/x"),
    (Channel.TEAMS, "a\x00b"),
    (Channel.PUSH, "fcm:" + "x" * 2045),
    (Channel.PUSH, "fcm:"),
    (Channel.PUSH, "fcm:a b"),
    (Channel.PUSH, "apns:" + "0aF1" * 15),
    (Channel.PUSH, "apns:" + "xyz1" * 16),
    (Channel.PUSH, "a token"),
    (Channel.PUSH, "[" * 2000),
    (Channel.PUSH, '{"endpoint":' + "[" * 2000),
    (Channel.PUSH, "{}"),
    (Channel.PUSH, '{"endpoint": "https://push.example.net/1", "keys": null}'),
    (Channel.PUSH, SUBSCRIPTION.replace("https:", "http:")),
    (Channel.PUSH, SUBSCRIPTION.replace("push.example.net", "me:word@push.example.net")),
    (Channel.PUSH, SUBSCRIPTION.replace('"https://push.example.net/1"', "7")),
    (Channel.PUSH, SUBSCRIPTION.replace(P256DH, P256DH[:-1])),
    (Channel.PUSH, SUBSCRIPTION.replace(P256DH, "A" + P256DH[1:])),
    (Channel.PUSH, SUBSCRIPTION.replace(P256DH, P256DH[:-4] + "AAAA")),
    (Channel.PUSH, SUBSCRIPTION.replace('"BTBZ', '"TBZ')),
    (Channel.TEAMS, "http://prod-1.westeurope.logic.azure.com/workflows/1"),
    (Channel.TEAMS, "https://user:word@prod-1.westeurope.logic.azure.com/"),
    (Channel.TEAMS, "https:///workflows"),
    (Channel.TEAMS, "https://example.com/a b"),
    (Channel.APPRISE, "json"),
    (Channel.APPRISE, "json://"),
    (Channel.APPRISE, "json://a b"),
    (Channel.APPRISE, "syslog://localhost"),
    (Channel.APPRISE, "dbus://"),
    (Channel.APPRISE, "windows://x"),
    (Channel.APPRISE, "file:///etc/passwd"),
    (Channel.APPRISE, "https://example.com/"),
    (Channel.APPRISE, "a\u2028b"),
]


@pytest.mark.parametrize(("channel", "address"), GOOD)
def test_addresses_of_the_right_form_pass(channel: Channel, address: str) -> None:
    assert check_address(channel, address) is None


@pytest.mark.parametrize(("channel", "address"), BAD)
def test_others_are_told_what_was_expected(channel: Channel, address: str) -> None:
    assert check_address(channel, address)


def test_the_database_agrees_about_slack_teams_and_apprise(database: Database) -> None:
    chat = {Channel.SLACK, Channel.TEAMS, Channel.APPRISE}
    question = "SELECT notifier.address_problem(%s, %s)"
    for channel, address in GOOD + BAD:
        if channel in chat and "\x00" not in address:
            problem = database.one(question, str(channel), address)
            assert (problem is None) == ((channel, address) in GOOD), address


@settings(deadline=None)
@given(st.from_regex(r"[a-z0-9.!#$%&'*+/=?^_`{|}~-]{1,70}", fullmatch=True), domains())
def test_the_quick_check_agrees_with_email_validator(local: str, domain: str) -> None:
    address = f"{local}@{domain}"
    try:
        expected = validate_email(address, check_deliverability=False).ascii_email
    except EmailNotValidError:
        expected = None
    found = ascii_email(address)
    if expected is not None:
        assert found is not None
        assert found.lower() == expected.lower()


def test_a_domain_goes_on_the_wire_in_idna_and_a_local_part_not_at_all() -> None:
    assert ascii_email("ada@bücher.example") == "ada@xn--bcher-kva.example"
    assert ascii_email("grüße@example.com") is None
