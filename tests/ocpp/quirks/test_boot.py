"""Boots, statuses and clocks of real stations (Q18 to Q23)."""

# pyright: reportOptionalSubscript=false, reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.ocpp.driving import Driving, Members, accept
from tests.ocpp.scenario import Station

Stamp = Callable[[datetime], str]
TEISON = "V1.5@25238bf+100,F8.gl,ws,ESP32,RN8213@V31"
STATUS = {"connectorId": 1, "errorCode": "NoError", "status": "Charging"}


@pytest.mark.parametrize(
    ("boot", "kinds"),
    [
        pytest.param(
            {
                "chargePointVendor": "Schneider Electric",
                "chargePointModel": "EVlink G4",
                "chargePointSerialNumber": "3N213812345678901234567890",
                "chargeBoxSerialNumber": "EVH4S22N234567890123456789012345",
                "firmwareVersion": "3.4.0.17",
            },
            {"text_too_long", "schema"},
            id="schneider",
        ),
        pytest.param(
            {
                "chargePointVendor": "United Chargers",
                "chargePointModel": "GRS-*",
                "iccid": "-67",
            },
            set(),
            id="grizzl-e",
        ),
        pytest.param(
            {
                "chargePointVendor": "ABB",
                "chargePointModel": "CDT_TACW11::NET_WIFI",
                "firmwareVersion": "TAC3Z9119006710273::V1.8.21",
            },
            set(),
            id="abb",
        ),
        pytest.param(
            {
                "chargePointVendor": "Autel",
                "chargePointModel": "MaxiCharger",
                "firmwareVersion": "PFA0102|V0.00.00|V1.38.00||2.4.3.0",
            },
            set(),
            id="autel",
        ),
        pytest.param(
            {
                "chargePointVendor": "Teison",
                "chargePointModel": "Smart MINI",
                "firmwareVersion": TEISON,
            },
            set(),
            id="teison",
        ),
        pytest.param(
            {
                "chargePointVendor": "V" * 255,
                "chargePointModel": "M" * 255,
                "firmwareVersion": "F" * 255,
            },
            {"text_too_long", "schema"},
            id="255-characters",
        ),
    ],
)
async def test_q18_what_a_station_says_of_itself_is_kept_whole(
    drive: Driving, boot: dict[str, str], kinds: set[str]
) -> None:
    async with drive.central.open() as station:
        assert (await station.call("BootNotification", boot))["status"] == "Accepted"
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        answer = await drive.begin(station, tag)
        await station.call("StopTransaction", drive.end(answer["transactionId"], 5000))
    row = await drive.central.owner.fetchrow("select * from stations.stations")
    assert row["vendor"] == boot["chargePointVendor"]
    assert row["model"] == boot["chargePointModel"]
    assert row["firmware"] == boot.get("firmwareVersion")
    assert await drive.bills() == [(5000, 50_00)]
    assert set(await drive.central.deviations()) == kinds
    frames = await drive.central.frames()
    assert all(value in frames[0][2] for value in boot.values())


@pytest.mark.parametrize(
    ("changes", "error", "info", "kinds"),
    [
        pytest.param(
            {"connectorId": 0, "errorCode": "Error"}, "OtherError: Error", None,
            {"error_code_unknown", "schema"}, id="legrand",
        ),
        pytest.param({"info": "null", "vendorErrorCode": "0x0000"}, None, None, set(), id="abb"),
        pytest.param(
            {"info": '{"reason":"plugInGun","cpv":0,"rv":0}', "status": "Finishing"}, None,
            '{"reason":"plugInGun","cpv":0,"rv":0}', set(), id="en-plus",
        ),
        pytest.param({"vendorId": ""}, None, None, set(), id="teison"),
        pytest.param(
            {"status": "Faulted", "errorCode": "NoPPDetected"}, "OtherError: NoPPDetected", None,
            {"error_code_unknown", "schema"}, id="ctek",
        ),
        pytest.param(
            {"status": "Faulted", "errorCode": "OtherError", "info": "x" * 200}, "OtherError",
            "x" * 200, {"text_too_long", "schema"}, id="long-info",
        ),
    ],
)  # fmt: skip
async def test_q19_an_odd_status_is_logged_and_ends_no_charge(
    drive: Driving, changes: Members, error: str | None, info: str | None, kinds: set[str]
) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        for _ in range(2):
            assert await station.call("StatusNotification", STATUS | changes) == {}
        drive.later(hours=10 / 60)
        await station.call("Heartbeat")
        await drive.watch()
        assert (await drive.session())["state"] == "charging"
        await station.call("StopTransaction", drive.end(transaction, 5000))
    rows = await drive.central.owner.fetch("select * from stations.status_log")
    assert [(row["error"], row["info"]) for row in rows] == [(error, info)] * 2
    assert await drive.bills() == [(5000, 50_00)]
    assert set(await drive.central.deviations()) == kinds


async def test_q19_an_equal_status_changes_nothing(drive: Driving) -> None:
    async with drive.central.open() as station:
        await station.boot()
        await station.call("StatusNotification", STATUS)
        query = "select reported_at from stations.connectors where number = 1"
        first = await drive.value(query)
        await station.call("StatusNotification", STATUS)
        assert await drive.value(query) == first


@pytest.mark.parametrize("whole_first", [True, False])
async def test_q19_a_station_faulted_two_days_ago_whose_connectors_work_is_charged_at(
    drive: Driving,
    whole_first: bool,  # noqa: FBT001
) -> None:
    now = drive.central.clock()
    whole = {
        "connectorId": 0, "status": "Faulted", "errorCode": "OtherError",
        "info": "Modbus lost, safe mode", "timestamp": (now - timedelta(days=2)).isoformat(),
    }  # fmt: skip
    connector = {
        "connectorId": 1, "status": "Available", "errorCode": "NoError",
        "timestamp": now.isoformat(),
    }  # fmt: skip
    async with drive.central.open() as station:
        await station.boot()
        for status in (whole, connector) if whole_first else (connector, whole):
            await station.call("StatusNotification", status)
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        answer = await drive.begin(station, tag)
        await station.call("StatusNotification", whole)
        await station.call("StopTransaction", drive.end(answer["transactionId"], 5000))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q19_a_station_that_is_faulted_now_is_out_of_service(drive: Driving) -> None:
    now = drive.central.clock()
    connector = {
        "connectorId": 1, "status": "Available", "errorCode": "NoError",
        "timestamp": now.isoformat(),
    }  # fmt: skip
    async with drive.central.open() as station:
        await station.boot()
        await station.call("StatusNotification", connector)
        whole = connector | {"connectorId": 0, "status": "Faulted", "errorCode": "GroundFailure"}
        await station.call("StatusNotification", whole)
        with pytest.raises(Exception, match="out of service"):
            await drive.request()


async def test_q21_available_before_the_stop_ends_nothing_at_once(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        await station.call("StatusNotification", STATUS | {"status": "Available"})
        await drive.watch()
        await station.call("MeterValues", drive.values(transaction, "4000"))
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]
    assert not (await drive.session())["is_estimated"]
    assert await drive.central.deviations() == {"available_before_stop": 1}


async def test_q21_available_of_the_whole_station_ends_nothing(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        await station.call("StatusNotification", STATUS | {"status": "SuspendedEV"})
        whole = STATUS | {"connectorId": 0, "status": "Available"}
        await station.call("StatusNotification", whole)
        drive.later(hours=5 / 60)
        await station.call("Heartbeat")
        await drive.watch()
        assert (await drive.session())["state"] == "charging"
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q21_available_without_a_stop_ends_it_after_a_while(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        await station.call("MeterValues", drive.values(transaction, "5000"))
        await station.call("StatusNotification", STATUS | {"status": "Available"})
        drive.later(hours=91 / 3600)
        await drive.online(station)
        await drive.watch()
    assert await drive.bills() == [(5000, 50_00)]
    assert (await drive.session())["end_reason"] == "became_available"
    assert set(await drive.central.deviations()) == {"available_before_stop", "stop_missing"}


def _iso(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S")


@pytest.mark.parametrize(
    ("stamp", "kinds"),
    [
        pytest.param(lambda at: _iso(at) + ".377", {"time_without_zone"}, id="no-zone"),
        pytest.param(
            lambda at: _iso(at + timedelta(hours=2)) + "+02", {"time_form"},
            id="hours-of-zone",
        ),
        pytest.param(
            lambda at: f"{at:%Y-%m-%dT}{at.hour}:{at:%M:%S}Z", None, id="hour-not-padded"
        ),
        pytest.param(lambda _: "0001-01-01T00:00:00Z", {"time_implausible"}, id="unset"),
        pytest.param(lambda at: _iso(at.replace(year=2014)) + "Z", {"time_implausible"}, id="2014"),
        pytest.param(lambda at: _iso(at.replace(year=2020)) + "Z", {"time_implausible"}, id="2020"),
        pytest.param(lambda at: _iso(at + timedelta(hours=2)) + "Z", set(), id="2-hours-ahead"),
        pytest.param(lambda at: _iso(at - timedelta(hours=2)) + "Z", set(), id="2-hours-behind"),
        pytest.param(lambda _: "yesterday", {"time_unreadable"}, id="text"),
    ],
)  # fmt: skip
async def test_q22_a_wrong_clock_costs_nothing(
    drive: Driving, stamp: Stamp, kinds: set[str] | None
) -> None:
    drive.central.clock.ahead += _until_8(drive.central.clock())
    async with drive.central.open() as station:
        await station.boot()
        await drive.online(station)
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        begun = stamp(drive.central.clock())
        transaction = (await drive.begin(station, tag, timestamp=begun))["transactionId"]
        payload = drive.values(transaction, "2500")
        payload["meterValue"][0]["timestamp"] = stamp(drive.central.clock())
        await station.call("MeterValues", payload)
        end = drive.end(transaction, 5000)
        await station.call("StopTransaction", end | {"timestamp": stamp(drive.central.clock())})
    assert await drive.bills() == [(5000, 50_00)]
    session = await drive.session()
    assert session["quarantined_at"] is None
    assert session["started_at"] <= session["ended_at"] <= drive.central.clock()
    assert session["ended_at"] - session["started_at"] <= timedelta(hours=4)
    assert await drive.value("select start_station_time from charging.transactions") == begun
    if kinds is not None:
        assert set(await drive.central.deviations()) == kinds


def _until_8(now: datetime) -> timedelta:
    """How long it is until a time with an hour of one digit: some stations write one."""
    at = now.replace(hour=8, minute=5, second=0, microsecond=0)
    return (at if at > now else at + timedelta(days=1)) - now


async def test_q22_a_clock_that_was_set_by_the_boot_bills_no_more(drive: Driving) -> None:
    """Two hours off before the answer, right after it, in one charge."""
    async with drive.central.open() as station:
        await station.boot()
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        early = drive.central.clock() - timedelta(hours=2)
        answer = await drive.begin(station, tag, timestamp=_iso(early) + "Z")
        await station.boot()
        await station.call("StopTransaction", drive.end(answer["transactionId"], 5000))
        started = (await drive.session())["started_at"]
    assert abs(started - (early + timedelta(hours=2))) < timedelta(minutes=1)
    assert await drive.bills() == [(5000, 50_00)]


async def _start(drive: Driving, station: Station, tag: str, at: datetime, number: int) -> Any:
    return await drive.begin(station, tag, timestamp=_iso(at) + "Z", message_id=f"start-{number}")


async def test_q23_a_retry_has_a_fresh_stamp_and_a_fresh_id(drive: Driving) -> None:
    async with drive.central.open() as station:
        await station.boot()
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        answers = [
            await _start(drive, station, tag, drive.central.clock() + timedelta(seconds=9 * n), n)
            for n in range(3)
        ]
        assert answers == [answers[0]] * 3
        transaction = answers[0]["transactionId"]
        for number in range(3):
            payload = drive.end(transaction, 5000, idTag=tag)
            await station.call("StopTransaction", payload, f"stop-{number}")
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.value("select count(*) from charging.transactions") == 1


async def test_q23_times_go_back_at_a_boot(drive: Driving) -> None:
    """What is older is history within a boot only: a clock may be set back by it."""
    async with drive.central.open() as station:
        await station.boot()
        late = drive.central.clock() + timedelta(hours=3)
        status = STATUS | {"status": "Faulted", "timestamp": _iso(late) + "Z"}
        await station.call("StatusNotification", status)
        await station.boot()
        status = STATUS | {"status": "Available", "timestamp": _iso(drive.central.clock()) + "Z"}
        await station.call("StatusNotification", status)
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        answer = await _start(drive, station, tag, late, 1)
        await station.call("StopTransaction", drive.end(answer["transactionId"], 5000))
    assert await drive.bills() == [(5000, 50_00)]
