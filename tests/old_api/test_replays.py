"""A driver's evening with each revision of the app, in its order of calls, on real processes.

Every answer is taken by that revision's own rules; the stations and O!Dengi's bank are simulated.
"""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

import pytest

from evpower.devstack.ports import free_port
from evpower.simulator import SimulatedStation
from tests.flows.charging_site import LEAST_WH, Site, cost_minor, minor, running_site
from tests.folders import server_folder
from tests.old_api.golden_answers import assert_golden
from tests.old_api.phones import FREE, OldPhone, supabase_phone
from tests.old_api.revisions import Revision, assert_taken
from tests.old_api.sockets import PATHS, old_socket
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("old_api"), pytest.mark.timeout(900)]
LIMIT_SOM = 100
OLD_PORT = free_port()  # as 9210 stays for stations that were set up for the older backend
SETTINGS = {
    "EVPOWER_ALSO_LISTEN": f"127.0.0.1:{OLD_PORT}",
    "EVPOWER_WITHOUT_TOKEN_V1": "read,stop,start,top-up",
    "EVPOWER_RATE_WITHOUT_TOKEN_PER_MINUTE": "100000",  # these tests do not wait 15 s to poll
    "EVPOWER_SIGN_IN_SENDER": "console",
    "EVPOWER_SIGN_IN_SECRET": "c2lnbi1pbiBvZiB0aGUgb2xkIGFwaSdzIHRlc3RzIQ==",
}


@pytest.fixture(scope="module")
async def site() -> AsyncIterator[Site]:
    with server_folder("old-api") as folder:
        async with running_site(folder, bank="odengi", environment=SETTINGS) as site:
            yield site


async def free_station(site: Site, station_id: str, url: str = "") -> SimulatedStation:
    """A station with a price, at a place on the map; it connects to `url`, where one is given."""
    await site.add_station(station_id)
    await site.rows("update stations.locations set latitude = 42.87, longitude = 74.56")
    return site.station(station_id, url=url)


async def look_around(phone: OldPhone, station_id: str) -> None:
    """The start page: the map and the list, until the station is free there."""

    async def is_free() -> bool:
        return await phone.listed(station_id) == FREE[phone.revision]

    await until(is_free, f"{phone.revision}'s list never had {station_id} as free")


async def charge(phone: OldPhone, station: SimulatedStation) -> tuple[str, int]:
    """From the station's page to the end page; returns the session and what it cost, in tyiyn."""
    station.plug_in()
    session_id = await phone.start(station.config.id, amount_som=LIMIT_SOM)
    await phone.charges(session_id, LEAST_WH / 1000)
    running = await phone.session(session_id)
    assert running["limit_type"] == "amount"
    assert running["station_id"] == station.config.id
    await phone.stop(session_id)
    ended = await phone.ends(session_id)
    await station.wait_sent()
    [transaction] = station.transactions
    assert transaction.delivered_wh is not None
    assert round(ended["energy_consumed"] * 1000) == transaction.delivered_wh
    cost = cost_minor(transaction.delivered_wh)
    assert minor(ended["current_cost"]) == cost
    return session_id, cost


async def has_history(phone: OldPhone, session_id: str, cost: int) -> None:
    """The history page reads the session, with the names of its columns, from Supabase."""

    async def is_there() -> bool:
        rows = await phone.history()
        return [(row["id"], row["status"], minor(row["amount"])) for row in rows] == [
            (session_id, "stopped", cost)
        ]

    await until(is_there, f"{phone.revision}'s history never had the charge")
    [row] = await phone.history()
    assert row["user_id"] == phone.client_id
    assert row["stop_time"] > row["start_time"]
    assert row["energy"] > 0


async def has_balance(phone: OldPhone, balance: int) -> None:
    """The balance card reads Supabase; the API has the same."""

    async def is_there() -> bool:
        return minor(await phone.stored_balance()) == balance

    await until(is_there, f"{phone.revision}'s balance never was {balance} tyiyn")
    assert minor(await phone.balance()) == balance


@pytest.mark.parametrize("revision", ["R1", "R3", "R5"])
async def test_an_evening_with_a_supabase_account(site: Site, revision: Revision) -> None:
    """R1 sends no token: its clients are listed, and the operator has switched it on."""
    phone = await supabase_phone(revision, site)
    if revision == "R1":
        await allow_without_token(phone)
    # R1's station is one that knows the older backend's port and path.
    url = f"ws://127.0.0.1:{OLD_PORT}/ws" if revision == "R1" else ""
    station = await free_station(site, f"OLD-{revision}", url)
    async with station.running():
        await has_balance(phone, 0)
        await look_around(phone, station.config.id)
        qr = await phone.top_up(250)
        await phone.pay(qr)
        await has_balance(phone, 250_00)
        session_id, cost = await charge(phone, station)
        await has_balance(phone, 250_00 - cost)
        await has_history(phone, session_id, cost)
    assert station.violations == []


async def allow_without_token(phone: OldPhone) -> None:
    seen = phone.site.evpower.stack.data / "seen.txt"
    seen.write_text(f"{phone.client_id}\n")
    words = ("add", str(seen), "--reason", "seen on the old proxy")
    assert (await phone.site.command("clients", "without-token", *words))["new"] == 1


async def test_without_a_token_an_unlisted_client_starts_nothing(site: Site) -> None:
    phone = await supabase_phone("R1", site)
    await free_station(site, "OLD-UNLISTED")
    body = phone.start_body("OLD-UNLISTED", 1, amount_som=LIMIT_SOM)
    assert await phone.refused("start", "POST", "/charging/start", body) == ""
    assert (
        await site.rows("select from charging.sessions where client_id = $1", UUID(phone.client_id))
        == []
    )


async def test_an_evening_with_a_phone_code(site: Site) -> None:
    phone = OldPhone("HEAD", site, "", None)
    station = await free_station(site, "OLD-HEAD")
    async with station.running():
        signed_in = await phone.sign_in("+996555100200")
        assert (signed_in["is_new_user"], signed_in["user"]["balance"]) == (True, 0)
        user = await phone.cold_start()
        assert (user["id"], user["phone"]) == (phone.client_id, "+996555100200")
        await add_favorite(phone, station)
        fcm = {"fcm_token": "a-token-of-the-phone:APA91b", "platform": "android"}
        await phone.read("device", "POST", "/devices/register", {**fcm, "app_version": "1.1.4"})
        assert await phone.balance() == 0
        await look_around(phone, "OLD-HEAD")
        qr = await phone.top_up(250)
        await phone.pay(qr)
        assert await phone.balance() == 250
        session_id, cost = await charge(phone, station)
        assert minor(await phone.balance()) == 250_00 - cost
        history = (await phone.call("GET", f"/charging/history/{phone.client_id}")).json()
        assert [(row["id"], minor(row["amount"])) for row in history] == [(session_id, cost)]
        await phone.read("device", "POST", "/devices/unregister", {"fcm_token": fcm["fcm_token"]})
        await phone.read("logout", "POST", "/auth/logout", {"refresh_token": phone.refresh_token})
        refused = await phone.call("POST", "/auth/refresh", {"refresh_token": phone.refresh_token})
        assert refused.status_code == 401
    assert station.violations == []


async def add_favorite(phone: OldPhone, station: SimulatedStation) -> None:
    """The heart on a location, and off again."""
    [place] = [
        place["id"]
        for place in await phone.locations()
        if any(listed["id"] == station.config.id for listed in place["stations"])
    ]
    await phone.read("favorite", "POST", "/favorites", {"location_id": place})
    listed = await phone.read("favorites", "GET", "/favorites")
    assert listed["favorites"] == [place]
    await phone.read("favorite", "DELETE", f"/favorites/{place}")
    assert (await phone.read("favorites", "GET", "/favorites"))["favorites"] == []


async def test_twenty_cold_starts_sign_no_one_out(site: Site) -> None:
    """HEAD refreshes at each start, and never stores another refresh token."""
    phone = OldPhone("HEAD", site, "", None)
    await phone.sign_in("+996555100300")
    users = [await phone.cold_start() for _ in range(20)]
    assert {user["id"] for user in users} == {phone.client_id}
    again = OldPhone("HEAD", site, "", None)
    again_signed_in = await again.sign_in("+996555100400")
    assert again_signed_in["is_new_user"] is True
    assert again.client_id != phone.client_id


async def test_an_account_is_deleted_for_good(site: Site) -> None:
    """First the two steps that may be taken back, then HEAD's own, which may not."""
    phone = OldPhone("HEAD", site, "", None)
    await phone.sign_in("+996555100500")
    for path in ("/account/delete-request", "/account/restore", "/auth/delete-account"):
        response = await phone.call("POST", path)
        assert_golden(f"v1{path}/ru_done", response)
        assert_taken("delete_account", response.json(), "HEAD")
    body = {"refresh_token": phone.refresh_token}
    assert (await phone.call("POST", "/auth/refresh", body)).status_code == 401


async def test_refusals_are_shown_as_sentences(site: Site) -> None:
    """What R5 and HEAD print, they print as it stands in `error`."""
    phone = await supabase_phone("R5", site)
    station = await free_station(site, "OLD-REFUSE")
    async with station.running():
        await look_around(phone, "OLD-REFUSE")
        body = phone.start_body("OLD-REFUSE", 1, amount_som=LIMIT_SOM)
        assert await phone.refused("start", "POST", "/charging/start", body)
        unknown = {"session_id": "00000000-0000-4000-8000-000000000000"}
        assert await phone.refused("stop", "POST", "/charging/stop", unknown)
    assert not [text for text in phone.shown if "_" in text or "{" in text], phone.shown


async def test_two_taps_of_each_button_do_it_once(site: Site) -> None:
    """Each tap has an Idempotency-Key of its own: the key is no help."""
    phone = await supabase_phone("R3", site)
    station = await free_station(site, "OLD-TAPS")
    async with station.running():
        await look_around(phone, "OLD-TAPS")
        first, second = await asyncio.gather(phone.top_up(100), phone.top_up(100))
        assert first["invoice_id"] != second["invoice_id"]
        for qr in (first, second):  # both pictures were paid all the same
            await phone.approve(qr["app_link"])
        await has_balance(phone, 200_00)
        station.plug_in()
        sessions = await asyncio.gather(
            *(phone.start("OLD-TAPS", amount_som=LIMIT_SOM) for _ in range(2))
        )
        assert sessions[0] == sessions[1]
        await phone.charges(sessions[0], LEAST_WH / 1000)
        bills = await asyncio.gather(*(phone.stop(sessions[0]) for _ in range(2)))
        again = await phone.stop(sessions[0])
        assert {bill["success"] for bill in (*bills, again)} == {True}
        ended = await phone.ends(sessions[0])
        await has_balance(phone, 200_00 - minor(ended["current_cost"]))


async def test_the_old_socket_sends_what_its_pages_show(site: Site) -> None:
    """The map and the charging page of R1; the session only to the socket with the token."""
    phone = await supabase_phone("R3", site)
    await phone.pay(await phone.top_up(100))
    station = await free_station(site, "OLD-LIVE")
    url = site.evpower.api_url
    async with (
        old_socket(url, phone.client_id) as on_map,
        old_socket(url, phone.client_id, PATHS[1]) as charging,
    ):
        await charging.send("unsubscribe", channel="all")
        await charging.send("subscribe", channel="station:OLD-LIVE")
        await charging.hears("subscription", status="subscribed", channel="station:OLD-LIVE")
        await charging.send("auth", token=phone.token)
        await charging.hears("connection", status="authenticated", client_id=phone.client_id)
        await on_map.send("subscribe", channel=f"client_sessions:{phone.client_id}")
        await on_map.hears("subscription", channel=f"client_sessions:{phone.client_id}")
        async with station.running():
            await look_around(phone, "OLD-LIVE")
            await on_map.hears("station_status_update", station_id="OLD-LIVE", status="available")
            session_id, cost = await charge(phone, station)
            await charging.hears("connector_status_update", status="occupied")
            ended = await charging.hears("charging_session_update", event="stopped")
            events = [update["event"] for update in charging.of_type("charging_session_update")]
            assert events[0] == "started"
            assert "meter_update" in events
            assert (ended["session_id"], minor(ended["amount"])) == (session_id, cost)
            await on_map.hears("location_status_update", location_id=ended["location_id"])
        assert on_map.of_type("charging_session_update") == []
        assert {update["station_id"] for update in charging.of_type("station_status_update")} == {
            "OLD-LIVE"
        }
