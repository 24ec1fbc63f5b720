"""What the stand-ins share: a pretended latency, and a record of every call.

The record lets a test count provider calls over many processes, some of them killed.
"""

import os
import time
from collections.abc import Mapping
from datetime import timedelta

from notifier import failpoints
from notifier.channels import variables
from notifier.channels.contract import Message

_ANSWERS_WITHIN = timedelta(seconds=1)
"""On top of the pretended latency: a stand-in calls nobody."""


class Calls:
    """Counts and delays; both off by default and then free."""

    def __init__(self, latency_ms: int = 0, log: str | None = None) -> None:
        self._latency = latency_ms / 1000
        self._log = log
        self._file: int | None = None
        self.idle = not latency_ms and log is None
        self.deadline = timedelta(milliseconds=latency_ms) + _ANSWERS_WITHIN

    @classmethod
    def from_environment(cls, environment: Mapping[str, str], name: str) -> "Calls":
        """Reads the variables of `variables_of(name)`."""
        latency, log = variables_of(name)
        return cls(
            variables.whole(environment, latency, 0, 0, 5000), variables.text(environment, log)
        )

    def note(self, message: Message) -> None:
        """Append `delivery_id attempt monotonic_ns`, then wait.

        One write to a file opened with O_APPEND: lines of several processes never mix, and
        a process killed before its answer has still been counted.
        """
        if self._log is not None:
            if self._file is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._file = os.open(self._log, flags, 0o644)
            line = f"{message.delivery_id} {message.attempt} {time.monotonic_ns()}\n"
            os.write(self._file, line.encode())
            failpoints.reach("sandbox.called")
        if self._latency:
            time.sleep(self._latency)

    def close(self) -> None:
        """Close the file; `note` opens it again."""
        if self._file is not None:
            os.close(self._file)
            self._file = None


def variables_of(name: str) -> tuple[str, str]:
    """The two variables of a stand-in: latency in ms, and the path of the record."""
    return f"NOTIFIER_{name.upper()}_LATENCY_MS", f"NOTIFIER_{name.upper()}_LOG"
