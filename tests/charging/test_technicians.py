"""Cards of technicians: they charge anywhere, and no client pays."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
from typer.testing import CliRunner, Result

from evpower import charging
from evpower.cli.app import app
from evpower.foundation.errors import EvPowerError
from tests.charging.site import Site

CARD = "04A1B2C3D4E5F6"


async def add(site: Site, tag: str = CARD) -> None:
    async with site.db.transaction() as connection:
        await charging.add_technician(connection, tag=tag, name="Bakyt", actor="aida")


async def test_a_technician_charges_without_a_session(site: Site) -> None:
    assert await site.authorize(CARD) == "invalid"
    await add(site)
    assert await site.authorize(CARD.lower()) == "accepted"
    answer = await site.begin(CARD.lower())
    assert answer.tag == "accepted"
    row = await site.transaction(answer.transaction_id)
    assert (row["purpose"], row["session_id"]) == ("technician", None)
    assert await site.commands() == []
    again = await site.begin(CARD)
    assert (again.transaction_id, again.tag) == (answer.transaction_id, "accepted")


async def test_a_technician_takes_no_drivers_session(site: Site) -> None:
    await add(site)
    started = await site.start(await site.driver())
    await site.deliver()
    await site.begin(CARD)
    session = await site.session(started.session_id)
    assert (session["state"], session["start_failure"]) == ("cancelled", "connector_taken")


async def test_one_card_is_one_persons(site: Site) -> None:
    await site.card(await site.driver(), CARD)
    with pytest.raises(EvPowerError) as caught:
        await add(site)
    assert caught.value.code == "id_tag_taken"
    await add(site, "OTHER-1")
    with pytest.raises(EvPowerError):
        await add(site, "other-1")


@pytest.mark.parametrize("tag", ["", "  ", "--", "a\x00b", "x" * 201])
async def test_what_is_no_card_is_refused(site: Site, tag: str) -> None:
    with pytest.raises(EvPowerError) as caught:
        await add(site, tag)
    assert caught.value.code == "invalid_request"


async def test_an_operator_adds_lists_and_removes_them(dsn: str) -> None:
    def run(*words: str) -> Result:
        env = {"EVPOWER_DATABASE_URL": dsn}
        with ThreadPoolExecutor(1) as pool:  # a command runs an event loop of its own
            call = pool.submit(lambda: CliRunner().invoke(app, ["technician", *words], env=env))
            return call.result()

    added = run("add", CARD.lower(), "--name", "Bakyt", "--reason", "new", "--json")
    assert [row["tag"] for row in json.loads(added.stdout)] == [CARD]
    assert "Bakyt" in run("list").stdout
    assert run("remove", CARD, "--operator", "aida").exit_code == 0
    assert json.loads(run("list", "--json").stdout) == []
    missing = run("remove", CARD)
    assert missing.exit_code == 1
    assert "technician" in missing.stderr
