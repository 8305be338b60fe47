"""`evpower session` and `evpower quarantine`: what an operator does at a terminal."""

import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from typer.testing import CliRunner, Result

from evpower.cli.app import app
from evpower.foundation.db import Connection, Database
from evpower.foundation.ids import new_uuid
from tests.charging.place import ChargingPlace

Command = Callable[..., Result]


@pytest.fixture
def run(dsn: str) -> Command:
    """A command in a thread, as each runs an event loop of its own."""

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(app, list(words), env={"EVPOWER_DATABASE_URL": dsn})

    def work(*words: str) -> Result:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(invoke, *words).result()

    return work


@pytest.fixture
async def place(db: Database, owner: Connection) -> ChargingPlace:
    place = ChargingPlace(db, owner)
    await place.build()
    return place


@pytest.fixture
def charged(place: ChargingPlace) -> Callable[..., Awaitable[UUID]]:
    """Charge 7.5 kWh and stop; returns the session."""

    async def charge(stop_wh: int = 7_500) -> UUID:
        session, transaction = await place.charging(await place.driver())
        place.later(10)
        await place.values(transaction, 7_500)
        place.later(1)
        await place.stop(transaction, stop_wh)
        return session

    return charge


def answer(done: Result) -> Any:
    assert done.exit_code == 0, done.stderr
    return json.loads(done.stdout)


async def test_a_running_session_is_listed_shown_and_stopped(
    run: Command, place: ChargingPlace
) -> None:
    client = await place.driver()
    session, transaction = await place.charging(client)
    place.later(1)
    await place.values(transaction, 700)
    [listed] = answer(run("session", "list", "--open", "--station", "S1", "--json"))
    assert (listed["id"], listed["state"], listed["energy_kwh"], listed["cost"]) == (
        str(session), "charging", "0.700", "8.40",
    )  # fmt: skip
    shown = run("session", "show", str(session))
    assert "register_wh        700" in shown.stdout
    stopped = answer(run("session", "stop", str(session), "--operator", "aida", "--json"))
    assert stopped == {"id": str(session), "state": "stopping"}
    assert await place.value("stop_requested_by", session) == "aida"
    assert await place.commands() == ["remote_stop"]


async def test_a_stop_waits_as_the_settings_say(
    run: Command, place: ChargingPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, transaction = await place.charging(await place.driver())
    monkeypatch.setenv("EVPOWER_CHARGING_CLOSE_AFTER_STOP_S", "77")
    answer(run("session", "stop", str(session), "--operator", "aida", "--json"))
    asked_at = await place.value("stop_requested_at", session)
    due_at = (await place.progress(transaction))["close_due_at"]
    assert due_at == asked_at + timedelta(seconds=77)


async def test_lists_have_what_was_asked_for(
    run: Command, place: ChargingPlace, charged: Callable[..., Awaitable[UUID]]
) -> None:
    session = await charged()
    client = await place.value("client_id", session)
    assert answer(run("session", "list", "--open", "--json")) == []
    assert answer(run("session", "list", "--station", "S2", "--json")) == []
    assert answer(run("session", "list", "--client", str(new_uuid()), "--json")) == []
    [listed] = answer(run("session", "list", "--client", str(client), "--json"))
    assert listed["end_reason"] == "remote"
    assert f"{session}  settled  S1/1  7.500 kWh  90.00 som" in run("session", "list").stdout


async def test_a_better_figure_is_the_next_bill(
    run: Command, charged: Callable[..., Awaitable[UUID]]
) -> None:
    session = await charged()
    words = ("--energy", "7", "--reason", "read on place", "--operator", "aida", "--json")
    corrected = answer(run("session", "correct", str(session), *words))
    assert [(bill["number"], bill["total"], bill["actor"]) for bill in corrected["bills"]] == [
        (1, "90.00", None),
        (2, "84.00", "aida"),
    ]
    assert "bill 2  84.00 som for 7.000 kWh" in run("session", "show", str(session)).stdout


async def test_a_quarantine_is_listed_and_decided(
    run: Command, place: ChargingPlace, charged: Callable[..., Awaitable[UUID]]
) -> None:
    session = await charged(7_783_000)
    [listed] = answer(run("quarantine", "list", "--json"))
    assert (listed["id"], listed["quarantine_reason"]) == (str(session), "implausible_energy")
    assert "quarantined: implausible_energy" in run("quarantine", "list").stdout
    decided = answer(run("quarantine", "decide", str(session), "--reason", "as billed", "--json"))
    assert decided["quarantined_at"] is None
    assert await place.bills(session) == [(7_500, 90)]
    assert run("quarantine", "list").stdout == "no session is in quarantine\n"
    again = run("quarantine", "decide", str(session), "--reason", "again", "--energy", "3")
    assert again.exit_code == 1
    assert "not in quarantine" in again.stderr
    assert await place.bills(session) == [(7_500, 90)]


async def test_more_than_the_connector_can_deliver_needs_force(
    run: Command, place: ChargingPlace, charged: Callable[..., Awaitable[UUID]]
) -> None:
    session = await charged()
    words = ("session", "correct", str(session), "--reason", "x", "--energy", "100")
    refused = run(*words)
    assert refused.exit_code == 1
    assert "the connector can deliver 12.1 kWh at most" in refused.stderr
    assert await place.bills(session) == [(7_500, 90)]
    forced = run(*words, "--force")
    assert "charged: 1110.00 som, 90.00 before" in forced.stdout
    assert await place.bills(session) == [(7_500, 90), (100_000, 1_200)]


async def test_what_was_delivered_to_no_client_is_listed(
    run: Command, place: ChargingPlace
) -> None:
    empty = run("session", "unattributed")
    assert empty.stdout == "nothing was delivered to no client\n"
    transaction = await place.begin(None, tag="STRANGER", meter_wh=5_000)
    place.later(10)
    await place.stop(transaction, 12_500)
    open_one = await place.begin(None, tag="", meter_wh=0, connector=2)
    rows = answer(run("session", "unattributed", "--json"))
    assert [row["transaction_id"] for row in rows] == [open_one, transaction]
    assert rows[1] | {"started_at": "", "ended_at": ""} == {
        "transaction_id": transaction, "station": "S1", "connector": 1, "id_tag": "STRANGER",
        "started_at": "", "ended_at": "", "meter_start_wh": "5000", "meter_stop_wh": "12500",
        "energy_kwh": "7.500",
    }  # fmt: skip
    assert rows[0]["ended_at"] is None
    assert len(answer(run("session", "unattributed", "--json", "--limit", "1"))) == 1
    assert "S1/1  tag STRANGER  7.500 kWh" in run("session", "unattributed").stdout


async def test_stops_of_no_transaction_are_listed(run: Command, place: ChargingPlace) -> None:
    assert run("session", "unmatched-stops").stdout == "every stop fitted a transaction\n"
    await place.stop(4_711, 900, tag="STRANGER")
    [row] = answer(run("session", "unmatched-stops", "--json"))
    assert (row["station"], row["id_as_sent"], row["id_tag"], row["meter_stop_wh"]) == (
        "S1", "4711", "STRANGER", "900",
    )  # fmt: skip
    assert "S1  transaction 4711  tag STRANGER  900 Wh" in run("session", "unmatched-stops").stdout


@pytest.mark.parametrize(
    ("words", "refusal"),
    [
        (("session", "show", "x"), "is no id of a session"),
        (("session", "show", str(new_uuid())), "ran no such session"),
        (("session", "correct", str(new_uuid()), "--reason", "x"), "nothing to correct"),
        (
            ("session", "correct", str(new_uuid()), "--energy", "1.2345", "--reason", "x"),
            "is no energy",
        ),
        (("session", "correct", str(new_uuid()), "--energy", "x", "--reason", "x"), "is no energy"),
        (("session", "correct", str(new_uuid()), "--ended-at", "x", "--reason", "x"), "the end"),
        (("session", "list", "--client", "x"), "is no id of a client"),
    ],
)
def test_what_cannot_be_is_refused(run: Command, words: tuple[str, ...], refusal: str) -> None:
    done = run(*words)
    assert done.exit_code == 1
    assert refusal in done.stderr
