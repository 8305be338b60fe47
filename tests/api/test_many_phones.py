"""Two thousand phones of mixed revisions behind four addresses, as a carrier's network has them."""

import asyncio
from collections import Counter

import orjson

from evpower.api.legacy.callers import Allowed
from evpower.config import OldOperation
from evpower.foundation.db import Connection, Database
from tests.api.charging_scenario import Ride
from tests.api.scenario import Api, bearer, running_api
from tests.api.stations_scenario import Site
from tests.contracts.answers import code_of
from tests.old_api.golden_answers import assert_golden
from tests.old_api.revisions import REVISIONS, Revision, assert_taken

PHONES, ADDRESSES = 2_000, 4
DRIVERS = (0, 4, 8, 12)  # one phone of each revision that charges; R1 sends no token
HOSTS: dict[Revision, str] = {
    "R1": "old.example", "R3": "old.example", "R5": "new.example", "HEAD": "new.example",
}  # fmt: skip


class Phones:
    """What every phone got: how often each status, and the distinct bodies by revision."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.statuses = Counter[int]()
        self.bodies: set[tuple[str, Revision, bytes]] = set()

    async def read(self, number: int, route: str, path: str, token: dict[str, str]) -> None:
        revision = REVISIONS[number // ADDRESSES % len(REVISIONS)]
        response = await self.api.get(
            path,
            {
                "Host": HOSTS[revision],
                "X-Forwarded-For": f"203.0.113.{number % ADDRESSES}",
                **token,
            },
        )
        self.statuses[response.status_code] += 1
        self.bodies.add((route, revision, response.content))

    async def use(self, number: int, ride: Ride | None, session: str) -> None:
        """A minute of one phone: the map twice, its station, and its session each five seconds."""
        revision = REVISIONS[number // ADDRESSES % len(REVISIONS)]
        token = {} if ride is None or revision == "R1" else bearer(ride.client)
        for _ in range(2):
            await self.read(number, "locations", "/api/v1/locations?include_stations=true", token)
            for _ in range(2):
                await self.read(number, "station", "/api/v1/station/status/EVP-1", token)
        for _ in range(12 if ride else 0):
            await self.read(number, "status", f"/api/v1/charging/status/{session}", token)


async def test_each_gets_right_answers_and_none_is_refused(db: Database, owner: Connection) -> None:
    reads: Allowed = {"mobile": frozenset(), "v1": frozenset[OldOperation]({"read"})}
    async with running_api(
        db, without_token=reads, trusted_proxies="127.0.0.1", rate_per_minute=120
    ) as api:
        site = Site(db, api.clock)
        ride = Ride(api, owner, site, await api.new_client())
        await ride.open()
        session = await ride.started()
        await ride.begin(session)
        for number in range(2, 30):
            await site.ready(f"EVP-{number}")
        await owner.execute("update stations.locations set latitude = 42, longitude = 74")
        phones = Phones(api)
        for first in range(0, PHONES, 100):
            await asyncio.gather(
                *(
                    phones.use(number, ride if number in DRIVERS else None, session)
                    for number in range(first, first + 100)
                )
            )
        assert phones.statuses == {200: PHONES * 6 + len(DRIVERS) * 12}
        for route, revision, body in phones.bodies:
            assert_taken(route, orjson.loads(body), revision)
        assert len(phones.bodies) < 30, "one body for all who ask for the same"
        await others_are_not_refused_for_a_flood(api)


async def others_are_not_refused_for_a_flood(api: Api) -> None:
    flooding = {"X-Forwarded-For": "198.51.100.1"}
    passed = 0
    while (response := await api.get("/api/v1/locations", flooding)).status_code == 200:
        passed += 1
    assert (passed, response.status_code, code_of(response)) == (6_000, 429, "too_many_requests")
    assert_golden("v1/locations/ru_refused_too_many_requests", response)
    neighbour = {"X-Forwarded-For": "203.0.113.1"}
    assert (await api.get("/api/v1/locations", neighbour)).status_code == 200
