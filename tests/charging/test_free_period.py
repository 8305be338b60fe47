"""A station that is free for a time: every card charges, and no one pays."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from evpower import charging
from evpower.charging import StationReadings
from evpower.cli.app import app
from evpower.foundation.errors import Conflict, EvPowerError
from tests.charging.place import read
from tests.charging.site import STATION, Site

CARD = "04A1B2C3D4E5F6"


async def free(site: Site, minutes: int = 60, **facts: Any) -> None:
    async with site.db.transaction() as connection:
        await charging.free_station(
            connection,
            station=facts.get("station", STATION),
            minutes=minutes,
            actor="aida",
            reason=facts.get("reason", "the app is down"),
            now=site.now,
        )


async def meter(site: Site, transaction: int, wh: int) -> None:
    readings = (read(wh, site.now),)
    event = StationReadings(STATION, 1, transaction, None, readings, (), site.now)
    async with site.db.transaction() as connection:
        await charging.meter_values(connection, event, now=site.now, rules=site.rules)


async def test_every_tag_charges_without_a_session(site: Site) -> None:
    client = await site.driver()
    await site.open_to_cards()
    await site.card(client, CARD)
    await free(site)
    assert await site.alerts() == ["station_free"]
    for connector, tag in ((1, CARD), (2, "STRANGER")):
        assert await site.authorize(tag) == "accepted"
        answer = await site.begin(tag, connector)
        assert answer.tag == "accepted"
        row = await site.transaction(answer.transaction_id)
        assert (row["purpose"], row["session_id"]) == ("unattributed", None)
        assert (await site.begin(tag, connector)).tag == "accepted"
    assert await site.commands() == []
    assert await site.sql.fetchval("select count(*) from charging.sessions") == 0
    assert await site.sql.fetchval("select sum(held_minor) from wallet.wallets") == 0


async def test_it_ends_by_itself_and_what_runs_goes_on(site: Site) -> None:
    await free(site, minutes=10)
    running = await site.begin("STRANGER")
    await site.wait(601)
    await site.run_jobs()
    assert await site.open_alerts() == []
    assert await site.authorize("STRANGER") == "invalid"
    for wh in (1_500, 2_000, 2_500):
        await site.wait(60)
        await meter(site, running.transaction_id, wh)
    assert await site.commands() == []
    refused = await site.begin("OTHER", 2)
    assert refused.tag == "invalid"
    assert await site.commands() == [("remote_stop", "queued")]


async def test_a_start_that_comes_late_began_in_its_time(site: Site) -> None:
    """The station had no network while it was free."""
    await free(site, minutes=10)
    began = site.now + timedelta(minutes=5)
    await site.wait(1_800)
    await site.run_jobs()
    assert (await site.begin("STRANGER", at=began)).tag == "accepted"


class TestACardThatBeganBefore:
    """A queue comes in while the station is free: what a card began before that is paid."""

    async def begun(self, site: Site, **facts: Any) -> dict[str, Any]:
        client = await site.driver()
        await site.open_to_cards()
        await site.card(client, CARD)
        await free(site)
        await site.wait(60)
        answer = await site.begin(CARD, **facts)
        assert answer.tag == "accepted"
        row = await site.transaction(answer.transaction_id)
        return {"purpose": row["purpose"], "has_session": row["session_id"] is not None}

    async def test_it_is_a_session(self, site: Site) -> None:
        began = site.now - timedelta(hours=3)
        assert await self.begun(site, at=began) == {"purpose": "driver", "has_session": True}

    async def test_a_clock_that_is_a_little_slow_makes_no_session(self, site: Site) -> None:
        """The driver was let in while the station was free."""
        row = await self.begun(site, at=site.now - timedelta(seconds=30))
        assert row == {"purpose": "unattributed", "has_session": False}

    async def test_an_unusable_stamp_makes_no_session(self, site: Site) -> None:
        row = await self.begun(site, at=None, raw="0001-01-01T00:00:00Z")
        assert row == {"purpose": "unattributed", "has_session": False}

    async def test_a_clock_that_is_known_to_be_slow_is_read_as_it_is_meant(
        self, site: Site
    ) -> None:
        """Three hours slow: the stamp of a start in the free time is older than the free time."""
        await site.sql.execute(
            "insert into charging.clocks (station_id, stamp, received_at, skew_s)"
            " values ($1, now(), now(), 10800)",
            STATION,
        )
        row = await self.begun(site, at=site.now + timedelta(seconds=55, hours=-3))
        assert row == {"purpose": "unattributed", "has_session": False}

    async def test_a_technician_s_counts_against_the_cap(self, site: Site) -> None:
        async with site.db.transaction() as connection:
            await charging.add_technician(
                connection, tag=CARD, name="Bakyt", daily_limit_wh=20_000, actor="aida"
            )
        await free(site)
        await site.wait(60)
        answer = await site.begin(CARD, at=site.now - timedelta(hours=3))
        assert (await site.transaction(answer.transaction_id))["purpose"] == "technician"


async def test_an_app_is_refused_while_it_is_free(site: Site) -> None:
    client = await site.driver()
    await free(site)
    with pytest.raises(Conflict) as refused:
        await site.start(client)
    assert refused.value.code == "station_free"
    assert await site.sql.fetchval("select sum(held_minor) from wallet.wallets") == 0


async def test_an_app_starts_again_once_it_was_ended_early(site: Site) -> None:
    await free(site)
    await site.wait(60)
    async with site.db.transaction() as connection:
        await charging.end_free(
            connection, station=STATION, actor="aida", reason=None, now=site.now
        )
    assert (await site.start(await site.driver())).state == "requested"


async def test_a_driver_who_waits_pays_for_no_one_elses_charge(site: Site) -> None:
    started = await site.start(await site.driver())
    await site.deliver()
    await free(site)
    assert (await site.begin("STRANGER")).tag == "accepted"
    session = await site.session(started.session_id)
    assert (session["state"], session["start_failure"]) == ("cancelled", "connector_taken")


async def test_a_session_by_its_own_tag_stays_a_session(site: Site) -> None:
    started = await site.start(await site.driver())
    await site.deliver()
    await free(site)
    answer = await site.begin(await site.tag(started.session_id))
    assert await site.session_of(answer.transaction_id) == started.session_id


async def test_a_second_one_replaces_the_first(site: Site) -> None:
    await free(site, minutes=10)
    await site.wait(60)
    await free(site, minutes=30)
    await site.wait(1_200)
    await site.run_jobs()
    assert await site.authorize("STRANGER") == "accepted"
    rows = await site.sql.fetch("select ended_by from charging.free_periods order by id")
    assert [row["ended_by"] for row in rows] == ["aida", None]


@pytest.mark.parametrize(
    ("facts", "code"),
    [
        ({"minutes": 0}, "invalid_request"),
        ({"minutes": 7 * 24 * 60 + 1}, "invalid_request"),
        ({"reason": " "}, "reason_missing"),
        ({"reason": "a\x00b"}, "invalid_request"),
        ({"station": "NOWHERE"}, "station_not_found"),
    ],
)
async def test_what_cannot_be_is_refused(site: Site, facts: dict[str, Any], code: str) -> None:
    with pytest.raises(EvPowerError) as refused:
        await free(site, **facts)
    assert refused.value.code == code


async def test_one_that_is_not_free_cannot_end(site: Site) -> None:
    with pytest.raises(EvPowerError) as refused:
        async with site.db.transaction() as connection:
            await charging.end_free(
                connection, station=STATION, actor="aida", reason=None, now=site.now
            )
    assert refused.value.code == "station_not_free"


async def test_an_operator_frees_shows_and_ends_it(site: Site, dsn: str) -> None:
    def run(*words: str) -> Result:
        env = {"EVPOWER_DATABASE_URL": dsn}
        with ThreadPoolExecutor(1) as pool:  # a command runs an event loop of its own
            call = pool.submit(lambda: CliRunner().invoke(app, ["station", *words], env=env))
            return call.result()

    assert run("free", STATION).exit_code == 1
    assert run("free", STATION, "--minutes", "5").exit_code == 1
    begun = run("free", STATION, "--minutes", "5", "--reason", "app down", "--json")
    assert json.loads(begun.stdout)["reason"] == "app down"
    assert "every card until" in run("show", STATION).stdout
    assert json.loads(run("show", STATION, "--json").stdout)["free_periods"][0]["ended_at"] is None
    ended = run("free", STATION, "--end", "--operator", "aida")
    assert "ended by aida" in ended.stdout
    acts = await site.sql.fetch("select action from identity.audit order by id")
    assert [row["action"] for row in acts][-2:] == [
        "charging.station_free", "charging.station_free_end",
    ]  # fmt: skip
