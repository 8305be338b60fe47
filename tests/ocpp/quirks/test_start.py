"""Starts of real stations: tags, repeats, refusals (Q24 to Q32)."""

# pyright: reportUnknownArgumentType=false, reportUnknownLambdaType=false, reportUnknownMemberType=false, reportUnknownVariableType=false

from collections.abc import Callable
from typing import Any

import pytest

from evpower.foundation.errors import Conflict
from evpower.simulator.frames import CALL_RESULT, find_violation
from tests.ocpp.driving import Driving, Members, accept
from tests.ocpp.scenario import Station

Echo = Callable[[str], str]
CARD = "2069C021"


async def begun(drive: Driving, station: Station, *, meter: object = 0) -> tuple[str, Any]:
    """A start by app that the station carries out. Returns its tag and the answer."""
    await station.boot()
    await drive.request()
    tag: str = (await accept(station, "RemoteStartTransaction"))["idTag"]
    return tag, await drive.begin(station, tag, meter=meter)


async def take_cards(drive: Driving) -> None:
    """The driver has a card, and cards count at the station."""
    await drive.central.owner.execute("update stations.stations set cards_without_auth = true")
    await drive.central.owner.execute(
        "insert into identity.aliases (kind, alias, client_id) values ('id_tag', lower($2), $1)",
        drive.client, CARD,
    )  # fmt: skip


@pytest.mark.parametrize(
    "echo",
    [
        pytest.param(lambda tag: tag, id="same"),
        pytest.param(lambda tag: f"{tag}J2QIEGCC"[:20] + "-", id="21-characters"),
        pytest.param(lambda tag: tag.lower(), id="lower"),
        pytest.param(lambda tag: tag + "\\\\", id="backslashes"),
        pytest.param(lambda tag: f" {tag} ", id="blanks"),
        pytest.param(lambda tag: tag[:10], id="cut"),
        pytest.param(lambda _: "uc_default_auth", id="fixed"),
        pytest.param(lambda tag: ":".join(tag[i : i + 2] for i in range(0, 12, 2)), id="colons"),
    ],
)
async def test_q24_a_tag_comes_back_as_the_station_writes_it(drive: Driving, echo: Echo) -> None:
    async with drive.central.open() as station:
        await station.boot()
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        assert len(tag) == 12
        assert set(tag) <= set("0123456789ABCDEF")
        answer = await drive.begin(station, echo(tag), meter=1000)
        assert answer["idTagInfo"]["status"] == "Accepted"
        end = drive.end(answer["transactionId"], 6000, idTag=echo(tag))
        assert await station.call("StopTransaction", end) == {"idTagInfo": {"status": "Accepted"}}
    assert await drive.bills() == [(5000, 50_00)]
    assert ("text_too_long" in await drive.central.deviations()) == (len(echo(tag)) > 20)


@pytest.mark.parametrize(
    "echo",
    [pytest.param(lambda tag: tag[:10], id="cut"), pytest.param(lambda tag: tag[:6], id="6")],
)
async def test_q24_a_cut_tag_is_of_its_start_also_at_the_other_connector(
    drive: Driving, echo: Echo
) -> None:
    """The driver asked for connector 1, and plugged in at 2."""
    async with drive.central.open() as station:
        await station.boot()
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        answer = await drive.begin(station, echo(tag), meter=1000, connectorId=2)
        assert answer["idTagInfo"]["status"] == "Accepted"
        await station.call("StopTransaction", drive.end(answer["transactionId"], 6000))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q24_a_make_with_one_tag_is_asked_by_it(drive: Driving) -> None:
    """It takes no other in a remote start, and may ask for it first."""
    fixed = "uc_default_auth"
    async with drive.central.open() as station:
        await station.boot(chargePointVendor="United Chargers", chargePointModel="Mini")
        answer = await station.call("Authorize", {"idTag": fixed})
        assert answer == {"idTagInfo": {"status": "Invalid"}}
        await drive.request()
        assert (await accept(station, "RemoteStartTransaction"))["idTag"] == fixed
        answer = await station.call("Authorize", {"idTag": fixed})
        assert answer == {"idTagInfo": {"status": "Accepted"}}
        answer = await drive.begin(station, fixed)
        assert answer["idTagInfo"] == {"status": "Accepted"}
        await station.call("StopTransaction", drive.end(answer["transactionId"], 5000, idTag=fixed))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q24_a_make_with_one_tag_that_refuses_holds_nothing(drive: Driving) -> None:
    async with drive.central.open() as station:
        await station.boot(chargePointVendor="United Chargers", chargePointModel="Mini")
        await drive.request()
        call = await station.receive()
        await station.send([3, call[1], {"status": "Rejected"}])
        await drive.until_state("refused")
    assert await drive.held() == 0


async def test_q24_a_stop_needs_no_transaction_id_beside_a_longer_tag(drive: Driving) -> None:
    async with drive.central.open() as station:
        tag, _ = await begun(drive, station)
        end = drive.end(None, 5000, idTag=tag + "J2QIEGCC-")
        await station.call("StopTransaction", end)
    assert await drive.bills() == [(5000, 50_00)]


@pytest.mark.parametrize("shown", [CARD, "20:69:C0:21", "20-69-c0-21", "2069C021\\\\", " 2069c021"])
async def test_q24_a_card_is_one_card_however_it_is_shown(drive: Driving, shown: str) -> None:
    await take_cards(drive)
    async with drive.central.open() as station:
        await station.boot()
        answer = await station.call("Authorize", {"idTag": shown})
        assert answer == {"idTagInfo": {"status": "Accepted"}}
        answer = await drive.begin(station, shown)
        assert answer["idTagInfo"] == {"status": "Accepted"}
        end = drive.end(answer["transactionId"], 5000, idTag=shown)
        await station.call("StopTransaction", end)
    assert await drive.bills() == [(5000, 50_00)]


async def test_q24_a_tag_of_autocharge_is_a_stranger(drive: Driving) -> None:
    async with drive.central.open() as station:
        await station.boot()
        answer = await drive.begin(station, "VID:001122334455")
        assert answer["idTagInfo"] == {"status": "Invalid"}
        await accept(station, "RemoteStopTransaction")
    assert await drive.bills() == []


async def test_q25_a_connector_that_finishes_wants_the_cable_plugged_in_anew(
    drive: Driving,
) -> None:
    status = {"connectorId": 1, "errorCode": "NoError"}
    async with drive.central.open() as station:
        await station.boot()
        await station.call("StatusNotification", status | {"status": "Preparing"})
        await station.call("StatusNotification", status | {"status": "Finishing"})
        with pytest.raises(Conflict) as caught:
            await drive.request()
        assert caught.value.code == "unplug_first"
        assert await drive.held() == 0
        await station.call("StatusNotification", status | {"status": "Available"})
        await drive.request()
        await accept(station, "RemoteStartTransaction")


@pytest.mark.parametrize(
    "stop",
    [
        pytest.param({"transactionId": -1}, id="minus-1"),
        pytest.param({"transactionId": -1, "reason": "Other"}, id="other"),
        pytest.param({"transactionId": 0, "reason": "Local"}, id="0"),
        pytest.param({"transactionId": None}, id="null"),
    ],
)
async def test_q26_a_full_car_stops_before_its_start_and_costs_nothing(
    drive: Driving, stop: Members
) -> None:
    async with drive.central.open() as station:
        tag, answer = await begun(drive, station, meter=1000)
        assert answer["idTagInfo"] == {"status": "Accepted"}
        drive.later(hours=-3 / 3600)
        payload = {"meterStop": 1000, "timestamp": drive.stamp(), "idTag": tag} | stop
        drive.later(hours=13 / 3600)
        await station.call("StopTransaction", payload)
        session = await drive.session()
        assert (session["state"], session["end_reason"]) == ("settled", "car_took_nothing")
        assert await drive.bills() == [(0, 0)]
        assert (await drive.held(), await drive.balance()) == (0, 1000_00)
        await drive.online(station)
        await drive.request()
        await accept(station, "RemoteStartTransaction")
    assert session["quarantined_at"] is None
    assert "stop_before_start" in await drive.central.deviations()


async def test_q26_a_stop_that_was_asked_for_keeps_its_reason(drive: Driving) -> None:
    async with drive.central.open() as station:
        await begun(drive, station, meter=1000)
        await drive.stop((await drive.session())["id"])
        await accept(station, "RemoteStopTransaction")
        await station.call(
            "StopTransaction",
            {"transactionId": -1, "meterStop": 1000, "timestamp": drive.stamp()},
        )
    assert (await drive.session())["end_reason"] == "stopped_by_driver"


async def test_q27_the_tag_may_charge_from_its_command_until_the_window_ends(
    drive: Driving,
) -> None:
    async with drive.central.open() as station:
        await station.boot()
        session_id = await drive.request()
        tag = await drive.value("select id_tag from charging.sessions where id = $1", session_id)

        async def shown() -> str:
            call = await station.ask([2, f"a{next(station.ids)}", "Authorize", {"idTag": tag}])
            while call[0] == 2:
                await station.send([3, call[1], {"status": "Accepted"}])
                call = await station.receive()
            return call[2]["idTagInfo"]["status"]

        assert await shown() == "Accepted"
        drive.later(hours=140 / 3600)
        assert await shown() == "Accepted"
        drive.later(hours=1)
        await drive.expire_starts()
        assert await shown() == "Expired"
    assert await drive.held() == 0


async def test_q28_answers_have_the_members_of_the_protocol_and_no_others(
    drive: Driving,
) -> None:
    async with drive.central.open() as station:
        answers = [("BootNotification", await station.boot())]
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        answers.append(("Authorize", await station.call("Authorize", {"idTag": tag})))
        start = await drive.begin(station, tag)
        answers.append(("StartTransaction", start))
        transaction = start["transactionId"]
        requests = [
            ("Heartbeat", {}),
            ("StatusNotification",
             {"connectorId": 1, "errorCode": "NoError", "status": "Charging"}),
            ("MeterValues", drive.values(transaction, "2500")),
            ("StopTransaction", drive.end(transaction, 5000, idTag=tag)),
            ("DataTransfer", {"vendorId": "EN+"}),
            ("FirmwareStatusNotification", {"status": "Idle"}),
            ("DiagnosticsStatusNotification", {"status": "Idle"}),
        ]  # fmt: skip
        answers += [(action, await station.call(action, body)) for action, body in requests]
    for action, answer in answers:
        assert find_violation(CALL_RESULT, action, answer) == ""
    assert start.keys() == {"transactionId", "idTagInfo"}
    assert start["idTagInfo"].keys() == {"status"}
    assert start["transactionId"] > 0


async def test_q29_two_starts_of_one_charge_have_one_id_and_one_bill(drive: Driving) -> None:
    """The values carry an id of neither; the stop is tried by it first, then by ours."""
    async with drive.central.open() as station:
        tag, first = await begun(drive, station, meter=1000)
        drive.later(hours=120 / 3600)
        second = await drive.begin(station, tag, meter=1000, message_id="second")
        assert second == first
        await station.call("MeterValues", drive.values(1758670080, "3500"))
        await drive.stop((await drive.session())["id"])
        tried: list[int] = []
        for status in ("Rejected", "Accepted"):
            call = await station.receive()
            tried.append(call[3]["transactionId"])
            await station.send([3, call[1], {"status": status}])
        assert tried == [1758670080, first["transactionId"]]
        await station.call("StopTransaction", drive.end(1758670080, 6000))
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.value("select count(*) from charging.transactions") == 1
    assert await drive.central.deviations() == {"start_repeated": 1}


async def test_q29_a_card_started_twice_is_one_charge(drive: Driving) -> None:
    await take_cards(drive)
    async with drive.central.open() as station:
        await station.boot()
        first = await drive.begin(station, CARD, meter=1000)
        drive.later(hours=120 / 3600)
        assert await drive.begin(station, CARD, meter=1000, message_id="second") == first
        await station.call("StopTransaction", drive.end(first["transactionId"], 6000))
    assert await drive.bills() == [(5000, 50_00)]


async def test_q31_a_start_from_0_in_place_of_a_stop_ends_the_charge_by_its_last_value(
    drive: Driving,
) -> None:
    await take_cards(drive)
    status = {"connectorId": 1, "errorCode": "NoError", "status": "Finishing"}
    async with drive.central.open() as station:
        _, answer = await begun(drive, station, meter=1000)
        await station.call("MeterValues", drive.values(answer["transactionId"], "6000"))
        await station.call("StatusNotification", status)
        drive.later()
        other = await drive.begin(station, "DEADBEEF", message_id="next")
        assert other["transactionId"] != answer["transactionId"]
        assert other["idTagInfo"] == {"status": "Invalid"}
        await accept(station, "RemoteStopTransaction")
    assert await drive.bills() == [(5000, 50_00)]
    assert (await drive.session())["end_reason"] == "next_start"
    assert "start_while_charging" in await drive.alerts()
    assert await drive.held() == 0
    assert set(await drive.central.deviations()) == {
        "register_from_zero", "start_unauthorized", "stop_missing"
    }  # fmt: skip


async def test_q31_a_start_from_0_by_the_same_tag_is_the_same_charge(drive: Driving) -> None:
    """A retry and a reset register look alike; nothing is billed twice, nothing is lost."""
    async with drive.central.open() as station:
        tag, answer = await begun(drive, station, meter=1000)
        transaction = answer["transactionId"]
        await station.call("MeterValues", drive.values(transaction, "6000"))
        drive.later()
        assert await drive.begin(station, tag, meter=0, message_id="next") == answer
        await station.call("StopTransaction", drive.end(transaction, 6000))
    assert await drive.bills() == [(5000, 50_00)]


@pytest.mark.parametrize("kind", ["app", "card"])
async def test_q32_a_start_is_repeated_after_each_lost_connection(
    drive: Driving, kind: str
) -> None:
    """Its first stamp, the same tag, and a register of 0, which is the usual one there."""
    if kind == "card":
        await take_cards(drive)
    async with drive.central.open() as station:
        await station.boot()
        tag = CARD
        if kind == "app":
            await drive.request()
            tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        at = drive.stamp()
        answer = await drive.begin(station, tag, timestamp=at)
        await station.call("MeterValues", drive.values(answer["transactionId"], "2000"))
        station.wire.transport.abort()
    for number in range(2):
        drive.later()
        async with drive.central.open() as station:
            again = await drive.begin(station, tag, timestamp=at, message_id=f"again-{number}")
            assert again == answer
            station.wire.transport.abort()
    async with drive.central.open() as station:
        await station.call("StopTransaction", drive.end(answer["transactionId"], 5000))
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.value("select count(*) from charging.transactions") == 1
    assert (await drive.central.deviations())["start_repeated"] == 2
