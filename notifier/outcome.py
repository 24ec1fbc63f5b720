"""What came of one attempt: the values a provider answers with.

Two places match on them, exhaustively: `notifier.settle` for a send, `notifier.reconcile` for the
answer to a question.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta


class _Told:
    """What a provider told in its own words, made fit to be kept."""

    __slots__: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in self.__slots__:
            text = getattr(self, name)
            if isinstance(text, str) and not (text.isascii() and text.isprintable()):
                object.__setattr__(self, name, _storable(text))


def _storable(text: str) -> str:
    """The text without what Postgres can not hold: NUL and halves of surrogate pairs."""
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


@dataclass(frozen=True, slots=True)
class Accepted(_Told):
    """The provider took responsibility for the message.

    provider_message_id: the provider's own id, where it gives one to ask or call back with.
    raw: the provider's own words, shortened (a reply line, a status word).
    delivered: the answer itself proves arrival (an inbox row, an endpoint's 2xx).
    segments: of an SMS, where the provider says how many it makes of it.
    """

    provider_message_id: str | None = None
    raw: str | None = None
    delivered: bool = False
    segments: int | None = None


@dataclass(frozen=True, slots=True)
class RetryLater(_Told):
    """Not accepted, and worth another try.

    after: the least wait the provider asked for, already bounded by the channel.
    throttled: the provider works, and has been given too much: no reason to hold it for broken.
    """

    code: str
    reason: str
    after: timedelta | None = None
    throttled: bool = False


@dataclass(frozen=True, slots=True)
class Rejected(_Told):
    """Not accepted, and never will be as it stands.

    address_dead: the address itself is gone; the contact point is retired.
    """

    code: str
    reason: str
    address_dead: bool = False


@dataclass(frozen=True, slots=True)
class Unsure(_Told):
    """The request may or may not have taken effect (a timeout after it left)."""

    reason: str


@dataclass(frozen=True, slots=True)
class NotFound:
    """Asked after an attempt in doubt, the provider has no trace of it: it never arrived."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Asked after an attempt in doubt, the provider has messages of which one may be it: to the
    same address, since the attempt began. It can not tell them apart by our id; the engine knows
    which of them are other deliveries'.
    """

    found: Mapping[str, Accepted | Rejected]
    """By the provider's own id of each."""


Outcome = Accepted | RetryLater | Rejected | Unsure
Answer = Accepted | Rejected | NotFound | Candidates | Unsure
"""What a provider can say of an attempt in doubt."""
