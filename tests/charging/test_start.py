"""A start by app: checks, hold, command; repeats and refusals."""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from typing import Any

import asyncpg
import pytest

from evpower import charging, stations, wallet
from evpower.charging import StartedSession, StartRequest, store_start
from evpower.charging.store_start import BegunStart
from evpower.charging.unstarted import expire_start
from evpower.foundation.db import Connection
from evpower.foundation.errors import EvPowerError
from evpower.stations import ClaimedCommand, Command, Touch
from tests.charging.site import STATION, Site
from tests.stations.scenario import draft
from tests.waiting import until


async def refusal(site: Site, client: Any, connector: int = 1, **limits: Any) -> str:
    with pytest.raises(EvPowerError) as caught:
        await site.start(client, connector, **limits)
    return caught.value.code


async def _wait_for_a_lock(owner: Connection, callers: int) -> bool:
    waiting: int = await owner.fetchval(
        "select count(*) from pg_stat_activity"
        " where datname = current_database() and wait_event_type = 'Lock'"
    )
    return waiting == callers


async def _waits_for_a_lock(site: Site) -> bool:
    async with site.db.connection() as connection:
        return await connection.fetchval("select exists (select from pg_locks where not granted)")


async def test_a_start_holds_money_and_asks_the_station(site: Site) -> None:
    client = await site.driver(1000)
    started = await site.start(client)
    assert (started.state, started.held_minor, started.balance_minor) == (
        "requested", 20_000, 100_000,
    )  # fmt: skip
    assert (started.available_minor, started.is_repeated, started.is_online) == (
        80_000, False, True,
    )  # fmt: skip
    assert started.snapshot.plan == "usual"
    command = await site.deliver()
    tag = await site.tag(started.session_id)
    assert (command.action, dict(command.payload)) == (
        "remote_start", {"id_tag": tag, "connector": 1},
    )  # fmt: skip
    assert len(tag) == 12
    assert set(tag) <= set("0123456789ABCDEF")
    assert await site.state(started.session_id) == "starting"
    assert await site.scenario.amounts(client) == [100_000]


@pytest.mark.parametrize(
    ("som", "limits", "held"),
    [
        (1000, {"amount_minor": 5_000}, 5_000),
        (1000, {"energy_wh": 10_000}, 13_500),
        (1000, {"energy_wh": 10_000, "amount_minor": 5_000}, 5_000),
        (1000, {"energy_wh": 1_000, "amount_minor": 5_000}, 1_350),
        (1000, {"soc_percent": 80}, 20_000),
        (150, {}, 15_000),
        (10, {}, 1_000),
        (10, {"amount_minor": 1_000}, 1_000),
    ],
    ids=str,
)
async def test_the_hold_is_of_the_limit_or_the_estimate_or_what_is_free(
    site: Site, som: int, limits: dict[str, int], held: int
) -> None:
    started = await site.start(await site.driver(som), **limits)
    assert started.held_minor == held


@pytest.mark.parametrize(
    ("som", "limits", "code"),
    [
        (0, {}, "zero_balance"),
        (9, {}, "insufficient_balance"),
        (100, {"amount_minor": 10_001}, "amount_exceeds_balance"),
        (100, {"energy_wh": 8_000}, "insufficient_balance"),
        (100, {"energy_wh": 0}, "invalid_energy"),
        (100, {"energy_wh": 1_000_001}, "invalid_energy"),
        (100, {"amount_minor": -1}, "invalid_amount"),
        (100, {"amount_minor": 1}, "invalid_amount"),
        (100, {"amount_minor": 999}, "invalid_amount"),
        (100, {"energy_wh": 740}, "invalid_energy"),
        (100, {"energy_wh": 9_000, "amount_minor": 999}, "invalid_amount"),
        (100, {"soc_percent": 101}, "invalid_soc"),
    ],
    ids=str,
)
async def test_a_start_is_refused_for_its_money_or_limits(
    site: Site, som: int, limits: dict[str, int], code: str
) -> None:
    client = await site.driver(som) if som else await site.scenario.client()
    assert await refusal(site, client, **limits) == code
    assert await site.scenario.money(client) == (som * 100, 0, 0)
    assert await site.commands() == []


async def test_a_debtor_does_not_start(site: Site) -> None:
    client = await site.driver(1)
    await site.scenario.charged(client, 500)
    assert await refusal(site, client) == "insufficient_balance"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("status = 'blocked'", "client_blocked"),
        ("status = 'closed'", "client_deleted"),
        ("deletion_requested_at = now()", "client_deleted"),
        ("banned_until = '2027-01-01'", "client_blocked"),
        ("unmapped_status = 'suspended'", "client_blocked"),
    ],
)
async def test_a_client_who_may_not_spend_does_not_start(
    site: Site, change: str, code: str
) -> None:
    client = await site.driver()
    await site.sql.execute(f"update identity.clients set {change} where id = $1", client)
    assert await refusal(site, client) == code


async def test_a_client_who_is_blocked_after_the_look_does_not_start(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hold is refused then, and the driver learns why."""
    client, read = await site.driver(), store_start.lock_and_read

    async def block_after(*arguments: Any) -> store_start.StartView | None:
        view = await read(*arguments)
        await site.sql.execute("update identity.clients set status = 'blocked'")
        return view

    monkeypatch.setattr(store_start, "lock_and_read", block_after)
    assert await refusal(site, client) == "client_blocked"
    assert await site.scenario.money(client) == (100_000, 0, 0)
    assert await site.commands() == []


@pytest.mark.parametrize(
    ("status", "code"),
    [
        ("finishing", "unplug_first"),
        ("charging", "connector_occupied"),
        ("suspended_ev", "connector_occupied"),
        ("suspended_evse", "connector_occupied"),
        ("occupied", "connector_occupied"),
        ("reserved", "connector_occupied"),
        ("unavailable", "station_unavailable"),
        ("faulted", "station_unavailable"),
    ],
)
async def test_a_connector_in_use_refuses(site: Site, status: str, code: str) -> None:
    await site.report(status)
    assert await refusal(site, await site.driver()) == code
    assert (await site.start(await site.driver(), 2)).state == "requested"


async def test_a_station_that_says_it_is_out_of_service_refuses(site: Site) -> None:
    await site.sql.execute("update stations.stations set reported_availability = 'inoperative'")
    assert await refusal(site, await site.driver()) == "station_unavailable"


async def test_a_car_that_is_plugged_in_may_start(site: Site) -> None:
    await site.report("preparing")
    assert (await site.start(await site.driver())).state == "requested"


async def test_what_is_unknown_is_not_found(site: Site) -> None:
    client = await site.driver()
    assert await refusal(site, client, station="NOWHERE") == "station_not_found"
    assert await refusal(site, client, 9) == "connector_not_found"
    unknown = await site.driver()
    await site.sql.execute("update stations.stations set wanted_availability = 'inoperative'")
    assert await refusal(site, unknown) == "station_unavailable"


async def test_a_station_that_another_system_answers_refuses_and_holds_nothing(site: Site) -> None:
    client = await site.driver()
    await site.sql.execute("update stations.stations set forward_url = 'wss://csms.example/ocpp'")
    assert await refusal(site, client) == "station_unavailable"
    assert await site.scenario.money(client) == (100_000, 0, 0)


async def test_a_station_that_is_away_refuses_and_holds_nothing(site: Site) -> None:
    client = await site.driver()
    await site.sql.execute("update stations.sockets set last_frame_at = $1", site.now)
    site.now = site.now.replace(minute=2)
    assert await refusal(site, client) == "station_offline"
    assert await site.scenario.money(client) == (100_000, 0, 0)


async def test_a_station_that_was_heard_90_s_ago_is_away(site: Site) -> None:
    client, heard_at = await site.driver(), site.now
    await site.sql.execute("update stations.sockets set last_frame_at = $1", heard_at)
    site.now = heard_at + timedelta(seconds=90)
    assert await refusal(site, client) == "station_offline"
    site.now -= timedelta(microseconds=1)
    assert (await site.start(client)).is_online


async def test_a_socket_that_closed_a_moment_ago_refuses_no_start(site: Site) -> None:
    """Mobile data drops and comes back: for 90 s the start waits for the next connection."""
    epoch = await site.sql.fetchval("select epoch from stations.sockets_public")
    async with site.db.transaction() as connection:
        await stations.close_connection(connection, STATION, epoch, "lost", now=site.now)
    site.now += timedelta(seconds=8)
    started = await site.start(await site.driver())
    await site.connect()
    assert (await site.deliver()).id == (await site.session(started.session_id))["start_command_id"]
    assert await site.state(started.session_id) == "starting"


async def test_a_station_is_retired_only_when_nothing_runs_there(site: Site) -> None:
    async def retire() -> None:
        async with site.db.transaction() as connection:
            await charging.retire_station(
                connection, station=STATION, now=site.now, actor="test", reason=None
            )

    client = await site.driver(1000)
    started = await site.start(client)
    with pytest.raises(EvPowerError) as caught:
        await retire()
    assert caught.value.code == "station_in_use"
    await site.stop(started.session_id, client)
    await retire()
    assert await refusal(site, await site.driver(1000)) == "station_not_found"


async def test_without_a_tariff_nothing_starts(site: Site) -> None:
    await site.sql.execute("alter table tariffs.assignments disable trigger user")
    await site.sql.execute("delete from tariffs.assignments")
    assert await refusal(site, await site.driver()) == "tariff_missing"


class TestRepeats:
    """A second start of one client."""

    async def test_the_same_within_a_minute_is_the_same_session(self, site: Site) -> None:
        client = await site.driver()
        first = await site.start(client, energy_wh=1000)
        await site.wait(59)
        again = await site.start(client, energy_wh=1000)
        assert (again.session_id, again.is_repeated) == (first.session_id, True)
        assert again.held_minor == first.held_minor
        assert await site.commands() == [("remote_start", "queued")]

    async def test_the_same_start_shows_no_money_that_is_not_on_hold_any_more(
        self, site: Site
    ) -> None:
        client = await site.driver()
        first = await site.start(client)
        async with site.db.transaction() as connection:
            await wallet.release_hold(connection, first.session_id)
        again = await site.start(client)
        assert (again.session_id, again.is_repeated) == (first.session_id, True)
        assert (again.held_minor, again.available_minor) == (0, 100_000)

    @pytest.mark.parametrize(
        ("seconds", "connector", "limits"),
        [(61, 1, {}), (1, 2, {}), (1, 1, {"energy_wh": 1000}), (1, 1, {"soc_percent": 80})],
        ids=str,
    )
    async def test_another_one_is_refused(
        self, site: Site, seconds: int, connector: int, limits: dict[str, int]
    ) -> None:
        client = await site.driver()
        await site.start(client)
        await site.wait(seconds)
        assert await refusal(site, client, connector, **limits) == "session_already_active"

    async def test_while_charging_the_same_is_still_the_same(self, site: Site) -> None:
        client = await site.driver()
        answer = await site.started(client)
        again = await site.start(client)
        assert (again.session_id, again.state) == (
            await site.session_of(answer.transaction_id), "charging",
        )  # fmt: skip
        await site.wait(61)
        assert await refusal(site, client, 2) == "session_already_active"

    async def test_the_same_start_while_the_first_one_stops_is_refused(self, site: Site) -> None:
        client = await site.driver()
        answer = await site.started(client)
        first = await site.session_of(answer.transaction_id)
        assert (await site.start(client)).session_id == first
        await site.stop(first, client)
        assert await site.state(first) == "stopping"
        assert await refusal(site, client) == "connector_occupied"

    async def test_one_that_was_asked_to_stop_keeps_no_other_from_beginning(
        self, site: Site
    ) -> None:
        """Nor may a dead station keep its driver from the next one; each has a hold of its own."""
        client = await site.driver()
        first = await site.session_of((await site.started(client)).transaction_id)
        assert await refusal(site, client, 2) == "session_already_active"
        await site.stop(first, client)
        assert await site.state(first) == "stopping"
        second = await site.start(client, 2)
        assert (second.state, second.is_repeated) == ("requested", False)
        assert await site.holds(first) == await site.holds(second.session_id) == [(1, 200, "open")]
        assert second.available_minor == 60_000

    async def test_two_at_once_make_one_session(self, site: Site) -> None:
        client = await site.driver()
        results = await asyncio.gather(*(site.start(client) for _ in range(5)))
        assert len({result.session_id for result in results}) == 1
        assert [result.is_repeated for result in results].count(False) == 1

    async def test_two_connectors_at_once_make_one_session(self, site: Site) -> None:
        client = await site.driver()
        results = await asyncio.gather(
            *(site.start(client, 1 + number % 2) for number in range(4)), return_exceptions=True
        )
        made = {result.session_id for result in results if isinstance(result, StartedSession)}
        refused = {result.code for result in results if isinstance(result, EvPowerError)}
        assert (len(made), refused) == (1, {"session_already_active"})

    async def test_one_that_begins_to_charge_while_another_is_made_is_the_only_one(
        self, site: Site
    ) -> None:
        """At another station: nothing that both lock is between the look and the insert."""
        async with site.db.transaction() as connection:
            await stations.add_station(
                connection, draft("EVP-002", no_auth=True), now=site.now, actor="aida"
            )
            opened = await stations.open_connection(
                connection, "EVP-002", address="10.0.0.2", version="ocpp1.6",
                is_authenticated=False, node="here", now=site.now,
            )  # fmt: skip
            await stations.touch(connection, [Touch("EVP-002", opened.epoch, site.now)])
        client, other = await site.driver(), await site.driver()
        await site.start(other, 2, station="EVP-002")
        held = site.sql.transaction()
        await held.start()
        await site.sql.execute(
            "select from charging.sessions where station_id = 'EVP-002' for update"
        )
        second = asyncio.create_task(site.start(client, 1, station="EVP-002"))
        await until(lambda: _waits_for_a_lock(site))
        async with site.db.transaction() as connection:
            request = StartRequest(client, STATION, 1)
            first = await charging.start(connection, request, now=site.now)
        async with site.db.connection() as connection:
            tag = await connection.fetchval(
                "select id_tag from charging.sessions where id = $1", first.session_id
            )
        await site.begin(tag)
        await held.rollback()
        with pytest.raises(EvPowerError) as caught:
            await second
        assert caught.value.code == "session_already_active"
        assert await site.state(first.session_id) == "charging"
        assert await site.sql.fetchval(
            "select count(*) from charging.sessions where client_id = $1", client
        ) == 1  # fmt: skip
        assert len(await site.holds(first.session_id)) == 1

    async def test_only_a_second_session_is_read_as_one(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Another key that is there twice is a fault of ours, and no session of the client."""
        first = await site.start(await site.driver())
        module = import_module("evpower.charging.start")
        monkeypatch.setattr(module, "new_uuid", lambda: first.session_id)
        with pytest.raises(asyncpg.UniqueViolationError) as caught:
            await site.start(await site.driver(), 2)
        assert caught.value.constraint_name == "sessions_pkey"

    async def test_a_start_of_which_it_is_unknown_whether_its_client_charges_is_refused(
        self, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        begin = store_start.begin

        async def begin_unsure(*arguments: Any, **options: Any) -> BegunStart:
            return (await begin(*arguments, **options))._replace(charges=None)

        monkeypatch.setattr(store_start, "begin", begin_unsure)
        assert await refusal(site, await site.driver()) == "session_already_active"
        assert await site.commands() == []

    async def test_another_client_waits_for_the_connector(self, site: Site) -> None:
        await site.start(await site.driver())
        assert await refusal(site, await site.driver()) == "connector_occupied"

    async def test_who_waited_for_the_station_sees_what_was_written_meanwhile(
        self, site: Site, owner: Connection
    ) -> None:
        """Two clients at one connector: both call while the station is locked."""
        clients = [await site.driver() for _ in range(2)]
        async with site.db.transaction() as connection:
            await stations.lock_station(connection, STATION)
            starts = [asyncio.create_task(site.start(client)) for client in clients]
            await until(lambda: _wait_for_a_lock(owner, 2))
        outcomes = await asyncio.gather(*starts, return_exceptions=True)
        refused = [outcome for outcome in outcomes if isinstance(outcome, EvPowerError)]
        assert [error.code for error in refused] == ["connector_occupied"]
        assert await owner.fetchval("select count(*) from charging.sessions") == 1
        assert await owner.fetchval("select count(*) from wallet.holds where state = 'open'") == 1


class TestCommands:
    """What the station makes of the remote start."""

    async def test_a_refusal_frees_the_money(self, site: Site) -> None:
        client = await site.driver()
        started = await site.start(client)
        await site.deliver("refused")
        session = await site.session(started.session_id)
        assert (session["state"], session["start_failure"]) == ("refused", "station_refused")
        assert await site.scenario.money(client) == (100_000, 0, 0)

    async def test_a_time_out_is_no_failure(self, site: Site) -> None:
        started = await site.start(await site.driver())
        await site.deliver("timed_out")
        assert await site.state(started.session_id) == "requested"
        answer = await site.begin(await site.tag(started.session_id))
        assert answer.tag == "accepted"
        assert await site.session_of(answer.transaction_id) == started.session_id

    async def test_one_that_was_accepted_meanwhile_does_not_expire(self, site: Site) -> None:
        """Its window was over when the job looked for it, and moved before the job came to it."""
        started = await site.start(await site.driver())
        command = await site.deliver(None)
        await site.wait(149)
        await site.reply(command, "accepted")
        await site.wait(10)
        async with site.db.transaction() as connection:
            await expire_start(connection, started.session_id, STATION, site.now)
        assert await site.state(started.session_id) == "starting"

    async def test_one_that_was_not_delivered_fails_after_a_minute(self, site: Site) -> None:
        client = await site.driver()
        started = await site.start(client)
        await site.wait(59)
        await site.run_jobs()
        assert await site.state(started.session_id) == "requested"
        await site.wait(2)
        await site.run_jobs()
        session = await site.session(started.session_id)
        assert (session["state"], session["start_failure"]) == ("failed", "not_delivered")
        assert await site.holds(started.session_id) == [(1, 200, "released")]

    @pytest.mark.parametrize(
        ("reply", "failure"),
        [("accepted", "not_plugged_in"), ("timed_out", "station_did_not_answer")],
    )
    async def test_a_start_that_does_not_come_expires_once(
        self, site: Site, reply: str, failure: str
    ) -> None:
        client = await site.driver()
        started = await site.start(client)
        await site.deliver(reply)
        await site.wait(149)
        await site.run_jobs()
        assert await site.state(started.session_id) in {"starting", "requested"}
        await site.wait(2)
        await site.run_jobs()
        await site.run_jobs()
        session = await site.session(started.session_id)
        assert (session["state"], session["start_failure"]) == ("expired", failure)
        assert await site.scenario.money(client) == (100_000, 0, 0)

    @pytest.mark.parametrize(
        ("read", "seconds"), [("30", 60), (" 300 ", 330), ("0", 150), ("soon", 150), (None, 150)]
    )
    async def test_the_window_is_what_the_station_says(
        self, site: Site, read: str | None, seconds: int
    ) -> None:
        async with site.db.transaction() as connection:
            await stations.queue_command(
                connection, STATION, "get_configuration", {}, actor="aida",
                expires_in=timedelta(seconds=60), now=site.now,
            )  # fmt: skip
        keys = [{"key": "HeartbeatInterval"}, {"key": "connectionTimeOut", "value": read}]
        await site.reply(await site.deliver(None), "accepted", {"configurationKey": keys})
        started = await site.start(await site.driver())
        ends_at = (await site.session(started.session_id))["start_window_ends_at"]
        assert ends_at == site.now + timedelta(seconds=seconds)
        await site.wait(20)
        await site.deliver()
        ends_at = (await site.session(started.session_id))["start_window_ends_at"]
        assert ends_at == site.now + timedelta(seconds=seconds)

    @pytest.mark.parametrize(
        ("action", "reply"),
        [
            ("change_configuration", "refused"),
            ("change_configuration", "accepted"),
            ("get_configuration", "refused"),
            ("get_configuration", "timed_out"),
        ],
    )
    async def test_only_an_accepted_read_says_what_a_setting_is(
        self, site: Site, action: Any, reply: str
    ) -> None:
        """Whatever else the station answers, with or without keys."""
        await self._answer(site, "get_configuration", "accepted", "300")
        await self._answer(site, action, reply, "600")
        started = await site.start(await site.driver())
        ends_at = (await site.session(started.session_id))["start_window_ends_at"]
        assert ends_at == site.now + timedelta(seconds=330)

    async def _answer(self, site: Site, action: Any, reply: str, value: str) -> None:
        key = {"key": "ConnectionTimeOut", "value": value}
        async with site.db.transaction() as connection:
            await stations.queue_command(
                connection, STATION, action, key, actor="aida",
                expires_in=timedelta(seconds=60), now=site.now,
            )  # fmt: skip
        await site.reply(await site.deliver(None), reply, {"configurationKey": [key]})


class TestStop:
    """A stop that the driver or an operator asks for."""

    async def test_before_the_start_it_cancels(self, site: Site) -> None:
        client = await site.driver()
        started = await site.start(client)
        stopped = await site.stop(started.session_id, client)
        assert (stopped.state, stopped.is_repeated) == ("cancelled", False)
        assert await site.commands() == [("remote_start", "timed_out")]
        assert await site.scenario.money(client) == (100_000, 0, 0)
        session = await site.session(started.session_id)
        assert session["start_failure"] == "cancelled_by_driver"
        again = await site.stop(started.session_id, client)
        assert (again.state, again.is_repeated) == ("cancelled", True)
        assert session["start_window_ends_at"] == site.now  # no station has it

    async def test_while_charging_the_station_is_asked(self, site: Site) -> None:
        client = await site.driver()
        answer = await site.started(client)
        session_id = await site.session_of(answer.transaction_id)
        stopped = await site.stop(session_id, client)
        assert (stopped.state, stopped.is_repeated) == ("stopping", False)
        assert STATION in stopped.changes.stations
        command = await site.deliver()
        assert dict(command.payload) == {"transaction_id": answer.transaction_id, "aliases": []}
        again = await site.stop(session_id, client)
        assert (again.state, again.is_repeated) == ("stopping", True)
        assert [action for action, _ in await site.commands()].count("remote_stop") == 1

    async def test_the_id_that_the_station_used_last_comes_first(self, site: Site) -> None:
        client = await site.driver()
        answer = await site.started(client)
        session_id = await site.session_of(answer.transaction_id)
        await site.sql.execute(
            "insert into charging.transaction_aliases values ($1, '1758670080', $2, $3, $3)",
            STATION,
            answer.transaction_id,
            site.now,
        )
        await site.stop(session_id, None)
        assert dict((await site.deliver()).payload) == {
            "transaction_id": 1758670080,
            "aliases": [answer.transaction_id],
        }
        assert (await site.session(session_id))["stop_reason"] == "stopped_by_operator"

    async def test_an_id_that_two_running_transactions_share_is_not_sent(self, site: Site) -> None:
        """Alfen's 2^63-1 on both connectors: a stop by it could end the other one."""
        client = await site.driver()
        first = await site.started(client)
        second = await site.started(await site.driver(), 2)
        for number in (first.transaction_id, second.transaction_id):
            await site.sql.execute(
                "insert into charging.transaction_aliases"
                " values ($1, '9223372036854775807', $2, $3, $3)",
                STATION,
                number,
                site.now,
            )
        await site.stop(await site.session_of(first.transaction_id), client)
        assert dict((await site.deliver()).payload) == {
            "transaction_id": first.transaction_id,
            "aliases": [],
        }

    async def test_of_another_client_it_is_not_found(self, site: Site) -> None:
        started = await site.start(await site.driver())
        with pytest.raises(EvPowerError) as caught:
            await site.stop(started.session_id, await site.driver())
        assert caught.value.code == "session_not_found"

    @pytest.mark.parametrize(
        ("change", "reason"),
        [("status = 'blocked'", "client_blocked"),
         ("deletion_requested_at = now()", "client_deleted"),
         ("status = 'closed'", "client_deleted")],
    )  # fmt: skip
    async def test_a_client_who_may_not_spend_any_more_is_stopped(
        self, site: Site, change: str, reason: str
    ) -> None:
        client = await site.driver()
        answer = await site.started(client)
        session_id = await site.session_of(answer.transaction_id)
        await site.run_jobs()
        assert await site.state(session_id) == "charging"
        await site.sql.execute(f"update identity.clients set {change} where id = $1", client)
        await site.run_jobs()
        session = await site.session(session_id)
        assert (session["state"], session["stop_reason"]) == ("stopping", reason)
        assert (await site.commands())[-1] == ("remote_stop", "queued")


@dataclass
class AtHand:
    """A process that holds the station's socket, or does not."""

    epoch: int | None

    def epoch_for(self, station_id: str) -> int | None:
        return self.epoch if station_id == STATION else None

    def carry(self, claimed: ClaimedCommand) -> None:
        raise AssertionError(f"before the commit: {claimed}")


async def _start_at_hand(site: Site, client: Any, carrier: AtHand, **limits: Any) -> StartedSession:
    async with site.db.transaction() as connection:
        return await charging.start(
            connection, StartRequest(client, STATION, 1, **limits), now=site.now, carrier=carrier
        )


async def _commands(site: Site) -> list[Command]:
    async with site.db.connection() as connection:
        return await stations.list_commands(connection, STATION, 10)


async def _epoch(site: Site) -> int:
    async with site.db.connection() as connection:
        return await connection.fetchval(
            "select epoch from stations.sockets_public where station_id = $1", STATION
        )


async def test_a_start_claims_its_command_where_the_station_is_at_hand(site: Site) -> None:
    carrier = AtHand(await _epoch(site))
    started = await _start_at_hand(site, await site.driver(1000), carrier)
    assert started.claimed is not None
    [command] = await _commands(site)
    assert (command.state, command.epoch, command.sent_at) == ("sent", carrier.epoch, site.now)
    assert started.claimed.command == command
    assert command.payload["id_tag"] == await site.tag(started.session_id)


async def test_a_refused_start_claims_nothing(site: Site) -> None:
    carrier = AtHand(await _epoch(site))
    with pytest.raises(EvPowerError):
        await _start_at_hand(site, await site.driver(100), carrier, amount_minor=10_001)
    assert await site.commands() == []


@pytest.mark.parametrize("behind", [None, 1], ids=["elsewhere", "older-socket"])
async def test_a_start_leaves_its_command_queued_where_the_station_is_not_at_hand(
    site: Site, behind: int | None
) -> None:
    carrier = AtHand(None if behind is None else await _epoch(site) - behind)
    started = await _start_at_hand(site, await site.driver(1000), carrier)
    assert started.claimed is None
    [command] = await _commands(site)
    assert command.state == "queued"


async def test_a_command_that_was_queued_before_goes_out_before_the_start(site: Site) -> None:
    async with site.db.transaction() as connection:
        older = await stations.queue_command(
            connection, STATION, "clear_cache", {}, actor="aida",
            expires_in=timedelta(minutes=1), now=site.now,
        )  # fmt: skip
    started = await _start_at_hand(site, await site.driver(1000), AtHand(await _epoch(site)))
    assert started.claimed is not None
    assert started.claimed.command.id == older.id
    states = {command.action: command.state for command in await _commands(site)}
    assert states == {"clear_cache": "sent", "remote_start": "queued"}
