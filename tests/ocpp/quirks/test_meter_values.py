"""What real stations make of meter values, on a real socket: one right bill, the deviation counted.

Each test has the number of its quirk. Bills are Wh and tyiyn, at 10 som a kWh.
"""

# pyright: reportUnknownArgumentType=false

import json
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from evpower import charging
from evpower.charging.jobs import ask_for_values
from tests.ocpp.driving import Driving, Members, accept
from tests.ocpp.scenario import Station

REGISTER = "Energy.Active.Import.Register"
LARGEST = 2**63 - 1


def values(
    drive: Driving, transaction: object, *samples: Members, at: str | None = None, **changes: Any
) -> Members:
    """A MeterValues of one entry, an hour later."""
    drive.later()
    entry = {"timestamp": at or drive.stamp(), "sampledValue": list(samples)}
    return {"connectorId": 1, "transactionId": transaction, "meterValue": [entry]} | changes


async def request(drive: Driving, station: Station) -> None:
    """A start by app, an hour later or so: the station is still there."""
    await station.call("Heartbeat")
    await drive.central.parts.sockets.touch()
    await drive.request()


async def charge(
    drive: Driving, station: Station, first: int, last: int, *, boot: bool = False
) -> None:
    """A whole charge by app, from one register to another."""
    if boot:
        drive.later()
        await station.boot()
    await request(drive, station)
    tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
    transaction = await drive.begin(station, tag, meter=first, message_id=f"{first}-{tag}")
    middle = (first + last) // 2
    number = transaction["transactionId"]
    await station.call("MeterValues", drive.values(number, str(middle)))
    await station.call("StopTransaction", drive.end(number, last))


async def progress(drive: Driving) -> Any:
    row = await drive.central.owner.fetchrow("select * from charging.progress")
    assert row is not None
    return row


async def is_quarantined(drive: Driving) -> bool:
    return (await drive.session())["quarantined_at"] is not None


async def kinds(drive: Driving) -> set[str]:
    return set(await drive.central.deviations())


@pytest.mark.parametrize(
    ("charges", "between", "kind"),
    [
        pytest.param([(235_800, 238_800), (238_800, 241_800)], "", "lifetime", id="lifetime"),
        pytest.param([(0, 3_000), (0, 2_000)], "boot", "per_boot", id="per-boot"),
        pytest.param([(0, 3_000), (0, 2_000)], "", "per_transaction", id="per-transaction"),
        pytest.param(
            [(0, 3_000), (0, 2_000), (2_000, 4_000)], "", "lifetime", id="the-newest-counts"
        ),
    ],
)
async def test_q33_register_kinds(
    drive: Driving, charges: Sequence[tuple[int, int]], between: str, kind: str
) -> None:
    """Energy is stop less start in each; the kind is learned from one charge to the next."""
    async with drive.central.open() as station:
        await station.boot()
        for number, (first, last) in enumerate(charges):
            await charge(drive, station, first, last, boot=number > 0 and between == "boot")
    assert await drive.bills() == [(last - first, last - first) for first, last in charges]
    assert await drive.value("select register_kind from charging.meters") == kind


async def test_q33_a_register_that_begins_anew_is_no_end_of_the_charge_before(
    drive: Driving,
) -> None:
    """A start without the stop before it: on a lifetime register it would say where that ended."""
    async with drive.central.open() as station:
        await station.boot(chargePointVendor="ABB", chargePointModel="CDT_TACW11::NET_WIFI")
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        transaction = (await drive.begin(station, tag))["transactionId"]
        await station.call("MeterValues", drive.values(transaction, "3000"))
        drive.later()
        await drive.begin(station, "04A1B2C3", meter=3500, message_id="next")
        await accept(station, "RemoteStopTransaction")
    assert await drive.bills() == [(3000, 30_00)]
    assert await kinds(drive) == {"start_unauthorized", "stop_missing"}


async def test_q34_two_registers(drive: Driving) -> None:
    """Growatt THOR: the register of the beginning stands behind the one of now."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        for wh in ("2000", "4000"):
            await station.call(
                "MeterValues",
                values(
                    drive, transaction,
                    {"value": wh, "context": "Sample.Periodic"},
                    {"value": "0", "context": "Transaction.Begin"},
                ),
            )  # fmt: skip
            assert (await progress(drive))["energy_wh"] == int(wh)
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]
    assert await kinds(drive) == {"interval_ignored", "two_registers"}


async def test_q34_the_start_comes_from_the_value_at_the_beginning(drive: Driving) -> None:
    async with drive.central.open() as station:
        await station.boot()
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        transaction = (await drive.begin(station, tag, meter=None))["transactionId"]
        await station.call(
            "MeterValues",
            values(
                drive, transaction,
                {"value": "9000", "context": "Sample.Periodic"},
                {"value": "7000", "context": "Transaction.Begin"},
            ),
        )  # fmt: skip
        await station.call("StopTransaction", drive.end(transaction, 12_000))
    assert await drive.bills() == [(5000, 50_00)]
    assert await kinds(drive) == {"two_registers", "register_missing", "schema"}


async def test_q35_an_object_for_the_list(drive: Driving) -> None:
    """Huawei FusionCharge, in kWh, with the transaction id 1."""
    async with drive.central.open() as station:
        await drive.charging(station)
        drive.later()
        entry = {
            "timestamp": drive.stamp(),
            "sampledValue": {"value": "2.5", "unit": "kWh", "measurand": REGISTER},
        }
        for _ in range(2):
            payload = {"connectorId": 1, "transactionId": 1, "meterValue": entry}
            await station.call("MeterValues", payload)
        assert (await progress(drive))["energy_wh"] == 2500
        await station.call("StopTransaction", drive.end(1, 5000))
    assert await drive.bills() == [(5000, 50_00)]
    assert await kinds(drive) == {
        "energy_in_kwh", "object_for_list", "register_coarse", "schema", "values_repeated"
    }  # fmt: skip


async def test_q36_a_stop_one_wh_below_the_start(drive: Driving) -> None:
    """Huawei SCharger: start 269456, values in steps of 10 Wh above it, stop 269455."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station, meter=269_456)
        sample = {"value": "269.46", "unit": "kWh", "measurand": REGISTER}
        await station.call("MeterValues", values(drive, transaction, sample))
        assert (await progress(drive))["energy_wh"] in range(11)
        await station.call("StopTransaction", drive.end(transaction, 269_455))
    assert await drive.bills() == [(0, 0)]
    assert not await is_quarantined(drive)
    assert await kinds(drive) == {"energy_in_kwh", "register_coarse", "stop_below_start"}


async def test_q36_a_stop_below_the_last_value_is_the_bill(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station, meter=269_456)
        sample = {"value": "274.46", "unit": "kWh", "measurand": REGISTER}
        await station.call("MeterValues", values(drive, transaction, sample))
        await station.call("StopTransaction", drive.end(transaction, 274_455))
    assert await drive.bills() == [(4999, 49_99)]
    assert not await is_quarantined(drive)


async def test_q37_energy_after_the_stop_is_tail(drive: Driving) -> None:
    """Wallbox Copper SB: values go on without a transaction id. They cost the driver nothing."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station, meter=2_255_000)
        await station.call("StopTransaction", drive.end(transaction, 2_259_988))
        drive.central.clock.ahead += timedelta(seconds=10)
        entry = {"timestamp": drive.stamp(), "sampledValue": [{"value": "2259992.1", "unit": "Wh"}]}
        await station.call("MeterValues", {"connectorId": 1, "meterValue": [entry]})
    assert await drive.bills() == [(4988, 49_88)]
    assert float((await progress(drive))["tail_wh"]) == pytest.approx(4.1)
    async with drive.central.db.connection() as connection:
        _, facts = await charging.list_meters(connection, "EVP-001")
    assert float(facts.tail_wh) == pytest.approx(4.1), "the sum of the station"
    assert await kinds(drive) == {"values_after_stop"}


@pytest.mark.parametrize(
    ("value", "unit", "wh", "kind"),
    [
        pytest.param(
            2.5,
            "kWh",
            2500,
            {"energy_in_kwh", "register_coarse", "value_number", "schema"},
            id="openevse-number",
        ),
        pytest.param(" 2500 ", "Wh", 2500, set[str](), id="padded"),
        pytest.param(
            "2,5", "kWh", 2500, {"decimal_comma", "energy_in_kwh", "register_coarse"}, id="comma"
        ),
        pytest.param("", "Wh", 0, {"register_absent", "value_blank"}, id="blank-is-absent"),
        pytest.param("NaN", "Wh", 0, {"register_absent", "value_unreadable"}, id="nan"),
        pytest.param("inf", "Wh", 0, {"register_absent", "value_unreadable"}, id="inf"),
        pytest.param("2.5e3", "Wh", 0, {"register_absent", "value_unreadable"}, id="exponent"),
    ],
)
async def test_q38_values_that_are_no_plain_number(
    drive: Driving, value: object, unit: str, wh: int, kind: set[str]
) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        await station.call(
            "MeterValues", values(drive, transaction, {"value": value, "unit": unit})
        )
        assert (await progress(drive))["energy_wh"] == wh
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]
    assert await kinds(drive) == kind


async def test_q38_a_station_whose_values_are_all_blank(drive: Driving) -> None:
    """Heidelberg Amperfied: each measurand "", SoC in volts, connector 0, transaction 0."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station, meter=100_000)
        blank = [
            {"value": "", "measurand": measurand, "unit": unit}
            for measurand, unit in ((REGISTER, "Wh"), ("Current.Import", "A"), ("SoC", "V"))
        ]
        payload = values(drive, 0, *blank, connectorId=0)
        assert await station.call("MeterValues", payload) == {}
        await station.call("StopTransaction", drive.end(transaction, 105_000))
    assert await drive.bills() == [(5000, 50_00)]
    assert not await is_quarantined(drive)
    assert await kinds(drive) == {
        "register_absent", "transaction_id_none", "unit_of_another_measurand", "value_blank"
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"transactionData": []}, id="wallbox-no-data"),
        pytest.param({"transactionData": "empty-entry"}, id="sonnen-no-sample"),
    ],
)
async def test_q39_empty_lists(drive: Driving, changes: Members) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        assert await station.call("MeterValues", values(drive, transaction)) == {}
        if changes["transactionData"]:
            changes = {"transactionData": [{"timestamp": drive.stamp(), "sampledValue": []}]}
        await station.call("StopTransaction", drive.end(transaction, 5000) | changes)
    assert await drive.bills() == [(5000, 50_00)]
    assert await kinds(drive) == {"list_empty", "register_absent", "schema"}


@pytest.mark.parametrize(
    ("samples", "wh", "power_w", "kind"),
    [
        pytest.param(
            [{"value": "2500", "unit": "Wh"},
             {"value": "49.9", "measurand": "Frequency", "unit": "Hz"}],
            2500, None, {"unit_unknown", "schema"}, id="charge-amps-hz",
        ),
        pytest.param(
            [{"value": "2500", "unit": "Wh"},
             {"value": "7.4", "measurand": "Power.Active.Import", "unit": "kW"}],
            2500, 7400, set[str](), id="power-in-kw-beside-wh",
        ),
        pytest.param(
            [{"value": "2.5", "measurand": REGISTER, "unit": "kWh"},
             {"value": "7400", "measurand": "Power.Active.Import", "unit": "W"}],
            2500, 7400, {"energy_in_kwh", "register_coarse"}, id="energy-in-kwh-beside-w",
        ),
        pytest.param([{"value": "2500", "unit": "wh"}], 2500, None, {"unit_unknown", "schema"},
                     id="wh"),
        pytest.param(
            [{"value": "2.5", "unit": "KWH"}], 2500, None,
            {"energy_in_kwh", "register_coarse", "schema", "unit_unknown"}, id="kwh-in-capitals",
        ),
        pytest.param([{"value": "2500", "unit": ""}], 2500, None, {"schema"}, id="blank"),
        pytest.param(
            [{"value": "2500"}, {"value": "31", "measurand": "Temperature", "unit": "Celcius"}],
            2500, None, set[str](), id="celcius",
        ),
        pytest.param(
            [{"value": "2500"}, {"value": "31", "measurand": "Temperature", "unit": "Celsius"}],
            2500, None, set[str](), id="celsius",
        ),
    ],
)  # fmt: skip
async def test_q40_units_outside_the_list(
    drive: Driving, samples: list[Members], wh: int, power_w: int | None, kind: set[str]
) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        await station.call("MeterValues", values(drive, transaction, *samples))
        assert (await progress(drive))["energy_wh"] == wh
        if power_w is not None:
            assert (await progress(drive))["power_w"] == power_w
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]
    assert await kinds(drive) == kind


async def test_q41_a_limit_in_amperes_is_no_energy(drive: Driving) -> None:
    """Alfen: CurrentMax without a measurand, and the transaction id 2^63-1."""
    async with drive.central.open() as station:
        await drive.charging(station)
        limit = {"value": "16.000", "context": "CurrentMax", "unit": "A"}
        await station.call("MeterValues", values(drive, LARGEST, limit))
        assert (await progress(drive))["energy_wh"] == 0
        await station.call("MeterValues", values(drive, LARGEST, {"value": "2500"}, limit))
        assert (await progress(drive))["energy_wh"] == 2500
        await station.call("StopTransaction", drive.end(LARGEST, 5000))
    assert await drive.bills() == [(5000, 50_00)]
    assert await kinds(drive) == {
        "context_unknown", "measurand_by_unit", "register_absent", "schema", "transaction_id_large"
    }  # fmt: skip


async def test_q43_one_measurand_an_entry(drive: Driving) -> None:
    """HKW WB07: ten entries of one value each, and transaction 0 while idle."""
    async with drive.central.open() as station:
        await station.boot()
        idle = {"timestamp": drive.stamp(), "sampledValue": [{"value": "1000"}]}
        await station.call(
            "MeterValues", {"connectorId": 1, "transactionId": 0, "meterValue": [idle]}
        )
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        transaction = (await drive.begin(station, tag, meter=1000))["transactionId"]
        drive.later()
        at = drive.stamp()
        measured = [
            (REGISTER, "3500", "Wh"), ("Power.Active.Import", "7400", "W"),
            *(("Current.Import", str(number), "A") for number in range(8)),
        ]  # fmt: skip
        entries = [
            {"timestamp": at, "sampledValue": [{"value": value, "measurand": name, "unit": unit}]}
            for name, value, unit in measured
        ]
        await station.call(
            "MeterValues", {"connectorId": 1, "transactionId": 0, "meterValue": entries}
        )
        row = await progress(drive)
        assert (row["energy_wh"], row["power_w"], row["current_ma"]) == (2500, 7400, 7000)
        await station.call("StopTransaction", drive.end(transaction, 6000))
    assert await drive.bills() == [(5000, 50_00)]
    assert await kinds(drive) == {"transaction_id_none"}


def broken(drive: Driving, text: str) -> str:
    drive.later()
    return text.replace("NOW", drive.stamp())


VALUES = '"meterValue":[{"timestamp":"NOW","sampledValue":[{"value":"2500"}]}]'


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        pytest.param(
            '[2,"v","MeterValues",{"connectorId":1,"transactionId":,' + VALUES + "}]",
            [3, "v", {}], id="aefa-empty-member",
        ),
        pytest.param(
            '[2,"v","MeterValues",{"connectorId":1,' + VALUES, [3, "v", {}], id="unclosed",
        ),
        pytest.param(
            '[2,"v","MeterValues",{"connectorId":1,"vendor":"a\\b\\d",' + VALUES + "}]",
            [3, "v", {}], id="backslash",
        ),
        pytest.param(
            '[2,"v","MeterValues",{"connectorId":1,\x01' + VALUES + "}]", [3, "v", {}],
            id="control-character",
        ),
    ],
)  # fmt: skip
async def test_q44_broken_json_is_repaired_once(
    drive: Driving, text: str, answer: list[object]
) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        assert await station.ask(broken(drive, text)) == answer
        assert (await progress(drive))["energy_wh"] == 2500
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]
    assert "json_repaired" in await kinds(drive)


async def test_q44_what_cannot_be_repaired_costs_no_socket(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        answer = await station.ask('[2,"v","MeterValues",{]}{"connectorId"::}]')
        assert answer[:3] == [4, "v", "FormationViolation"]
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]
    assert await kinds(drive) == {"unreadable"}


async def test_q45_values_of_an_ended_transaction_open_nothing(drive: Driving) -> None:
    """EN+: the old id comes in MeterValues until the station is switched off."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        await station.call("StopTransaction", drive.end(transaction, 5000))
        for _ in range(3):
            await station.call("MeterValues", drive.values(transaction, "5000"))
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.value("select count(*) from charging.transactions") == 1
    assert (await drive.session())["state"] == "settled"
    assert float((await progress(drive))["tail_wh"]) == 0
    assert await drive.central.deviations() == {"values_after_stop": 3}


async def test_q45_closing_values_after_a_stop_without_register_count(drive: Driving) -> None:
    """Ocular: its closing value follows the stop, without a context."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        await station.call("MeterValues", drive.values(transaction, "4000"))
        await station.call("StopTransaction", drive.end(transaction, None))
        drive.central.clock.ahead += timedelta(seconds=30)
        entry = {"timestamp": drive.stamp(), "sampledValue": [{"value": "4100", "unit": "Wh"}]}
        payload = {"connectorId": 1, "transactionId": transaction, "meterValue": [entry]}
        await station.call("MeterValues", payload)
    assert (await drive.bills())[-1] == (4100, 41_00)
    assert await drive.balance() == 959_00


EXPORT = {"value": "16", "measurand": "Current.Export", "unit": "A"}


async def test_q46_without_a_register_the_stop_is_the_bill(drive: Driving) -> None:
    """Grizzl-E 5.43: only Current.Export, with the direction swapped."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station, meter=1000)
        for _ in range(2):
            await station.call("MeterValues", values(drive, transaction, EXPORT))
        assert (await progress(drive))["energy_wh"] == 0
        # What may have flowed is bounded by time, at the rated power.
        await accept(station, "RemoteStopTransaction")
        await station.call("StopTransaction", drive.end(transaction, 9000))
    assert await drive.bills() == [(8000, 80_00)]
    assert not await is_quarantined(drive)
    assert await drive.central.deviations() == {"register_absent": 2}


async def test_q46_without_any_register_it_is_quarantined(drive: Driving) -> None:
    async with drive.central.open() as station:
        await station.boot()
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        transaction = (await drive.begin(station, tag, meter=None))["transactionId"]
        await station.call("MeterValues", values(drive, transaction, EXPORT))
        await station.call("StopTransaction", drive.end(transaction, None))
    assert await drive.bills() == [(0, 0)]
    session = await drive.session()
    assert session["quarantine_reason"] == "no_register"
    assert "register_missing" in await kinds(drive)


async def test_q47_the_interval_is_learned(drive: Driving) -> None:
    """ABL eMH2: set to 5 s, it samples each 300 s. The next charge knows that from its start."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        for wh in ("100", "200", "300"):
            drive.central.clock.ahead += timedelta(seconds=300)
            entry = {"timestamp": drive.stamp(), "sampledValue": [{"value": wh}]}
            payload = {"connectorId": 1, "transactionId": transaction, "meterValue": [entry]}
            await station.call("MeterValues", payload)
        assert (await progress(drive))["interval_s"] in range(299, 302)
        await station.call("StopTransaction", drive.end(transaction, 5000))
        learned = await drive.value("select interval_s from charging.meters")
        assert learned in range(299, 302)
        await request(drive, station)
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        await drive.begin(station, tag, meter=5000, message_id="next")
    newest = "select interval_s from charging.progress order by transaction_id desc limit 1"
    assert await drive.value(newest) == learned
    assert await drive.central.deviations() == {"interval_ignored": 1}


async def test_q47_one_that_sends_no_values_is_asked_for_them_until_it_refuses(
    drive: Driving,
) -> None:
    """ABL refuses for good, Project EV while it does not charge."""
    central = drive.central

    async def question(station: Station) -> list[Any]:
        drive.later(hours=3 / 60)
        await drive.online(station)
        await ask_for_values(central.db, central.bus, central.clock)
        call = await station.receive()
        assert call[2:] == ["TriggerMessage", {"requestedMessage": "MeterValues", "connectorId": 1}]
        return call

    async with central.open() as station:
        _, transaction = await drive.charging(station)
        call = await question(station)
        await station.send([3, call[1], {"status": "Accepted"}])
        sample = {"value": "3000", "context": "Trigger", "unit": "Wh"}
        await station.call("MeterValues", values(drive, transaction, sample))
        assert (await progress(drive))["energy_wh"] == 3000
        call = await question(station)
        await station.send([3, call[1], {"status": "Rejected"}])
        await drive.until_command("refused")
        drive.later(hours=3 / 60)
        await drive.online(station)
        await ask_for_values(central.db, central.bus, central.clock)
        await station.call("StopTransaction", drive.end(transaction, 5000))
    triggers = "select count(*) from stations.commands where action = 'trigger'"
    assert await drive.value(triggers) == 2
    assert await drive.bills() == [(5000, 50_00)]


async def test_q47_finishing_before_the_closing_value_ends_nothing(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        status = {"connectorId": 1, "status": "Finishing", "errorCode": "NoError"}
        await station.call("StatusNotification", status | {"timestamp": drive.stamp()})
        await station.call("MeterValues", drive.values(transaction, "4000"))
        assert (await drive.session())["state"] == "charging"
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q49_the_same_values_at_each_connection_count_once(drive: Driving) -> None:
    """Webasto: the same message ids, because the answer never arrived."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        payload = drive.values(transaction, "2500")
        await station.send([2, "m-1", "MeterValues", payload])
    for _ in range(3):
        async with drive.central.open() as station:
            assert await station.call("MeterValues", payload, "m-1") == {}
    assert await drive.value("select count(*) from charging.meter_values") == 1
    async with drive.central.open() as station:
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.central.deviations() == {"values_repeated": 3}


async def test_q50_steps_of_10_wh_at_an_interruption(drive: Driving) -> None:
    """Teison, at SuspendedEV; and Sungrow's fixed offer, which says nothing of the power."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        offered = {"value": "16.0", "measurand": "Current.Offered", "unit": "A"}
        for value in ("0.01", "0.02"):
            sample = {"value": value, "context": "Interruption.Begin", "unit": "kWh"}
            await station.call(
                "MeterValues", values(drive, transaction, sample | {"measurand": REGISTER}, offered)
            )
        row = await progress(drive)
        assert (row["energy_wh"], row["current_ma"]) == (20, None)
        await station.call("StopTransaction", drive.end(transaction, 5000))
    assert await drive.bills() == [(5000, 50_00)]
    assert await kinds(drive) == {"energy_in_kwh", "interval_ignored", "register_coarse"}


async def test_q51_signed_values_are_stored_untouched(drive: Driving) -> None:
    """The only sample with an energy context, of many kB; it is evidence, never a number."""
    signed = json.dumps({"data": "OCMF|" + json.dumps({"RD": [{"RV": 99_999}]}) + "9" * 70_000})
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        sample = {"value": signed, "format": "SignedData", "context": "Transaction.End"}
        entry = {"timestamp": drive.stamp(), "sampledValue": [sample]}
        await station.call(
            "StopTransaction", drive.end(transaction, 5000) | {"transactionData": [entry]}
        )
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.value("select value from charging.signed_values") == signed
