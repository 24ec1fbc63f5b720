"""What the engine and a provider promise each other.

The engine hands over rendered messages and reads outcomes; a provider sees no
database and no queue, the engine no vendor. `registry` finds providers by
discovery, and one contract suite in the tests runs over all of them.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import ClassVar

from notifier.outcome import Accepted, NotFound, Outcome, Rejected, Unsure
from notifier.words import Channel


@dataclass(frozen=True, slots=True)
class Message:
    """One rendered message for one address.

    delivery_id: the idempotency key towards the provider; the same at every attempt.
    parts: the rendered parts by name. E-mail has `subject`, `text` and optionally `html`;
        in-app `title` and `message`; webhook `body` (JSON text); other channels `text`.
    secret: the address's own signing secret, where it has one (webhook), as stored.
    unsubscribe_url: one-click unsubscribe target for mail that may be muted, else None.
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
    unsubscribe_url: str | None = None


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
    channels: ClassVar[frozenset[Channel]]
    deadline: timedelta = timedelta(seconds=10)
    """The longest one send can take, all of connecting, writing and reading included. An
    instance may have one of its own, where a setting says so."""
    at_once: int = 1
    """Sends it has under way at the same time at most."""
    interactive: ClassVar[bool] = False
    """Whether a recipient can act inside the message (buttons, keypresses)."""
    stand_in: ClassVar[bool] = False
    """Whether it only pretends to send: then it is taken by name or for want of a real one."""
    keeps: ClassVar[str | None] = None
    """Table in which the store keeps accepted messages in the transaction of their outcome."""

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

    def look_up(
        self, messages: Sequence[Message]
    ) -> Iterator[tuple[Message, Accepted | Rejected | NotFound | Unsure]]:
        """Ask the provider about attempts in doubt; needed for `reconcile` channels only.

        messages: without their parts; `attempt` is the one in doubt.
        """
        for message in messages:
            yield message, Unsure("this provider can not be asked")

    def check(self) -> str | None:
        """Reach the provider without sending; what is wrong, or None. For `doctor`."""
        return None

    def close(self) -> None:  # noqa: B027 (most providers hold nothing)
        """Give back connections. May be called again, and after it `send` opens new ones."""
