"""In-app notifications: the inbox is a table of ours, so there is nobody to call."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from notifier.channels import addresses
from notifier.channels.contract import MayStart, Message, Outcomes, Provider
from notifier.outcome import Accepted, Rejected
from notifier.words import Channel

PARTS = frozenset({"title", "message"})


class Inbox(Provider):
    """Accepts everything: the store writes the rows in the transaction of the outcome."""

    name = "inbox"
    channels = frozenset({Channel.INAPP})
    keeps = "notifications"
    deadline = timedelta(seconds=1)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Inbox":
        return cls()

    @classmethod
    def variables(cls) -> Sequence[str]:
        return ()

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        accepted = Accepted(delivered=True)
        for message in messages:
            if not may_start():
                return
            missing = PARTS - message.parts.keys()
            if missing:
                reason = f"the inbox needs the part `{min(missing)}`"
                yield message, Rejected("missing_part", reason)
            else:
                yield message, accepted

    def check_address(self, channel: Channel, address: str) -> str | None:
        return addresses.check_address(channel, address)
