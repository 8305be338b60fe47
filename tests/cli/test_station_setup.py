"""`evpower station setup`, and the vendor profile in `change` and `show`."""

from datetime import UTC, datetime

import pytest

from evpower import stations
from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.stations.setup import set_up_stations
from tests.cli.test_station_commands import MALL, connect, reply
from tests.cli.test_stations import Command, answer, run

__all__ = ["run"]


@pytest.fixture(autouse=True)
def station(run: Command) -> None:
    answer(run("add", "S1", *MALL, "--no-auth", "--json"))


async def go_on(db: Database) -> None:
    await set_up_stations(db, LocalBus(), datetime.now(UTC))


async def test_a_set_up_is_begun_and_shown_key_by_key(
    run: Command, db: Database, owner: Connection
) -> None:
    assert answer(run("setup", "S1", "--json"))["state"] is None
    begun = answer(run("setup", "s1", "--run", "--reason", "new firmware", "--json"))
    assert begun["state"] == "running"
    assert "is being set up" in run("setup", "S1", "--run").output
    read = {"key": "LocalPreAuthorize", "value": "true", "readonly": False}
    await reply(db, "accepted", {"configurationKey": [read]})
    await go_on(db)
    written = await reply(db, "accepted", {"status": "Accepted"})
    assert written.payload == {"key": "LocalPreAuthorize", "value": "false"}
    await go_on(db)
    done = answer(run("setup", "S1", "--json"))
    assert (done["state"], done["test_charge_suggested"]) == ("done", True)
    row = {"key": "LocalPreAuthorize", "wanted": "false", "actual": "true", "readonly": False}
    assert row | {"outcome": "written"} in done["keys"]
    shown = run("setup", "S1").output
    assert "LocalPreAuthorize = true, wanted false: written" in shown
    assert "StopTxnSampledData = -" in shown
    audit = await owner.fetchrow("select * from identity.audit where action = 'station.setup'")
    assert audit is not None
    assert (audit["subject"], audit["reason"]) == ("S1", "new firmware")


async def test_a_set_up_that_was_not_delivered_begins_again(
    run: Command, db: Database, owner: Connection
) -> None:
    async with db.transaction() as connection:
        await stations.report_boot(
            connection, "S1", vendor="ABB", model="X", firmware="1", now=datetime.now(UTC)
        )
    await connect(db)
    await go_on(db)
    await owner.execute(
        "update stations.commands set state = 'timed_out', ended_at = now() where state = 'queued'"
    )
    await go_on(db)
    assert answer(run("setup", "S1", "--json"))["failure"] == "not_delivered"
    await go_on(db)
    assert answer(run("setup", "S1", "--json"))["state"] == "failed", "not on the same connection"
    await connect(db)
    await go_on(db)
    assert answer(run("setup", "S1", "--json"))["state"] == "running"


async def test_a_station_that_is_retired_ends_its_set_up_and_no_other(
    run: Command, db: Database, owner: Connection
) -> None:
    answer(run("setup", "S1", "--run", "--json"))
    read = {"key": "LocalPreAuthorize", "value": "true", "readonly": False}
    await reply(db, "accepted", {"configurationKey": [read]})
    await owner.execute(
        "update stations.connections set closed_at = now(), close_reason = 'lost'"
        " where closed_at is null"
    )
    answer(run("retire", "S1", "--json"))
    await go_on(db)
    assert answer(run("setup", "S1", "--json"))["failure"] == "not_delivered"
    await go_on(db)


def test_a_profile_is_chosen_and_shown(run: Command) -> None:
    shown = answer(run("change", "S1", "--profile", "huawei", "--set", "ping=false", "--json"))
    assert shown["profile"]["name"] == "huawei"
    assert shown["profile"]["rate_unit"] == "W"
    assert shown["profile"]["overrides"] == {"ping": False}
    lines = run("show", "S1").output
    assert "profile   huawei (chosen)" in lines
    assert "ping = false, the station's own" in lines
    assert "LocalPreAuthorize" in lines, "a note on the make"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--profile", "huawai"), "is huawei meant"),
        (("--set", "pings=true"), "there is no member"),
        (("--set", "ping"), "NAME=VALUE"),
        (("--set", "measurands=SoC"), "bills come from it"),
    ],
)
def test_a_wrong_profile_is_one_line(run: Command, words: tuple[str, ...], why: str) -> None:
    done = run("change", "S1", *words)
    assert done.exit_code != 0
    assert why in done.output
