"""Which parts the template of each channel has, and what they have to come to."""

from collections.abc import Mapping
from dataclasses import dataclass

from notifier.channels import push, sms
from notifier.rendering.filters import NotAllowed, link
from notifier.words import Channel

SHORT = "short"
"""The template of the channels that have none of their own."""

MOST_SPOKEN = 3000
"""Characters of a text that is read aloud: some three minutes. A call has room for 4,000, its frame
and what XML writes longer among them (https://www.twilio.com/docs/api/errors/32018)."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts that a channel's template must have, and those it may have."""

    required: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = " and ".join(self.required)
        return f"{said}, optionally {' and '.join(self.optional)}" if self.optional else said


_TEXT = Parts(("text",))
_GLANCED = Parts(("text",), ("title", "url"))

PARTS: Mapping[str, Parts] = {
    Channel.EMAIL: Parts(("subject",), ("text", "html")),
    Channel.SMS: _TEXT,
    Channel.PUSH: Parts(_GLANCED.required, (*_GLANCED.optional, "collapse_key", "badge")),
    Channel.INAPP: Parts(("title", "message")),
    Channel.SLACK: _GLANCED,
    Channel.TEAMS: _GLANCED,
    Channel.VOICE: _TEXT,
    Channel.APPRISE: _GLANCED,
    SHORT: _GLANCED,
}
"""By channel, as providers expect them (`channels.contract.Message`). A webhook has no template:
its body is the event."""


def check_parts(channel: str, parts: Mapping[str, str]) -> list[str]:
    """The parts that are missing, and those that the channel does not have."""
    has = PARTS[channel]
    problems = [
        f"{name} is missing: {channel} has {has}" for name in has.required if name not in parts
    ]
    problems += [
        f"{name} is no part of {channel}, which has {has}"
        for name in parts
        if name not in has.required + has.optional
    ]
    if channel == Channel.EMAIL and not parts.keys() & {"text", "html"}:
        problems.append("text or html is missing: a mail says something")
    return problems


def check_rendered(channel: str, rendered: Mapping[str, str]) -> list[str]:
    """What would keep a rendered message from going out by the channel."""
    problems = [f"{name} is empty" for name in PARTS[channel].required if not rendered[name]]
    if channel == Channel.EMAIL and not rendered["text"]:
        problems.append("text is empty")
    if url := rendered.get("url"):
        try:
            link(url)
        except (NotAllowed, ValueError) as refused:
            problems.append(f"url: {refused}")
    if (badge := rendered.get("badge")) and push.badge(badge) is None:
        problems.append(f"badge is no whole number from 0 to {push.MOST_BADGE}")
    if channel == Channel.VOICE and len(rendered["text"]) > MOST_SPOKEN:
        problems.append(
            f"text has {len(rendered['text'])} characters, and {MOST_SPOKEN} is the most that is "
            "read aloud"
        )
    if channel in (Channel.SMS, SHORT):
        segments = sms.size(rendered["text"]).segments
        if segments > sms.MOST_SEGMENTS:
            problems.append(
                f"text takes {segments} segments by SMS, and {sms.MOST_SEGMENTS} is the most"
            )
    return problems
