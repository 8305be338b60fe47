"""Frames that wait to be stored: no station keeps those of the others out."""

from datetime import UTC, datetime

import pytest

from evpower.foundation.db import Connection, Database
from evpower.ocpp.frame_log import FrameLog
from evpower.ocpp.model import FrameRow

AT = datetime(2026, 12, 1, 12, tzinfo=UTC)


def frame(station_id: str, text: str = "x") -> FrameRow:
    return FrameRow(station_id, AT, "in", 3, "1", None, text)


async def stored(log: FrameLog, owner: Connection) -> dict[str, int]:
    await log.flush_all()
    rows = await owner.fetch("select station_id, count(*) from ocpp.frames group by 1")
    return {row["station_id"]: row["count"] for row in rows}


@pytest.mark.parametrize(
    ("text", "sent", "stored_count"),
    [
        pytest.param("x", 30_000, 10_000, id="many"),
        pytest.param("x" * 1024 * 1024, 100, 32, id="large"),
    ],
)
async def test_one_station_may_fill_half_of_the_log(
    db: Database, owner: Connection, text: str, sent: int, stored_count: int
) -> None:
    log = FrameLog(db)
    for _ in range(sent):
        log.add(frame("EVP-FLOOD", text))
    for number in range(100):
        for _ in range(10):
            log.add(frame(f"EVP-{number}"))
    counts = await stored(log, owner)
    assert counts.pop("EVP-FLOOD") == stored_count
    assert set(counts.values()) == {10}
    assert len(counts) == 100


async def test_behind_half_a_station_has_a_twentieth(db: Database, owner: Connection) -> None:
    log = FrameLog(db)
    for station_id in ("EVP-1", "EVP-2", "EVP-3"):
        for _ in range(11_000):
            log.add(frame(station_id))
    assert await stored(log, owner) == {"EVP-1": 10_000, "EVP-2": 1_000, "EVP-3": 1_000}
    for _ in range(11_000):  # what was stored counts no more
        log.add(frame("EVP-1"))
    assert await stored(log, owner) == {"EVP-1": 20_000, "EVP-2": 1_000, "EVP-3": 1_000}
