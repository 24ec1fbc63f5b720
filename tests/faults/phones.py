"""Stands whose SMS and calls go to a carrier, which can be asked, can not be, or calls back."""

import socket
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qs, urlsplit

from notifier.words import Channel
from tests.faults.receivers import Receipt
from tests.faults.stand import PROGRAMS, Stand, await_
from tests.vendors.server import Asked, Said, Vendor
from tests.vendors.twilio import Twilio
from tests.vendors.vonage import Vonage

DOUBT = 2
"""Seconds a carrier that can not tell is asked: it is once more, a lease after the first time."""


class Carried(Stand):
    """receipts: those of the carrier, each as it took the message or the call."""

    def _read(self, asked: Asked) -> tuple[str, Channel]:
        """The delivery that the carrier was given, and what it was."""
        raise NotImplementedError

    def _give_to(self, vendor: Vendor) -> None:
        self._taken: list[Receipt] = []
        self._vendor = self._cleanup.enter_context(vendor)
        vendor.latency = 0.005
        vendor.after = self._note

    def _note(self, asked: Asked) -> None:
        if asked.method != "POST":
            return
        delivery, channel = self._read(asked)
        now = time.time()
        self._taken.append(Receipt(delivery, channel, now, now))

    def clear(self) -> None:
        super().clear()
        self._taken.clear()
        with self._vendor.lock:
            self._vendor.asked.clear()

    def receipts(self) -> list[Receipt]:
        return [*super().receipts(), *self._taken]

    def received(self) -> int:
        return super().received() + len(self._taken)


class Phones(Carried):
    """The carrier speaks Twilio's API and can be asked by number; whom it calls back is not there."""

    def _carrier(self) -> dict[str, str]:
        self._twilio = Twilio()
        self._give_to(self._twilio)
        return {
            **self._twilio.environment(),
            "NOTIFIER_PROVIDERS": "sms=twilio,voice=twilio",
            "NOTIFIER_PUBLIC_URL": "http://127.0.0.1:1",
            "NOTIFIER_TWILIO_TIMEOUT_SECONDS": "1",
        }

    def _read(self, asked: Asked) -> tuple[str, Channel]:
        query = parse_qs(urlsplit(asked.form["StatusCallback"]).query)
        voice = asked.path.endswith("Calls.json")
        return query["delivery"][0], Channel.VOICE if voice else Channel.SMS

    def clear(self) -> None:
        super().clear()
        with self._twilio.lock:
            self._twilio.messages.clear()
            self._twilio.calls.clear()


class Unasked(Carried):
    """The carrier speaks Vonage's API, which can not be asked, and never says more than its answer."""

    def _carrier(self) -> dict[str, str]:
        vonage = Vonage()
        self._give_to(vonage)
        return {
            **vonage.environment(),
            "NOTIFIER_PROVIDERS": "sms=vonage",
            "NOTIFIER_VONAGE_TIMEOUT_SECONDS": "1",
            "NOTIFIER_DOUBT_SECONDS": str(DOUBT),
        }

    def _read(self, asked: Asked) -> tuple[str, Channel]:
        return asked.form["client-ref"], Channel.SMS


class CalledBack(Phones):
    """The carrier answers no question, but calls back.

    later: seconds by which it does so after it took a message or a call.
    """

    later = 0.0

    def __init__(self) -> None:
        self._port = _free_port()
        super().__init__({**PROGRAMS, "api-1": ["api", "--port", str(self._port)]})

    def _carrier(self) -> dict[str, str]:
        given = super()._carrier()
        self._twilio.before = lambda asked: Said(503) if asked.method == "GET" else None
        self._calls: list[Future[None]] = []
        self._callers = ThreadPoolExecutor(4)
        self._cleanup.callback(self._callers.shutdown, cancel_futures=True)
        public = f"http://127.0.0.1:{self._port}"
        doubt = str(DOUBT)
        return {**given, "NOTIFIER_PUBLIC_URL": public, "NOTIFIER_DOUBT_SECONDS": doubt}

    def await_ready(self, names: Sequence[str] | Mapping[str, Any], seconds: float = 60) -> None:
        super().await_ready(names, seconds)
        await_(self._is_reachable, seconds, "the API takes connections")

    def _is_reachable(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def _note(self, asked: Asked) -> None:
        super()._note(asked)
        if asked.method == "POST":
            due = time.monotonic() + self.later
            self._calls.append(self._callers.submit(self._call_back, asked, due))

    def _call_back(self, asked: Asked, due: float) -> None:
        url = asked.form["StatusCallback"]
        _, channel = self._read(asked)
        voice = channel is Channel.VOICE
        kept = self._twilio.calls if voice else self._twilio.messages
        with self._twilio.lock:
            sid = next(sid for sid, each in kept.items() if each["callback"] == url)
        time.sleep(max(0.0, due - time.monotonic()))
        told = {"CallSid": sid, "CallStatus": "completed"}
        if not voice:
            told = {"MessageSid": sid, "MessageStatus": "delivered"}
        self._twilio.call_back(url, **told).raise_for_status()

    def await_called_back(self) -> None:
        """Return when every call back that is due so far was answered; raises what went wrong."""
        for call in list(self._calls):
            call.result(60)

    def clear(self) -> None:
        super().clear()
        self._calls.clear()
        self.later = 0.0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
