"""`make test` leaves no test out."""

from pathlib import Path

from tests.__main__ import HERE, shares


def test_every_test_is_in_one_of_the_two_shares() -> None:
    named = [Path(path) for share in shares() for path in share]
    found = [
        file for path in named for file in (path.rglob("test_*.py") if path.is_dir() else [path])
    ]
    assert sorted(found) == sorted(HERE.rglob("test_*.py"))
