"""The one status vocabulary of a delivery, and the moves between statuses.

The CHECK constraints of the database, the API, the dashboard and every
provider's mapping derive from here.
"""

from enum import StrEnum


class Status(StrEnum):
    """Where a delivery stands."""

    SCHEDULED = "scheduled"
    """Due later."""
    QUEUED = "queued"
    """Due, carried by a dispatch."""
    SENDING = "sending"
    """Handed to a provider whose answer is not known yet."""
    RETRYING = "retrying"
    """An attempt failed; another is due."""
    UNKNOWN = "unknown"
    """In doubt: the provider may have it. Waits for its word or an operator's."""
    SENT = "sent"
    """The provider accepted it."""
    DELIVERED = "delivered"
    """The provider says it arrived."""
    OPENED = "opened"
    CLICKED = "clicked"
    COMPLAINED = "complained"
    """The recipient reported it as unwanted."""
    BOUNCED = "bounced"
    """The address does not take it."""
    FAILED = "failed"
    """Rejected, exhausted or impossible to render; see the dead letters."""
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    """Its deadline passed before it was sent."""
    REFUSED = "refused"
    """Never to be sent, for the reason on the row."""


class Reason(StrEnum):
    """Why a delivery was refused."""

    OPTED_OUT = "opted_out"
    CAPPED = "capped"
    SUPPRESSED_ADDRESS = "suppressed_address"
    NO_ADDRESS = "no_address"
    NO_PROVIDER = "no_provider"
    OVER_LIMIT = "over_limit"
    PAUSED = "paused"
    EXPIRED = "expired"


class Actor(StrEnum):
    """Who moves a delivery."""

    ENGINE = "engine"
    RECEIPTS = "receipts"
    OPERATOR = "operator"


S = Status

WAITING: frozenset[Status] = frozenset({S.SCHEDULED, S.QUEUED, S.RETRYING})
"""Statuses from which a send may start."""

UNFINISHED: frozenset[Status] = WAITING | {S.SENDING}
"""Statuses in which a dispatch carries the delivery. `unknown` waits outside, in `in_doubt`."""

FINAL: frozenset[Status] = frozenset(Status) - UNFINISHED - {S.UNKNOWN}

RECEIVED: tuple[Status, ...] = (
    S.SENT,
    S.FAILED,
    S.DELIVERED,
    S.BOUNCED,
    S.OPENED,
    S.CLICKED,
    S.COMPLAINED,
)
"""What a receipt can tell, the weakest word first. Each means that the provider had taken it."""

_ATTEMPTED: frozenset[Status] = frozenset(
    {S.SENT, S.DELIVERED, S.RETRYING, S.FAILED, S.BOUNCED, S.UNKNOWN}
)

MOVES: dict[Actor, dict[Status, frozenset[Status]]] = {
    Actor.ENGINE: {
        S.SCHEDULED: frozenset({S.QUEUED, S.SENDING, S.CANCELLED, S.EXPIRED, S.REFUSED})
        | _ATTEMPTED,
        S.QUEUED: frozenset({S.SENDING, S.SCHEDULED, S.CANCELLED, S.EXPIRED, S.REFUSED})
        | _ATTEMPTED,
        S.RETRYING: frozenset({S.SENDING, S.CANCELLED, S.EXPIRED, S.REFUSED}) | _ATTEMPTED,
        # Back to queued: announced as about to be sent, and then not begun.
        S.SENDING: _ATTEMPTED | {S.QUEUED},
        S.UNKNOWN: frozenset({S.SENT, S.DELIVERED, S.FAILED, S.BOUNCED, S.RETRYING}),
    },
    # A provider's word arrives late and in any order: the strongest stands in the end. It
    # overrules whatever we believed ourselves (truth first), so also a failure or a bounce that
    # our own attempt ended in; one that the provider told yields to stronger words only, see
    # `needs_unsent`.
    Actor.RECEIPTS: {
        **{
            before: frozenset(RECEIVED)
            for before in (*UNFINISHED, S.UNKNOWN, S.CANCELLED, S.EXPIRED)
        },
        **{before: frozenset(RECEIVED[place + 1 :]) for place, before in enumerate(RECEIVED[:-1])},
        **{before: frozenset(RECEIVED) - {before} for before in (S.FAILED, S.BOUNCED)},
    },
    # Replay reopens the same delivery; an operator also settles what stays in doubt.
    Actor.OPERATOR: {
        S.SCHEDULED: frozenset({S.CANCELLED}),
        S.QUEUED: frozenset({S.CANCELLED}),
        S.RETRYING: frozenset({S.CANCELLED}),
        S.UNKNOWN: frozenset({S.QUEUED, S.CANCELLED, S.SENT, S.FAILED}),
        S.FAILED: frozenset({S.QUEUED}),
        S.BOUNCED: frozenset({S.QUEUED}),
    },
}


def may_move(actor: Actor, before: Status, after: Status) -> bool:
    """Whether `actor` may move a delivery from `before` to `after`."""
    return after in MOVES[actor].get(before, frozenset())


def needs_unsent(after: Status) -> frozenset[Status]:
    """Statuses that a receipt's `after` overrules only where nobody has told yet that the provider
    took the message (`sent_at` is not set): else the provider itself told something stronger.
    """
    stronger = RECEIVED[RECEIVED.index(after) + 1 :]
    return frozenset({S.FAILED, S.BOUNCED} & set(stronger))
