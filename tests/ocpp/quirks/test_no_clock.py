"""A station whose clock is not set: what it sends looks the same at each charge (Q22)."""

from typing import Any

import pytest

from tests.ocpp.driving import Driving, Members, accept
from tests.ocpp.quirks.test_start import CARD, take_cards
from tests.ocpp.scenario import Station

UNSET = "0001-01-01T00:00:00Z"


async def begin(drive: Driving, station: Station, message_id: str = "2") -> Any:
    return await drive.begin(station, CARD, timestamp=UNSET, message_id=message_id)


async def test_q22_without_a_clock_a_card_charges_after_each_boot(drive: Driving) -> None:
    """Its ids count from 1 at each boot and its register from 0: the starts are equal."""
    await take_cards(drive)
    for _ in range(2):
        async with drive.central.open() as station:
            await station.boot()
            answer = await begin(drive, station)
            assert answer["idTagInfo"]["status"] == "Accepted"
            end = drive.end(answer["transactionId"], 5000, timestamp=UNSET)
            await station.call("StopTransaction", end, "3")
    assert await drive.bills() == [(5000, 50_00), (5000, 50_00)]


@pytest.mark.parametrize("message_id", ["2", "other"])
async def test_q22_without_a_clock_what_is_sent_again_is_one_charge(
    drive: Driving, message_id: str
) -> None:
    """The answers were lost with the connection, so that the station sends its queue again."""
    await take_cards(drive)
    async with drive.central.open() as station:
        await station.boot()
        first = await begin(drive, station)
    async with drive.central.open() as station:
        await station.boot()
        assert await begin(drive, station, message_id) == first
        end = drive.end(first["transactionId"], 5000, timestamp=UNSET)
        await station.call("StopTransaction", end, "3")
    async with drive.central.open() as station:
        await station.boot()
        assert await station.call("StopTransaction", end, message_id) == {}
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.alerts() == set()


@pytest.mark.parametrize("charges", [False, True], ids=["idle", "another charges"])
async def test_q22_without_a_clock_an_ended_start_that_is_sent_again_begins_nothing(
    drive: Driving,
    charges: bool,  # noqa: FBT001
) -> None:
    """The station never took the answer to the start; it has not booted since."""
    await take_cards(drive)
    await drive.central.owner.execute(
        "insert into identity.aliases (kind, alias, client_id) values ('id_tag', 'cafe0001', $1)",
        drive.client,
    )
    async with drive.central.open() as station:
        await station.boot()
        first = await begin(drive, station)
        end = drive.end(first["transactionId"], 5000, timestamp=UNSET)
        await station.call("StopTransaction", end, "3")
        if charges:
            await drive.begin(station, "CAFE0001", timestamp=UNSET, message_id="4")
        assert await begin(drive, station) == first
        assert await station.call("StopTransaction", end, "3") == {}
    assert await drive.value("select count(*) from charging.sessions") == 1 + charges
    opened = "select count(*) from charging.transactions where ended_at is null"
    assert await drive.value(opened) == charges
    assert await drive.value("select count(*) from wallet.holds where state = 'open'") == charges
    assert await drive.bills() == [(5000, 50_00)]


def values(drive: Driving, transaction: int, energy: str, **time: str) -> Members:
    entry = {"sampledValue": [{"value": energy, "unit": "Wh"}]} | time
    return drive.values(transaction, energy, meterValue=[entry])


async def test_q22_equal_values_without_a_clock_count(drive: Driving) -> None:
    """The car takes nothing: it is seen, and after 60 min its session ends."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        for _ in range(3):
            await station.call("MeterValues", values(drive, transaction, "2000", timestamp=UNSET))
        assert await drive.value("select energy_wh from charging.progress") == 2000
        await drive.watch()
        await accept(station, "RemoteStopTransaction")
        assert (await drive.session())["stop_reason"] == "no_energy"


@pytest.mark.parametrize("time", [{"timestamp": UNSET}, {}], ids=["unset", "absent"])
async def test_q49_values_without_a_clock_that_are_sent_again_count_once(
    drive: Driving, time: dict[str, str]
) -> None:
    """Lower ones that agree would begin a segment of the register."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        for _ in range(2):
            for energy in ("1000", "1500", "2000"):
                await station.call("MeterValues", values(drive, transaction, energy, **time))
        await station.call("StopTransaction", drive.end(transaction, 3000))
    assert await drive.bills() == [(3000, 30_00)]


@pytest.mark.parametrize("time", [{"timestamp": UNSET}, {"timestamp": None}], ids=["unset", "none"])
@pytest.mark.parametrize("number", [-1, 2**63 - 1], ids=["Q54", "edge-14"])
async def test_q54_equal_stops_without_id_and_clock(
    drive: Driving, number: int, time: Members
) -> None:
    """Two cars take as much by a register that counts from 0; the first one's stop comes again."""
    await take_cards(drive)
    async with drive.central.open() as station:
        await station.boot()
        for message_id in ("1", "2"):
            await begin(drive, station, message_id)
            end: Members = {"transactionId": number, "meterStop": 5000} | time
            if message_id == "2":
                await station.call("StopTransaction", end, "again-too-late")
            drive.later()
            await station.call("StopTransaction", end, f"stop-{message_id}")
            await station.call("StopTransaction", end, f"again-{message_id}")
    assert await drive.bills() == [(5000, 50_00), (5000, 50_00)]


async def show(station: Station, status: str, connector: int = 1) -> None:
    """The status of a connector, without a time."""
    payload = {"connectorId": connector, "errorCode": "NoError", "status": status}
    await station.call("StatusNotification", payload)


async def ended(drive: Driving) -> list[str | None]:
    """How each transaction ended, the oldest first."""
    rows = await drive.central.owner.fetch("select end_kind from charging.transactions order by id")
    return [row["end_kind"] for row in rows]


@pytest.mark.parametrize("meter_wh", [0, 5000])
async def test_q54_equal_stops_of_two_connectors_without_id_and_clock(
    drive: Driving, meter_wh: int
) -> None:
    """The second one is taken for the first once more, until its connector is over."""
    await take_cards(drive)
    async with drive.central.open() as station:
        await station.boot()
        for connector in (1, 2):
            answer = await drive.begin(
                station, CARD, timestamp=UNSET, connectorId=connector, message_id=f"b{connector}"
            )
            if meter_wh:
                energy = values(drive, answer["transactionId"], str(meter_wh), timestamp=UNSET)
                await station.call("MeterValues", energy | {"connectorId": connector})
        end: Members = {"transactionId": -1, "meterStop": meter_wh, "timestamp": UNSET}
        await station.call("StopTransaction", end, "first")
        await station.call("StopTransaction", end, "first-again")
        assert sorted(map(str, await ended(drive))) == ["None", "stop"]
        open_on = await drive.value(
            "select connector from charging.transactions where ended_at is null"
        )
        await show(station, "Finishing", open_on)
        await station.call("StopTransaction", end, "second")
        await station.call("StopTransaction", end, "second-again")
        await show(station, "Finishing", 3 - open_on)
        await station.call("StopTransaction", end, "first-once-more")
    assert await ended(drive) == ["stop", "stop"]
    bills = [(meter_wh, meter_wh), (meter_wh, meter_wh)]
    assert await drive.bills() == bills


async def test_q54_two_charges_of_nothing_in_a_row_without_id_and_clock(drive: Driving) -> None:
    await take_cards(drive)
    async with drive.central.open() as station:
        await station.boot()
        end: Members = {"transactionId": -1, "meterStop": 0, "timestamp": UNSET}
        for number in ("1", "2"):
            await show(station, "Preparing")
            await begin(drive, station, f"start-{number}")
            await station.call("StopTransaction", end, f"early-{number}")
            assert await ended(drive) == (["stop"] if number == "1" else ["stop", None])
            await show(station, "Finishing")
            await station.call("StopTransaction", end, f"stop-{number}")
    assert await ended(drive) == ["stop", "stop"]
    assert await drive.bills() == [(0, 0), (0, 0)]
    assert await drive.alerts() == set()


async def test_q54_an_equal_stop_at_another_register_ends_nothing(drive: Driving) -> None:
    """The connector is over, but its own stop, by another register, is still to come."""
    await take_cards(drive)
    async with drive.central.open() as station:
        await station.boot()
        for connector in (1, 2):
            await drive.begin(
                station, CARD, timestamp=UNSET, connectorId=connector, message_id=f"b{connector}"
            )
        energy = values(drive, 0, "4000", timestamp=UNSET) | {"connectorId": 2}
        await station.call("MeterValues", energy | {"transactionId": None})
        end: Members = {"transactionId": -1, "meterStop": 5000, "timestamp": UNSET}
        await station.call("StopTransaction", end, "first")
        await show(station, "Finishing", 1)
        await show(station, "Finishing", 2)
        await station.call("StopTransaction", end, "first-again")
        assert sorted(map(str, await ended(drive))) == ["None", "stop"]
