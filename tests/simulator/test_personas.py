"""Stations in the field, as a foreign CSMS sees them."""

import pytest
from ocpp.v16 import call
from ocpp.v16.enums import ChargePointStatus

from evpower.simulator import PERSONAS, Car, Faults
from tests.simulator.rig import TAG, Rig, running_rig
from tests.waiting import until

LENIENT = {"is_lenient": True}


async def start(rig: Rig) -> None:
    rig.station.plug_in()
    await rig.command(call.RemoteStartTransaction(id_tag=TAG, connector_id=1))
    await until(lambda: rig.station.transactions)


async def sent(rig: Rig, action: str, count: int) -> None:
    """Turns the clock until the station has sent this."""

    async def is_sent() -> bool:
        await rig.clock.advance(1)
        return rig.csms.count(action) >= count

    await until(is_sent, f"{action} never came {count} times")


@pytest.mark.parametrize("persona", PERSONAS)
async def test_every_persona_delivers_and_counts_a_charge(persona: str) -> None:
    async with running_rig(persona=persona, csms=LENIENT, reply_timeout_s=20) as rig:
        await start(rig)
        await rig.clock.advance(60)
        rig.station.stop_by_card()
        await sent(rig, "StopTransaction", 1)
        assert rig.transaction.delivered_wh == rig.station.delivered_wh == 1_000


@pytest.mark.parametrize("persona", PERSONAS)
async def test_every_persona_says_what_it_is(persona: str) -> None:
    value = PERSONAS[persona]
    assert value.summary
    async with running_rig(persona=persona, csms=LENIENT) as rig:
        boot = rig.csms.payloads("BootNotification")[0]
        assert boot | dict(value.boot) == boot
        assert boot["chargePointVendor"]
        assert rig.csms.station._connection.subprotocol == "ocpp1.6"


async def test_each_station_of_a_persona_has_its_own_switches() -> None:
    first, second = (PERSONAS["heidelberg-blank"].faults() for _ in range(2))
    first.blank.clear()
    assert second.blank


async def test_a_payload_is_bent_before_it_is_sent() -> None:
    faults = Faults(bend={"Heartbeat": lambda payload: payload | {"more": 1}})
    async with running_rig(faults, csms=LENIENT) as rig:
        rig.station.send_heartbeat()
        await rig.settled()
        assert rig.csms.payloads("Heartbeat") == [{"more": 1}]


async def test_what_precedes_the_boot_comes_on_each_connection() -> None:
    faults = Faults(greetings=[("DataTransfer", {"vendorId": "EN+"})])
    async with running_rig(faults) as rig:
        assert rig.csms.actions[:2] == ["DataTransfer", "BootNotification"]
        rig.station.lose_network()
        rig.station.restore_network()
        await rig.reconnected()
        assert rig.csms.count("DataTransfer") == 2
        assert rig.csms.count("BootNotification") == 1


async def test_it_may_connect_anew_each_half_minute() -> None:
    async with running_rig(Faults(reconnects_every_s=30)) as rig:
        assert rig.csms.handshakes == 1
        await rig.clock.advance(30)
        await rig.reconnected()
        assert rig.csms.handshakes == 2


async def test_what_runs_may_be_started_again_on_a_new_connection() -> None:
    async with running_rig(Faults(start_on_reconnect=True), meter_start_wh=500) as rig:
        await rig.start()
        rig.station.lose_network()
        rig.station.restore_network()
        await rig.reconnected()
        await sent(rig, "StartTransaction", 2)
        first, second = rig.csms.payloads("StartTransaction")
        assert first["meterStart"] == 500
        assert second == first | {"meterStart": 0}


async def test_a_full_car_may_be_stopped_before_its_start() -> None:
    async with running_rig(Faults(stops_full_car=True, transaction_id=-1)) as rig:
        rig.station.plug_in(car=Car(soc_percent=100))
        await rig.command(call.RemoteStartTransaction(id_tag=TAG, connector_id=1))
        await sent(rig, "StopTransaction", 1)
        [begun] = rig.csms.payloads("StartTransaction")
        [stop] = rig.csms.payloads("StopTransaction")
        assert (stop["transactionId"], stop["meterStop"]) == (-1, begun["meterStart"])
        assert stop["timestamp"] < begun["timestamp"]


async def test_a_car_that_waits_too_long_has_to_be_plugged_in_anew() -> None:
    async with running_rig(Faults(preparing_limit_s=45)) as rig:
        rig.station.plug_in()
        await rig.clock.advance(45)
        await until(lambda: rig.status() is ChargePointStatus.finishing)
        answer = await rig.command(call.RemoteStartTransaction(id_tag=TAG, connector_id=1))
        assert answer.status == "Rejected"
        rig.station.unplug()
        await rig.start()
        await rig.clock.advance(45)
        assert rig.status() is ChargePointStatus.charging


async def test_closing_values_may_come_after_the_stop() -> None:
    async with running_rig(Faults(values_after_stop=True)) as rig:
        transaction = await rig.start()
        await rig.stop()
        await sent(rig, "MeterValues", 1)
        actions = [action for action in rig.csms.actions if action != "StatusNotification"]
        assert actions[-2:] == ["StopTransaction", "MeterValues"]
        [values] = rig.csms.payloads("MeterValues")
        assert values["transactionId"] == transaction.id
