"""A vendor's HTTP API: `requests` for the form of a call, our own wire for its deadline.

`requests` knows a time-out per read, not one for the whole exchange, and its errors do not say
whether a request had left. Both decide what comes of a message, so its sessions run over
`http.Client` here, which also keeps proxies, redirects and cookies out.
"""

import io
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from notifier.channels import egress, http, variables
from notifier.errors import SettingError
from notifier.outcome import Outcome, Rejected, RetryLater, Unsure
from notifier.retry import LONGEST_WAIT

if TYPE_CHECKING:
    import requests

Answer = TypeVar("Answer")
"""Of `requests`, or of the wire itself."""

_OURS = frozenset({"content-length", "accept-encoding", "connection"})
"""Headers that the wire writes itself."""

EVERYWHERE = egress.parse_networks("0.0.0.0/0,::/0")
"""An API's address is the operator's choice, not a recipient's: it may be on a private network."""


class Api:
    """One vendor's API. `call` may be used by threads.

    base: its address, which stands before every path.
    seconds: the longest one call may take, connecting included.
    """

    def __init__(self, base: str, seconds: float) -> None:
        self.base = base.rstrip("/")
        self._seconds = seconds
        self._client = http.Client(allowed=EVERYWHERE)

    @cached_property
    def _session(self) -> "requests.Session":
        # Made at the first call: finding out which providers there are loads none of this.
        import requests
        from requests.adapters import BaseAdapter
        from requests.structures import CaseInsensitiveDict

        client = self._client

        class Wire(BaseAdapter):
            """Speaks through `http.Client`; `timeout` is when the whole exchange ends."""

            def send(
                self, request: requests.PreparedRequest, *_: Any, timeout: Any = None, **__: Any
            ) -> requests.Response:
                assert request.url
                assert request.method
                body = request.body or b""
                answer = client.request(
                    request.method,
                    http.target(request.url),
                    [each for each in request.headers.items() if each[0].lower() not in _OURS],
                    body.encode() if isinstance(body, str) else body,
                    timeout,
                )
                response = requests.Response()
                response.request = request
                response.url = request.url
                response.status_code = answer.status
                response.reason = answer.line.partition(" ")[2].partition(" ")[2]
                response.headers = CaseInsensitiveDict(answer.headers)
                response.encoding = "utf-8"
                response.raw = io.BytesIO(answer.body)
                return response

            def close(self) -> None:
                client.close()

        session = requests.Session()
        session.trust_env = False
        session.headers = CaseInsensitiveDict({"User-Agent": "notifier", "Accept": "*/*"})
        for scheme in ("https://", "http://"):
            session.mount(scheme, Wire())
        return session

    def ends(self) -> float:
        """When a call that begins now ends at the latest, by the monotonic clock."""
        return time.monotonic() + self._seconds

    def call(
        self, method: str, path: str, *, ends: float | None = None, **parts: Any
    ) -> "requests.Response":
        """One call, with the arguments of `requests.request` for its parts.

        ends: for a caller that has spent some of the call's time on its body.
        Raises `http.NotSent` where it can not have taken effect, `http.Unanswered` where it may.
        """
        # Before the body is encoded: that is part of the time a send was promised to take.
        ends = self.ends() if ends is None else ends
        return self._session.request(
            method, self.base + path, timeout=ends, allow_redirects=False, **parts
        )

    def close(self) -> None:
        """Give back the connections; the next call opens new ones."""
        self._client.close()


def outcome(call: Callable[[], Answer], judge: Callable[[Answer], Outcome]) -> Outcome:
    """What came of a call that sends: `judge` where there was an answer."""
    try:
        answer = call()
    except egress.Forbidden as fault:
        return Rejected("forbidden_address", str(fault))
    except http.NotSent as fault:
        return RetryLater(fault.code, fault.reason)
    except http.Unanswered as fault:
        return Unsure(str(fault))
    return judge(answer)


def busy(answer: "requests.Response") -> RetryLater | Unsure | None:
    """What an answer of the vendor's machinery, not of its API, means; None for any other.

    429 and 503 are refusals. After 500, 502 and 504 nobody knows: something behind the machine that
    answers may have taken the message.
    """
    line = f"HTTP {answer.status_code} {answer.reason}".strip()
    match answer.status_code:
        case 429 | 503:
            wait = http.retry_after(
                answer.headers.get("retry-after"), datetime.now(UTC), LONGEST_WAIT
            )
            return RetryLater(
                str(answer.status_code), line, after=wait, throttled=answer.status_code == 429
            )
        case status if status >= 500 or status < 200:
            return Unsure(line)
    return None


def content(answer: "requests.Response") -> Mapping[str, Any]:
    """The JSON object of an answer; empty where it is none."""
    try:
        value = json.loads(answer.content)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def address_of(environment: Mapping[str, str], variable: str, default: str) -> str:
    """The base address in `variable`, which points a provider at a stand-in or a region."""
    value = variables.text(environment, variable) or default
    try:
        http.target(value)
        if urlsplit(value).query:
            raise ValueError("a query")
    except ValueError:
        raise SettingError(variable, "an http or https URL without user name or query") from None
    return value.rstrip("/")
