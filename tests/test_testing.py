"""The assertions that producers use in their own tests."""

import uuid

import pytest
from sqlalchemy import Connection

from notifier import emit
from notifier.testing import assert_emitted, assert_nothing_emitted, planned
from tests.test_emit import TASK


def test_producers_see_what_they_emitted_and_roll_it_back(
    connection: Connection, tenant: uuid.UUID
) -> None:
    assert_nothing_emitted(connection)
    event = emit(connection, "task.due_soon", TASK, tenant=tenant, to={"recipients": ["ada"]})
    (seen,) = assert_emitted(connection, "task.due_soon", {"task": TASK["task"]})
    assert seen.id == event.id
    assert [
        (p.recipient, p.channel, p.status, p.reason) for p in planned(connection, event.id)
    ] == [
        ("ada", "email", "queued", None),
        ("ada", "inapp", "queued", None),
        ("ada", "push", "refused", "no_address"),
    ]
    with pytest.raises(AssertionError, match=r"expected 2 task\.due_soon"):
        assert_emitted(connection, "task.due_soon", times=2)
    with pytest.raises(AssertionError, match=r"expected 1 trial\.ended"):
        assert_emitted(connection, "trial.ended")
    with pytest.raises(AssertionError, match="expected no event"):
        assert_nothing_emitted(connection)
    connection.rollback()
    assert_nothing_emitted(connection)
