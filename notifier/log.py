"""Structured logs: one JSON object a line on standard error, correlation ids in every one."""

import logging
import sys
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
    level = logging.getLevelNamesMapping()[settings().log_level]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,
    ]
    last: Any = (
        structlog.processors.JSONRenderer(default=str)
        if settings().log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    stream = cast(TextIO, _StandardError())
    structlog.configure(
        processors=[*shared, last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(level, logging.WARNING))


def logger(name: str) -> Any:
    """A logger that names the part of the product it speaks for."""
    return structlog.get_logger(part=name)
