"""What options and arguments may say."""

from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import click

Word = TypeVar("Word", bound=StrEnum)


class OneOf(click.Choice[Word]):
    """A word of an enum, as its member: `OneOf(Channel)`."""

    def normalize_choice(self, choice: object, ctx: click.Context | None) -> str:
        return str(choice)


class When(click.ParamType[datetime]):
    """A time with its offset."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a time (2026-05-01T09:00+02:00)", param, ctx)
        if moment.tzinfo is None:
            self.fail(f"{value!r} has no offset (2026-05-01T09:00+02:00)", param, ctx)
        return moment
