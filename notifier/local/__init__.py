"""A real Postgres and a real Valkey on this machine, without installing either as a service."""

from notifier.local.errors import (
    BinariesMissing,
    FolderInUse,
    FolderUnusable,
    LocalServicesError,
    NoAccount,
    ServerFailed,
)
from notifier.local.home import scratch
from notifier.local.services import Services, boot

__all__ = [
    "BinariesMissing",
    "FolderInUse",
    "FolderUnusable",
    "LocalServicesError",
    "NoAccount",
    "ServerFailed",
    "Services",
    "boot",
    "scratch",
]
