"""The cases by what is struck; importing this package enters all of them in `CASES`."""

from tests.faults.case import CASES
from tests.faults.cases import (
    phones,
    poison,
    postgres,
    providers,
    redis,
    relay,
    restart,
    workers,
)

__all__ = [
    "CASES",
    "phones",
    "poison",
    "postgres",
    "providers",
    "redis",
    "relay",
    "restart",
    "workers",
]
