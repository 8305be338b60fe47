"""Locations and stations as everyone reads them: shapes, words by host, caching, budgets."""

from uuid import uuid4

import pytest

from evpower import charging
from evpower.foundation.db import Connection, Database
from tests.api.scenario import Api, bearer
from tests.api.stations_scenario import MALL, YARD, Site, serial
from tests.contracts.answers import code_of
from tests.old_api.golden_answers import assert_golden
from tests.old_api.revisions import assert_taken

LIST = "/api/v1/locations?include_stations=true"
OLD_HOST = {"Host": "old.example"}


@pytest.fixture
def site(db: Database, api: Api) -> Site:
    return Site(db, api.clock)


@pytest.fixture
async def mixed(site: Site) -> None:
    """One station of each word in the mall, and a yard without any."""
    await site.price({"energy_per_kwh": "13.5", "flat": "5"})
    await site.ready("EVP-FREE", connectors=2, names=serial("SN-1"))
    await site.report("EVP-FREE", 2, "charging")
    await site.ready("EVP-BUSY")
    await site.report("EVP-BUSY", 1, "finishing")
    await site.add("EVP-OFF")
    await site.ready("EVP-SHUT", availability="inoperative")
    await site.add("EVP-GONE", location=YARD)


@pytest.mark.usefixtures("mixed")
class TestLocations:
    async def test_every_new_app_takes_the_list(self, api: Api) -> None:
        response = await api.get(LIST)
        assert_golden("v1/locations/with_stations", response)
        assert_taken("locations", response.json(), "R5", "HEAD")

    async def test_every_old_app_takes_the_list_at_its_host(
        self, api: Api, owner: Connection
    ) -> None:
        await owner.execute("update stations.locations set latitude = 42, longitude = 74")
        response = await api.get(LIST, OLD_HOST)
        assert_golden("v1/locations/at_an_old_host", response)
        assert_taken("locations", response.json(), "R1", "R3")
        with_port = await api.get(LIST, {"Host": "OLD.example:8443"})
        assert with_port.json() == response.json()

    async def test_stations_are_empty_unless_asked_for(self, api: Api) -> None:
        response = await api.get("/api/v1/locations")
        assert_golden("v1/locations/without_stations", response)
        assert_taken("locations", response.json(), "R5", "HEAD")

    async def test_one_location_has_no_wrapper(self, api: Api) -> None:
        response = await api.get("/api/v1/locations/mall")
        assert_golden("v1/locations/one", response)
        listed = (await api.get(LIST)).json()["locations"]
        assert response.json() == next(place for place in listed if place["id"] == "mall")

    async def test_an_unknown_location(self, api: Api) -> None:
        response = await api.get("/api/v1/locations/nowhere", {"Accept-Language": "en"})
        assert_golden("v1/locations/one_unknown", response)
        refresh = "/api/v1/locations/nowhere/refresh-status"
        refreshed = await api.post(refresh, {"Accept-Language": "en"})
        assert_golden("v1/locations/refresh-status/unknown", refreshed)

    @pytest.mark.parametrize("token", ["none", "wrong", "a client's"])
    async def test_no_one_needs_to_sign_in(self, api: Api, token: str) -> None:
        headers = {
            "none": {},
            "wrong": {"Authorization": "Bearer nonsense"},
            "a client's": bearer(uuid4()),
        }[token]
        assert (await api.get(LIST, headers)).status_code == 200
        assert (await api.get("/api/v1/station/status/EVP-FREE", headers)).status_code == 200

    async def test_a_wrong_query_is_refused_in_the_old_form(self, api: Api) -> None:
        wrong = "/api/v1/locations?include_stations=perhaps"
        response = await api.get(wrong, {"Accept-Language": "en"})
        assert response.headers["content-type"] == "application/json"
        assert (response.status_code, code_of(response)) == (422, "invalid_request")
        assert_golden("v1/locations/refused_invalid_request", response)


@pytest.mark.usefixtures("mixed")
class TestStation:
    @pytest.mark.parametrize("name", ["EVP-FREE", "evp-free", "SN-1", "sn-1"])
    async def test_any_name_finds_it(self, api: Api, name: str) -> None:
        response = await api.get(f"/api/v1/station/status/{name}")
        assert_golden("v1/station/status/free", response)
        assert_taken("station", response.json())

    @pytest.mark.parametrize(
        ("station", "golden"),
        [
            ("EVP-BUSY", "busy"),
            ("EVP-OFF", "offline"),
            ("EVP-SHUT", "in_maintenance"),
        ],
    )
    async def test_each_state(self, api: Api, station: str, golden: str) -> None:
        response = await api.get(f"/api/v1/station/status/{station}", {"Accept-Language": "en"})
        assert_golden(f"v1/station/status/{golden}", response)
        assert_taken("station", response.json())

    async def test_a_plugged_in_car_is_free_for_its_driver_and_occupied_on_the_map(
        self, api: Api, site: Site
    ) -> None:
        await site.ready("EVP-CAR")
        await site.report("EVP-CAR", 1, "preparing")
        response = await api.get("/api/v1/station/status/EVP-CAR", {"Accept-Language": "en"})
        assert_golden("v1/station/status/plugged_in", response)
        station = response.json()
        assert_taken("station", station)
        assert station["connectors"][0]["status"] == "Свободен"
        assert station["available_for_charging"] is True
        places = (await api.get(LIST)).json()["locations"]
        listed = {entry["id"]: entry for place in places for entry in place["stations"]}
        assert listed["EVP-CAR"]["status"] == "occupied"

    async def test_a_reserved_connector_is_occupied(self, api: Api, site: Site) -> None:
        await site.ready("EVP-KEPT")
        await site.report("EVP-KEPT", 1, "reserved")
        response = await api.get("/api/v1/station/status/EVP-KEPT", {"Accept-Language": "en"})
        assert_golden("v1/station/status/reserved", response)
        assert_taken("station", response.json())

    async def test_a_retired_station_is_no_longer_there(self, api: Api, db: Database) -> None:
        async with db.transaction() as connection:
            await charging.retire_station(
                connection, station="EVP-BUSY", actor="aida", now=api.clock()
            )
        response = await api.get("/api/v1/station/status/EVP-BUSY", {"Accept-Language": "en"})
        assert_golden("v1/station/status/refused_retired", response)

    async def test_a_faulted_connector_says_why(self, api: Api, site: Site) -> None:
        await site.ready("EVP-BAD", connectors=2)
        await site.report("EVP-BAD", 1, "faulted", "GroundFailure")
        response = await api.get("/api/v1/station/status/EVP-BAD")
        assert_golden("v1/station/status/faulted", response)
        assert_taken("station", response.json())

    @pytest.mark.parametrize("name", ["nothing", "%D1%8B", "a%2Fb", "x" * 300, "%20"])
    async def test_an_unknown_name_is_404(self, api: Api, name: str) -> None:
        response = await api.get(f"/api/v1/station/status/{name}")
        assert response.headers["content-type"] == "application/json"
        if len(name) < 300:
            assert_golden("v1/station/status/unknown", response)
        assert response.status_code in {404, 422}


async def test_without_a_tariff_no_one_may_charge(api: Api, site: Site) -> None:
    await site.ready("EVP-1")
    response = await api.get("/api/v1/station/status/EVP-1", {"Accept-Language": "ky"})
    assert_golden("v1/station/status/without_tariff", response)
    assert_taken("station", response.json())


async def test_connectors_may_have_prices_of_their_own(api: Api, site: Site) -> None:
    """A station shows the highest of each price; a connector without one starts nothing."""
    await site.ready("EVP-1", connectors=3)
    await site.assign("EVP-1/1", {"energy_per_kwh": "13.5", "flat": "5"})
    await site.assign("EVP-1/2", {"energy_per_kwh": "17"})
    page = (await api.get("/api/v1/station/status/EVP-1")).json()
    prices = [(shown["price_per_kwh"], shown["session_fee"]) for shown in page["connectors"]]
    assert prices == [(13.5, 5.0), (17.0, 0.0), (0.0, 0.0)]
    assert (page["tariff_rub_kwh"], page["session_fee"]) == (17.0, 5.0)
    [location] = (await api.get(LIST)).json()["locations"]
    [station] = location["stations"]
    assert (station["price_per_kwh"], station["session_fee"]) == (17.0, 5.0)
    assert station["tariff"] == {"price_per_kwh": 17.0, "session_fee": 5.0, "currency": "KGS"}


async def test_only_a_free_connector_with_a_price_may_charge(api: Api, site: Site) -> None:
    await site.ready("EVP-1", connectors=2)
    await site.assign("EVP-1/1", {"energy_per_kwh": "17"})
    page = (await api.get("/api/v1/station/status/EVP-1")).json()
    assert page["available_for_charging"] is True
    await site.report("EVP-1", 1, "charging")
    api.now_s.at_s += 3
    page = (await api.get("/api/v1/station/status/EVP-1")).json()
    assert (page["available_connectors"], page["available_for_charging"]) == (1, False)


async def test_a_station_that_is_free_for_a_time_says_so(
    api: Api, site: Site, db: Database
) -> None:
    await site.price({"energy_per_kwh": "13.5"})
    now = api.clock()
    for name in ("EVP-FREE", "EVP-ENDED", "EVP-PAID"):
        await site.ready(name)
    async with db.transaction() as connection:
        for name in ("EVP-FREE", "EVP-ENDED"):
            await charging.free_station(
                connection, station=name, minutes=30, actor="aida", reason="app is down", now=now
            )
        await charging.end_free(
            connection, station="EVP-ENDED", actor="aida", reason="it is up again", now=api.clock()
        )
    status = (await api.get("/api/v1/station/status/EVP-FREE")).json()
    assert status["available_for_charging"] is False
    assert "бесплатна" in status["message"]
    assert status["available_connectors"] == 1
    for name in ("EVP-ENDED", "EVP-PAID"):
        status = (await api.get(f"/api/v1/station/status/{name}")).json()
        assert status["available_for_charging"] is True


async def test_no_location_at_all(api: Api) -> None:
    response = await api.get(LIST)
    assert response.json() == {"success": True, "locations": [], "total": 0}


class TestCache:
    async def test_one_body_is_served_until_it_is_two_seconds_old(
        self, api: Api, site: Site
    ) -> None:
        await site.ready("EVP-1")
        first = await api.get(LIST)
        assert first.headers["cache-control"] == "no-cache"
        await site.report("EVP-1", 1, "charging")
        api.now_s.at_s += 1.4
        again = await api.get(LIST)
        assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
        api.now_s.at_s += 0.6
        newer = await api.get(LIST)
        assert newer.headers["etag"] != first.headers["etag"]
        assert newer.json()["locations"][0]["status"] == "occupied"

    @pytest.mark.parametrize(
        "path", [LIST, "/api/v1/locations/mall", "/api/v1/station/status/EVP-1"]
    )
    async def test_who_has_the_body_is_not_sent_it_again(
        self, api: Api, site: Site, path: str
    ) -> None:
        await site.ready("EVP-1", location=MALL)
        etag = (await api.get(path)).headers["etag"]
        for tags in (etag, f'"x", W/{etag}', "*"):
            response = await api.get(path, {"If-None-Match": tags})
            assert (response.status_code, response.content) == (304, b"")
            assert response.headers["etag"] == etag
        assert (await api.get(path, {"If-None-Match": '"x"'})).status_code == 200

    async def test_a_refresh_reads_anew_once_in_five_seconds(self, api: Api, site: Site) -> None:
        await site.ready("EVP-1")
        await api.get(LIST)
        refresh = "/api/v1/locations/mall/refresh-status"
        await site.report("EVP-1", 1, "charging")
        api.now_s.at_s += 0.5
        first = await api.post(refresh, {"Accept-Language": "en"})
        assert_golden("v1/locations/refresh-status/known", first)
        assert first.json()["location"]["status"] == "occupied"
        await site.report("EVP-1", 1, "available")
        assert (await api.post(refresh)).json()["location"]["status"] == "occupied"
        api.now_s.at_s += 5.1
        assert (await api.post(refresh)).json()["location"]["status"] == "available"

    async def test_who_refreshes_all_locations_reads_no_more_than_two_boards_a_second(
        self, api: Api, site: Site
    ) -> None:
        await site.ready("EVP-1")
        await site.ready("EVP-2", location=YARD)
        await api.get(LIST)
        api.now_s.at_s += 0.5
        await api.post("/api/v1/locations/mall/refresh-status")
        await site.report("EVP-2", 1, "charging")
        refresh = "/api/v1/locations/yard/refresh-status"
        assert (await api.post(refresh)).json()["location"]["status"] == "available"
        api.now_s.at_s += 5.1
        assert (await api.post(refresh)).json()["location"]["status"] == "occupied"

    async def test_a_refresh_stores_no_answer_under_a_key(
        self, api: Api, site: Site, owner: Connection
    ) -> None:
        await site.ready("EVP-1")
        for _ in range(2):
            response = await api.post(
                "/api/v1/locations/mall/refresh-status", {"Idempotency-Key": "k"}
            )
            assert response.status_code == 200
        assert await owner.fetchval("select count(*) from foundation.idempotency_keys") == 0

    async def test_both_ways_answer_the_same(self, api: Api, site: Site) -> None:
        await site.ready("EVP-1")
        for fast, routed in (
            (LIST, f"{LIST}&unknown=1"),
            ("/api/v1/locations", "/api/v1/locations?include_stations=false"),
            ("/api/v1/station/status/EVP-1", "/api/v1/station/status/EVP%2D1"),
        ):
            assert (await api.get(fast)).content == (await api.get(routed)).content
