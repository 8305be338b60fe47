"""What a driver's app sees of money and sessions."""

import asyncio
from datetime import datetime
from uuid import UUID, uuid4

import pytest

from evpower.api import messages
from evpower.charging import SESSION_CHANGED, SessionView
from evpower.foundation.bus import EVERYTHING
from evpower.foundation.db import Connection, Database
from evpower.identity import CLIENT_CHANGED
from evpower.realtime import protocol
from tests.charging.site import Site
from tests.realtime.scenario import Gate, Live, counted, running, token, until


async def test_after_signing_in_the_balance_comes_once(live: Live, client_id: UUID) -> None:
    await live.top_up(client_id, 250)
    async with live.watching(client_id) as app:
        state = await app.expect("balance_update")
        assert await app.is_quiet()
    assert state.pop("timestamp").endswith("Z")
    assert state == {
        "type": "balance_update", "client_id": str(client_id), "balance": 250.0, "held": 0.0,
        "available": 250.0, "currency": "KGS", "version": 1, "revision": 1,
    }  # fmt: skip


async def test_a_change_is_sent_to_every_socket_of_its_client_by_one_read(
    live: Live, client_id: UUID
) -> None:
    async with (
        live.watching(client_id) as a, live.watching(client_id) as b, live.watching(client_id) as c
    ):  # fmt: skip
        for app in (a, b, c):
            await app.expect("balance_update")
        await asyncio.gather(*(app.is_quiet() for app in (a, b, c)))
        before = counted("evpower_realtime_reads_total")
        await live.top_up(client_id)
        states = [await app.expect("balance_update") for app in (a, b, c)]
        assert states[0] == states[1] == states[2]
        assert states[0]["balance"] == 100.0
        assert counted("evpower_realtime_reads_total") == before + 1


async def test_changes_of_another_client_never_arrive(live: Live, client_id: UUID) -> None:
    other = await live.new_client()
    async with live.watching(client_id) as own, live.watching(other) as theirs:
        await own.expect("balance_update")
        await theirs.expect("balance_update")
        await live.top_up(other)
        await live.start_session(other)
        kinds = {(await theirs.next())["type"] for _ in range(2)}
        assert kinds == {"balance_update", "charging_update"}
        assert await own.is_quiet()


async def test_money_set_aside_shows_though_the_version_stays(live: Live, client_id: UUID) -> None:
    await live.top_up(client_id, 300)
    async with live.watching(client_id) as app:
        first = await app.expect("balance_update")
        await live.start_session(client_id, hold_som=120)
        seen = {(m := await app.next())["type"]: m for _ in range(2)}
    after_hold = seen["balance_update"]
    assert (after_hold["held"], after_hold["available"], after_hold["balance"]) == (
        120.0,
        180.0,
        300.0,
    )
    assert after_hold["version"] == first["version"]
    assert after_hold["revision"] > first["revision"]


@pytest.mark.parametrize("version", [1, 1.0])  # some libraries write every number with a point
async def test_an_app_that_has_the_version_receives_ready(
    live: Live, client_id: UUID, version: float
) -> None:
    await live.top_up(client_id, 300)
    async with live.watching(client_id, version) as app:
        state = await app.expect("ready")
        assert (state["balance"], state["version"]) == (300.0, 1)
        await live.top_up(client_id, 50)
        assert (await app.expect("balance_update"))["version"] == 2


async def test_an_app_that_is_behind_gets_the_state(live: Live, client_id: UUID) -> None:
    await live.top_up(client_id)
    await live.top_up(client_id)
    async with live.watching(client_id, version=1) as app:
        assert (await app.expect("balance_update"))["version"] == 2


async def test_an_app_ahead_of_us_is_put_right(live: Live, client_id: UUID) -> None:
    await live.top_up(client_id)
    async with live.watching(client_id, version=99) as app:
        assert (await app.expect("balance_update"))["version"] == 1


async def test_a_client_no_one_knows_yet_is_created(live: Live) -> None:
    new_client = uuid4()
    async with live.watching(new_client) as app:
        state = await app.expect("balance_update")
    assert (state["balance"], state["version"]) == (0.0, 0)
    assert await live.owner.fetchval(
        "select origin from identity.clients where id = $1", new_client
    ) == "token"  # fmt: skip


async def test_a_session_is_sent_from_start_to_end(live: Live, client_id: UUID) -> None:
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        session = await live.start_session(client_id)
        started = await app.expect("charging_update")
        assert (started["session_id"], started["status"]) == (str(session), "started")
        assert started["end_time"] is None
        await live.stop_session(session)
        ended = await app.expect("charging_update")
    assert (ended["status"], ended["energy_consumed"], ended["total_cost"]) == (
        "stopped", 12.345, 166.66,
    )  # fmt: skip
    assert ended["revision"] > started["revision"]
    assert ended["end_time"].endswith("Z")


async def test_the_vehicle_plate_is_sent_where_it_is_known(
    live: Live, client_id: UUID, owner: Connection
) -> None:
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        session = await live.start_session(client_id)
        assert "vehicle_plate" not in await app.expect("charging_update")
        await owner.execute("update charging.sessions set vehicle_plate = '01KG123ABC'")
        live.bus.publish(SESSION_CHANGED, session)
        assert (await app.expect("charging_update"))["vehicle_plate"] == "01KG123ABC"


async def test_an_app_that_comes_back_hears_how_its_session_ended(
    live: Live, client_id: UUID
) -> None:
    session = await live.start_session(client_id)
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        assert (await app.expect("charging_update"))["status"] == "started"
    await live.stop_session(session)
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        assert (await app.expect("charging_update"))["status"] == "stopped"


async def test_sessions_of_yesterday_are_not_sent(
    live: Live, client_id: UUID, owner: Connection
) -> None:
    session = await live.start_session(client_id)
    await live.stop_session(session)
    await owner.execute("set session_replication_role = replica")  # no trigger sets it
    await owner.execute("update charging.sessions set updated_at = now() - interval '1 day'")
    await owner.execute("reset session_replication_role")
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        assert await app.is_quiet()
        assert await live.hub.sweep() == 0


async def test_a_change_between_register_and_read_is_not_lost(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    gate = Gate(db)
    async with running(db, owner, hub_db=gate) as live:
        gate.hold = asyncio.Event()
        async with live.watching(client_id) as app:
            await gate.reached.wait()  # the first reading has its rows, from before the change
            await live.top_up(client_id, 70)
            gate.hold.set()
            assert (await app.expect("balance_update"))["balance"] == 0.0
            assert (await app.expect("balance_update"))["balance"] == 70.0


async def test_a_reading_begun_before_a_socket_came_is_not_its_first_state(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    gate = Gate(db)
    async with running(db, owner, hub_db=gate) as live, live.watching(client_id) as early:
        await early.expect("balance_update")
        gate.hold = asyncio.Event()
        live.bus.publish(CLIENT_CHANGED, client_id)
        await gate.reached.wait()
        await live.top_up(client_id, 70, tell=False)
        async with live.watching(client_id, version=1) as late:
            gate.hold.set()
            assert (await late.expect("ready"))["balance"] == 70.0


async def test_the_sweep_makes_up_for_lost_messages(live: Live, client_id: UUID) -> None:
    others = [await live.new_client() for _ in range(3)]
    async with live.watching(client_id) as app, live.watching(others[0]) as other:
        await app.expect("balance_update")
        await other.expect("balance_update")
        await live.top_up(client_id, tell=False)
        session = await live.start_session(client_id, tell=False)
        assert await live.hub.sweep() == 2
        seen = {(m := await app.next())["type"]: m for _ in range(2)}
        assert seen["balance_update"]["balance"] == 100.0
        assert seen["charging_update"]["session_id"] == str(session)
        assert await live.hub.sweep() == 0
        assert await other.is_quiet()


async def test_the_sweep_runs_by_itself(db: Database, owner: Connection, client_id: UUID) -> None:
    async with (
        running(db, owner, settings={"live_sweep_s": 0.05}) as live,
        live.watching(client_id) as app,
    ):
        await app.expect("balance_update")
        await live.top_up(client_id, tell=False)
        assert (await app.expect("balance_update"))["balance"] == 100.0


async def test_versions_never_go_down_on_a_socket(live: Live, client_id: UUID) -> None:
    async with live.watching(client_id) as app:
        revisions = [(await app.expect("balance_update"))["revision"]]
        for _ in range(30):
            await live.top_up(client_id)
            live.bus.publish(CLIENT_CHANGED, client_id)
        while revisions[-1] < 30:
            revisions.append((await app.expect("balance_update"))["revision"])
        assert revisions == sorted(set(revisions))
        assert await app.is_quiet()


async def test_the_database_away_delays_and_loses_nothing(
    db: Database, owner: Connection, client_id: UUID
) -> None:
    async with running(db, owner) as live, live.watching(client_id) as app:
        await app.expect("balance_update")
        before = counted("evpower_realtime_read_failures_total")
        await db.close()
        await live.top_up(client_id)
        await until(lambda: counted("evpower_realtime_read_failures_total") > before)
        await db.start()
        assert (await app.expect("balance_update"))["balance"] == 100.0


async def test_no_one_is_left_in_the_hub(live: Live, client_id: UUID) -> None:
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        assert client_id in live.hub
    await until(lambda: len(live.hub) == 0)
    assert client_id not in live.hub
    assert live.hub.waiting == 0


async def test_blocked_clients_may_watch(live: Live, client_id: UUID, owner: Connection) -> None:
    await live.top_up(client_id)
    await owner.execute("update identity.clients set status = 'blocked' where id = $1", client_id)
    async with live.watching(client_id) as app:
        assert (await app.expect("balance_update"))["balance"] == 100.0


async def test_the_token_may_come_as_a_subprotocol(live: Live, client_id: UUID) -> None:
    offered = ["evpower.v1", f"bearer.{token(client_id)}"]
    async with live.open(subprotocols=offered) as app:
        assert app.wire.subprotocol == "evpower.v1"
        assert app.wire.response is not None
        assert len(app.wire.response.headers["X-Request-ID"]) == 32
        assert (await app.expect("connection"))["client_id"] == str(client_id)
        await app.expect("balance_update")


async def test_a_session_that_cannot_be_shown_stops_no_one(
    live: Live, client_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A newer version of us, on another node, may know a state we do not."""
    other = await live.new_client()
    shown = protocol.session

    def refuse(session: SessionView, at: datetime, message: str) -> bytes:
        if session.client_id == client_id:
            raise KeyError(session.state)
        return shown(session, at, message)

    monkeypatch.setattr(protocol, "session", refuse)
    async with live.watching(client_id) as own, live.watching(other) as theirs:
        for app in (own, theirs):
            await app.expect("balance_update")
        await live.start_session(client_id)
        await live.top_up(client_id)
        assert (await own.expect("balance_update"))["balance"] == 100.0
        await live.start_session(other)
        assert (await theirs.expect("charging_update"))["status"] == "started"


async def test_told_that_much_may_have_changed_the_hub_looks_at_once(
    live: Live, client_id: UUID
) -> None:
    """The bus was away, or a command changed many clients. Nothing sweeps by itself here."""
    async with live.watching(client_id) as app:
        await app.expect("balance_update")
        await live.top_up(client_id, tell=False)
        live.bus.publish(CLIENT_CHANGED, EVERYTHING)
        assert (await app.expect("balance_update"))["balance"] == 100.0


async def tag_of(owner: Connection, session: UUID) -> str:
    return await owner.fetchval("select id_tag from charging.sessions where id = $1", session)


class TestWhileItCharges:
    async def test_each_value_is_sent_until_the_end(
        self, live: Live, db: Database, owner: Connection
    ) -> None:
        site = Site(db, owner, now=live.clock())
        await site.open()
        client = await site.driver()
        async with live.watching(client) as app:
            await app.expect("balance_update")
            session = (await site.start(client, energy_wh=10_000)).session_id
            live.bus.publish(SESSION_CHANGED, session)
            requested = await app.expect("charging_update")
            assert (requested["status"], requested["state"]) == ("started", "requested")
            await site.begin(await tag_of(owner, session))
            live.bus.publish(SESSION_CHANGED, session)
            assert (await app.expect("charging_update"))["state"] == "charging"
            revision = 0
            for energy_wh in (1500, 3000):
                await owner.execute(
                    "update charging.progress set revision = revision + 1, energy_wh = $2,"
                    " cost_minor = 2025, power_w = 7400, soc_percent = 55 where session_id = $1",
                    session, energy_wh,
                )  # fmt: skip
                live.bus.publish(SESSION_CHANGED, session)
                update = await app.expect("charging_update")
                assert (update["energy_consumed"], update["total_cost"]) == (
                    energy_wh / 1000, 20.25,
                )  # fmt: skip
                assert (update["charging_power"], update["ev_battery_soc"]) == (7.4, 55)
                assert update["revision"] > revision
                revision = update["revision"]
        assert await live.hub.sweep() == 0

    async def test_a_value_that_was_not_announced_is_found_by_the_sweep(
        self, live: Live, db: Database, owner: Connection
    ) -> None:
        site = Site(db, owner, now=live.clock())
        await site.open()
        client = await site.driver()
        session = (await site.start(client)).session_id
        await site.begin(await tag_of(owner, session))
        async with live.watching(client) as app:
            await app.expect("balance_update")
            await app.expect("charging_update")
            await owner.execute(
                "update charging.progress set revision = revision + 1, energy_wh = 700"
            )
            assert await live.hub.sweep() == 1
            assert (await app.expect("charging_update"))["energy_consumed"] == 0.7

    async def test_a_session_that_never_charged_is_an_error_here(
        self, live: Live, db: Database, owner: Connection
    ) -> None:
        site = Site(db, owner, now=live.clock())
        await site.open()
        client = await site.driver()
        session = (await site.start(client)).session_id
        await site.stop(session, client)
        async with live.watching(client) as app:
            await app.expect("balance_update")
            update = await app.expect("charging_update")
        assert (update["status"], update["state"], update["cost"]) == ("error", "cancelled", 0)
        assert update["start_failure"] == "cancelled_by_driver"
        assert update["message"]

    @pytest.mark.parametrize(
        ("header", "in_auth", "language"),
        [
            pytest.param(None, None, "ru", id="unknown"),
            pytest.param("ky-KG,ru;q=0.8", None, "ky", id="handshake"),
            pytest.param("ky", "en", "en", id="auth"),
            pytest.param("fr", "de", "ru", id="none-of-ours"),
            pytest.param("en", 5, "en", id="no-text"),
        ],
    )
    async def test_its_message_is_in_the_language_of_the_app(
        self, live: Live, db: Database, owner: Connection, header: str | None, in_auth: object,
        language: str,
    ) -> None:  # fmt: skip
        site = Site(db, owner, now=live.clock())
        await site.open()
        client = await site.driver()
        await site.start(client)
        headers = {} if header is None else {"Accept-Language": header}
        async with live.open(additional_headers=headers) as app, live.watching(client) as other:
            await app.say({"type": "auth", "token": token(client), "language": in_auth})
            await app.expect("connection")
            for socket, read in ((app, language), (other, "ru")):
                await socket.expect("balance_update")
                update = await socket.expect("charging_update")
                assert update["message"] == messages.LANGUAGES[read]["session_starting"]
