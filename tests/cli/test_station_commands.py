"""`evpower station command`, `change` and `show`: what an operator asks of a station."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest

from evpower import stations
from evpower.cli.doctor_database import look_at_database
from evpower.foundation.db import Connection, Database
from evpower.stations import StatusReport
from evpower.stations.model import CommandOutcome
from tests.cli.test_stations import Command, answer, run
from tests.stations.scenario import claim
from tests.waiting import until

__all__ = ["run"]
MALL = ("--location", "Mall", "--power-kw", "22")


@pytest.fixture(autouse=True)
def station(run: Command) -> None:
    answer(run("add", "S1", *MALL, "--connectors", "2", "--no-auth", "--json"))


async def connect(db: Database, station_id: str = "S1") -> int:
    async with db.transaction() as connection:
        opened = await stations.open_connection(
            connection,
            station_id,
            address="10.0.0.7",
            version="ocpp1.6",
            is_authenticated=False,
            node="n1",
            now=datetime.now(UTC),
        )
    return opened.epoch


async def reply(
    db: Database, state: CommandOutcome, response: Mapping[str, object] | None
) -> stations.Command:
    """Does what the node with the socket does with the next command."""
    epoch = await connect(db)

    claimed: list[stations.Command] = []

    async def is_claimed() -> bool:
        async with db.transaction() as connection:
            command = await claim(connection, "S1", epoch, datetime.now(UTC))
        claimed.extend([] if command is None else [command])
        return bool(claimed)

    await until(is_claimed)
    [command] = claimed
    async with db.transaction() as connection:
        await stations.end_command(connection, command.id, state, response, datetime.now(UTC))
    return command


@pytest.mark.parametrize(
    ("state", "response", "exit_code", "text"),
    [
        ("accepted", {"status": "Accepted"}, 0, "reset: accepted\n  status: Accepted"),
        ("refused", {"status": "Rejected"}, 1, "reset: refused\n  status: Rejected"),
        ("timed_out", None, 1, "it may have been carried out"),
    ],
)
async def test_a_command_is_sent_and_its_outcome_shown(
    run: Command,
    db: Database,
    state: CommandOutcome,
    response: Mapping[str, object] | None,
    exit_code: int,
    text: str,
) -> None:
    done, sent = await asyncio.gather(
        asyncio.to_thread(run, "command", "s1", "reset", "kind=soft"), reply(db, state, response)
    )
    assert (sent.action, sent.payload) == ("reset", {"kind": "soft"})
    assert done.exit_code == exit_code
    assert text in done.stdout


def test_a_command_that_is_not_waited_for_is_queued(run: Command) -> None:
    queued = answer(
        run("command", "S1", "change-configuration", "key=K", "value=a=b", "--no-wait", "--json")
    )
    assert (queued["state"], queued["payload"]) == ("queued", {"key": "K", "value": "a=b"})
    [shown] = answer(run("show", "S1", "--json"))["commands"]
    assert shown == queued
    assert "change_configuration" in run("show", "S1").stdout


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("explode",), "there is no command 'explode'"),
        (("reset",), "reset needs kind="),
        (("reset", "kind=warm"), "kind is one of soft, hard"),
        (("reset", "soft"), "'soft' is no argument"),
        (("reset", "kind=soft", "kind=hard"), "kind is given twice"),
        (("reset", "kind=soft", "speed=1"), "reset has no 'speed'"),
        (("unlock", "connector=3"), "has no connector 3"),
        (("unlock", "connector=0"), "connector must be a whole number from 1 on"),
        (("unlock", "connector=1e1"), "connector must be a whole number from 1 on"),
        (("remote_stop", "transaction_id=2147483648"), "must be a whole number from 0 on"),
        (("change_configuration", "key=a\x00", "value=1"), "key has a control character"),
    ],
)
def test_what_can_not_be_asked_is_one_line(run: Command, words: tuple[str, ...], why: str) -> None:
    done = run("command", "S1", *words)
    assert done.exit_code == 1
    assert why in done.stderr
    assert answer(run("show", "S1", "--json"))["commands"] == []


def test_a_command_to_an_unknown_station_is_refused(run: Command) -> None:
    done = run("command", "X", "clear_cache")
    assert done.exit_code == 1
    assert "there is no station 'X'" in done.stderr


async def test_the_audit_has_who_asked_and_no_values(run: Command, owner: Connection) -> None:
    answer(
        run("command", "S1", "change_configuration", "key=AuthorizationKey", "value=s3cret",
            "--no-wait", "--json", "--operator", "aida", "--reason", "new key")
    )  # fmt: skip
    row = await owner.fetchrow(
        "select actor, reason, details::text from identity.audit where action = 'station.command'"
    )
    assert row is not None
    assert (row["actor"], row["reason"]) == ("aida", "new key")
    assert "s3cret" not in row["details"]


async def test_show_has_what_happened(run: Command, db: Database) -> None:
    now = datetime.now(UTC)
    await connect(db)
    await connect(db)
    async with db.transaction() as connection:
        for status in ("available", "Levitating"):
            await stations.report_status(
                connection, StatusReport("S1", 1, status, "GroundFailure", None, now, "raw", now)
            )
    shown = answer(run("show", "S1", "--json"))
    assert (shown["is_online"], shown["is_connected"]) == (True, True)
    assert [entry["close_reason"] for entry in shown["connections"]] == [None, "replaced"]
    assert {entry["status"] for entry in shown["statuses"]} == {"available", "Levitating"}
    text = run("show", "S1").stdout
    for part in ("online", "closed", "replaced", "Levitating, GroundFailure", "last frame"):
        assert part in text


async def test_what_an_operator_decides_is_changed(
    run: Command, db: Database, owner: Connection
) -> None:
    changed = answer(
        run("change", "S1", "--owner", "Partner", "--any-card", "--cards-without-auth",
            "--availability", "inoperative", "--json")
    )  # fmt: skip
    assert (changed["owner"], changed["paid_only"], changed["cards_without_auth"]) == (
        "Partner", False, True,
    )  # fmt: skip
    assert changed["wanted_availability"] == "inoperative"
    sent = await reply(db, "accepted", {})
    assert sent.payload == {"connector": 0, "availability": "inoperative"}
    changed = answer(run("change", "S1", "--availability", "inoperative", "--connector", "2",
                         "--owner", "", "--json"))  # fmt: skip
    assert [row["wanted_availability"] for row in changed["connectors"]] == [
        "operative", "inoperative",
    ]  # fmt: skip
    assert (changed["owner"], changed["paid_only"]) == (None, False)
    details = await owner.fetch(
        "select details::text from identity.audit where action = 'station.change' order by id"
    )
    assert "Partner" in details[0]["details"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ((), "nothing to change"),
        (("--connector", "1"), "nothing to change"),
        (("--availability", "off"), "there is no availability 'off'"),
        (("--availability", "operative", "--connector", "9"), "has no connector 9"),
        (("--owner", " "), "1 to 200 characters"),
    ],
)
def test_a_change_that_makes_no_sense_is_one_line(
    run: Command, words: tuple[str, ...], why: str
) -> None:
    done = run("change", "S1", *words)
    assert done.exit_code == 1
    assert why in done.stderr


def test_cards_do_not_count_without_a_password_where_there_is_one(run: Command) -> None:
    answer(run("add", "S2", *MALL, "--json"))
    done = run("change", "S2", "--cards-without-auth")
    assert done.exit_code == 1
    assert "no_auth" in done.stderr


async def test_doctor_lists_stations_without_a_password(run: Command, dsn: str) -> None:
    answer(run("add", "S2", *MALL, "--json"))
    answer(run("add", "SIM", *MALL, "--no-auth", "--simulator", "--json"))
    [listed] = [
        finding
        for finding in await look_at_database(dsn)
        if finding.name == "stations without a password"
    ]
    assert (listed.ok, listed.detail) == (True, "1: S1 (evpower station secure)")
