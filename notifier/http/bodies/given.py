"""What every body that is read has in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Word = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="text of 1 to 200 characters, none of them a control character",
    ),
]
"""A name or an id of the tenant's own."""


class Given(BaseModel):
    """A body that refuses every field it does not know."""

    model_config = ConfigDict(extra="forbid")
