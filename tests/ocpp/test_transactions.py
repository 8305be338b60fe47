"""Transactions on a real socket: one bill for the right energy, whatever the frames look like."""

# pyright: reportUnknownArgumentType=false

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from evpower import charging
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Unavailable
from evpower.ocpp import process
from tests.ocpp.driving import Driving, Members, accept, driving

NOW = datetime.now(UTC).isoformat()


@pytest.fixture
async def drive(db: Database, owner: Connection) -> AsyncIterator[Driving]:
    async with driving(db, owner) as drive:
        yield drive


async def test_a_charge_from_start_to_bill(drive: Driving) -> None:
    async with drive.central.open() as station:
        await station.boot()
        await drive.request()
        remote = await accept(station, "RemoteStartTransaction")
        assert remote["connectorId"] == 1
        answer = await drive.begin(station, remote["idTag"], meter=1000)
        assert answer["idTagInfo"] == {"status": "Accepted"}
        transaction = answer["transactionId"]
        assert await station.call("MeterValues", drive.values(transaction, "3500")) == {}
        assert (await drive.session())["state"] == "charging"
        answer = await station.call(
            "StopTransaction", drive.end(transaction, 6000, idTag=remote["idTag"], reason="Local")
        )
        assert answer.keys() == {"idTagInfo"}
    assert await drive.bills() == [(5000, 50_00)]
    assert await drive.balance() == 950_00
    assert await drive.central.deviations() == {}


@pytest.mark.parametrize(
    "message_id", [pytest.param("start", id="edge-1"), pytest.param("other", id="edge-2")]
)
async def test_a_repeated_start_gets_the_same_answer(drive: Driving, message_id: str) -> None:
    async with drive.central.open() as station:
        await station.boot()
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        at = drive.stamp()
        first = await drive.begin(station, tag, timestamp=at)
        assert await drive.begin(station, tag, timestamp=at, message_id=message_id) == first
    assert await drive.value("select count(*) from charging.transactions") == 1


@pytest.mark.parametrize("message_id", ["stop", "other"])
async def test_a_repeated_stop_bills_once(drive: Driving, message_id: str) -> None:
    """Edge case 6."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        payload = drive.end(transaction, 5000)
        first = await station.call("StopTransaction", payload, "stop")
        assert await station.call("StopTransaction", payload, message_id) == first
    assert await drive.bills() == [(5000, 50_00)]


@pytest.mark.parametrize("message_id", ["values", "other"])
async def test_repeated_meter_values_are_stored_once(drive: Driving, message_id: str) -> None:
    """Q49: a station repeats them at every reconnect."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        payload = drive.values(transaction, "3000")
        await station.call("MeterValues", payload, "values")
        await station.call("MeterValues", payload, message_id)
    assert await drive.value("select count(*) from charging.meter_values") == 1


@pytest.mark.parametrize(
    ("changes", "wh"),
    [
        pytest.param({}, 5000, id="by-the-book"),
        pytest.param({"transactionId": None}, 5000, id="Q54-null"),
        pytest.param({"transactionId": 0}, 5000, id="Q54-zero"),
        pytest.param({"transactionId": -1}, 5000, id="edge-4-minus-1"),
        pytest.param({"transactionId": ""}, 5000, id="Q54-blank"),
        pytest.param({"transactionId": "null"}, 5000, id="Q54-text-null"),
        pytest.param({"transactionId": 2**63 - 1}, 5000, id="edge-14-2e63"),
        pytest.param({"idTag": "X16WG99J2QIEGCC0MCJ5-"}, 5000, id="Q53-21-characters"),
        pytest.param({"idTag": None}, 5000, id="Q56-no-tag"),
        pytest.param({"meterStop": "5000"}, 5000, id="text"),
        pytest.param({"meterStop": 5000.0}, 5000, id="float"),
        pytest.param({"transactionData": []}, 5000, id="Q39-empty-list"),
        pytest.param(
            {"transactionData": [{"timestamp": NOW, "sampledValue": []}]}, 5000, id="Q39-sonnen"
        ),
        pytest.param({"reason": "Weather"}, 5000, id="another-reason"),
        pytest.param({"timestamp": "0001-01-01T00:00:00Z"}, 5000, id="Q22-unset"),
        pytest.param({"timestamp": None}, 5000, id="no-time"),
        pytest.param({"more": {"a": [1]}}, 5000, id="one-member-more"),
    ],
)
async def test_a_stop_is_read_as_it_is_meant(drive: Driving, changes: Members, wh: int) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        await station.call("MeterValues", drive.values(transaction, "2500"))
        await station.call("StopTransaction", drive.end(transaction, 5000) | changes)
    assert await drive.bills() == [(wh, wh)]
    assert bool(await drive.central.deviations()) == bool(changes)


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"sample": {"value": "2.5", "unit": "kWh"}}, id="edge-11-kwh"),
        pytest.param({"sample": {"value": 2500}}, id="Q38-number"),
        pytest.param({"sample": {"value": "2,5", "unit": "kWh"}}, id="Q38-comma"),
        pytest.param({"connectorId": "1"}, id="connector-as-text"),
        pytest.param({"transactionId": None}, id="no-transaction"),
        pytest.param(
            {"meterValue": {"timestamp": NOW, "sampledValue": {"value": "2500"}}},
            id="Q35-objects",
        ),
    ],
)
async def test_values_are_read_as_they_are_meant(drive: Driving, payload: Members) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        payload = drive.values(transaction, "2500", sample=payload.pop("sample", {})) | payload
        await station.call("MeterValues", payload)
    assert await drive.value("select energy_wh from charging.progress") == 2500


async def test_values_in_broken_json_count(drive: Driving) -> None:
    """Q44: AEFA writes no transaction id at all."""
    async with drive.central.open() as station:
        await drive.charging(station)
        drive.later()
        raw = (
            '[2,"v","MeterValues",{"connectorId":1,"transactionId":,"meterValue":[{"timestamp":"'
            + drive.stamp()
            + '","sampledValue":[{"value":"2500"}]}]}]'
        )
        assert await station.ask(raw) == [3, "v", {}]
    assert await drive.value("select energy_wh from charging.progress") == 2500


async def test_a_stop_of_an_unknown_transaction_is_answered(drive: Driving) -> None:
    """Edge case 7: an error would be repeated without end."""
    async with drive.central.open() as station:
        await station.boot()
        assert await station.call("StopTransaction", drive.end(4711, 5000)) == {}
    assert await drive.bills() == []


async def test_a_start_before_the_boot_is_answered(drive: Driving) -> None:
    """Q82."""
    async with drive.central.open() as station:
        answer = await drive.begin(station, "04A1B2C3")
        assert answer["transactionId"] > 0
        stop = await accept(station, "RemoteStopTransaction")
        assert stop["transactionId"] == answer["transactionId"]


async def test_a_queue_of_hours_ago_is_billed(drive: Driving) -> None:
    """Edge case 8."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
    late = drive.end(transaction, 5000)
    drive.later(hours=7)
    async with drive.central.open() as station:
        await station.boot()
        await station.call("StopTransaction", late)
    assert await drive.bills() == [(5000, 50_00)]


async def test_an_authorize_starts_nothing(drive: Driving) -> None:
    async with drive.central.open() as station:
        await station.boot()
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        for shown in (tag, tag.lower(), tag + "-"):
            answer = await station.call("Authorize", {"idTag": shown})
            assert answer == {"idTagInfo": {"status": "Accepted"}}, shown
        answer = await station.call("Authorize", {"idTag": "STRANGER"})
        assert answer["idTagInfo"]["status"] in {"Invalid", "Blocked"}
        assert await station.call("Authorize", {}) == {"idTagInfo": {"status": "Invalid"}}
    assert await drive.value("select count(*) from charging.transactions") == 0


async def test_while_the_database_is_away_a_request_waits(
    drive: Driving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        borrow = drive.central.db.connection
        failures = 3

        def fail() -> Any:
            nonlocal failures
            failures -= 1
            if failures >= 0:
                raise Unavailable("database_unavailable", "away")
            return borrow()

        monkeypatch.setattr(drive.central.db, "connection", fail)
        assert await station.call("StopTransaction", drive.end(transaction, 5000)) == {}
    assert await drive.bills() == [(5000, 50_00)]


async def test_if_the_database_stays_away_the_station_keeps_what_it_said(
    drive: Driving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is dropped without a close frame and without an answer, so that it sends it again."""
    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)

        def fail() -> Any:
            raise Unavailable("database_unavailable", "away")

        payload = drive.end(transaction, 5000)
        with monkeypatch.context() as patched:
            patched.setattr(drive.central.db, "connection", fail)
            patched.setattr(process, "_RETRY_FOR_S", 0.1)
            for number in range(5):
                await station.send([2, f"s{number}", "StopTransaction", payload])
            assert await station.ended() is None
    async with drive.central.open() as station:
        assert await station.call("StopTransaction", payload, "s0") == {}
    assert await drive.bills() == [(5000, 50_00)]


@pytest.mark.parametrize("code", ["40P01", "40001"])
async def test_a_deadlock_is_tried_again_and_not_answered_with_an_error(
    drive: Driving, owner: Connection, code: str
) -> None:
    """Edge case 22b: whichever transaction PostgreSQL ends, the station need not know."""
    async with drive.central.open() as station:
        await station.boot()
        await drive.request()
        tag = (await accept(station, "RemoteStartTransaction"))["idTag"]
        await owner.execute(
            f"""
            create sequence public.tries;
            create function public.end_twice() returns trigger language plpgsql security definer
              set search_path = '' as $$ begin
                if nextval('public.tries') <= 2 then raise sqlstate '{code}'; end if;
                return new;
              end $$;
            create trigger ends_twice before insert on charging.transactions
              for each row execute function public.end_twice();
            """
        )
        answer = await drive.begin(station, tag)
        assert answer["idTagInfo"] == {"status": "Accepted"}
        assert await drive.value("select last_value from public.tries") == 3
        assert await drive.value("select count(*) from charging.transactions") == 1
        assert await drive.value("select count(*) from alerts.alerts") == 0


async def test_a_request_that_fails_here_is_stored_and_answered(
    drive: Driving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error would be repeated for days, in front of all later messages."""

    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    async with drive.central.open() as station:
        _, transaction = await drive.charging(station)
        monkeypatch.setattr(charging, "stop_transaction", fail)
        assert await station.call("StopTransaction", drive.end(transaction, 5000)) == {}
        await station.call("Heartbeat")
    alert = await drive.value("select detail from alerts.alerts where kind = 'frame_failed'")
    assert '"StopTransaction"' in alert
    frames = await drive.central.frames()
    assert ("in", "StopTransaction") in [(direction, action) for direction, action, _ in frames]


async def test_a_start_that_fails_here_ends_no_other(
    drive: Driving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its values and its stop are of no transaction, also where only one can be meant."""

    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    async with drive.central.open() as station:
        _, charges = await drive.charging(station)
        with monkeypatch.context() as broken:
            broken.setattr(charging, "start_transaction", fail)
            answer = await drive.begin(station, "", meter=9000, connectorId=2, message_id="b")
        number = answer["transactionId"]
        values = drive.values(number, 9000, connectorId=1)
        assert await station.call("MeterValues", values) == {}
        assert await station.call("StopTransaction", drive.end(number, 9100)) == {}
        assert (await drive.session())["state"] == "charging"
        await station.call("StopTransaction", drive.end(charges, 5000), "own")
    assert await drive.bills() == [(5000, 50_00)]
    assert (
        await drive.value("select count(*) from charging.stops where transaction_id is null") == 1
    )


async def test_a_start_that_fails_here_has_a_number_of_its_own(
    drive: Driving, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a few errors a station drops the transaction, and its stop with it."""

    async def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    async with drive.central.open() as station:
        _, before = await drive.charging(station)
        await station.call("StopTransaction", drive.end(before, 5000))
        with monkeypatch.context() as broken:
            broken.setattr(charging, "start_transaction", fail)
            answer = await drive.begin(station, "04A1B2C3", meter=5000)
        number = answer["transactionId"]
        assert answer["idTagInfo"] == {"status": "Invalid"}
        assert number > before
        assert await station.call("StopTransaction", drive.end(number, 7000)) == {}
        after = await drive.begin(station, "04A1B2C3", meter=7000, message_id="next")
        assert after["transactionId"] > number
    alert = await drive.value("select detail from alerts.alerts where kind = 'frame_failed'")
    assert '"StartTransaction"' in alert
    assert await drive.value("select count(*) from charging.stops where transaction_id is null")
    assert await drive.value("select count(*) from alerts.alerts where kind = 'stop_unmatched'")
