"""Statuses whose bytes come again: a retry, or news after a boot (Q19)."""

import pytest

from tests.ocpp.driving import Driving, Members

STATUS: Members = {"connectorId": 1, "errorCode": "NoError", "status": "Charging"}
NO_TIMES: list[Members] = [
    {},
    {"timestamp": None},
    {"timestamp": ""},
    {"timestamp": "1970-01-01T00:00:07Z"},
]


async def connector_status(drive: Driving) -> str:
    return await drive.value("select reported_status from stations.connectors where number = 1")


@pytest.mark.parametrize("time", NO_TIMES, ids=["absent", "null", "empty", "clock-not-set"])
async def test_q19_one_without_a_time_counts_after_each_boot(drive: Driving, time: Members) -> None:
    """Its ids count from 1 at each boot, so the same bytes say something new."""
    for _ in range(2):
        async with drive.central.open() as station:
            await station.boot()
            for number, status in enumerate(("Available", "Faulted"), start=2):
                payload = STATUS | {"status": status} | time
                assert await station.call("StatusNotification", payload, f"{number}") == {}
                assert await connector_status(drive) == status.lower()
    assert await drive.value("select count(*) from stations.status_log") == 4


async def test_one_with_its_time_counts_once_on_any_connection(drive: Driving) -> None:
    payload = STATUS | {"timestamp": drive.stamp()}
    for _ in range(2):
        async with drive.central.open() as station:
            await station.boot()
            await station.call("StatusNotification", payload, "2")
    assert await drive.value("select count(*) from stations.status_log") == 1
