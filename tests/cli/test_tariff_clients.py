"""`evpower tariff client` and `evpower tariff preview`: what an operator does at a terminal."""

import json
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from evpower.foundation.db import Connection, Database
from tests.charging.place import ChargingPlace
from tests.cli.tariff_command import Command, answer, tariff_command, written

DRAFT = {"plan": "next", "name": "Next", "elements": [{"prices": {"energy_per_kwh": "10"}}]}


@pytest.fixture
def run(dsn: str) -> Command:
    return tariff_command(dsn)


@pytest.fixture
async def client(owner: Connection) -> UUID:
    client = uuid4()
    await owner.execute("insert into identity.clients (id, origin) values ($1, 'import')", client)
    return client


def test_a_discount_is_given_listed_and_ended(run: Command, client: UUID) -> None:
    about = ("--operator", "aida", "--reason", "taxi fleet")
    given = answer(run("client", "add", str(client), "--discount", "12.5", *about, "--json"))
    assert (given["discount_percent"], given["discount_on"]) == ("12.5", ["energy", "time"])
    assert (given["client_id"], given["actor"], given["valid_until"]) == (str(client), "aida", None)
    assert f"{given['id']}  {client}  12.5% off energy, time  from" in run("client", "list").stdout
    [listed] = json.loads(run("client", "list", str(client), "--json").stdout)
    assert listed == given
    ended = answer(run("client", "end", str(given["id"]), "--json"))
    assert ended["valid_until"] is not None
    assert json.loads(run("client", "list", "--json").stdout) == []
    [stored] = json.loads(run("client", "list", "--all", "--json").stdout)
    assert stored["id"] == given["id"]


def test_a_plan_of_its_own_to_come(run: Command, client: UUID, tmp_path: Path) -> None:
    assert run("save", str(written(tmp_path, DRAFT))).exit_code == 0
    words = ("--plan", "next", "--from", "2036-01-01T00:00", "--until", "2036-02-01T00:00")
    given = answer(run("client", "add", str(client), *words, "--json"))
    assert (given["plan"], given["valid_from"]) == ("next", "2035-12-31T18:00:00Z")
    assert "plan next  from 2035-12-31T18:00:00Z until 2036-01-31T18:00:00Z" in (
        run("client", "list").stdout
    )


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("CLIENT",), "a discount or a plan is needed"),
        (("CLIENT", "--discount", "0"), "is no percentage"),
        (("CLIENT", "--discount", "101"), "is no percentage"),
        (("CLIENT", "--discount", "10", "--on", "tea"), "no kind of price 'tea'"),
        (("CLIENT", "--discount", "10", "--on", ""), "no kind of price ''"),
        (("CLIENT", "--plan", "none"), "there is no plan 'none'"),
        (("CLIENT", "--discount", "10", "--from", "noon"), "is no ISO 8601 time"),
        (("CLIENT", "--discount", "10", "--from", "2020-01-01T00:00"), "can't begin in the past"),
        (("CLIENT", "--discount", "10", "--until", "2020-01-01T00:00"), "valid_until"),
        (("absent@example.kg", "--discount", "10"), "there is no client"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    run: Command,
    client: UUID,
    words: tuple[str, ...],
    why: str,
) -> None:
    done = run("client", "add", *(str(client) if word == "CLIENT" else word for word in words))
    assert (done.exit_code, why in done.stderr) == (1, True), done.stderr


def test_a_list_of_none_says_what_to_do(run: Command) -> None:
    assert "evpower tariff client add" in run("client", "list").stdout


class TestPreview:
    @pytest.fixture
    async def session(self, db: Database, owner: Connection) -> UUID:
        """20 kWh at 12 som."""
        place = ChargingPlace(db, owner)
        await place.build()
        session, transaction = await place.charging(await place.driver())
        place.later(20)
        await place.stop(transaction, 20_000)
        return session

    def test_both_bills_stand_side_by_side(
        self,
        run: Command,
        session: UUID,
        tmp_path: Path,
    ) -> None:
        assert run("save", str(written(tmp_path, DRAFT)), "--draft").exit_code == 0
        shown = run("preview", "next:1", "--session", str(session)).stdout
        assert "billed: t:1" in shown
        assert "preview: next:1" in shown
        [line] = [line for line in shown.splitlines() if line.startswith("energy")]
        assert ("240.00" in line, "200.00" in line) == (True, True)
        assert "difference -40.00" in shown
        row = answer(run("preview", "next", "--session", str(session), "--json"))
        assert (row["billed"]["total"], row["preview"]["total"]) == ("240.00", "200.00")
        assert row["difference"] == "-40.00"
        assert row["preview"]["parts"][0]["amount"] == 200.0

    def test_the_sessions_of_a_station(
        self,
        run: Command,
        session: UUID,
        tmp_path: Path,
    ) -> None:
        assert run("save", str(written(tmp_path, DRAFT)), "--draft").exit_code == 0
        [row] = json.loads(run("preview", "next", "--station", "S1", "--json").stdout)
        assert row["session_id"] == str(session)
        lines = run("preview", "next", "--station", "S1", "--last", "5").stdout.splitlines()
        assert lines[-1].split()[:2] == ["1", "sessions"]
        assert lines[-1].split()[-3:] == ["240.00", "200.00", "-40.00"]

    @pytest.mark.parametrize(
        ("words", "why"),
        [
            (("next",), "either a session or a station"),
            (("next", "--session", "1", "--station", "S1"), "either a session or a station"),
            (("next", "--session", "1"), "is no id of a session"),
            (("none", "--station", "S1"), "there is no plan 'none'"),
            (("next:two", "--station", "S1"), "names no version"),
            (("next:9", "--station", "S1"), "no version 9"),
            (("next", "--station", "S9"), "there is no such station"),
        ],
    )
    @pytest.mark.usefixtures("session")
    def test_what_makes_no_sense(
        self,
        run: Command,
        tmp_path: Path,
        words: tuple[str, ...],
        why: str,
    ) -> None:
        assert run("save", str(written(tmp_path, DRAFT)), "--draft").exit_code == 0
        done = run("preview", *words)
        assert (done.exit_code, why in done.stderr) == (1, True), done.stderr
