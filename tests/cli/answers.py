"""What commands answer with `--json`."""

import json
from typing import Any


def last_json(printed: str) -> dict[str, Any]:
    """The answer, which is the last line."""
    facts: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return facts
