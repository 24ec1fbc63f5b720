"""A stand whose SMS and calls go to a carrier that speaks Twilio's API."""

import time
from urllib.parse import parse_qs, urlsplit

from notifier.words import Channel
from tests.faults.receivers import Receipt
from tests.faults.stand import Stand
from tests.vendors.server import Asked
from tests.vendors.twilio import Twilio


class Phones(Stand):
    """receipts: those of the carrier, each as it took the message or the call."""

    def _carrier(self) -> dict[str, str]:
        self._taken: list[Receipt] = []
        self._vendor = self._cleanup.enter_context(Twilio())
        self._vendor.latency = 0.005
        self._vendor.after = self._note
        return {
            **self._vendor.environment(),
            "NOTIFIER_PROVIDERS": "sms=twilio,voice=twilio",
            "NOTIFIER_PUBLIC_URL": "http://127.0.0.1:1",
            "NOTIFIER_TWILIO_TIMEOUT_SECONDS": "1",
        }

    def _note(self, asked: Asked) -> None:
        if asked.method != "POST":
            return
        query = parse_qs(urlsplit(asked.form["StatusCallback"]).query)
        channel = Channel.VOICE if asked.path.endswith("Calls.json") else Channel.SMS
        now = time.time()
        self._taken.append(Receipt(query["delivery"][0], channel, now, now))

    def clear(self) -> None:
        super().clear()
        self._taken.clear()
        with self._vendor.lock:
            self._vendor.asked.clear()
            self._vendor.messages.clear()
            self._vendor.calls.clear()

    def receipts(self) -> list[Receipt]:
        return [*super().receipts(), *self._taken]

    def received(self) -> int:
        return super().received() + len(self._taken)
