"""Files that were kept."""

import uuid

from pydantic import BaseModel


class AttachmentOut(BaseModel):
    """A file that was kept; the same file, name and type have the same id."""

    id: uuid.UUID
