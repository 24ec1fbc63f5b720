"""Apprise: whatever service its URLs name, each contact point with a URL of its own.

https://appriseit.com/

Which services an installation allows is its operator's word (`NOTIFIER_APPRISE_SERVICES`), out of
`apprise_services.NETWORK`. A URL is checked where it enters for its form and its service's name
only; what Apprise can not make a service of is refused when the first message is sent, in Apprise's
words. Apprise says of a message whether all went well, and the rest to its log: that is read here,
so that a failure keeps its reason. A URL that names several targets is one message: where one of
them fails, all are sent to again.

Apprise runs in processes of its own (`apprise_child`), which are kept and ended where a call does
not come back in time.
"""

import importlib.util
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from threading import Lock
from typing import Any

from notifier.channels import addresses, apprise_services, crew, egress, variables, wire
from notifier.channels.contract import MayStart, Message, Outcomes, Provider
from notifier.errors import SettingError
from notifier.outcome import Accepted, Outcome, Rejected, RetryLater, Unsure
from notifier.words import Channel

SERVICES = "NOTIFIER_APPRISE_SERVICES"
CONCURRENCY = "NOTIFIER_APPRISE_CONCURRENCY"
TIMEOUT = "NOTIFIER_APPRISE_TIMEOUT_SECONDS"
ALLOW_NETWORKS = "NOTIFIER_APPRISE_ALLOW_NETWORKS"

LATER = frozenset({408, 425, 429, 503})
"""Statuses of an answer that refuse a message for the moment."""


class AppriseAdapter(Provider):
    """Messages through the services that Apprise knows."""

    name = "apprise"
    channels = frozenset({Channel.APPRISE})
    shares_fate = False

    def __init__(
        self,
        services: frozenset[str],
        *,
        concurrency: int = 2,
        deadline: timedelta = timedelta(seconds=20),
        allowed: str = "",
    ) -> None:
        self.at_once = concurrency
        self.deadline = deadline
        self._services = services
        self._arguments = [str(int(deadline.total_seconds())), allowed]
        self._idle: list[Child] = []
        self._lock = Lock()

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "AppriseAdapter | None":
        named = {name.strip().lower() for name in environment.get(SERVICES, "").split(",")} - {""}
        concurrency = variables.whole(environment, CONCURRENCY, 2, 1, 16)
        seconds = variables.whole(environment, TIMEOUT, 20, 2, 25)
        allowed = environment.get(ALLOW_NETWORKS, "").strip()
        variables.networks(environment, ALLOW_NETWORKS)
        if not named:
            return None
        services = apprise_services.NETWORK if named == {"all"} else frozenset(named)
        if unknown := services - apprise_services.NETWORK:
            names = ", ".join(sorted(unknown))
            expected = "all, or a comma list of services of Apprise that are reached over the"
            raise SettingError(SERVICES, f"{expected} network, such as discord,tgram, not {names}")
        return cls(
            services,
            concurrency=concurrency,
            deadline=timedelta(seconds=seconds),
            allowed=allowed,
        )

    @classmethod
    def variables(cls) -> Sequence[str]:
        return (SERVICES, CONCURRENCY, TIMEOUT, ALLOW_NETWORKS)

    def send(self, messages: Sequence[Message], may_start: MayStart) -> Outcomes:
        return crew.share(messages, self._send, self.at_once, may_start)

    def check_address(self, channel: Channel, address: str) -> str | None:
        expected = addresses.check_address(channel, address)
        if expected:
            return expected
        service = address.partition("://")[0].lower()
        if service not in self._services:
            return f"an Apprise URL of a service that {SERVICES} names, which {service} is not"
        return None

    def check(self) -> str | None:
        """Whether the package is there: each address has a server of its own."""
        return None if importlib.util.find_spec("apprise") else "the package apprise is missing"

    def close(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            child.end()

    def _send(self, message: Message) -> Outcome:
        ends = time.monotonic() + self.deadline.total_seconds()
        text = message.parts.get("text", "").strip()
        if not text:
            return Rejected("missing_part", "apprise needs the part `text`")
        expected = self.check_address(Channel.APPRISE, message.address)
        if expected:
            return Rejected("invalid_address", expected)
        links = [message.parts.get("url", "").strip()]
        if message.acknowledge_url is not None:
            links.append(f"Acknowledge: {message.acknowledge_url}")
        asked = {
            "url": message.address,
            "title": message.parts.get("title", "").strip(),
            "text": "\n".join(part for part in (text, *links) if part),
        }
        with self._lock:
            child = self._idle.pop() if self._idle else None
        if child is not None and child.has_ended():
            child.end()
            child = None
        try:
            child = child or Child(self._arguments, ends)
        except OSError as fault:
            return RetryLater("start", f"Apprise did not start: {wire.kind(fault)}")
        try:
            answer = child.ask(asked, ends)
        except OSError as fault:
            child.end()
            return Unsure(f"no answer of Apprise: {wire.kind(fault)}")
        except BaseException:
            child.end()
            raise
        with self._lock:
            self._idle.append(child)
        return judge(answer)


def judge(answer: Mapping[str, Any]) -> Outcome:
    """What Apprise's word and its log mean.

    The status of an answer, where the log has one, refuses: but for 500 and the like, behind which
    a service may have taken the message.
    """
    status, words = answer["status"], answer["words"] or "Apprise gives no reason"
    if answer["sent"]:
        return Accepted()
    if not answer["made"]:
        return Rejected("invalid_address", words)
    if answer["forbidden"]:
        return Rejected("forbidden_address", str(egress.Forbidden()))
    if status is None:
        return Unsure(words) if answer["left"] else RetryLater("not_sent", words)
    if status in LATER:
        return RetryLater(str(status), words)
    return Rejected(str(status), words) if 300 <= status < 500 else Unsure(f"{status}: {words}")


class Child:
    """One process of Apprise, which is asked one thing at a time."""

    def __init__(self, arguments: Sequence[str], ends: float) -> None:
        # Nothing of our environment: it holds credentials, and names proxies.
        environment = {
            "HOME": "/nonexistent",
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "notifier.channels.apprise_child", *arguments],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # A traceback would hold what it was asked, URL and all.
            stderr=subprocess.DEVNULL,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._input, self._output = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._input, False)
        try:
            self._answer(ends)  # that it is ready
        except BaseException:
            self.end()
            raise

    def ask(self, asked: Mapping[str, str], ends: float) -> dict[str, Any]:
        """Its answer; OSError where none comes before `ends` (`time.monotonic`)."""
        rest = json.dumps(asked).encode() + b"\n"
        while rest:
            self._wait(self._input, select.POLLOUT, ends)
            rest = rest[os.write(self._input, rest) :]
        return self._answer(ends)

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def end(self) -> None:
        """End it, whatever it does, and leave nothing of it."""
        with suppress(ProcessLookupError):
            self._process.kill()
        self._process.wait()
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()

    def _answer(self, ends: float) -> dict[str, Any]:
        line = b""
        while not line.endswith(b"\n"):
            self._wait(self._output, select.POLLIN, ends)
            piece = os.read(self._output, 1 << 16)
            if not piece:
                raise BrokenPipeError("it has ended")
            line += piece
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _wait(self, descriptor: int, event: int, ends: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        while not poll.poll(wire.left(ends) * 1000):
            pass
