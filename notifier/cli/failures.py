"""What a person reads when a command fails: one line that says what to do, never a traceback."""

import json
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from notifier.errors import NotifierError, Refused, SettingError

FAILED = 1
WRONG_USE = 2


def run(command: click.Command, arguments: Sequence[str]) -> int:
    """Run the command; its exit code, with every expected fault told on standard error."""
    try:
        code = command.main(args=list(arguments), prog_name="notifier", standalone_mode=False)
    except click.UsageError as error:
        error.show()
        if "--json" in arguments:
            _tell_json(error.format_message(), code="usage")
        return WRONG_USE
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return FAILED
    except Refused as error:
        return _tell(arguments, WRONG_USE, str(error), code=error.code, field=error.field)
    except SettingError as error:
        return _tell(arguments, WRONG_USE, str(error), code="setting", field=error.variable)
    except NotifierError as error:
        return _tell(arguments, FAILED, str(error), code="failed")
    except Exception as error:
        known = _unreachable(error)
        if known is None:
            raise
        return _tell(arguments, FAILED, known, code="unreachable")
    return code if isinstance(code, int) else 0


def wrong_use(message: str) -> NoReturn:
    """End the command: the caller asked for something that does not exist."""
    raise click.UsageError(message)


def _tell(arguments: Sequence[str], exit_code: int, message: str, **facts: str) -> int:
    click.echo(f"notifier: {message}", err=True)
    if "--json" in arguments:
        _tell_json(message, **facts)
    return exit_code


def _tell_json(message: str, **facts: str) -> None:
    click.echo(json.dumps({"error": {**facts, "message": message}}))


def _unreachable(error: Exception) -> str | None:
    """A line for a server that is away or says no; None where the fault is our own."""
    from redis.exceptions import RedisError
    from sqlalchemy.exc import DBAPIError

    if isinstance(error, DBAPIError):
        lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
        return f"NOTIFIER_DATABASE_URL: Postgres says: {lines[0]}"
    if isinstance(error, RedisError):
        return f"NOTIFIER_REDIS_URL: Redis says: {error}"
    return None
