"""What goes wrong with messages and registers and costs money, each on a real socket.

The numbers are those of `tests/snapshots/test_edge_cases.py`, which says what each is.
"""

from typing import Any
from uuid import UUID

import pytest

from evpower.foundation.db import Connection, Database
from evpower.simulator import Car, Faults
from evpower.simulator.faults import ENERGY
from tests.ocpp.edge_rig import BALANCE, EdgeRig, edge_rig, is_billed_right
from tests.ocpp.scenario import running
from tests.waiting import until


@pytest.mark.parametrize(
    "faults",
    [
        pytest.param({}, id="edge-01-same-message"),
        pytest.param({"new_id_on_repeat": True}, id="edge-02-new-message"),
        pytest.param(
            {"new_id_on_repeat": True, "new_stamp_on_repeat": True}, id="edge-03-new-stamp"
        ),
    ],
)
async def test_edge_01_02_03_a_repeated_start_is_one_transaction(
    db: Database, owner: Connection, faults: dict[str, Any]
) -> None:
    switches = Faults(lose_replies={"StartTransaction": 2}, **faults)
    async with edge_rig(db, owner, switches, reply_timeout_s=30) as rig:
        rig.station.plug_in()
        session = await rig.request()
        for left in (1, 0):
            await until(lambda left=left: switches.lose_replies["StartTransaction"] == left)
            await rig.clock.advance(46)  # no reply in 30 s, and the pause before it is sent again
        await until(lambda: rig.station.transactions[0].id)
        assert await rig.value("select count(*) from charging.transactions") == 1
        await until(rig.is_quiet)  # no reply is late by the clock that is turned now
        await rig.advance(120)
        await rig.ask_to_stop(session)
        await is_billed_right(rig)


async def test_edge_03_a_start_after_its_stop_is_recorded_and_not_billed(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner) as rig:
        session = await rig.charge()
        start = await owner.fetchrow("select * from charging.transactions")
        assert start is not None
        await rig.ask_to_stop(session)
        payload = {
            "connectorId": 1, "idTag": start["id_tag"], "meterStart": 0,
            "timestamp": start["start_station_time"],
        }  # fmt: skip
        answer = await rig.send("StartTransaction", payload)
        assert answer["idTagInfo"]["status"] == "Invalid"
        assert answer["transactionId"] != start["id"]
        assert "start_after_stop" in await rig.alerts()
        await is_billed_right(rig)


@pytest.mark.parametrize("number", [-1, 0])
async def test_edge_04_a_stop_without_our_id_ends_what_runs(
    db: Database, owner: Connection, number: int
) -> None:
    async with edge_rig(db, owner, Faults(transaction_id=number)) as rig:
        session = await rig.charge()
        await rig.ask_to_stop(session)
        rig.station.unplug()
        await rig.settled()
        await is_billed_right(rig)


async def loses_its_stop(rig: EdgeRig, session: UUID, reason: str) -> None:
    """The charge is over at the station, and EvPower hears it by other ways only."""
    match reason:
        case "became_available":
            rig.station.unplug()
            await rig.advance(120)
        case "station_booted":
            rig.station.faults.skip.add("StatusNotification")
            rig.station.reboot()
            await rig.online()
            await rig.advance(330)
        case "next_start":
            rig.station.faults.skip.add("StatusNotification")
            rig.station.unplug()
            start = {
                "connectorId": 1, "idTag": "0123ABCD", "timestamp": rig.stamp(),
                "meterStart": rig.station.transactions[0].meter_stop_wh,
            }  # fmt: skip
            await rig.send("StartTransaction", start)
        case _:
            await rig.ask_to_stop(session)
            await rig.advance(330)


@pytest.mark.parametrize(
    "reason", ["became_available", "station_booted", "next_start", "stopped_by_driver"]
)
async def test_edge_05_a_lost_stop_is_billed_by_the_last_register_and_corrected(
    db: Database, owner: Connection, reason: str
) -> None:
    async with edge_rig(db, owner, Faults(skip={"StopTransaction"})) as rig:
        session = await rig.charge()
        await rig.clock.advance(20)
        ended_at = rig.stamp()
        await loses_its_stop(rig, session, reason)
        row = await rig.session(session)
        assert (row["state"], row["is_estimated"]) == ("settled", True)
        assert row["end_reason"] == reason
        [estimated_wh] = await rig.bills()
        if reason == "next_start":  # its register is the last one
            assert estimated_wh == rig.delivered_wh
        else:
            assert 0 < estimated_wh < rig.delivered_wh
        transaction = rig.station.transactions[0]
        payload = {
            "transactionId": transaction.id, "meterStop": transaction.meter_stop_wh,
            "timestamp": ended_at, "idTag": transaction.id_tag,
        }  # fmt: skip
        await rig.send("StopTransaction", payload)
        assert (await rig.bills())[-1] == rig.delivered_wh
        assert (await rig.session(session))["is_estimated"] is False
        assert await rig.money() == (BALANCE - rig.delivered_wh, 0)


@pytest.mark.parametrize("new_id", [False, True])
async def test_edge_06_a_repeated_stop_bills_once(
    db: Database, owner: Connection, *, new_id: bool
) -> None:
    faults = Faults(repeat={"StopTransaction": 3}, new_id_on_repeat=new_id)
    async with edge_rig(db, owner, faults) as rig:
        await rig.ask_to_stop(await rig.charge())
        await rig.settled()
        await is_billed_right(rig)
        assert await rig.value("select count(*) from charging.stops") == 1


async def test_edge_07_a_stop_that_is_not_known_is_answered(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner) as rig:
        payload = {"transactionId": 4711, "meterStop": 5000, "timestamp": rig.stamp()}
        assert await rig.send("StopTransaction", payload) == {}
        assert await rig.bills() == []
        assert await rig.value("select count(*) from charging.stops") == 1


async def test_edge_07_a_stop_after_a_restart_of_the_server_is_billed(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner) as rig:
        await rig.charge()
        rig.station.lose_network()
        rig.station.unplug()
        transaction = rig.station.transactions[0]
        stop = {
            "transactionId": transaction.id, "meterStop": transaction.meter_stop_wh,
            "timestamp": rig.stamp(),
        }  # fmt: skip
        await until(rig.central.all_closed)
        async with running(db, owner, clock=rig.clock) as restarted, restarted.open() as again:
            assert await again.call("StopTransaction", stop) == {}
        await is_billed_right(rig)


async def test_edge_08_a_queue_of_hours_is_billed_by_its_own_time(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner) as rig:
        session = await rig.charge()
        rig.station.lose_network()
        await rig.advance(1800)
        rig.station.unplug()
        ended_at = rig.clock()
        await rig.advance(5 * 3600)
        rig.station.restore_network()
        await rig.online()
        await is_billed_right(rig)
        assert (await rig.session(session))["ended_at"] == ended_at


async def test_edge_08_more_than_the_wallet_has_is_a_debt(db: Database, owner: Connection) -> None:
    async with edge_rig(db, owner, rated_power_w=22_000) as rig:
        await rig.charge()
        rig.station.connectors[1].car = Car(battery_wh=500_000, soc_percent=0)
        rig.station.lose_network()
        await rig.clock.advance(6 * 3600)
        rig.station.unplug()
        rig.station.restore_network()
        await rig.online()
        assert rig.delivered_wh > BALANCE
        assert await rig.bills() == [rig.delivered_wh]
        assert await rig.money() == (0, 0)
        owed = await rig.value("select debt_minor from wallet.wallets")
        assert owed == rig.delivered_wh - BALANCE


@pytest.mark.parametrize("zeros", [1, 2, 5])
async def test_edge_09_a_register_that_jumps_to_0_changes_nothing(
    db: Database, owner: Connection, zeros: int
) -> None:
    """Nor does one that stays there for a while."""
    async with edge_rig(db, owner, meter_start_wh=250_000) as rig:
        session = await rig.charge()
        before = await rig.value("select energy_wh from charging.progress")
        rig.station.faults.zero_samples = zeros
        while rig.station.faults.zero_samples:
            await rig.advance(30)
        assert await rig.value("select energy_wh from charging.progress") >= before > 0
        await rig.advance(120)
        await rig.ask_to_stop(session)
        await is_billed_right(rig)


async def test_edge_09_a_register_that_begins_again_at_0_is_billed_in_both_parts(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner, meter_start_wh=250_000) as rig:
        session = await rig.charge()
        counted_wh = await rig.value("select energy_wh from charging.progress")
        restarts_at_wh = 250_000 + counted_wh

        def since_then(payload: dict[str, Any]) -> dict[str, Any]:
            if "meterStop" in payload:
                payload = {name: payload[name] for name in payload if name != "transactionData"}
                return payload | {"meterStop": payload["meterStop"] - restarts_at_wh}
            for entry in payload["meterValue"]:
                for sample in entry["sampledValue"]:
                    if sample.get("measurand", ENERGY) == ENERGY:
                        sample["value"] = str(int(sample["value"]) - restarts_at_wh)
            return payload

        bend = rig.station.faults.bend
        bend["MeterValues"] = bend["StopTransaction"] = since_then
        await rig.advance(180)
        await rig.ask_to_stop(session)
        [billed_wh] = await rig.bills()
        # What flowed until the first value after it is not billed: at 22 kW some 367 Wh a minute.
        assert rig.delivered_wh - 370 <= billed_wh <= rig.delivered_wh
        assert billed_wh > counted_wh


async def test_edge_10_a_lifetime_register_is_no_energy_of_the_session(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner, Faults(stop_offset_wh=7_783_000)) as rig:
        session = await rig.charge()
        await rig.ask_to_stop(session)
        row = await rig.session(session)
        assert row["quarantine_reason"] == "implausible_energy"
        [billed_wh] = await rig.bills()
        assert billed_wh <= rig.delivered_wh


async def test_edge_11_kwh_and_wh_are_told_apart(db: Database, owner: Connection) -> None:
    async with edge_rig(db, owner, Faults(kwh_samples=True), meter_start_wh=251_500) as rig:
        session = await rig.charge()
        shown = await rig.value("select energy_wh from charging.progress")
        assert 900 < shown < 1_200  # 3 minutes of 22 kW
        await rig.ask_to_stop(session)
        await is_billed_right(rig)


async def test_edge_12_without_values_a_limit_is_kept_by_time(
    db: Database, owner: Connection
) -> None:
    async with edge_rig(db, owner, Faults(skip={"MeterValues"})) as rig:
        session = await rig.charge(minutes=10, energy_wh=1_000)
        assert (await rig.session(session))["stop_reason"] == "energy_limit"
        await rig.settled()
        assert rig.delivered_wh < 1_600  # 1 kWh takes 164 s, and the clock is turned by 30 s
        await is_billed_right(rig)
