"""A station that connects without a boot is asked for one, once."""

from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.stations import claim_command, end_command, open_connection, report_boot
from evpower.stations.ask_boot import ask_for_boots
from evpower.stations.jobs import end_commands
from tests.stations.scenario import NOW, Operator

SETTLED = NOW + timedelta(minutes=1)
LATER = NOW + timedelta(hours=1)


async def connect(db: Database, now: datetime) -> int:
    async with db.transaction() as connection:
        opened = await open_connection(
            connection, "EVP-001", address="10.0.0.1", version="ocpp1.6", is_authenticated=False,
            node="n1", now=now,
        )  # fmt: skip
    return opened.epoch


async def count_requests(db: Database, owner: Connection, now: datetime = SETTLED) -> int:
    """How often it was asked by now."""
    await ask_for_boots(db, LocalBus(), now)
    rows = await owner.fetch("select action, payload->>'message' m from stations.commands")
    assert {(row["action"], row["m"]) for row in rows} <= {("trigger", "boot_notification")}
    return len(rows)


@pytest.fixture
async def epoch(operator: Operator, db: Database) -> int:
    await operator.add(no_auth=True)
    return await connect(db, NOW)


async def test_one_that_never_booted_is_asked_once(
    db: Database, owner: Connection, epoch: int
) -> None:
    assert await count_requests(db, owner, SETTLED - timedelta(seconds=1)) == 0, (
        "its boot may still come"
    )
    assert await count_requests(db, owner) == 1
    assert await count_requests(db, owner) == 1, "it is queued"
    async with db.transaction() as connection:
        claimed = await claim_command(connection, "EVP-001", epoch, now=SETTLED)
        assert claimed is not None
        refused = {"status": "NotImplemented"}
        await end_command(connection, claimed.command.id, "refused", refused, now=SETTLED)
    await connect(db, LATER)
    assert await count_requests(db, owner, LATER + timedelta(hours=1)) == 1, "it has said no"


@pytest.mark.usefixtures("epoch")
async def test_one_that_was_gone_before_it_was_asked_is_asked_later(
    db: Database, owner: Connection
) -> None:
    assert await count_requests(db, owner) == 1
    await end_commands(db, LocalBus(), LATER)
    assert await count_requests(db, owner, LATER) == 2


@pytest.mark.usefixtures("epoch")
async def test_one_that_booted_is_not_asked(db: Database, owner: Connection) -> None:
    async with db.transaction() as connection:
        await report_boot(connection, "EVP-001", vendor=None, model=None, firmware=None, now=NOW)
    assert await count_requests(db, owner) == 0


@pytest.mark.usefixtures("epoch")
@pytest.mark.parametrize(
    ("profile", "members", "count"),
    [
        pytest.param("abl", {}, 0, id="a-make-that-takes-none"),
        pytest.param("abl", {"trigger_allowed": "true"}, 1, id="unless-this-one-does"),
        pytest.param("alfen", {"trigger_allowed": "false"}, 0, id="one-that-takes-none"),
        pytest.param("alfen", {}, 1, id="a-make-that-takes-it"),
    ],
)
async def test_only_one_that_takes_triggers_is_asked(
    operator: Operator,
    db: Database,
    owner: Connection,
    profile: str,
    members: Mapping[str, str],
    count: int,
) -> None:
    await operator.change("EVP-001", profile=profile, members=members)
    assert await count_requests(db, owner) == count


@pytest.mark.usefixtures("epoch")
async def test_one_that_another_csms_answers_is_not_asked(db: Database, owner: Connection) -> None:
    await owner.execute("update stations.stations set forward_url = 'wss://csms.example/ocpp'")
    assert await count_requests(db, owner) == 0
