"""What stations do off the protocol is counted in memory and written once a minute."""

from datetime import UTC, datetime, timedelta

import pytest

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.ocpp.deviations import Deviations
from tests.conftest import patient_database
from tests.ocpp.scenario import Central

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)


async def counted(owner: Connection) -> list[tuple[str, int, str, datetime]]:
    rows = await owner.fetch(
        "select kind, count, sample, last_seen_at from stations.deviations order by kind"
    )
    return [tuple(row) for row in rows]


async def test_frames_of_a_minute_are_one_write(central: Central) -> None:
    await central.add(no_auth=True)
    deviations = Deviations(central.db)
    assert deviations.loop().record.period_s == 60
    for second in range(3):
        at = NOON + timedelta(seconds=second)
        deviations.add("EVP-001", {"unit_unknown"}, f"frame {second}", at)
    assert await counted(central.owner) == []
    await deviations.flush()
    last = NOON + timedelta(seconds=2)
    assert await counted(central.owner) == [("unit_unknown", 3, "frame 0", last)]
    await deviations.flush()
    assert await counted(central.owner) == [("unit_unknown", 3, "frame 0", last)]


async def test_what_could_not_be_written_is_written_with_the_next(
    central: Central, db: Database
) -> None:
    await central.add(no_auth=True)
    away = patient_database("postgres://user:x@127.0.0.1:1/none", wait_limit_s=0.1)
    deviations = Deviations(away)
    deviations.add("EVP-001", {"unit_unknown"}, "first", NOON)
    with pytest.raises(Unavailable):
        await deviations.flush()
    deviations.add("EVP-001", {"unit_unknown"}, "second", NOON)
    deviations._db = db
    await deviations.flush()
    assert [row[:2] for row in await counted(central.owner)] == [("unit_unknown", 2)]
