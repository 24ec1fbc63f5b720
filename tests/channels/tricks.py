"""What a peer can do to whoever reads it: hang, drip, write without end, break off."""

import asyncio
import socket
import struct

HANG = "hang"
DRIP = "drip"
FLOOD = "flood"
LINE = "line"
CUT = "cut"
RESET = "reset"

TRICKS = (HANG, DRIP, FLOOD, LINE, CUT, RESET)


class BrokenOff(Exception):
    """The connection is to be closed without another word."""


async def play(trick: str, writer: asyncio.StreamWriter, line: bytes) -> None:
    """Play a trick instead of answering; returns never, or raises `BrokenOff`.

    line: what a flood repeats, and a drip and a line without end begin with.
    """
    match trick:
        case "hang":
            await asyncio.sleep(3600)
        case "drip":
            writer.write(line.rstrip(b"\r\n"))
            while True:
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.05)
        case "flood":
            while True:
                writer.write(line * 1000)
                await _let_go(writer)
        case "line":
            writer.write(line.rstrip(b"\r\n"))
            while True:
                writer.write(b"x" * 65536)
                await _let_go(writer)
        case "reset":
            # Without lingering, close sends RST and what was written and not yet read is lost.
            raw = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raise BrokenOff
        case "cut":
            raise BrokenOff
        case _:
            raise ValueError(trick)


async def _let_go(writer: asyncio.StreamWriter) -> None:
    """Drain and let others run: a reader that keeps up would never have `drain` wait."""
    await writer.drain()
    await asyncio.sleep(0)
