"""Stops of real stations, and what comes after them (Q45, Q53 to Q61)."""

# pyright: reportArgumentType=false, reportOptionalSubscript=false

from datetime import timedelta
from typing import Any

import pytest

from evpower import charging, stations
from evpower.foundation.errors import Conflict
from tests.ocpp.driving import Driving, Members, accept
from tests.ocpp.scenario import Station
from tests.wallet.scenario import Scenario

STRANGER = "DEADBEEF"


async def ended(drive: Driving, station: Station, **stop: Any) -> tuple[str, int]:
    """A charge of 5 kWh that the station has stopped. Returns its tag and its id."""
    tag, transaction = await drive.charging(station)
    await station.call("MeterValues", drive.values(transaction, "4000"))
    await station.call("StopTransaction", drive.end(transaction, 5000, idTag=tag) | stop)
    return tag, transaction


async def test_q45_values_with_the_old_id_open_nothing_and_cost_nothing(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await ended(drive, station)
        for _ in range(3):
            await station.call("MeterValues", drive.values(transaction, "5000"))
        await station.call("Heartbeat")
    assert await drive.bills() == [(5000, 50_00)]
    assert (await drive.session())["state"] == "settled"
    assert await drive.value("select tail_wh from charging.progress") == 0
    assert "energy_after_stop" not in await drive.alerts()


async def test_q45_what_flows_under_the_old_id_is_tail_and_stopped(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await ended(drive, station)
        await station.send([2, "late", "MeterValues", drive.values(transaction, "5300")])
        answers = [await station.receive() for _ in range(2)]
    assert [3, "late", {}] in answers
    [stop] = [answer for answer in answers if answer[0] == 2]
    assert stop[2:] == ["RemoteStopTransaction", {"transactionId": transaction}]
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.value("select tail_wh from charging.progress") == 300
    assert "energy_after_stop" in await drive.alerts()
    assert set(await drive.central.deviations()) == {"energy_after_stop", "values_after_stop"}


async def test_q45_the_next_charge_is_billed_beside_values_of_the_old_one(drive: Driving) -> None:
    """They come with the id of the old one, on the connector where the new one runs."""
    async with drive.central.open() as station:
        _, old = await ended(drive, station)
        await drive.online(station)
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        new = (await drive.begin(station, tag, meter=5000, message_id="next"))["transactionId"]
        assert new != old
        await station.call("MeterValues", drive.values(old, "7000"))
        await station.call("StopTransaction", drive.end(new, 8000, idTag=tag))
    assert await drive.bills() == [(5000, 50_00), (3000, 30_00)]


async def test_q45_closing_values_after_a_stop_without_a_register_are_the_bill(
    drive: Driving,
) -> None:
    async with drive.central.open() as station:
        tag, transaction = await drive.charging(station)
        await station.call("MeterValues", drive.values(transaction, "4000"))
        end = drive.end(transaction, None, idTag=tag)
        del end["meterStop"]
        await station.call("StopTransaction", end)
        assert await drive.bills() == [(4000, 40_00)]
        payload = drive.values(transaction, "5000")
        drive.later(hours=-1 + 2 / 60)  # it came two minutes later
        payload["meterValue"][0]["timestamp"] = drive.stamp()
        await station.call("MeterValues", payload)
    assert await drive.bills() == [(4000, 40_00), (5000, 50_00)]
    assert await drive.balance() == 950_00


@pytest.mark.parametrize("message_id", ["same", "new"])
async def test_q53_a_stop_that_comes_for_three_days_is_one_bill(
    drive: Driving, message_id: str
) -> None:
    """Each is answered as good, so that what waits behind it comes through."""
    async with drive.central.open() as station:
        tag, transaction = await drive.charging(station)
        payload = drive.end(transaction, 5000, idTag=f"{tag}J2QIEGCC"[:20] + "-")
        for number in range(4):
            drive.later(hours=18)
            name = f"stop-{number}" if message_id == "new" else "stop"
            answer = await station.call("StopTransaction", payload, name)
            assert answer == {"idTagInfo": {"status": "Accepted"}}
        await drive.online(station)
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        new = (await drive.begin(station, tag, meter=5000, message_id="next"))["transactionId"]
        await station.call("StopTransaction", payload, "once-more")
        assert await drive.bills() == [(5000, 50_00)]
        assert await drive.value("select state from charging.sessions order by created_at desc"
                                 " limit 1") == "charging"  # fmt: skip
        await station.call("StopTransaction", drive.end(new, 8000, idTag=tag))
    assert await drive.bills() == [(5000, 50_00), (3000, 30_00)]
    counts = await drive.central.deviations()
    assert counts.keys() == {"schema", "stop_repeated", "text_too_long"}
    assert counts["stop_repeated"] == 4


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param({"transactionId": None}, id="null"),
        pytest.param({"transactionId": 0}, id="0"),
        pytest.param({"transactionId": -1}, id="minus-1"),
        pytest.param({"transactionId": ""}, id="blank"),
        pytest.param({"transactionId": "null"}, id="text"),
        pytest.param({}, id="none"),
    ],
)
@pytest.mark.parametrize("by", ["tag", "register"])
async def test_q54_a_stop_without_an_id_ends_the_right_one_of_two(
    drive: Driving, sent: Members, by: str
) -> None:
    async with drive.central.open() as station:
        tag, _ = await drive.charging(station)
        other = await drive.begin(station, STRANGER, connectorId=2, meter=900_000, message_id="2")
        await accept(station, "RemoteStopTransaction")
        end = drive.end(None, 5000, **({"idTag": tag} if by == "tag" else {}))
        del end["transactionId"]
        await station.call("StopTransaction", end | sent)
        assert await drive.bills() == [(5000, 50_00)]
        running = await drive.value("select id from charging.transactions where ended_at is null")
        assert running == other["transactionId"]
    assert set(await drive.central.deviations()) - {"schema", "transaction_id_form"} == {
        "start_unauthorized", "transaction_id_none"
    }  # fmt: skip


async def test_q56_a_stop_without_a_tag_ends_and_locks_no_tag(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        answer = await station.call(
            "StopTransaction", drive.end(transaction, 5000, reason="PowerLoss")
        )
        assert answer == {}
        assert await drive.bills() == [(5000, 50_00)]
        await drive.online(station)
        await drive.request()
        await accept(station, "RemoteStartTransaction")


async def test_q56_a_card_is_not_locked_by_a_charge_whose_stop_was_lost(drive: Driving) -> None:
    card = "04A1B2C3D4E5F6"
    await drive.central.owner.execute("update stations.stations set cards_without_auth = true")
    await drive.central.owner.execute(
        "insert into identity.aliases (kind, alias, client_id) values ('id_tag', lower($2), $1)",
        drive.client, card,
    )  # fmt: skip
    async with drive.central.open() as station:
        await station.boot()
        first = await drive.begin(station, card)
        await station.call("MeterValues", drive.values(first["transactionId"], "5000"))
        drive.later()
        answer = await station.call("Authorize", {"idTag": card})
        assert answer == {"idTagInfo": {"status": "Accepted"}}
        second = await drive.begin(station, card, connectorId=2, meter=70, message_id="second")
        assert second["idTagInfo"] == {"status": "Accepted"}
        await station.call("StopTransaction", drive.end(second["transactionId"], 3070))
        await drive.begin(station, card, meter=5000, message_id="third")
    assert sorted(await drive.bills()) == [(3000, 30_00), (5000, 50_00)]


async def test_q58_a_car_that_goes_on_after_an_emergency_stop_is_stopped(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await ended(drive, station, reason="EmergencyStop")
        assert (await drive.session())["end_reason"] == "emergency_stop"
        late = drive.values(None, "9000")
        drive.later(hours=-0.5)  # it came half an hour after the stop
        late["meterValue"][0]["timestamp"] = drive.stamp()
        await station.send([2, "late", "MeterValues", late])
        answers = [await station.receive() for _ in range(2)]
        [stop] = [answer for answer in answers if answer[0] == 2]
        assert stop[2:] == ["RemoteStopTransaction", {"transactionId": transaction}]
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.value("select tail_wh from charging.progress") == 4000
    assert "energy_after_stop" in await drive.alerts()
    assert set(await drive.central.deviations()) == {
        "energy_after_stop", "schema", "values_after_stop"
    }  # fmt: skip


async def test_q59_a_stop_whose_answer_was_lost_in_a_reset_is_answered_again(
    drive: Driving,
) -> None:
    async with drive.central.open() as station:
        tag, transaction = await drive.charging(station)
        payload = drive.end(transaction, 5000, idTag=tag, reason="HardReset")
        await station.send([2, "s1", "StopTransaction", payload])
        station.wire.transport.abort()
    drive.later(hours=1 / 60)
    async with drive.central.open() as station:
        await station.boot()
        answer = await station.call("StopTransaction", payload, "s2")
        assert answer == {"idTagInfo": {"status": "Accepted"}}
    assert await drive.bills() == [(5000, 50_00)]
    assert set(await drive.central.deviations()) == {"stop_repeated"}


async def test_q59_without_any_stop_a_reset_ends_it_by_its_last_value(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        await station.call("MeterValues", drive.values(transaction, "5000"))
        station.wire.transport.abort()
    async with drive.central.open() as station:
        await station.boot()
        await drive.watch()
        assert await drive.bills() == []
        drive.later(hours=6 / 60)
        await station.call("Heartbeat")
        await drive.watch()
    assert await drive.bills() == [(5000, 50_00)]
    assert (await drive.session())["end_reason"] == "station_booted"
    assert set(await drive.central.deviations()) == {"stop_missing"}


async def test_q61_a_stop_of_what_never_began_is_answered_and_shown(drive: Driving) -> None:
    async with drive.central.open() as station:
        await station.boot()
        assert await station.call("StopTransaction", drive.end(4711, 5000)) == {}
    assert await drive.bills() == []
    assert "stop_unmatched" in await drive.alerts()
    assert await drive.value("select meter_stop_wh from charging.stops") == 5000
    assert set(await drive.central.deviations()) == {"stop_unmatched"}


async def test_q61_a_charge_outside_is_counted_with_its_energy(drive: Driving) -> None:
    await drive.central.owner.execute("update stations.stations set paid_only = false")
    async with drive.central.open() as station:
        await station.boot()
        answer = await drive.begin(station, STRANGER, meter=1000)
        assert answer["idTagInfo"] == {"status": "Accepted"}
        await station.call("StopTransaction", drive.end(answer["transactionId"], 8500))
    row = await drive.central.owner.fetchrow("select * from charging.transactions")
    assert (row["purpose"], row["session_id"]) == ("unattributed", None)
    assert row["meter_stop_wh"] - row["meter_start_wh"] == 7500
    assert await drive.bills() == []


LARGEST = 2**63 - 1


async def two_charges(drive: Driving, station: Station) -> tuple[str, str]:
    """A driver's charge on each of two connectors, by card and by app. Returns their tags."""
    await drive.central.owner.execute("update stations.stations set cards_without_auth = true")
    other = await Scenario(drive.central.owner).topped_up(1000_00)
    card = "04A1B2C3D4E5F6"
    await drive.central.owner.execute(
        "insert into identity.aliases (kind, alias, client_id) values ('id_tag', lower($2), $1)",
        other, card,
    )  # fmt: skip
    tag, _ = await drive.charging(station)
    await drive.begin(station, card, connectorId=2, meter=1000, message_id="2")
    return tag, card


async def test_edge_14_values_under_one_id_are_of_their_connectors(drive: Driving) -> None:
    """Alfen has one id for every transaction."""
    async with drive.central.open() as station:
        tag, card = await two_charges(drive, station)
        for connector, energy in ((1, "4000"), (2, "3000"), (1, "5000"), (2, "4000")):
            payload = drive.values(LARGEST, energy, connectorId=connector)
            await station.call("MeterValues", payload)
        rows = await drive.central.owner.fetch(
            "select t.connector, p.energy_wh from charging.progress p"
            " join charging.transactions t on t.id = p.transaction_id order by 1"
        )
        assert [tuple(row) for row in rows] == [(1, 5000), (2, 3000)]
        await station.call("StopTransaction", drive.end(LARGEST, 6000, idTag=card))
        await station.call("StopTransaction", drive.end(LARGEST, 9000, idTag=tag))
    assert await drive.bills() == [(5000, 50_00), (9000, 90_00)]


async def test_edge_14_a_stop_whose_id_is_known_of_the_other_only_ends_its_own(
    drive: Driving,
) -> None:
    async with drive.central.open() as station:
        tag, card = await two_charges(drive, station)
        await station.call("MeterValues", drive.values(LARGEST, "4000"))
        await station.call("StopTransaction", drive.end(LARGEST, 4000, idTag=card))
        assert await drive.bills() == [(3000, 30_00)]
        await station.call("StopTransaction", drive.end(LARGEST, 7000, idTag=tag))
    assert await drive.bills() == [(3000, 30_00), (7000, 70_00)]


async def test_edge_14_an_id_of_ended_charges_ends_one_of_two_that_run(drive: Driving) -> None:
    async with drive.central.open() as station:
        await drive.charging(station)
        await station.call("MeterValues", drive.values(LARGEST, "1000"))
        await station.call("StopTransaction", drive.end(LARGEST, 1000))
        await drive.online(station)
        await drive.central.owner.execute("update stations.stations set paid_only = false")
        await drive.begin(station, STRANGER, connectorId=2, meter=70, message_id="2")
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        await drive.begin(station, tag, meter=1000, message_id="3")
        await station.call("StopTransaction", drive.end(LARGEST, 6000, idTag=tag))
    assert await drive.bills() == [(1000, 10_00), (5000, 50_00)]


async def test_q59_a_hard_reset_waits_for_what_runs(drive: Driving) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        with pytest.raises(Conflict) as caught:
            await reset(drive)
        assert caught.value.code == "station_in_use"
        await reset(drive, while_in_use=True)
        call = await station.receive()
        assert call[2:] == ["Reset", {"type": "Hard"}]
        await station.send([3, call[1], {"status": "Accepted"}])
        await station.call("StopTransaction", drive.end(transaction, 5000, reason="HardReset"))
        await reset(drive)
        await accept(station, "Reset")
    assert await drive.bills() == [(5000, 50_00)]


async def reset(drive: Driving, **how: bool) -> None:
    central = drive.central
    async with central.db.transaction() as connection:
        await charging.request_command(
            connection, station="EVP-001", action="reset", arguments={"kind": "hard"},
            expires_in=timedelta(minutes=5), now=central.clock(), actor="aida", **how,
        )  # fmt: skip
    central.bus.publish(stations.STATION_CHANGED, stations.station_key("EVP-001"))


async def test_q45_a_stop_with_a_register_after_one_without_is_the_next_bill(
    drive: Driving,
) -> None:
    """The first said nothing of what was delivered: nothing, or the last value, was billed."""
    async with drive.central.open() as station:
        tag, transaction = await drive.charging(station)
        await station.call("StopTransaction", {})
        assert await drive.bills() == [(0, 0)]
        await station.call("StopTransaction", drive.end(transaction, 5000, idTag=tag), "again")
        await station.call("StopTransaction", drive.end(transaction, 7000, idTag=tag), "third")
    assert await drive.bills() == [(0, 0), (5000, 50_00)]
    assert await drive.balance() == 950_00
