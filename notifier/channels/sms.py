"""What SMS itself lays down, whoever carries it: alphabets, segments, words of opting out."""

from dataclasses import dataclass

# 3GPP TS 23.038, 6.2.1: the default alphabet, and the extension table behind an escape.
_BASIC = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
_EXTENDED = frozenset("\f^{}\\[~]|€")

MOST_SEGMENTS = 10
"""That a text may take: ten of GSM-7 hold 1,530 characters, and Twilio takes 1,600 of either
alphabet: https://www.twilio.com/docs/api/errors/21617."""

STOP = frozenset({"STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT"})
START = frozenset({"START", "YES", "UNSTOP"})
"""The words that Twilio acts on as well: https://help.twilio.com/articles/223134027."""


@dataclass(frozen=True, slots=True)
class Size:
    """How long a text is. units: septets of GSM-7, or 16-bit units of UCS-2. left: until the next
    segment begins.
    """

    is_gsm: bool
    units: int
    segments: int
    left: int

    @property
    def encoding(self) -> str:
        return "GSM-7" if self.is_gsm else "UCS-2"


def is_gsm(text: str) -> bool:
    """Whether the text fits GSM-7, of which a segment holds 160 characters instead of 70."""
    return all(c in _BASIC or c in _EXTENDED for c in text)


def size(text: str) -> Size:
    """How many segments the text takes. A character that takes two units is never cut in two."""
    gsm = is_gsm(text)
    lengths = [
        (2 if c in _EXTENDED else 1) if gsm else len(c.encode("utf-16-le")) // 2 for c in text
    ]
    units = sum(lengths)
    single, several = (160, 153) if gsm else (70, 67)
    if units <= single:
        return Size(gsm, units, 1 if text else 0, single - units)
    segments, room = 1, several
    for length in lengths:
        if length > room:
            segments, room = segments + 1, several
        room -= length
    return Size(gsm, units, segments, room)


def wanted(reply: str) -> bool | None:
    """Whether a reply asks for more (START) or for no more (STOP); None where it says neither.

    Only the word alone counts, as it does for the vendors.
    """
    word = reply.strip().upper()
    if word in STOP:
        return False
    return True if word in START else None
