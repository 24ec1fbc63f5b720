"""Secrets at rest: whom they open for, and how their keys are changed."""

import json
import uuid
from collections.abc import Callable

import pytest
from cryptography.fernet import Fernet

from notifier import rotate, sealing
from notifier.cli import main
from notifier.errors import SettingError
from notifier.rotate import Rotated
from notifier.store import audience
from tests.conftest import Database, forget

TENANT, ROW = uuid.uuid4(), uuid.uuid4()
FIRST, SECOND, THIRD = (Fernet.generate_key().decode() for _ in range(3))

Keys = Callable[..., None]


@pytest.fixture
def keys(database: Database, monkeypatch: pytest.MonkeyPatch) -> Keys:
    """Sets the keys, newest first."""
    assert database

    def use(*words: str) -> None:
        monkeypatch.setenv("NOTIFIER_SECRET_KEYS", ", ".join(words))
        forget()

    return use


def seal(secret: str = "secret", tenant: uuid.UUID = TENANT, row: uuid.UUID = ROW) -> str:
    return sealing.seal(secret, tenant=tenant, row=row, purpose="token")


def unseal(sealed: str, tenant: uuid.UUID = TENANT, row: uuid.UUID = ROW) -> str:
    return sealing.unseal(sealed, tenant=tenant, row=row, purpose="token")


@pytest.mark.parametrize("secret", ["secret", "", 'q"uo\\te', "ünï\0cödé \U0001f600", "x" * 10_000])
def test_a_secret_opens_for_its_tenant_row_and_purpose(keys: Keys, secret: str) -> None:
    keys(FIRST)
    sealed = seal(secret)
    assert unseal(sealed) == secret
    assert sealed.isascii()
    assert "secret" not in sealed
    assert seal(secret) != sealed, "nobody sees that two are the same"


def test_it_opens_for_no_other_tenant_row_or_purpose(keys: Keys) -> None:
    keys(FIRST)
    sealed = seal()
    for tenant, row, purpose in (
        (uuid.uuid4(), ROW, "token"),
        (TENANT, uuid.uuid4(), "token"),
        (TENANT, ROW, "other"),
        (ROW, TENANT, "token"),
    ):
        with pytest.raises(sealing.Unopened, match="another tenant, row or purpose"):
            sealing.unseal(sealed, tenant=tenant, row=row, purpose=purpose)


@pytest.mark.parametrize("sealed", ["", "x", "gAAAAA", "é", "secret"])
def test_what_was_not_sealed_by_us_does_not_open(keys: Keys, sealed: str) -> None:
    keys(FIRST)
    with pytest.raises(sealing.Unopened, match="NOTIFIER_SECRET_KEYS"):
        unseal(sealed)
    tampered = seal()
    with pytest.raises(sealing.Unopened):
        unseal(tampered[:-8] + "AAAAAAA=")


def test_without_a_key_the_variable_is_named(keys: Keys) -> None:
    keys()
    with pytest.raises(SettingError, match="NOTIFIER_SECRET_KEYS: expected a key") as fault:
        seal()
    assert "notifier keys secret" in str(fault.value)
    with pytest.raises(sealing.NoKey):
        unseal("x")
    with pytest.raises(sealing.NoKey):
        sealing.reseal("x")


def test_the_newest_key_seals_and_every_key_opens(keys: Keys) -> None:
    keys(FIRST)
    old = seal()
    keys(SECOND, FIRST)
    assert unseal(old) == "secret"
    new = seal()
    resealed = sealing.reseal(old)
    assert resealed is not None
    assert sealing.reseal(new) is None
    assert sealing.reseal(resealed) is None
    keys(SECOND)
    assert unseal(new) == unseal(resealed) == "secret"
    with pytest.raises(sealing.Unopened, match="no key"):
        unseal(old)
    with pytest.raises(sealing.Unopened, match="no key"):
        sealing.reseal(old)


def fill(database: Database, count: int) -> uuid.UUID:
    """Connections of so many tenants, each with both tokens; the tenant of the last one."""
    with database.pool.begin() as connection:
        for n in range(count):
            tenant = audience.create_tenant(connection, f"tenant {n}")
            row = uuid.uuid4()
            connection.exec_driver_sql(
                "INSERT INTO notifier.connections "
                "(id, tenant_id, provider, scopes, status, access_token, refresh_token) "
                "VALUES (%s, %s, 'x', '{}', 'active', %s, %s)",
                (row, tenant, seal(f"a{n}", tenant, row), seal(f"r{n}", tenant, row)),
            )
    return tenant


def opened(database: Database) -> set[str]:
    rows = database.query(
        "SELECT tenant_id, id, access_token, refresh_token FROM notifier.connections"
    )
    return {unseal(sealed, row[0], row[1]) for row in rows for sealed in row[2:]}


def test_rotation_reseals_everything_and_the_old_key_can_go(
    database: Database, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rotate, "BATCH", 3)
    keys(FIRST)
    fill(database, 7)
    secrets = opened(database)
    assert len(secrets) == 14
    keys(SECOND, FIRST)
    assert rotate.rotate() == Rotated(resealed=14, kept=0, changed=0, unopened=0)
    assert rotate.rotate() == Rotated(resealed=0, kept=14, changed=0, unopened=0)
    kinds = database.query("SELECT kind, severity FROM notifier.admin_system_events")
    assert [tuple(row) for row in kinds] == [("keys_rotated", "low")]
    keys(SECOND)
    assert opened(database) == secrets
    keys(FIRST)
    with pytest.raises(sealing.Unopened):
        opened(database)


def test_what_no_key_opens_is_counted_and_left(
    database: Database, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    keys(FIRST)
    fill(database, 1)
    keys(SECOND)
    before = database.query("SELECT access_token FROM notifier.connections")
    assert main(["keys", "rotate", "--json"]) == 1
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told == {"resealed": 0, "kept": 0, "changed": 0, "unopened": 2}
    assert database.query("SELECT access_token FROM notifier.connections") == before
    keys(SECOND, FIRST)
    assert main(["keys", "rotate"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == (
        "2 resealed, 0 had the newest key, 0 were changed meanwhile, 0 could not be opened"
    )


def test_rotation_without_a_key_is_wrong_use(
    database: Database, keys: Keys, capsys: pytest.CaptureFixture[str]
) -> None:
    keys(FIRST)
    fill(database, 1)
    keys()
    assert main(["keys", "rotate"]) == 2
    assert "NOTIFIER_SECRET_KEYS: expected a key" in capsys.readouterr().err


def test_a_value_written_while_it_is_resealed_stays(
    database: Database, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys(FIRST)
    tenant = fill(database, 1)
    keys(SECOND, FIRST)
    row = database.one("SELECT id FROM notifier.connections")
    newer = seal("newer", tenant, row)
    reseal = sealing.reseal

    def slowly(sealed: str) -> str | None:
        made = reseal(sealed)
        with database.pool.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE notifier.connections SET access_token = %s", (newer,)
            )
        return made

    monkeypatch.setattr(sealing, "reseal", slowly)
    done = rotate.rotate()
    assert (done.resealed, done.changed) == (1, 1)
    assert opened(database) == {"newer", "r0"}
