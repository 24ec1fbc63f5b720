"""The process in which Apprise runs: one URL at a time, told on standard input.

Apprise is put in a process of its own because of what can not be had in a thread: an end to a call
that hangs, its log without that of the call beside it, and a guard that holds for whatever its
plugins load. The guard hears every connection, file and program Python is about to open
(https://docs.python.org/3/library/audit_events.html) and refuses connections to addresses that are
not public, files that are not Python's own, and all programs. It judges the address itself, not
its name: redirects and a second answer of the resolver lead nowhere else. Code that opens sockets
past Python would not be heard; the services of `apprise_services` have none.
"""

import ipaddress
import json
import logging
import os
import re
import resource
import signal
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from notifier.channels import egress

_PROGRAMS = frozenset(
    {
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
        "os.system",
        "pty.spawn",
        "subprocess.Popen",
    }
)
_CHANGES = frozenset(
    {
        "os.chmod",
        "os.chown",
        "os.link",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.symlink",
        "os.truncate",
    }
)
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

_MEMORY = 1 << 30
"""Bytes of address space: what a server answers without end is read until then."""

_NOT_SENT = re.compile("NewConnectionError|NameResolutionError|ConnectTimeout|refused")
"""In what `requests` says of a failure before anything had left."""

_STATUS = re.compile(r"\berror=(\d{3})\b")
"""How Apprise's plugins log the status of an answer that they take for a failure."""


class Guard:
    """An audit hook.

    connected: whether a connection was begun. forbidden: whether one was refused.
    """

    def __init__(self, allowed: Sequence[egress.Network]) -> None:
        self._allowed = tuple(allowed)
        self._readable = tuple(
            {
                os.path.realpath(folder)
                for folder in (
                    *sysconfig.get_paths().values(),
                    str(Path(__file__).parents[1]),
                    "/usr/share/zoneinfo",
                )
            }
        )
        self.connected = self.forbidden = False

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
            self._connect(arguments[-1])
        elif event == "open":
            self._open(*arguments)
        elif event in _PROGRAMS or event in _CHANGES:
            raise PermissionError(f"{event} is not allowed here")

    def _connect(self, address: Any) -> None:
        if address is None:  # `sendmsg` over what is connected already
            return
        try:
            ip = ipaddress.ip_address(address[0])
            allowed = egress.is_allowed(ip, self._allowed)
        except (ValueError, TypeError, IndexError):  # a name, a path of a local socket
            allowed = False
        if not allowed:
            self.forbidden = True
            raise PermissionError("the address is not public")
        self.connected = True

    def _open(self, path: Any, _: Any, flags: int) -> None:
        if isinstance(path, int):
            return
        if not flags & _WRITES:
            real = os.path.realpath(os.fsdecode(path))
            if any(real.startswith(folder + os.sep) for folder in self._readable):
                return
        raise PermissionError("the file is not Python's own")


class Heard(logging.Handler):
    """What Apprise logged since `clear`: its warnings, and the rest to learn from."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.warnings: list[str] = []
        self.details = ""

    def clear(self) -> None:
        self.warnings, self.details = [], ""

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(Exception):  # a plugin's log line that does not fit its arguments
            if record.levelno >= logging.WARNING:
                self.warnings.append(record.getMessage())
            elif len(self.details) < 10_000:
                self.details += record.getMessage() + "\n"


def mask(text: str, url: str) -> str:
    """The text without any part of the URL: each of them may be a secret, hosts included."""
    from urllib.parse import unquote

    rest = url.partition("://")[2]
    parts = {part for form in (rest, unquote(rest)) for part in re.split(r"[^\w.~-]+", form)}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= 8:
            text = re.sub(re.escape(part), "***", text, flags=re.IGNORECASE)
        elif len(part) >= 3:
            text = re.sub(rf"(?<!\w){re.escape(part)}(?!\w)", "***", text, flags=re.IGNORECASE)
    # Apprise's own form of a URL has the first and the last letter of each secret.
    return re.sub(r"://\S+", "://***", text)


def deliver(apprise: Any, asked: Mapping[str, str], guard: Guard, heard: Heard) -> dict[str, Any]:
    """Send one message; what came of it, in words that hold nothing of the URL."""
    heard.clear()
    guard.connected = guard.forbidden = False
    made = sent = False
    try:
        asset = apprise.AppriseAsset(async_mode=False, app_id="notifier", app_desc="notifier")
        target = apprise.Apprise.instantiate(asked["url"], asset=asset)
        if target is not None:
            made = True
            # Its own repeats, and the word that a failure does not matter, are the address's.
            target.retry, target.optional = 0, False
            server = apprise.Apprise(asset=asset)
            server.add(target)
            sent = bool(
                server.notify(
                    body=asked["text"], title=asked["title"], body_format=apprise.NotifyFormat.TEXT
                )
            )
    except Exception as fault:
        heard.warnings.append(type(fault).__name__)
    words = "; ".join(dict.fromkeys(heard.warnings))
    status = _STATUS.search(words)
    return {
        "made": made,
        "sent": sent,
        "status": int(status[1]) if status else None,
        "left": guard.connected and not _NOT_SENT.search(heard.details),
        "forbidden": guard.forbidden,
        "words": mask(words, asked["url"])[:300],
    }


def main() -> None:
    """Read requests, a line of JSON each, and answer them in the same form."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)  # what a plugin prints is no answer
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    seconds = int(sys.argv[1])
    guard = Guard(egress.parse_networks(sys.argv[2]))
    heard = Heard()
    import mimetypes

    import apprise

    mimetypes.init()
    apprise.Apprise.instantiate("json://localhost")  # loads the plugins
    logger = logging.getLogger("apprise")
    logger.addHandler(heard)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    sys.addaudithook(guard)

    def answer(given: Mapping[str, Any]) -> None:
        answers.write(json.dumps(given) + "\n")
        answers.flush()

    answer({"ready": True})
    for line in sys.stdin:
        # Whoever asked is gone if this is still under way then.
        signal.alarm(seconds + 5)
        answer(deliver(apprise, json.loads(line), guard, heard))
        signal.alarm(0)


if __name__ == "__main__":
    main()
