"""A station that makes no faults, as a foreign CSMS sees it."""

from itertools import pairwise

from ocpp.v16 import call

from tests.simulator.csms import REFUSED_TAG
from tests.simulator.rig import TAG, running_rig
from tests.waiting import until

LIMIT = {
    "charging_profile_id": 1,
    "stack_level": 0,
    "charging_profile_purpose": "TxProfile",
    "charging_profile_kind": "Relative",
}


def limit(transaction: int, amps: float) -> call.SetChargingProfile:
    period = {"start_period": 0, "limit": amps}
    schedule = {"charging_rate_unit": "A", "charging_schedule_period": [period]}
    profile = LIMIT | {"transaction_id": transaction, "charging_schedule": schedule}
    return call.SetChargingProfile(connector_id=1, cs_charging_profiles=profile)


async def test_a_charge_from_boot_to_stop_is_valid_and_bills_what_was_delivered() -> None:
    async with running_rig(meter_start_wh=5_000, connectors=2) as rig:
        await rig.start()
        await rig.advance(600)
        stop = await rig.stop()
        [start] = rig.csms.payloads("StartTransaction")
        assert rig.csms.actions[0] == "BootNotification"
        assert (start["meterStart"], stop["meterStop"]) == (5_000, 15_000)
        assert rig.transaction.delivered_wh == rig.station.delivered_wh == 10_000
        assert stop["reason"] == "Remote"
        assert stop["transactionId"] == rig.transaction.id
        assert [value["sampledValue"][0]["value"] for value in stop["transactionData"]] == [
            "5000",
            "15000",
        ]
        assert rig.csms.statuses == ["Available", "Preparing", "Charging", "Finishing"]
        assert rig.csms.count("MeterValues") == 10
        assert rig.csms.violations() == []
        assert (rig.csms.errors, rig.station.violations) == ([], [])


async def test_meter_values_have_every_measurand_and_grow() -> None:
    async with running_rig() as rig:
        await rig.start(soc_percent=20, battery_wh=50_000)
        await rig.advance(120)
        samples = rig.csms.payloads("MeterValues")[-1]["meterValue"][0]["sampledValue"]
        assert {sample["measurand"]: sample["value"] for sample in samples} == {
            "Energy.Active.Import.Register": "2000",
            "Power.Active.Import": "60000",
            "SoC": "24",
            "Current.Import": "150.0",
            "Voltage": "400.0",
        }


async def test_heartbeats_come_at_the_interval_of_the_boot_answer() -> None:
    async with running_rig(csms={"heartbeat_s": 30}) as rig:
        await rig.advance(29, step_s=29)
        assert rig.csms.count("Heartbeat") == 0
        await rig.advance(61, step_s=1)
        assert rig.csms.count("Heartbeat") == 3


async def test_speed_multiplies_power_and_not_time() -> None:
    async with running_rig(speed=10) as rig:
        await rig.start(battery_wh=10_000_000)
        await rig.advance(60)
        assert rig.station.delivered_wh == 10_000
        assert rig.csms.count("MeterValues") == 1


async def test_a_full_battery_takes_no_more() -> None:
    async with running_rig() as rig:
        await rig.start(soc_percent=90, battery_wh=10_000)
        await rig.advance(600)
        assert rig.station.delivered_wh == 1_000
        assert rig.csms.statuses[-1] == "SuspendedEV"


async def test_a_card_starts_and_stops() -> None:
    async with running_rig() as rig:
        rig.station.plug_in()
        assert await rig.station.start_by_card(TAG)
        await rig.settled()
        await rig.advance(60)
        rig.station.stop_by_card()
        await rig.settled()
        assert rig.csms.payloads("Authorize") == [{"idTag": TAG}]
        [stop] = rig.csms.payloads("StopTransaction")
        assert (stop["reason"], stop["meterStop"]) == ("Local", 1_000)


async def test_a_refused_card_starts_nothing() -> None:
    async with running_rig() as rig:
        rig.station.plug_in()
        assert not await rig.station.start_by_card(REFUSED_TAG)
        assert rig.station.transactions == []


async def test_a_start_that_the_csms_refuses_ends_at_once() -> None:
    async with running_rig() as rig:
        rig.station.plug_in()
        await rig.command(call.RemoteStartTransaction(id_tag=REFUSED_TAG, connector_id=1))
        await until(lambda: rig.csms.count("StopTransaction"))
        assert rig.csms.payloads("StopTransaction")[0]["reason"] == "DeAuthorized"


async def test_unplugging_ends_the_transaction_and_frees_the_connector() -> None:
    async with running_rig() as rig:
        await rig.start()
        rig.station.unplug()
        await rig.settled()
        assert rig.csms.payloads("StopTransaction")[0]["reason"] == "EVDisconnected"
        assert rig.csms.statuses[-1] == "Available"


async def test_a_remote_start_without_a_car_is_given_up() -> None:
    async with running_rig() as rig:
        reply = await rig.command(call.RemoteStartTransaction(id_tag=TAG, connector_id=1))
        await until(lambda: rig.csms.statuses[-1] == "Preparing")
        await rig.advance(60)
        assert reply.status == "Accepted"
        assert rig.csms.statuses[-1] == "Available"
        rig.station.plug_in()
        assert rig.station.transactions == []


async def test_an_occupied_connector_refuses_a_remote_start() -> None:
    async with running_rig() as rig:
        await rig.start()
        reply = await rig.command(call.RemoteStartTransaction(id_tag=TAG, connector_id=1))
        assert reply.status == "Rejected"


async def test_zero_amperes_pause_and_a_cleared_profile_resumes() -> None:
    async with running_rig() as rig:
        transaction = await rig.start()
        await rig.advance(60)
        assert (await rig.command(limit(transaction.id, 0))).status == "Accepted"
        await until(lambda: rig.csms.statuses[-1] == "SuspendedEVSE")
        await rig.advance(600)
        assert rig.station.delivered_wh == 1_000
        reply = await rig.command(call.ClearChargingProfile(id=1))
        assert reply.status == "Accepted"
        await until(lambda: rig.csms.statuses[-1] == "Charging")
        await rig.advance(60)
        assert rig.station.delivered_wh == 2_000


async def test_a_limit_in_amperes_lowers_the_power() -> None:
    async with running_rig() as rig:
        transaction = await rig.start()
        await rig.command(limit(transaction.id, 30.1))
        await until(lambda: rig.station.connectors[1].meter.power_w == 12_040)
        assert rig.station.violations == []


async def test_a_soft_reset_stops_and_boots_again() -> None:
    async with running_rig() as rig:
        await rig.start()
        await rig.command(call.Reset(type="Soft"))
        await until(lambda: rig.csms.count("StopTransaction"))
        await until(lambda: rig.csms.count("BootNotification") == 2)
        assert rig.csms.payloads("StopTransaction")[0]["reason"] == "SoftReset"
        assert rig.csms.actions.index("StopTransaction") < rig.csms.actions.index(
            "BootNotification", 1
        )


async def test_a_hard_reset_sends_the_stop_after_the_boot() -> None:
    async with running_rig() as rig:
        await rig.start()
        await rig.command(call.Reset(type="Hard"))
        await until(lambda: rig.csms.count("StopTransaction"))
        assert rig.csms.payloads("StopTransaction")[0]["reason"] == "HardReset"
        assert rig.csms.actions.index("StopTransaction") > rig.csms.actions.index(
            "BootNotification", 1
        )


async def test_unlocking_ends_the_transaction() -> None:
    async with running_rig() as rig:
        free = await rig.command(call.UnlockConnector(connector_id=1))
        await rig.start()
        charging = await rig.command(call.UnlockConnector(connector_id=1))
        await until(lambda: rig.csms.count("StopTransaction"))
        assert (free.status, charging.status) == ("UnlockFailed", "Unlocked")
        assert rig.csms.payloads("StopTransaction")[0]["reason"] == "UnlockCommand"


async def test_an_inoperative_connector_is_unavailable_and_refuses() -> None:
    async with running_rig() as rig:
        await rig.command(call.ChangeAvailability(connector_id=0, type="Inoperative"))
        await until(lambda: rig.csms.statuses[-1] == "Unavailable")
        reply = await rig.command(call.RemoteStartTransaction(id_tag=TAG, connector_id=1))
        assert reply.status == "Rejected"
        await rig.command(call.ChangeAvailability(connector_id=1, type="Operative"))
        await until(lambda: rig.csms.statuses[-1] == "Available")


async def test_a_busy_connector_becomes_unavailable_when_the_car_leaves() -> None:
    async with running_rig() as rig:
        await rig.start()
        reply = await rig.command(call.ChangeAvailability(connector_id=1, type="Inoperative"))
        assert reply.status == "Scheduled"
        rig.station.unplug()
        await until(lambda: rig.csms.statuses[-1] == "Unavailable")


async def test_a_changed_sample_interval_counts_at_once() -> None:
    async with running_rig() as rig:
        await rig.start()
        reply = await rig.command(
            call.ChangeConfiguration(key="MeterValueSampleInterval", value="10")
        )
        assert reply.status == "Accepted"
        await rig.advance(30, step_s=10)
        assert rig.csms.count("MeterValues") == 3


async def test_configuration_is_listed_and_guarded() -> None:
    async with running_rig(connectors=3) as rig:
        listed = await rig.command(call.GetConfiguration(key=["NumberOfConnectors", "Nothing"]))
        readonly = await rig.command(call.ChangeConfiguration("NumberOfConnectors", "4"))
        unknown = await rig.command(call.ChangeConfiguration("Nothing", "4"))
        invalid = await rig.command(call.ChangeConfiguration("HeartbeatInterval", "often"))
        key = {"key": "NumberOfConnectors", "readonly": True, "value": "3"}
        assert (listed.configuration_key, listed.unknown_key) == ([key], ["Nothing"])
        assert readonly.status == invalid.status == "Rejected"
        assert unknown.status == "NotSupported"


async def test_a_triggered_message_follows_its_answer() -> None:
    async with running_rig() as rig:
        for message in ("Heartbeat", "StatusNotification", "MeterValues", "BootNotification"):
            before = rig.csms.count(message)
            reply = await rig.command(call.TriggerMessage(message, connector_id=1))
            assert reply.status == "Accepted"
            await until(lambda m=message, n=before: rig.csms.count(m) == n + 1)
        reply = await rig.command(call.TriggerMessage("FirmwareStatusNotification"))
        assert reply.status == "NotImplemented"
        assert rig.csms.violations() == []


async def test_cache_and_data_transfer_are_answered() -> None:
    async with running_rig() as rig:
        assert (await rig.command(call.ClearCache())).status == "Accepted"
        assert (await rig.command(call.DataTransfer("any"))).status == "UnknownVendorId"


async def test_what_the_csms_sends_against_the_schema_is_listed() -> None:
    async with running_rig() as rig:
        await rig.server.call(call.Reset(type="Warm"), skip_schema_validation=True)
        assert rig.station.violations != []
        assert rig.csms.count("BootNotification") == 1


async def test_messages_of_transactions_wait_offline_and_keep_their_stamps() -> None:
    async with running_rig() as rig:
        rig.station.lose_network()
        await until(lambda: not rig.station.is_online)
        rig.station.plug_in()
        assert await rig.station.start_by_card(TAG)
        await rig.clock.advance(180)
        rig.station.stop_by_card()
        assert rig.csms.count("StartTransaction") == 0
        await rig.clock.advance(600)
        rig.station.restore_network()
        await rig.reconnected()
        await rig.settled()
        replayed = [
            each
            for each in rig.csms.received
            if each.action in {"StartTransaction", "MeterValues", "StopTransaction"}
        ]
        stamps = [
            each.payload.get("timestamp") or each.payload["meterValue"][0]["timestamp"]
            for each in replayed
        ]
        assert [each.action for each in replayed] == [
            "StartTransaction", *["MeterValues"] * 3, "StopTransaction",
        ]  # fmt: skip
        assert stamps[0].startswith("2026-01-05T10:00")
        assert stamps[-1].startswith("2026-01-05T10:03")
        assert all(earlier <= later for earlier, later in pairwise(stamps))
        assert {each.payload.get("transactionId", 1) for each in replayed} == {1}
        assert rig.csms.count("BootNotification") == 1
        assert rig.transaction.delivered_wh == 3_000


async def test_a_power_cut_ends_the_transaction_with_the_register_of_the_cut() -> None:
    async with running_rig() as rig:
        await rig.start()
        await rig.advance(60)
        rig.station.cut_power()
        await rig.clock.advance(3 * 3600)
        rig.station.restore_power()
        await until(lambda: rig.csms.count("StopTransaction"))
        [stop] = rig.csms.payloads("StopTransaction")
        assert (stop["reason"], stop["meterStop"]) == ("PowerLoss", 1_000)
        assert stop["timestamp"].startswith("2026-01-05T10:01")
        assert rig.csms.count("BootNotification") == 2
        assert rig.station.delivered_wh == 1_000


async def test_a_station_that_resumes_goes_on_after_a_power_cut() -> None:
    async with running_rig(resumes_after_power_cut=True) as rig:
        await rig.start()
        await rig.advance(60)
        rig.station.cut_power()
        await rig.clock.advance(600)
        rig.station.restore_power()
        await until(lambda: rig.csms.count("BootNotification") == 2)
        await rig.settled()
        await rig.advance(60)
        stop = await rig.stop()
        assert (stop["reason"], stop["meterStop"]) == ("Remote", 2_000)
