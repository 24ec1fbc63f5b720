"""The vocabulary every table, page and log key shares: channels, lanes, sources.

Statuses have a file of their own (`notifier.status`); the database's CHECK
constraints are generated from both.
"""

import re
from dataclasses import dataclass
from enum import StrEnum


class Channel(StrEnum):
    """A way to reach a recipient."""

    EMAIL = "email"
    SMS = "sms"
    PUSH = "push"
    INAPP = "inapp"
    SLACK = "slack"
    TEAMS = "teams"
    VOICE = "voice"
    WEBHOOK = "webhook"
    APPRISE = "apprise"


class InDoubt(StrEnum):
    """What a channel does with an attempt whose outcome nobody knows."""

    RESEND = "resend"
    """Send again under the same idempotency key: the receiver can tell."""
    RECONCILE = "reconcile"
    """Ask the provider first: a repeat would reach the recipient twice."""


@dataclass(frozen=True, slots=True)
class ChannelTraits:
    """How the engine treats a channel.

    chunk: deliveries one dispatch carries at most.
    window: sends between two outcome writes at most, fewer where a provider is slow; what a
        crash leaves in doubt.
    secret_address: whether its addresses are keys as well (a hook's URL, a token), and not shown.
    """

    chunk: int
    window: int
    in_doubt: InDoubt
    secret_address: bool = False


TRAITS: dict[Channel, ChannelTraits] = {
    Channel.EMAIL: ChannelTraits(chunk=500, window=500, in_doubt=InDoubt.RESEND),
    Channel.SMS: ChannelTraits(chunk=100, window=50, in_doubt=InDoubt.RECONCILE),
    Channel.PUSH: ChannelTraits(
        chunk=100, window=100, in_doubt=InDoubt.RESEND, secret_address=True
    ),
    Channel.INAPP: ChannelTraits(chunk=1000, window=1000, in_doubt=InDoubt.RESEND),
    Channel.SLACK: ChannelTraits(chunk=50, window=50, in_doubt=InDoubt.RESEND, secret_address=True),
    Channel.TEAMS: ChannelTraits(chunk=50, window=50, in_doubt=InDoubt.RESEND, secret_address=True),
    Channel.VOICE: ChannelTraits(chunk=50, window=50, in_doubt=InDoubt.RECONCILE),
    Channel.WEBHOOK: ChannelTraits(chunk=500, window=500, in_doubt=InDoubt.RESEND),
    Channel.APPRISE: ChannelTraits(
        chunk=25, window=25, in_doubt=InDoubt.RESEND, secret_address=True
    ),
}


class Lane(StrEnum):
    """How urgent work is; each channel has one queue a lane."""

    CRITICAL = "critical"
    NORMAL = "normal"
    BULK = "bulk"


class Source(StrEnum):
    """What kind of program emitted an event."""

    DATABASE_TRIGGER = "database_trigger"
    WORKER_JOB = "worker_job"
    API_ACTION = "api_action"
    CRON_SCHEDULER = "cron_scheduler"


class Severity(StrEnum):
    """How much an operator should care about a system event."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class ConnectionStatus(StrEnum):
    """Whether a tenant's connection to an account can be used."""

    ACTIVE = "active"
    REVOKED = "revoked"


LOCALE = r"[A-Za-z]{2,8}([-_][A-Za-z0-9]{1,8})*"
"""A language tag, as a regular expression."""
LONGEST_LOCALE = 35
"""Characters of a tag at least to be allowed for: RFC 5646, section 4.4.1."""


def is_locale(given: str) -> bool:
    return len(given) <= LONGEST_LOCALE and re.fullmatch(LOCALE, given) is not None


def locale_tag(given: str) -> str:
    """`de-AT` for `de_at`: locales are compared as they are written (RFC 5646, section 2.1.1)."""
    language, *others = given.replace("_", "-").split("-")
    cased = [
        other.upper() if len(other) == 2 else other.title() if len(other) == 4 else other.lower()
        for other in others
    ]
    return "-".join([language.lower(), *cased])


class Decision(StrEnum):
    """What an operator says of deliveries in doubt."""

    SENT = "sent"
    FAILED = "failed"
    """It becomes a dead letter, which can be replayed."""
    RESEND = "resend"
    """It is sent with a fresh set of attempts: whoever had it already gets it twice."""


class DispatchKind(StrEnum):
    """What the work a dispatch carries is."""

    DELIVER = "deliver"
    FAN_OUT = "fan_out"
    RECONCILE = "reconcile"
    RECEIVE = "receive"
