"""Each fault, as a foreign CSMS sees it."""

# pyright: reportPrivateUsage=false, reportUnknownMemberType=false

from typing import Any

import pytest
from ocpp.v16 import call

from evpower.simulator import Faults
from tests.simulator.rig import TAG, Rig, running_rig
from tests.waiting import until

ENERGY = "Energy.Active.Import.Register"
LENIENT = {"is_lenient": True}


async def charge(rig: Rig, minutes: int = 2) -> dict[str, Any]:
    """A whole charge. Returns its StopTransaction."""
    await rig.start()
    await rig.advance(60 * minutes)
    return await rig.stop()


def energies(rig: Rig) -> list[tuple[Any, Any]]:
    """Value and unit of the energy in each MeterValues."""
    return [
        (sample["value"], sample.get("unit"))
        for payload in rig.csms.payloads("MeterValues")
        for sample in payload["meterValue"][0]["sampledValue"]
        if sample.get("measurand") == ENERGY
    ]


async def repeat(rig: Rig, times: int) -> None:
    """Turns the clock only while a reply is lost: no other may be late by it."""
    for sent in range(1, times + 1):
        await until(lambda sent=sent: rig.csms.count("StartTransaction") == sent)
        lost = times - sent
        await until(lambda lost=lost: rig.station.faults.lose_replies["StartTransaction"] == lost)
        await rig.clock.advance(46)  # no reply in 30 s, and the pause before it is sent again
    await until(lambda: rig.transaction.id is not None)


@pytest.mark.parametrize("new_id", [False, True])
async def test_a_lost_reply_makes_the_station_repeat(new_id: bool) -> None:  # noqa: FBT001
    faults = Faults(lose_replies={"StartTransaction": 2}, new_id_on_repeat=new_id)
    async with running_rig(faults, reply_timeout_s=30) as rig:
        rig.station.plug_in()
        await rig.command(call.RemoteStartTransaction(id_tag=TAG, connector_id=1))

        await repeat(rig, 2)
        starts = [each for each in rig.csms.received if each.action == "StartTransaction"]
        assert len(starts) == 3
        assert len({each.id for each in starts}) == (3 if new_id else 1)
        assert len({each.payload["timestamp"] for each in starts}) == 1


async def test_a_message_is_repeated_with_the_same_id() -> None:
    async with running_rig(Faults(repeat={"StopTransaction": 2})) as rig:
        await charge(rig)
        await until(lambda: rig.csms.count("StopTransaction") == 3)
        stops = [each for each in rig.csms.received if each.action == "StopTransaction"]
        assert len({each.id for each in stops}) == 1
        assert len(stops) == 3


async def test_a_repeated_message_may_have_a_new_stamp() -> None:
    faults = Faults(lose_replies={"StartTransaction": 1}, new_stamp_on_repeat=True)
    async with running_rig(faults, reply_timeout_s=30) as rig:
        rig.station.plug_in()
        await rig.command(call.RemoteStartTransaction(id_tag=TAG, connector_id=1))

        await repeat(rig, 1)
        first, second = rig.csms.payloads("StartTransaction")
        assert first["timestamp"] < second["timestamp"]
        assert first | {"timestamp": ""} == second | {"timestamp": ""}


async def test_the_tag_of_the_stop_may_be_longer() -> None:
    async with running_rig(Faults(id_tag_tail="-")) as rig:
        assert (await charge(rig))["idTag"] == TAG + "-"


async def test_a_skipped_message_never_comes() -> None:
    async with running_rig(Faults(skip={"StopTransaction"})) as rig:
        await rig.start()
        rig.station.unplug()
        await until(lambda: rig.csms.statuses[-1] == "Available")
        await rig.settled()
        assert rig.csms.count("StopTransaction") == 0
        assert rig.transaction.meter_stop_wh is not None


@pytest.mark.parametrize(
    ("malformed", "part"),
    [("empty_member", '"connectorId":,'), ("backslash", ':"\\x'), ("unclosed", "")],
)
async def test_a_malformed_frame_is_no_json(malformed: Any, part: str) -> None:
    faults = Faults(malformed={"StatusNotification": malformed})
    async with running_rig(reply_timeout_s=30) as rig:
        rig.station.faults.malformed = faults.malformed
        rig.station.plug_in()
        await until(lambda: rig.csms.unreadable)
        assert part in rig.csms.unreadable[0]
        assert "Preparing" in rig.csms.unreadable[0]


async def test_available_comes_before_the_stop() -> None:
    async with running_rig(Faults(status_before_stop=True)) as rig:
        await charge(rig)
        last = max(
            index
            for index, each in enumerate(rig.csms.received)
            if each.payload.get("status") == "Available"
        )
        assert rig.csms.actions.index("StopTransaction") > last


async def test_a_shuffled_queue_comes_out_of_order() -> None:
    async with running_rig(Faults(shuffle_queue=True)) as rig:
        rig.station.lose_network()
        await until(lambda: not rig.station.is_online)
        rig.station.plug_in()
        await rig.station.start_by_card(TAG)
        await rig.clock.advance(600)
        rig.station.restore_network()
        await rig.reconnected()
        await rig.settled()
        stamps = [
            payload["meterValue"][0]["timestamp"] for payload in rig.csms.payloads("MeterValues")
        ]
        assert len(stamps) >= 10
        assert stamps != sorted(stamps)


async def test_the_last_values_are_replayed_on_reconnect() -> None:
    async with running_rig(Faults(replay_on_reconnect=True)) as rig:
        await rig.start()
        await rig.advance(60)
        await until(lambda: rig.csms.count("MeterValues"))
        await rig.settled()
        rig.station.lose_network()
        await until(lambda: not rig.station.is_online)
        rig.station.restore_network()
        await rig.reconnected()
        await until(lambda: rig.csms.count("MeterValues") > 1)
        values = [each.id for each in rig.csms.received if each.action == "MeterValues"]
        assert values[0] == values[1]


@pytest.mark.parametrize("endless", [False, True])
async def test_a_refused_message_is_dropped_after_its_attempts_or_never(
    endless: bool,  # noqa: FBT001
) -> None:
    faults = Faults(id_tag_tail="-" * 20, endless_attempts=endless)
    async with running_rig(faults) as rig:
        await rig.start()
        rig.station.stop_by_card()

        async def is_repeated() -> bool:
            await rig.clock.advance(60)
            return rig.csms.count("StopTransaction") >= (5 if endless else 3)

        await until(is_repeated)
        if endless:
            assert rig.station.queued > 0
        else:
            await rig.settled()
            assert rig.csms.count("StopTransaction") == 3


async def test_a_close_frame_keeps_the_station_away() -> None:
    async with running_rig(Faults(never_redials=True)) as rig:
        await rig.server._connection.close()
        await until(lambda: not rig.station.is_online)
        await rig.clock.advance(24 * 3600)
        assert rig.csms.handshakes == 1


async def test_a_lost_connection_is_made_again_after_a_back_off() -> None:
    async with running_rig() as rig:
        await rig.server._connection.close()
        await until(lambda: "connection_lost" in [event.name for event in rig.events])
        assert 0.5 <= rig.clock.pauses_s[0] <= 1.5
        await rig.reconnected()
        assert rig.csms.handshakes == 2


async def test_a_probe_socket_precedes_the_connection() -> None:
    async with running_rig(Faults(probe_socket=True)) as rig:
        assert rig.csms.handshakes == 2
        assert rig.csms.count("BootNotification") == 1


async def test_a_second_socket_leaves_the_first_open() -> None:
    async with running_rig() as rig:
        rig.station.open_second_socket()
        await until(lambda: len(rig.csms.connections) == 2)
        await rig.settled()
        assert rig.csms.count("BootNotification") == 1
        await rig.start()
        assert rig.csms.count("StartTransaction") == 1


async def test_a_command_before_the_boot_answer_makes_the_station_reboot() -> None:
    async with running_rig() as rig:
        rig.station.faults.boot_loop = True
        rig.station._is_booted = False
        rig.server._response_timeout = 0
        with pytest.raises(TimeoutError):
            await rig.command(call.ClearCache())
        await until(lambda: rig.csms.count("BootNotification") == 2)


async def test_a_long_list_of_measurands_makes_the_station_reboot() -> None:
    async with running_rig(Faults(configuration_boot_loop=True)) as rig:
        await rig.command(call.GetConfiguration())
        await until(lambda: rig.csms.count("BootNotification") == 2)


async def test_the_clock_may_be_wrong() -> None:
    async with running_rig(clock_offset_s=-3600) as rig:
        await rig.start()
        rig.station.faults.clock_skew_s = 7200
        rig.station.stop_by_card()
        rig.station.faults.clock_text = "1970-01-01T00:00:00Z"
        rig.station.unplug()
        rig.station.faults.clock_text = None
        rig.station.faults.clock_without_zone = True
        rig.station.plug_in()
        await rig.settled()
        assert rig.csms.payloads("StartTransaction")[0]["timestamp"] == "2026-01-05T09:00:00Z"
        assert rig.csms.payloads("StopTransaction")[0]["timestamp"] == "2026-01-05T11:00:00Z"
        stamps = [payload["timestamp"] for payload in rig.csms.payloads("StatusNotification")]
        assert stamps[-2:] == ["1970-01-01T00:00:00Z", "2026-01-05T11:00:00"]


async def test_an_ignored_command_gets_no_reply() -> None:
    async with running_rig(Faults(ignore_commands={"ClearCache"})) as rig:
        rig.server._response_timeout = 0
        with pytest.raises(TimeoutError):
            await rig.server.call(call.ClearCache(), unique_id="ignored")
        rig.server._response_timeout = 60
        await rig.server.call(call.GetConfiguration(), unique_id="answered")
        assert rig.csms.replied == ["answered"]


async def test_a_refused_command_is_rejected_in_its_own_words() -> None:
    faults = Faults(refuse_commands={"RemoteStartTransaction", "UnlockConnector"})
    async with running_rig(faults) as rig:
        rig.station.plug_in()
        start = await rig.command(call.RemoteStartTransaction(id_tag=TAG, connector_id=1))
        unlock = await rig.command(call.UnlockConnector(connector_id=1))
        assert (start.status, unlock.status) == ("Rejected", "UnlockFailed")
        assert rig.station.transactions == []


async def test_an_accepted_stop_may_have_no_effect() -> None:
    async with running_rig(Faults(without_effect={"RemoteStopTransaction"})) as rig:
        transaction = await rig.start()
        reply = await rig.command(call.RemoteStopTransaction(transaction_id=transaction.id))
        await rig.advance(60)
        assert reply.status == "Accepted"
        assert rig.csms.count("StopTransaction") == 0
        assert rig.station.delivered_wh == 1_000


async def test_an_accepted_start_may_never_begin() -> None:
    async with running_rig(Faults(without_effect={"RemoteStartTransaction"})) as rig:
        rig.station.plug_in()
        reply = await rig.command(call.RemoteStartTransaction(id_tag=TAG, connector_id=1))
        await rig.advance(600)
        assert reply.status == "Accepted"
        assert rig.station.transactions == []


async def test_another_transaction_id_is_sent() -> None:
    async with running_rig(Faults(transaction_id=-1)) as rig:
        stop = await charge(rig)
        values = rig.csms.payloads("MeterValues")
        assert {stop["transactionId"], *(value["transactionId"] for value in values)} == {-1}


async def test_meter_values_go_on_after_the_stop() -> None:
    async with running_rig(Faults(stale_transaction=True)) as rig:
        await charge(rig, minutes=1)
        await rig.advance(120)
        assert rig.csms.count("MeterValues") == 3
        assert rig.csms.payloads("MeterValues")[-1]["transactionId"] == rig.transaction.id


async def test_the_stop_may_be_a_watt_hour_below_the_start() -> None:
    async with running_rig(Faults(stop_offset_wh=-1), meter_start_wh=700) as rig:
        await rig.start()
        assert (await rig.stop())["meterStop"] == 699


@pytest.mark.parametrize(
    ("register", "starts"), [("lifetime", [0, 1_000]), ("transaction", [0, 0])]
)
async def test_a_register_may_restart_at_each_transaction(register: Any, starts: list[int]) -> None:
    async with running_rig(Faults(register=register)) as rig:
        for _ in starts:
            await charge(rig, minutes=1)
            rig.station.unplug()
            await rig.settled()
        assert [each["meterStart"] for each in rig.csms.payloads("StartTransaction")] == starts
        assert [each.delivered_wh for each in rig.station.transactions] == [1_000, 1_000]


async def test_a_register_may_restart_at_each_boot() -> None:
    async with running_rig(Faults(register="boot"), resumes_after_power_cut=True) as rig:
        await rig.start()
        await rig.advance(60)
        rig.station.cut_power()
        rig.station.restore_power()
        await until(lambda: rig.csms.count("BootNotification") == 2)
        await rig.settled()
        await rig.advance(60)
        assert energies(rig) == [("1000", "Wh"), ("1000", "Wh")]
        assert rig.station.delivered_wh == 2_000


async def test_single_samples_may_be_zero() -> None:
    async with running_rig(Faults(zero_samples=1)) as rig:
        await charge(rig)
        assert energies(rig) == [("0", "Wh"), ("2000", "Wh")]


async def test_measurands_may_be_missing_or_blank() -> None:
    faults = Faults(missing={"SoC"}, blank={ENERGY})
    async with running_rig(faults) as rig:
        await charge(rig, minutes=1)
        [values] = rig.csms.payloads("MeterValues")
        samples = {
            sample["measurand"]: sample["value"]
            for sample in values["meterValue"][0]["sampledValue"]
        }
        assert "SoC" not in samples
        assert samples[ENERGY] == ""


async def test_samples_in_kwh_stand_beside_registers_in_wh() -> None:
    faults = Faults(kwh_samples=True, kwh_decimals=2)
    async with running_rig(faults, meter_start_wh=251_506) as rig:
        stop = await charge(rig)
        assert energies(rig) == [("252.51", "kWh"), ("253.51", "kWh")]
        assert stop["meterStop"] == 253_506


async def test_the_energy_may_stand_without_unit_and_measurand() -> None:
    async with running_rig(Faults(without_unit=True)) as rig:
        await charge(rig, minutes=1)
        [values] = rig.csms.payloads("MeterValues")
        assert values["meterValue"][0]["sampledValue"][0] == {
            "value": "1000",
            "context": "Sample.Periodic",
        }


async def test_two_registers_and_a_current_of_no_measurand() -> None:
    async with running_rig(Faults(two_registers=True, current_max=True), csms=LENIENT) as rig:
        await charge(rig, minutes=1)
        [values] = rig.csms.payloads("MeterValues")
        assert values["meterValue"][0]["sampledValue"][-2:] == [
            {"value": "0", "context": "Transaction.Begin"},
            {"value": "16.000", "context": "CurrentMax", "unit": "A"},
        ]


async def test_values_may_be_an_object_of_numbers() -> None:
    faults = Faults(values_as_object=True, values_as_numbers=True)
    async with running_rig(faults, csms=LENIENT) as rig:
        await charge(rig, minutes=1)
        [values] = rig.csms.payloads("MeterValues")
        assert values["meterValue"]["sampledValue"][0]["value"] == 1000
