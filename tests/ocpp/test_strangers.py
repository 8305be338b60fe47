"""Handshakes of strangers: what they cost, and that no station waits for them."""

# pyright: reportPrivateUsage=false

import asyncio
import contextlib
import statistics
import time
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import EvPowerError
from evpower.ocpp.handshake import Handshake
from tests.api.scenario import Turning
from tests.ocpp.scenario import Central, basic, running
from tests.waiting import until

BUDGET = 20
ATTACKER, CARRIER = "203.0.113.7", "198.51.100.1"


@pytest.fixture
async def central(db: Database, owner: Connection) -> AsyncGenerator[Central]:
    """Behind a proxy, so that each handshake may come from another address.

    The time of the limits stands still: however long the handshakes take, no budget fills again.
    """
    async with running(
        db, owner, now_s=Turning(), trusted_proxies="127.0.0.1",
        rate_refused_stations_per_minute=BUDGET,
    ) as central:  # fmt: skip
        yield central


async def connects(central: Central, station: str, password: str | None, address: str) -> int:
    """The status of a handshake, 101 for one that is served."""
    try:
        async with central.open(
            f"/ocpp/{station}", user=station, password=password,
            headers={"X-Forwarded-For": address},
        ):  # fmt: skip
            return 101
    except InvalidStatus as error:
        return error.response.status_code


async def exhaust(central: Central, address: str = ATTACKER) -> None:
    """Uses up the budget of an address, with another name each time."""
    statuses = [await connects(central, f"X{n}", None, address) for n in range(BUDGET + 1)]
    assert statuses == [404] * BUDGET + [429]


async def listed(central: Central) -> dict[str, Any]:
    await central.parts.unknown.flush()
    rows = await central.owner.fetch("select name, attempts from stations.unknown_stations")
    return {row["name"]: row["attempts"] for row in rows}


class TestBudget:
    async def test_an_address_has_so_many_refused_handshakes(self, central: Central) -> None:
        await exhaust(central)
        assert await connects(central, "X", None, "203.0.113.8") == 404

    async def test_a_wrong_password_counts(self, central: Central) -> None:
        await central.add()
        statuses = [
            await connects(central, "EVP-001", f"wrong {n}", ATTACKER) for n in range(BUDGET + 1)
        ]
        assert statuses == [401] * BUDGET + [429]

    async def test_it_is_said_when_the_next_may_come(self, central: Central) -> None:
        await exhaust(central)
        with pytest.raises(InvalidStatus) as caught:
            async with central.open("/ws/X", headers={"X-Forwarded-For": ATTACKER}):
                pass
        assert int(caught.value.response.headers["Retry-After"]) >= 1

    async def test_an_ipv6_subscriber_is_one_address(self, central: Central) -> None:
        await exhaust(central, "2001:db8:1:1::1")
        assert await connects(central, "X", None, "2001:db8:1:1:ffff::2") == 429
        assert await connects(central, "X", None, "2001:db8:1:2::1") == 404

    async def test_a_station_with_its_password_is_never_limited(self, central: Central) -> None:
        password = await central.add()
        await exhaust(central)
        for _ in range(BUDGET + 1):
            assert await connects(central, "EVP-001", password, ATTACKER) == 101

    async def test_a_thousand_stations_return_through_the_nat_of_an_attacker(
        self, central: Central
    ) -> None:
        password = await central.add("S0")
        await central.owner.execute(COPIES)
        await exhaust(central)
        places = asyncio.Semaphore(50)

        async def back(number: int) -> int:
            async with places:
                return await _status(central, f"S{number}", password or "")

        assert Counter(await asyncio.gather(*map(back, range(1000)))) == {101: 1000}

    async def test_a_station_added_a_moment_ago_costs_its_address_nothing(
        self, central: Central
    ) -> None:
        for n in range(BUDGET + 1):
            password = await central.add(f"NEW-{n}")
            assert await connects(central, f"NEW-{n}", password, CARRIER) == 101

    async def test_a_station_without_a_password_is_limited_at_each_address_alone(
        self, central: Central
    ) -> None:
        await central.add(no_auth=True)
        statuses = [await connects(central, "EVP-001", None, ATTACKER) for _ in range(12)]
        assert statuses.count(429) >= 1
        assert await connects(central, "EVP-001", None, CARRIER) in {101, 409}

    async def test_a_station_without_a_password_is_limited_at_the_networks_of_one_party(
        self, central: Central
    ) -> None:
        """A /48 has 65,536 networks of one subscriber, and the budget of 16."""
        for station in ("EVP-001", "EVP-002"):
            await central.add(station, no_auth=True)
        admissions = central.parts.endpoint._admissions

        async def outcome(station: str, network: int) -> str:
            address = f"2001:db8:1:{network:x}::/64"
            try:
                await admissions.lane(Handshake(station, (station,), None, (), address))
            except EvPowerError as error:
                return error.code
            return "let in"

        outcomes = [await outcome("EVP-001", network) for network in range(200)]
        assert outcomes == ["let in"] * 160 + ["too_many_requests"] * 40
        assert await outcome("EVP-002", 0) == "let in"

    async def test_a_thousand_stations_without_passwords_are_not_limited_together(
        self, central: Central
    ) -> None:
        await central.add("S0", no_auth=True)
        await central.owner.execute(COPIES)
        await exhaust(central, CARRIER)
        statuses = [await connects(central, f"S{n}", None, CARRIER) for n in range(BUDGET + 5)]
        assert set(statuses) == {101}

    async def test_a_password_that_was_replaced_is_a_stranger_s(self, central: Central) -> None:
        password = await central.add()
        assert await connects(central, "EVP-001", password, ATTACKER) == 101
        await central.owner.execute("update stations.credentials set ended_at = now()")
        statuses = [await connects(central, "EVP-001", password, ATTACKER) for _ in range(24)]
        assert set(statuses) == {401, 429}
        assert statuses.count(401) == BUDGET + 1


class TestCost:
    async def test_a_name_that_comes_again_and_again_costs_no_statement(
        self, central: Central
    ) -> None:
        for _ in range(3):
            assert await connects(central, "NEW", None, CARRIER) == 404
        async with central.owner.transaction():
            await central.owner.execute("lock table stations.names, stations.unknown_stations")
            assert await connects(central, "new", None, CARRIER) == 404
        assert await listed(central) == {"new": 4}

    async def test_unknown_names_are_written_at_once(self, central: Central) -> None:
        async with central.owner.transaction():
            await central.owner.execute("lock table stations.unknown_stations")
            for n in range(3):
                assert await connects(central, f"N{n}", None, CARRIER) == 404
        assert await listed(central) == {"N0": 1, "N1": 1, "N2": 1}

    async def test_no_station_waits_for_strangers_that_wait(self, central: Central) -> None:
        """They try to be a station whose row is locked: each waits as long as it may."""
        await central.add("EVP-001")
        password = await central.add("EVP-002")
        async with central.owner.transaction():
            await central.owner.execute("select from stations.stations where id = $1 for update",
                                        "EVP-001")  # fmt: skip
            strangers = [
                asyncio.create_task(connects(central, "EVP-001", "wrong", f"203.0.113.{n}"))
                for n in range(30)
            ]
            waiting = "select count(*) from pg_locks where not granted"
            await until(lambda: _is_above_zero(central.owner, waiting))
            assert await connects(central, "EVP-002", password, CARRIER) == 101
            assert not any(stranger.done() for stranger in strangers)
        assert set(await asyncio.gather(*strangers)) <= {401, 503}

    async def test_a_flood_delays_no_station_much_and_hides_no_new_one(
        self, central: Central
    ) -> None:
        password = await central.add()
        quiet_s = await _seconds(central, password)
        async with _flood(central):
            same_s = await _seconds(central, password, ATTACKER)
            other_s = await _seconds(central, password)
            assert await connects(central, "NEW", None, CARRIER) == 404
        assert "NEW" in await listed(central)
        assert len(await listed(central)) <= BUDGET * 2
        assert max(same_s, other_s) < quiet_s * 20 + 0.2


COPIES = """
insert into stations.stations (id, id_key, post_code, location_id, no_auth)
select 'S' || n, 's' || n, 'pc' || lpad(n::text, 4, '0'), s.location_id, s.no_auth
  from stations.stations s, generate_series(1, 999) n where s.id = 'S0';
insert into stations.names (key, name, kind, station_id)
select 's' || n, 'S' || n, 'ocpp', 'S' || n from generate_series(1, 999) n
union all select 'pc' || lpad(n::text, 4, '0'), 'pc' || lpad(n::text, 4, '0'), 'post_code', 'S' || n
  from generate_series(1, 999) n;
insert into stations.credentials (station_id, secret_sha256)
select 'S' || n, c.secret_sha256 from stations.credentials c, generate_series(1, 999) n
 where c.station_id = 'S0';
"""


async def _is_above_zero(connection: Connection, query: str) -> bool:
    return bool(await connection.fetchval(query))


async def _seconds(central: Central, password: str | None, address: str = CARRIER) -> float:
    """The median of what a handshake takes."""
    durations: list[float] = []
    for _ in range(9):
        begun_s = time.perf_counter()
        assert await connects(central, "EVP-001", password, address) == 101
        durations.append(time.perf_counter() - begun_s)
    return statistics.median(durations)


@contextlib.asynccontextmanager
async def _flood(central: Central) -> AsyncGenerator[None]:
    """Handshakes of one address, eight at a time, each with another name and password."""

    async def strangers(lane: int) -> None:
        number = 0
        while True:
            number += 1
            await _status(central, f"F{lane}-{number}", "wrong")

    tasks = [asyncio.create_task(strangers(lane)) for lane in range(8)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _status(central: Central, name: str, password: str) -> int:
    """The status of a handshake of the attacker's address, whose socket ends at once."""
    reader, writer = await asyncio.open_connection("127.0.0.1", central.port)
    try:
        lines = (
            f"GET /ocpp/{name} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", "Sec-WebSocket-Version: 13",
            f"Authorization: {basic(name, password)}", f"X-Forwarded-For: {ATTACKER}", "", "",
        )  # fmt: skip
        writer.write("\r\n".join(lines).encode())
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()
