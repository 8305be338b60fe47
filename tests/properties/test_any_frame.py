"""Whatever a station sends as a start, values or a stop, it gets a good answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpower.foundation.db import Connection, Database
from evpower.ocpp.schemas import violation
from tests.ocpp.driving import Driving, driving
from tests.waiting import WAIT_LIMIT_S

_MEMBERS = (
    "connectorId", "idTag", "meterStart", "meterStop", "timestamp", "transactionId", "reason",
    "transactionData", "meterValue", "reservationId", "x",
)  # fmt: skip
_SAMPLE_MEMBERS = ("value", "context", "measurand", "unit", "phase", "location", "format")
_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**63), st.floats(allow_nan=False),
    st.text(max_size=30), st.sampled_from(["1", "0", "-1", "1,5", "Wh", "kWh", "2026-11-29T1:2:3"]),
)  # fmt: skip
_SAMPLES = st.dictionaries(st.sampled_from(_SAMPLE_MEMBERS), _SCALARS, max_size=7)
_ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": _SCALARS,
        "sampledValue": st.one_of(_SCALARS, _SAMPLES, st.lists(_SAMPLES | _SCALARS, max_size=3)),
    },
)
_VALUES = st.one_of(_SCALARS, _ENTRIES, st.lists(_ENTRIES | _SCALARS, max_size=3))
_PAYLOADS = st.dictionaries(st.sampled_from(_MEMBERS), _VALUES, max_size=8)
_ACTIONS = ("StartTransaction", "MeterValues", "StopTransaction", "StatusNotification", "Authorize")


@pytest.fixture
async def drive(db: Database, owner: Connection) -> AsyncIterator[Driving]:
    async with driving(db, owner) as drive:
        yield drive


async def test_the_answer_is_never_an_error_nor_missing(drive: Driving) -> None:
    loop = asyncio.get_running_loop()
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)

        async def ask(action: str, payload: dict[str, Any]) -> None:
            message_id = str(next(station.ids))
            answer = await station.ask([2, message_id, action, payload])
            while answer[0] == 2:  # a stop was sent, and it goes on
                answer = await station.receive()
            assert answer[:2] == [3, message_id]
            assert violation(action, answer[2], "response") == ""

        @given(st.sampled_from(_ACTIONS), _PAYLOADS, st.booleans())
        def search(action: str, payload: dict[str, Any], is_ours: bool) -> None:  # noqa: FBT001
            if is_ours:
                payload = {**payload, "transactionId": transaction}
            asyncio.run_coroutine_threadsafe(ask(action, payload), loop).result(WAIT_LIMIT_S)

        await asyncio.to_thread(search)
    failed = await drive.value("select count(*) from alerts.alerts where kind = 'frame_failed'")
    assert failed == 0
