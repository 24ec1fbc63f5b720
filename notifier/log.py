"""Structured logs: one JSON object a line on standard error, correlation ids in every one."""

import logging
import sys
import uuid
from collections.abc import MutableMapping
from contextlib import suppress
from typing import Any, TextIO, cast

import structlog

from notifier.settings import settings


class _StandardError:
    """Standard error as it is now. What can not be written, to a closed pipe or a full disk, is
    lost: no delivery fails for its log.
    """

    def write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            sys.stderr.flush()


def configure() -> None:
    """Set up this process's logs as the settings say, the standard library's included."""
    *shared, last = _structure(lasts=True)
    handler = logging.StreamHandler(cast(TextIO, _StandardError()))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(_level(), logging.WARNING))


def configure_command() -> None:
    """Set up the logs of a command, whose answer alone goes to standard output."""
    _structure(lasts=False)


def _structure(*, lasts: bool) -> list[Any]:
    """Set structlog up; the processors of a line. lasts: for as long as the process does."""
    processors: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
        _ids_as_text,
        structlog.processors.JSONRenderer(default=str)
        if settings().log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()),
    ]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(_level()),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, _StandardError())),
        cache_logger_on_first_use=lasts,
    )
    return processors


def _level() -> int:
    return logging.getLevelNamesMapping()[settings().log_level]


def _ids_as_text(_logger: Any, _method: str, line: MutableMapping[str, Any]) -> Any:
    """Ids as they are asked for, whatever writes the line."""
    return {key: str(what) if isinstance(what, uuid.UUID) else what for key, what in line.items()}


def logger(name: str) -> Any:
    """A logger that names the part of the product it speaks for."""
    return structlog.get_logger(part=name)
