"""The short form of `make faults`: every case once, a smaller load, outages of seconds."""

from collections.abc import Mapping

import pytest

from tests.faults.cases import CASES
from tests.faults.runner import run_all
from tests.faults.verdict import Verdict

SEED = 1
SIZE = 400
PATIENCE = 4.0
"""Times the bound of a recovery: `make faults` measures, here other tests may run beside."""

STANDS = 4
"""Most of a case is waiting for a lease to end."""


@pytest.fixture(scope="module")
def verdicts(request: pytest.FixtureRequest) -> Mapping[str, Verdict]:
    """Of the cases that were chosen (`-k`), run side by side."""
    chosen = [
        name
        for name in CASES
        if any(item.name.endswith(f"[{name}]") for item in request.session.items)
    ]
    # The longest first, so that no stand has one left when the others are done.
    chosen.sort(key=lambda name: CASES[name].within, reverse=True)
    made = run_all(
        [(name, SEED) for name in chosen], jobs=STANDS, size=SIZE, short=True, patience=PATIENCE
    )
    return {verdict.case: verdict for verdict in made}


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost_stuck_or_repeated_beyond_what_was_in_doubt(
    name: str, verdicts: Mapping[str, Verdict]
) -> None:
    assert name in verdicts, "the case gave no verdict"
    assert not verdicts[name].broken, verdicts[name].line()
