"""What an address of each channel looks like, whoever the vendor.

Used where an address enters (API, audience) and once more before it goes on the wire.
"""

import re
from urllib.parse import urlsplit

from notifier.channels import apprise_services, push
from notifier.words import Channel

LONGEST = 2048
"""Characters of an address at most; the practical limit of URLs."""

_PLAIN_EMAIL = re.compile(
    r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]{1,64}(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*"
    r"@(?:[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)+[A-Za-z]{2,63}"
)
"""Dot-atom at a dotted host name (RFC 5321, 4.1.2): all but a few addresses, at 1 µs each."""

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
"""ITU-T E.164: country code and number, 15 digits at most; none real is below 7."""

SLACK_HOOK = "https://hooks.slack.com/services/"
"""How an incoming webhook's URL begins; the rest of it is a secret."""

_SLACK = re.compile(
    r"[CDGUW][A-Z0-9]{2,20}"
    r"|#[^\s#@<>&,]{1,80}"
    rf"|{re.escape(SLACK_HOOK)}[^\s?#]+"
)
"""The id of a conversation or a person, a channel's name, or an incoming webhook."""

_SERVICE = re.compile(r"([A-Za-z0-9]{1,32})://[^\s]+")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

EXPECTED_EMAIL = "an e-mail address such as name@example.com"
EXPECTED_PHONE = "a phone number in E.164, such as +4915112345678"
EXPECTED_URL = "an http or https URL with a host and without user name or password"
EXPECTED_SLACK = (
    "a Slack id such as C0123456789, a channel such as #general, "
    f"or the URL of an incoming webhook ({SLACK_HOOK}…)"
)
EXPECTED_TEAMS = "the https URL of a Teams workflow's webhook"
EXPECTED_APPRISE = (
    "an Apprise URL of a service reached over the network, such as tgram://token/chat"
)
EXPECTED_TEXT = f"1 to {LONGEST} characters, none of them a control character"


def check_address(channel: Channel, address: str) -> str | None:
    """What was expected, where `address` can not be one of `channel`; else None.

    Looks at the form only: nothing is resolved or contacted.
    """
    if not address.strip() or len(address) > LONGEST or _CONTROL.search(address):
        return {
            Channel.EMAIL: EXPECTED_EMAIL,
            Channel.SMS: EXPECTED_PHONE,
            Channel.VOICE: EXPECTED_PHONE,
            Channel.WEBHOOK: EXPECTED_URL,
            Channel.PUSH: push.EXPECTED,
            Channel.SLACK: EXPECTED_SLACK,
            Channel.TEAMS: EXPECTED_TEAMS,
            Channel.APPRISE: EXPECTED_APPRISE,
        }.get(channel, EXPECTED_TEXT)
    match channel:
        case Channel.EMAIL:
            return None if ascii_email(address) or _is_email(address) else EXPECTED_EMAIL
        case Channel.SMS | Channel.VOICE:
            return None if _E164.fullmatch(address) else EXPECTED_PHONE
        case Channel.WEBHOOK:
            return None if _is_url(address) else EXPECTED_URL
        case Channel.PUSH:
            return push.check(address)
        case Channel.SLACK:
            return None if _SLACK.fullmatch(address) else EXPECTED_SLACK
        case Channel.TEAMS:
            is_https = address.startswith("https://") and _is_url(address)
            return None if is_https else EXPECTED_TEAMS
        case Channel.APPRISE:
            return _apprise_problem(address)
    return None


def _apprise_problem(address: str) -> str | None:
    """The service is looked for by its name only: whether Apprise can make anything of the rest is
    known where it is loaded, in the worker that sends.
    """
    found = _SERVICE.fullmatch(address)
    if found is None:
        return EXPECTED_APPRISE
    service = found[1].lower()
    if service not in apprise_services.NETWORK:
        return f"{EXPECTED_APPRISE}; {service}:// is none that is allowed"
    return None


def ascii_email(address: str) -> str | None:
    """The form to put on the wire: its domain in IDNA; None where there is no such form.

    An address whose local part is not ASCII has none: it needs SMTPUTF8 (RFC 6531).
    """
    if len(address) <= 254 and _PLAIN_EMAIL.fullmatch(address):
        local = address.partition("@")[0]
        return address if len(local) <= 64 else None
    from email_validator import EmailNotValidError, validate_email

    try:
        return validate_email(
            address, check_deliverability=False, test_environment=True, strict=True
        ).ascii_email
    except EmailNotValidError:
        return None


def _is_email(address: str) -> bool:
    from email_validator import EmailNotValidError, validate_email

    try:
        validate_email(address, check_deliverability=False, test_environment=True, strict=True)
    except EmailNotValidError:
        return False
    return True


def _is_url(address: str) -> bool:
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:  # a port that is no number, brackets that do not close
        return False
    return (
        parts.scheme in ("http", "https")
        and bool(parts.hostname)
        and "@" not in parts.netloc
        and "\\" not in parts.netloc
        and not re.search(r"\s", address)
        and port != 0
    )
