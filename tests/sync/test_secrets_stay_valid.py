"""However often a rotation ends without a response, the secret Supabase signs with stays valid."""

import pytest

from evpower import sync
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.sync.webhook import signing_secrets
from evpower.sync.webhook.signatures import parse_secret
from evpower.sync.webhook.signing_secrets import WebhookSecrets
from tests.sync.test_secrets import URL, FakeSupabase
from tests.waiting import WAIT_LIMIT_S


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing_secrets, "_READ_S", WAIT_LIMIT_S)


async def _good(db: Database) -> tuple[bytes, ...]:
    return await WebhookSecrets(db, "", utc_now).current()


async def test_supabase_away_during_many_rotations(db: Database, owner: Connection) -> None:
    await sync.rotate_secret(db, FakeSupabase(owner), URL)
    (signs_with,) = await _good(db)
    away = FakeSupabase(owner, sync.TargetUnavailable("?"))
    for _ in range(12):
        with pytest.raises(sync.TargetUnavailable):
            await sync.rotate_secret(db, away, URL)
    assert signs_with in await _good(db)
    newest = await owner.fetchval(
        "select secret from sync.webhook_secrets order by id desc limit 1"
    )
    assert parse_secret(newest) in await _good(db)


async def test_many_rotations_in_a_day_end_none_that_is_not_replaced(
    db: Database, owner: Connection
) -> None:
    hook = "whsec_" + "QUJD" * 8  # of an Auth hook, say, put there by hand
    for _ in range(40):
        await sync.rotate_secret(db, FakeSupabase(owner), URL)
    await owner.execute("update sync.webhook_secrets set not_after = now() + interval '1 hour'")
    await owner.execute("insert into sync.webhook_secrets (id, secret)"
                        " overriding system value values (0, $1)", hook)  # fmt: skip
    assert parse_secret(hook) in await _good(db)
