"""The bytes of an e-mail, put together by hand.

`email.message.EmailMessage` takes 2 to 3 ms for what is mostly constant text; here the
constant headers are made once for a batch and a message costs some 20 µs. The tests parse
every kind of message with the standard library and compare.
"""

import binascii
import re
import secrets
from base64 import b64encode
from datetime import datetime
from email.utils import format_datetime
from urllib.parse import quote

from notifier.channels import addresses
from notifier.channels.contract import Attachment, Message
from notifier.outcome import Rejected

LINE_LIMIT = 998
"""Octets of a line without its CRLF (RFC 5322, 2.1.1)."""

FOLD_AT = 76
"""Characters of a header line that holds encoded words at most (RFC 2047, 2)."""

_SENDER = re.compile(r"(?:(?P<name>.*?)\s*<(?P<inside>[^<>]+)>|(?P<bare>[^<>\s]+))")
_FORBIDDEN = re.compile(r"[\r\n\x00]")
_PLAIN_TEXT = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")
_PLAIN_URL = re.compile(r"[\x21-\x3b\x3d\x3f-\x7e]{1,900}")
_ATOMS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*")
_PLAIN_NAME = re.compile(r"[A-Za-z0-9 !#$&()+,.;=@^_{}~-]{1,70}")
_NEWLINE = re.compile(rb"\r\n|\r|\n")
_CONTROL = bytes(code for code in range(32) if code not in b"\t\r\n") + b"\x7f"
_NON_ASCII = bytes(range(128, 256))


class InvalidHeader(ValueError):
    """A header field would hold CR, LF or NUL; the text names the field."""


class Sender:
    """The From of a provider: `name@example.com` or `Name <name@example.com>`.

    Raises ValueError where it is neither. address: as it goes on the wire, ASCII. name: may be
    empty.
    """

    def __init__(self, text: str) -> None:
        found = None if _FORBIDDEN.search(text) else _SENDER.fullmatch(text)
        wire = addresses.ascii_email(found["inside"] or found["bare"]) if found else None
        if found is None or wire is None:
            raise ValueError("not an e-mail address with or without a name")
        name = found["name"] or ""
        if len(name) > 1 and name[0] == name[-1] == '"':
            name = re.sub(r"\\(.)", r"\1", name[1:-1])
        self.name = name
        self.address = wire
        self.domain = wire.rpartition("@")[2]
        self.header = f"{_phrase(name)} <{wire}>" if name else wire


class Composer:
    """Composes the messages of one batch: same sender, same date."""

    def __init__(self, sender: Sender, now: datetime) -> None:
        self._sender = sender
        # Unguessable, so no body can hold it; quoted-printable and base64 never hold `=_`.
        boundary, outer = f"=_{secrets.token_hex(12)}", f"=_{secrets.token_hex(12)}"
        self._head = (
            f"From: {sender.header}\r\n"
            f"Date: {format_datetime(now)}\r\n"
            "MIME-Version: 1.0\r\n"
            # RFC 3834: keeps vacation responders from answering.
            "Auto-Submitted: auto-generated\r\n"
        )
        self._alternative = (
            f'Content-Type: multipart/alternative;\r\n boundary="{boundary}"\r\n\r\n'
        ).encode()
        # The CRLF before a boundary belongs to it, not to the body (RFC 2046, 5.1.1).
        self._between = f"\r\n--{boundary}\r\n".encode()
        self._end = f"\r\n--{boundary}--\r\n".encode()
        self._mixed = (
            f'Content-Type: multipart/mixed;\r\n boundary="{outer}"\r\n\r\n\r\n--{outer}\r\n'
        ).encode()
        self._next = f"\r\n--{outer}\r\n".encode()
        self._last = f"\r\n--{outer}--\r\n".encode()

    def compose(self, message: Message, recipient: str) -> bytes | Rejected:
        """The message with CRLF line ends, not yet dot-stuffed; or why there can be none.

        recipient: the address in ASCII, as `addresses.ascii_email` gives it.
        """
        subject, text = message.parts.get("subject"), message.parts.get("text")
        if subject is None or text is None:
            return Rejected("missing_part", "an e-mail needs the parts `subject` and `text`")
        try:
            head = self._headers(message, recipient, subject).encode("ascii")
        except InvalidHeader as fault:
            return Rejected("invalid_header", str(fault))
        pieces = [head]
        if message.attachments:
            pieces.append(self._mixed)
        html = message.parts.get("html")
        if html is None:
            pieces.append(_part("plain", text))
        else:
            pieces += (
                self._alternative,
                self._between,
                _part("plain", text),
                self._between,
                _part("html", html),
                self._end,
            )
        for file in message.attachments:
            pieces += (self._next, _attached(file))
        if message.attachments:
            pieces.append(self._last)
        return b"".join(pieces)

    def _headers(self, message: Message, recipient: str, subject: str) -> str:
        if _FORBIDDEN.search(recipient):
            raise InvalidHeader("To holds CR, LF or NUL")
        identity = message.delivery_id
        lines = (
            f"{self._head}To: {recipient}\r\n"
            f"Subject: {encoded('Subject', subject)}\r\n"
            f"Message-ID: <{identity}@{self._sender.domain}>\r\n"
            f"X-Notifier-Delivery: {identity}\r\n"
            "X-Notifier-Correlation: "
            f"{encoded('X-Notifier-Correlation', message.correlation_id)}\r\n"
        )
        url = message.unsubscribe_url
        if url is not None:
            if not _PLAIN_URL.fullmatch(url):
                raise InvalidHeader("List-Unsubscribe is not a URL in ASCII")
            # RFC 8058, 3.1: both headers, the second with exactly this value.
            lines += (
                f"List-Unsubscribe: <{url}>\r\n"
                "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"
            )
        return lines


def encoded(name: str, text: str) -> str:
    """An unstructured header's value in ASCII: folded, in encoded words where it must be."""
    if _FORBIDDEN.search(text):
        raise InvalidHeader(f"{name} holds CR, LF or NUL")
    if not text:
        return ""
    if "=?" not in text and _PLAIN_TEXT.fullmatch(text):
        if len(name) + 2 + len(text) <= FOLD_AT:
            return text
        folded = _folded(len(name) + 2, text)
        if folded is not None:
            return folded
    return "\r\n ".join(_encoded_words(text))


def _folded(used: int, text: str) -> str | None:
    """Broken before blanks; None where a word alone is longer than a line."""
    lines: list[str] = []
    line = ""
    for word in text.split(" "):
        if len(word) >= FOLD_AT - used:
            return None
        if line and used + len(line) + 1 + len(word) > FOLD_AT:
            lines.append(line)
            line, used = word, 1
        else:
            line = f"{line} {word}" if line else word
    return "\r\n ".join([*lines, line])


def _encoded_words(text: str) -> list[str]:
    """RFC 2047 in base64, each word whole characters and at most 64 long."""
    words: list[str] = []
    piece = b""
    for character in text:
        octets = character.encode("utf-8", "replace")
        if len(piece) + len(octets) > 39:
            words.append(_word(piece))
            piece = b""
        piece += octets
    words.append(_word(piece))
    return words


def _word(octets: bytes) -> str:
    return f"=?utf-8?b?{b64encode(octets).decode('ascii')}?="


def _phrase(name: str) -> str:
    """A display name: as it is, quoted, or in encoded words."""
    if _ATOMS.fullmatch(name) and "=?" not in name and len(name) <= 60:
        return name
    if name.isascii() and name.isprintable() and len(name) <= 60:
        return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return "\r\n ".join(_encoded_words(name))


def _part(subtype: str, text: str) -> bytes:
    """Content headers and body: 7bit where that is safe, else the shorter encoding."""
    body = _NEWLINE.sub(b"\r\n", text.encode("utf-8", "replace"))
    if not body.endswith(b"\r\n"):
        body += b"\r\n"
    if body.isascii() and len(body.translate(None, _CONTROL)) == len(body):
        if len(body) <= LINE_LIMIT or max(map(len, body.split(b"\r\n"))) <= LINE_LIMIT:
            return _head(subtype, "7bit") + body
        dense = False
    else:
        # Quoted-printable takes three octets for one that is not ASCII, base64 4 for 3.
        dense = (len(body) - len(body.translate(None, _NON_ASCII))) * 6 > len(body)
    if dense:
        return _head(subtype, "base64") + _base64(body)
    return _head(subtype, "quoted-printable") + binascii.b2a_qp(body, istext=True)


def _attached(file: Attachment) -> bytes:
    """Content headers and body of a file."""
    # RFC 2183 and, for what is more than plain words, RFC 2231, 4. Not both: some take the first.
    name = (
        f'filename="{file.name}"'
        if _PLAIN_NAME.fullmatch(file.name)
        else f"filename*=utf-8''{quote(file.name, safe='')}"
    )
    # Parts that are messages may not be in base64 (RFC 2046, 5.2.1).
    is_message = file.media_type.startswith("message/")
    media_type = "application/octet-stream" if is_message else file.media_type
    head = (
        f"Content-Type: {media_type}\r\n"
        f"Content-Disposition: attachment;\r\n {name}\r\n"
        "Content-Transfer-Encoding: base64\r\n\r\n"
    )
    return head.encode("ascii") + _base64(file.content)


def _head(subtype: str, encoding: str) -> bytes:
    return (
        f"Content-Type: text/{subtype}; charset=utf-8\r\n"
        f"Content-Transfer-Encoding: {encoding}\r\n\r\n"
    ).encode()


def _base64(body: bytes) -> bytes:
    """Lines of 76 characters (RFC 2045, 6.8)."""
    whole = b64encode(body)
    return b"".join(whole[at : at + 76] + b"\r\n" for at in range(0, len(whole), 76))
