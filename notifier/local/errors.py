"""Why the local Postgres and Valkey could not be started, and what to do about it."""

from pathlib import Path

from notifier.errors import NotifierError


class LocalServicesError(NotifierError):
    """Base of every error of `notifier.local`."""


class BinariesMissing(LocalServicesError):
    """A server program is not on this machine, or none that was found can be used."""

    def __init__(self, what: str, advice: str, refused: list[str]) -> None:
        found = "".join(f"\n  found, but not usable: {reason}" for reason in refused)
        super().__init__(f"{what} is not installed. {advice}{found}")
        self.refused = refused


class FolderInUse(LocalServicesError):
    """Another process runs its services in this folder."""

    def __init__(self, folder: Path, holder: str) -> None:
        super().__init__(
            f"Notifier runs in {folder} already, as process {holder}: "
            "end that process first, or choose another folder"
        )
        self.folder = folder
        self.holder = holder


class FolderUnusable(LocalServicesError):
    """The folder, or something in it, is not as the services need it."""

    def __init__(self, folder: Path, expected: str) -> None:
        super().__init__(f"{folder}: {expected}")
        self.folder = folder


class NoAccount(LocalServicesError):
    """There is no unprivileged account to run the servers with."""


class ServerFailed(LocalServicesError):
    """A server did not start, or ended while it was needed; the message ends with its log."""

    def __init__(self, name: str, what: str, log: str) -> None:
        super().__init__(f"{name} {what}. The end of its log:\n{log or '(empty)'}")
