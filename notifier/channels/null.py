"""Accepts every message at once and keeps nothing: for measuring everything around it."""

from collections.abc import Iterator, Mapping, Sequence

from notifier.channels import addresses
from notifier.channels.calls import Calls, variables_of
from notifier.channels.contract import MayStart, Message, Outcomes, Provider, Question
from notifier.outcome import Accepted, NotFound
from notifier.words import Channel


class Null(Provider):
    """Every channel, no effect. Chosen only by name."""

    name = "null"
    channels = frozenset(Channel)
    stand_in = True

    def __init__(self, calls: Calls | None = None) -> None:
        self._calls = calls or Calls()
        self.deadline = self._calls.deadline

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Null":
        return cls(Calls.from_environment(environment, cls.name))

    @classmethod
    def variables(cls) -> Sequence[str]:
        return variables_of(cls.name)

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        accepted = Accepted()
        for message in messages:
            if not may_start():
                return
            if not self._calls.idle:
                self._calls.note(message)
            yield message, accepted

    def check_address(self, channel: Channel, address: str) -> str | None:
        return addresses.check_address(channel, address)

    def look_up(self, questions: Sequence[Question]) -> Iterator[tuple[Question, NotFound]]:
        """It keeps nothing, so it never has a trace."""
        for question in questions:
            yield question, NotFound()

    def close(self) -> None:
        self._calls.close()
