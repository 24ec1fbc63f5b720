"""Notifier: emit events in your own transaction; every delivery reaches its end, or says why not.

Producers need only this module. Importing it is light: what a call needs is loaded when it is
made.
"""

from notifier.acknowledge import Acknowledgement, acknowledge
from notifier.attach import attach, attach_async
from notifier.cancel import Cancelled, cancel
from notifier.emit import Event, emit, emit_async

__all__ = [
    "Acknowledgement",
    "Cancelled",
    "Event",
    "acknowledge",
    "attach",
    "attach_async",
    "cancel",
    "emit",
    "emit_async",
]
