"""The message log: bounded, in order, every message once."""

from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from evpower.foundation.db import Connection
from tests.api.operator_scenario import OperatorApi
from tests.charging.place import ChargingPlace


async def log_frames(owner: Connection, at: datetime, count: int, apart: timedelta) -> None:
    """A call and its answer each time; both have the time of the call."""
    for number in range(count):
        for direction, kind, action in (("in", 2, "Heartbeat"), ("out", 3, None)):
            await owner.execute(
                "insert into ocpp.frames (station_id, received_at, direction, message_type,"
                " message_id, action, frame) values ('S1', $1, $2, $3, $4, $5, $6)",
                at + number * apart, direction, kind, f"m{number}", action, f"{kind}-{number}",
            )  # fmt: skip


async def read_all(operators: OperatorApi, **query: Any) -> list[str]:
    seen: list[str] = []
    while True:
        page = await operators.call("GET", "/stations/S1/messages", "viewer", params=query)
        seen += [message["frame"] for message in page["items"]]
        if page["next"] is None:
            return seen
        assert page["next"] != query.get("cursor"), "the same page again"
        query["cursor"] = page["next"]


@pytest.mark.parametrize("limit", [1, 3, 500])
@pytest.mark.parametrize("apart_s", [0, 1])
async def test_pages_hold_every_message_once(
    operators: OperatorApi, place: ChargingPlace, owner: Connection, limit: int, apart_s: int
) -> None:
    del place
    at = operators.clock() - timedelta(hours=1)
    await log_frames(owner, at, 4, timedelta(seconds=apart_s))
    seen = await read_all(operators, limit=limit)
    assert sorted(seen) == sorted(f"{kind}-{number}" for kind in (2, 3) for number in range(4))


async def test_it_is_filtered_by_direction_action_and_time(
    operators: OperatorApi, place: ChargingPlace, owner: Connection
) -> None:
    del place
    at = operators.clock() - timedelta(hours=2)
    await log_frames(owner, at, 2, timedelta(hours=1))
    assert await read_all(operators, direction="in") == ["2-0", "2-1"]
    assert await read_all(operators, action="heartbeat", direction="out") == ["3-0", "3-1"]
    assert await read_all(operators, action="StopTransaction") == []
    later = (at + timedelta(minutes=30)).isoformat()
    assert await read_all(operators, **{"from": later, "direction": "in"}) == ["2-1"]


async def test_it_is_of_a_session_s_time(
    operators: OperatorApi, place: ChargingPlace, owner: Connection
) -> None:
    place.now = operators.clock()
    session, _ = await place.charging(await place.driver())
    await log_frames(owner, operators.clock() - timedelta(hours=3), 1, timedelta(0))
    await log_frames(owner, operators.clock(), 1, timedelta(0))
    until = (operators.clock() + timedelta(minutes=1)).isoformat()
    assert await read_all(operators, session=str(session), to=until) == ["2-0", "3-0"]
    refused = await operators.call(
        "GET", "/stations/S1/messages", params={"session": str(uuid4())}, expect=404
    )
    assert refused["error"] == "session_not_found"


async def test_it_is_bounded(operators: OperatorApi, place: ChargingPlace) -> None:
    del place
    now = operators.clock()
    for query in (
        {"from": (now - timedelta(days=40)).isoformat()},
        {"from": now.isoformat(), "to": (now - timedelta(days=1)).isoformat()},
        {"limit": "501"},
    ):
        await operators.call("GET", "/stations/S1/messages", params=query, expect=422)
    await operators.call("GET", "/stations/nowhere/messages", expect=404)
