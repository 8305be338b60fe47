"""How the usual libraries of charge points behave (Q82 to Q87)."""

# pyright: reportUnknownArgumentType=false

import json
from datetime import timedelta
from typing import Any

import pytest

from tests.ocpp.driving import Driving, Members, accept
from tests.ocpp.scenario import Station


async def asked_to_start(drive: Driving, station: Station) -> str:
    """A start by app has reached the station. Returns its tag."""
    await drive.request()
    tag: str = (await accept(station, "RemoteStartTransaction"))["idTag"]
    return tag


async def test_q82_a_replay_has_another_id_a_later_stamp_and_a_register_of_0(
    drive: Driving,
) -> None:
    """ocpp-charge-point."""
    async with drive.central.open() as station:
        await station.boot()
        tag = await asked_to_start(drive, station)
        first = await drive.begin(station, tag, meter=1000)
        station.wire.transport.abort()
    drive.later(hours=10 / 3600)
    async with drive.central.open() as station:
        await station.boot()
        assert await drive.begin(station, tag, meter=0, message_id="again") == first
        transaction = first["transactionId"]
        await station.call("MeterValues", drive.values(transaction, "4000"))
        await station.call("StopTransaction", drive.end(transaction, 6000))
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.value("select count(*) from charging.transactions") == 1
    assert set(await drive.central.deviations()) == {"boot_repeated", "start_repeated"}


async def test_q82_of_a_gap_only_the_last_values_come(drive: Driving) -> None:
    """MicroOcpp: ten of them, 40 s after it is back."""
    async with drive.central.open() as station:
        await station.boot()
        tag = await asked_to_start(drive, station)
        at = drive.stamp()
        first = await drive.begin(station, tag, timestamp=at)
        station.wire.transport.abort()
    drive.later(hours=4)
    async with drive.central.open() as station:
        await station.boot()
        assert await drive.begin(station, tag, timestamp=at, message_id="again") == first
        transaction = first["transactionId"]
        drive.later(hours=40 / 3600)
        for number in range(10):
            payload = drive.values(transaction, str(40_000 + number))
            drive.later(hours=-1)
            when = drive.central.clock() - timedelta(seconds=10 * (10 - number))
            payload["meterValue"][0]["timestamp"] = when.isoformat()
            await station.call("MeterValues", payload)
        await station.call("StopTransaction", drive.end(transaction, 41_000))
    assert await drive.bills() == [(41_000, 410_00)]


async def test_q82_a_start_comes_before_the_answer_to_the_boot(drive: Driving) -> None:
    """As chargetime does."""
    async with drive.central.open() as station:
        await station.boot()
        tag = await asked_to_start(drive, station)
        station.wire.transport.abort()
    async with drive.central.open() as station:
        start = {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": drive.stamp()}
        await station.send([2, "s", "StartTransaction", start])
        boot = {"chargePointVendor": "Acme", "chargePointModel": "One"}
        await station.send([2, "b", "BootNotification", boot])
        answers = [await station.receive() for _ in range(2)]
        assert [answer[:2] for answer in answers] == [[3, "s"], [3, "b"]]
        transaction = answers[0][2]["transactionId"]
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q82_after_a_reconnect_no_boot_comes(drive: Driving) -> None:
    """ocpp-go, ocpp-rpc."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        station.wire.transport.abort()
    async with drive.central.open() as station:
        await station.call("StopTransaction", drive.end(transaction, 5000))
        await drive.online(station)
        await asked_to_start(drive, station)
    assert await drive.bills() == [(5000, 50_00)]


async def test_q83_a_stop_that_is_refused_after_the_start_is_tried_at_the_next_values(
    drive: Driving,
) -> None:
    """Until it has read the answer to its start a station knows no such transaction."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        session_id = (await drive.session())["id"]
        await drive.stop(session_id)
        for energy in ("100", "200"):
            call = await station.receive()
            assert call[2:] == ["RemoteStopTransaction", {"transactionId": transaction}]
            await station.send([3, call[1], {"status": "Rejected"}])
            await drive.until_command("refused")
            payload = drive.values(transaction, energy)
            drive.later(hours=-1 + 20 / 3600)
            payload["meterValue"][0]["timestamp"] = drive.stamp()
            await station.send([2, energy, "MeterValues", payload])
            assert await station.receive() == [3, energy, {}]
            await drive.online(station)
            await drive.watch()
        await accept(station, "RemoteStopTransaction")
        await station.call("StopTransaction", drive.end(transaction, 5000, reason="Remote"))
    assert await drive.bills() == [(5000, 50_00)]
    assert (await drive.session())["end_reason"] == "stopped_by_driver"


@pytest.mark.parametrize("first", [[], ["Preparing"]], ids=["none", "cable-first"])
async def test_q84_a_charge_needs_no_status(drive: Driving, first: list[str]) -> None:
    async with drive.central.open() as station:
        await station.boot()
        for status in first:
            await station.call(
                "StatusNotification",
                {"connectorId": 1, "errorCode": "NoError", "status": status},
            )
        tag = await asked_to_start(drive, station)
        answer = await drive.begin(station, tag)
        assert (await drive.session())["state"] == "charging"
        await station.call("MeterValues", drive.values(answer["transactionId"], "2000"))
        await station.call("StopTransaction", drive.end(answer["transactionId"], 5000))
        await drive.online(station)
        await asked_to_start(drive, station)
    assert await drive.bills() == [(5000, 50_00)]


BROKEN: list[tuple[str, Members]] = [
    ("StartTransaction", {}),
    ("StartTransaction", {"connectorId": "one", "idTag": None, "meterStart": "x"}),
    ("StartTransaction", {"connectorId": -1, "idTag": ["a"], "meterStart": 1e300}),
    ("StartTransaction", {"connectorId": 10**30, "idTag": "\x00", "timestamp": 7}),
    ("MeterValues", {}),
    ("MeterValues", {"connectorId": None, "meterValue": "none", "transactionId": {}}),
    ("MeterValues", {"connectorId": 1, "meterValue": [[], None, {"sampledValue": 4}]}),
    ("StopTransaction", {}),
    ("StopTransaction", {"transactionId": [], "meterStop": {}, "timestamp": []}),
    ("StopTransaction", {"transactionId": "x" * 500, "meterStop": "NaN", "idTag": 12}),
    ("StatusNotification", {}),
    ("StatusNotification", {"connectorId": [], "status": None, "errorCode": {}}),
    ("BootNotification", {}),
    ("BootNotification", {"chargePointVendor": None, "chargePointModel": []}),
    ("Authorize", {}),
    ("Authorize", {"idTag": {"a": 1}}),
    ("Heartbeat", {"more": 1}),
    ("DataTransfer", {}),
]


async def test_q85_no_request_that_can_be_read_is_refused(drive: Driving) -> None:
    """An error would be answered by the same request without end; each answer comes once."""
    async with drive.central.open() as station:
        await station.boot()
        for number, (action, payload) in enumerate(BROKEN):
            await station.send([2, f"b{number}", action, payload])
        seen: list[str] = []
        while len(seen) < len(BROKEN):
            answer = await station.receive()
            if answer[0] == 2:
                await station.send([3, answer[1], {"status": "Accepted"}])
                continue
            assert answer[0] == 3, answer
            seen.append(answer[1])
        assert seen == [f"b{number}" for number in range(len(BROKEN))]
    assert await drive.bills() == []
    assert "frame_failed" not in await drive.alerts()


async def test_q85_a_repeated_request_is_answered_each_time_as_before(drive: Driving) -> None:
    """It comes with the same id, each second, until an answer arrives."""
    async with drive.central.open() as station:
        await station.boot()
        tag = await asked_to_start(drive, station)
        start = {"connectorId": 1, "idTag": tag, "meterStart": 0, "timestamp": drive.stamp()}
        for _ in range(5):
            await station.send([2, "s", "StartTransaction", start])
        answers = [await station.receive() for _ in range(5)]
        assert answers == [answers[0]] * 5
        transaction = answers[0][2]["transactionId"]
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]


@pytest.mark.parametrize(
    "code",
    ["OccurrenceConstraintViolation", "OccurenceConstraintViolation", "NotImplemented", "X" * 300],
)
async def test_q86_an_error_of_any_code_is_a_refusal(drive: Driving, code: str) -> None:
    async with drive.central.open() as station:
        await station.boot()
        await drive.request()
        call = await station.receive()
        await station.send([4, "of-no-call", code, "", {}])
        await station.send([4, call[1], code, "no", {}])
        await station.send([4, call[1], code, "and again", {}])
        await station.call("Heartbeat")
        await drive.until_state("refused")
    assert await drive.held() == 0
    assert (await drive.central.deviations())["reply_unasked"] == 2


async def test_q86_an_error_in_place_of_an_answer_we_sent_is_only_logged(
    drive: Driving,
) -> None:
    """ocpp-go and chargetime answer a malformed answer with an error of the same id."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        await station.send([4, "start", "FormationViolation", "", {}])
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q86_unlock_at_a_free_connector_is_a_refusal(drive: Driving) -> None:
    async with drive.central.open() as station:
        await station.boot()
        await drive.command("unlock", connector="1")
        call = await station.receive()
        assert call[2:] == ["UnlockConnector", {"connectorId": 1}]
        await station.send([3, call[1], {"status": "UnlockFailed"}])
        await drive.until_command("refused")


@pytest.mark.parametrize(
    "name", ["6f0c2a9e-57f4-4c57-9a5c-2f1b7f0c3d11", "4294967295", "0", "a" * 36]
)
async def test_q87_message_ids_come_back_as_they_are(drive: Driving, name: str) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        end = drive.end(transaction, 5000)
        assert (await station.ask([2, name, "StopTransaction", end]))[:2] == [3, name]
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.central.deviations() == {}


@pytest.mark.parametrize("digits", [0, 3, 9])
async def test_q87_seconds_have_any_number_of_digits(drive: Driving, digits: int) -> None:
    fraction = "" if not digits else "." + "123456789"[:digits]

    def stamp() -> str:
        return f"{drive.central.clock():%Y-%m-%dT%H:%M:%S}{fraction}Z"

    async with drive.central.open() as station:
        await station.boot()
        tag = await asked_to_start(drive, station)
        transaction = (await drive.begin(station, tag, timestamp=stamp()))["transactionId"]
        payload = drive.values(transaction, "2000")
        payload["meterValue"][0]["timestamp"] = stamp()
        await station.call("MeterValues", payload)
        end = drive.end(transaction, 5000) | {"timestamp": stamp()}
        await station.call("StopTransaction", end)
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.value("select outcome from charging.meter_values") is None
    assert set(await drive.central.deviations()) <= {"time_form"}


def _sample(value: str, **more: str) -> dict[str, str]:
    return {"value": value, **more}


ENERGY = "Energy.Active.Import.Register"


@pytest.mark.parametrize(
    "samples",
    [
        pytest.param([_sample("2.0005", unit="kWh", measurand=ENERGY)], id="kwh"),
        pytest.param([_sample("2000.5")], id="neither-measurand-nor-unit"),
        pytest.param(
            [
                _sample("700", unit="Wh", phase="L1", measurand=ENERGY),
                _sample("700", unit="Wh", phase="L2", measurand=ENERGY),
                _sample("600", unit="Wh", phase="L3", measurand=ENERGY),
                _sample("2000", unit="Wh", measurand=ENERGY),
            ],
            id="phases-and-their-sum",
        ),
    ],
)
async def test_q87_energy_is_read_in_each_form(
    drive: Driving, samples: list[dict[str, str]]
) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        payload = drive.values(transaction, "0")
        payload["meterValue"][0]["sampledValue"] = samples
        await station.call("MeterValues", payload)
        assert await drive.value("select energy_wh from charging.progress") == 2000
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q87_compression_is_offered_and_not_used(drive: Driving) -> None:
    """ocpp-rpc."""
    async with drive.central.open(compression="deflate") as station:
        assert station.wire.protocol.extensions == []
        _, transaction = await drive.charging(station)
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q87_calls_come_one_behind_the_other(drive: Driving) -> None:
    """chargetime: two messages in one packet."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        values = [drive.values(transaction, f"{number}000") for number in (1, 2, 3)]
        messages: list[Any] = [
            [2, f"v{number}", "MeterValues", payload] for number, payload in enumerate(values)
        ]
        messages.append([2, "end", "StopTransaction", drive.end(transaction, 5000)])
        for message in messages:
            await station.wire.send(json.dumps(message))
        answers = [await station.receive() for _ in messages]
    assert [answer[1] for answer in answers] == ["v0", "v1", "v2", "end"]
    assert await drive.bills() == [(5000, 50_00)]
