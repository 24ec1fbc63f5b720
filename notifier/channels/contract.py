"""What the engine and a provider promise each other.

The engine hands over rendered messages and reads outcomes; a provider sees no
database and no queue, the engine no vendor. `registry` finds providers by
discovery, and one contract suite in the tests runs over all of them.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import ClassVar

from notifier.channels.oauth import OAuth
from notifier.outcome import Answer, Outcome, Unsure
from notifier.status import Status
from notifier.words import Channel


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that an e-mail carries.

    name: for its reader; 1 to 255 bytes in UTF-8, no slashes and no control characters.
    media_type: such as application/pdf, in ASCII, without parameters.
    """

    name: str
    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Message:
    """One rendered message for one address.

    delivery_id: the idempotency key towards the provider; the same at every attempt.
    parts: the rendered parts by name. E-mail has `subject`, `text` and optionally `html`;
        in-app `title` and `message`; webhook `body` (JSON text); SMS and voice `text`; push, Slack,
        Teams and Apprise `text` and optionally `title` and `url` (where it leads), push also
        `collapse_key` (a later message with the same one takes its place) and `badge` (the number
        on the app's icon, in digits; empty: none).
    secret: the address's own signing secret, where it has one (webhook), as stored.
    token: the access token of the account that its tenant has connected, where the provider has an
        `oauth`; None: the tenant has connected none; empty: it had, and the provider's own account
        is not to speak for it.
    unsubscribe_url: one-click unsubscribe target for mail that may be muted, else None.
    acknowledge_url: page on which the recipient says that they take care of it; None where nobody
        waits for that. Where one can act inside the message, a button or a key is beside it.
    expires_at: after which it is of no use; None: never.
    urgent: whether it goes by the critical lane.
    attachments: of an e-mail; 7,000,000 bytes together at most.
    """

    delivery_id: uuid.UUID
    event_id: uuid.UUID
    tenant_id: uuid.UUID
    event_type: str
    channel: Channel
    address: str
    parts: Mapping[str, str]
    attempt: int
    correlation_id: str
    recipient_id: uuid.UUID | None = None
    secret: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    unsubscribe_url: str | None = None
    acknowledge_url: str | None = None
    expires_at: datetime | None = None
    urgent: bool = False
    attachments: Sequence[Attachment] = ()

    @property
    def weight(self) -> int:
        """Bytes of its attachments."""
        return sum(len(file.content) for file in self.attachments)


@dataclass(frozen=True, slots=True)
class Question:
    """An attempt in doubt, to ask its provider about.

    message: without its parts: what was rendered then need not render now. `attempt` is the one in
        doubt.
    since: when it was announced, by the database's clock: nothing was sent before.
    """

    message: Message
    since: datetime


@dataclass(frozen=True, slots=True)
class Call:
    """What a provider calls back with, as it came over HTTP.

    url: as the provider knows it, beginning with our public address, query and all.
    headers: by name in lower case.
    """

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes


class Forged(Exception):
    """A call back whose signature is missing or wrong. The text says which."""


class Misunderstood(Exception):
    """A call back that is signed well, but is not what its provider sends. The text says why."""


class NotNow(Exception):
    """A call back that can not be checked now, and should come again. The text says why."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a provider says became of a message.

    status: one of `status.RECEIVED`; None: nothing that changes it (it is queued, it rings).
    delivery_id: where the call names it; else it is found by `provider_message_id`.
    raw: the provider's own word. at: its own clock's time, where it tells.
    address_dead: the address itself is gone; comes with BOUNCED.
    segments, price, currency: what it cost, where it says so.
    """

    status: Status | None
    provider_message_id: str
    raw: str
    delivery_id: uuid.UUID | None = None
    at: datetime | None = None
    code: str | None = None
    detail: str | None = None
    segments: int | None = None
    price: Decimal | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Replied:
    """A recipient wrote back a word that says whether they want more.

    wanted: True for START, False for STOP. word: what they wrote.
    """

    channel: Channel
    address: str
    wanted: bool
    word: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A recipient acted inside the message. by: how, such as `keypress`."""

    delivery_id: uuid.UUID
    by: str


Fact = Told | Replied | Acknowledged


@dataclass(frozen=True, slots=True)
class Heard:
    """What a call back says, and what its provider wants to read in answer.

    status: of the answer, where it must not be 204 although there is no text.
    """

    facts: Sequence[Fact]
    answer: str = ""
    media_type: str = "text/plain"
    status: int | None = None


MayStart = Callable[[], bool]
"""Whether another send may begin: the lease holds for a provider's deadline, nobody said stop."""

Outcomes = Generator[tuple[Message, Outcome], None, None]
"""What came of each message, as it becomes known. A generator, because the engine closes it when it
has to leave: nothing further is begun then, what is under way is finished."""


class Provider(ABC):
    """A vendor, or a protocol, that can carry messages of one or more channels.

    Instances are made once per worker process (after the fork) by `from_environment` and
    are used by one thread. `send` may use threads of its own.
    """

    name: ClassVar[str]
    """The word used in tables, settings (`NOTIFIER_<NAME>_…`) and logs."""
    channels: frozenset[Channel]
    """An instance may have fewer than its class, where a setting says so."""
    deadline: timedelta = timedelta(seconds=10)
    """The longest one send can take, all of connecting, writing and reading included. An
    instance may have one of its own, where a setting says so."""
    at_once: int = 1
    """Sends it has under way at the same time at most."""
    shares_fate: ClassVar[bool] = True
    """Whether one message's failure says something about the next: not where each goes to a server
    of its recipient's own."""
    stand_in: ClassVar[bool] = False
    """Whether it only pretends to send: then it is taken by name or for want of a real one."""
    keeps: ClassVar[str | None] = None
    """Table in which the store keeps accepted messages in the transaction of their outcome."""
    settles: ClassVar[timedelta] = timedelta()
    """How long after an attempt ended in doubt `look_up` may not know it yet, though it arrived."""
    oauth: OAuth | None = None
    """How tenants connect accounts of their own; an instance has it where its settings say so."""
    oauth_variables: ClassVar[Sequence[str]] = ()
    """The variables that give an instance its `oauth`."""

    @classmethod
    @abstractmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Provider | None":
        """The provider as the environment configures it; None where it is not configured.

        Raises `notifier.errors.SettingError` naming the variable that is wrong.
        """

    @classmethod
    @abstractmethod
    def variables(cls) -> Sequence[str]:
        """Names of the environment variables it reads, for `doctor` and the compose test."""

    @abstractmethod
    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        """Send each message once and yield what came of it, as it becomes known.

        may_start: asked right before each send; once it says no, nothing more is begun, what is
            under way is finished and yielded, and the iterator ends. A message that was not
            yielded was not begun.
        Never raises for a message's own fault or the vendor's: those are outcomes.
        """

    def check_address(self, channel: Channel, address: str) -> str | None:
        """What an address should look like, where `address` can not be one; else None."""
        return None

    def look_up(self, questions: Sequence[Question]) -> Iterator[tuple[Question, Answer]]:
        """Ask the provider about attempts in doubt; needed for `reconcile` channels only."""
        for question in questions:
            yield question, Unsure("this provider can not be asked")

    def hear(self, call: Call) -> Heard:
        """Read what the provider calls back with, its signature first.

        Raises `Forged`, `Misunderstood` for what it does not send, or `NotNow`.
        """
        raise Misunderstood(f"{self.name} does not call back")

    def reports(self, message: Message) -> Mapping[timedelta, Told]:
        """What a stand-in will tell of a message that it has accepted, by how much later; whoever
        really sends calls back by itself.
        """
        return {}

    def check(self) -> str | None:
        """Reach the provider without sending; what is wrong, or None. For `doctor`."""
        return None

    def close(self) -> None:  # noqa: B027 (most providers hold nothing)
        """Give back connections. May be called again, and after it `send` opens new ones."""
