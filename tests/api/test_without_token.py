"""Old calls without a token: only where a switch lets them, counted, and limited by id."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi.routing import APIRoute
from prometheus_client import REGISTRY

from evpower import identity
from evpower.api.gateway import json_body
from evpower.api.legacy.families import Family, Operation
from evpower.api.legacy.module import named_limit
from evpower.api.limits import Budgets, RateLimits
from evpower.bootstrap.modules import assemble
from evpower.config import OldOperation, Settings
from evpower.foundation import idempotency
from evpower.foundation.db import Connection, Database
from evpower.foundation.idempotency import IdempotencyKey
from tests.api.charging_scenario import STATION, Ride
from tests.api.scenario import Api, Turning, running_api
from tests.api.stations_scenario import Site

ALL = frozenset[OldOperation]({"read", "stop", "start", "top-up"})
PREFIXES: list[tuple[Family, str]] = [("mobile", "/api"), ("v1", "/api/v1")]
FIRST, OTHER = "198.51.100.1", "198.51.100.2"


def of(address: str) -> dict[str, str]:
    return {"X-Forwarded-For": address}


def counted(family: str, operation: str, outcome: str) -> float:
    labels = {"family": family, "operation": operation, "outcome": outcome}
    return REGISTRY.get_sample_value("evpower_old_calls_without_token_total", labels) or 0.0


@pytest.fixture
async def ride(db: Database, owner: Connection, client_id: UUID) -> Any:
    allowed: dict[Family, frozenset[Operation]] = {"mobile": ALL, "v1": ALL}
    async with running_api(
        db, without_token=allowed, trusted_proxies="127.0.0.1",
        rate_per_minute=20, rate_without_token_per_minute=30,
    ) as api:  # fmt: skip
        ride = Ride(api, owner, Site(db, api.clock), client_id)
        await ride.open()
        yield ride


async def list_client(ride: Ride, client: object | None = None) -> None:
    async with ride.api.db.transaction() as connection:
        await identity.add_without_token(
            connection, [str(client or ride.client)], actor="test", reason="proxy log"
        )


async def start(ride: Ride, prefix: str = "/api", **body: Any) -> httpx.Response:
    body = {"client_id": str(ride.client), "station_id": STATION, "connector_id": 1, **body}
    return await ride.api.post(f"{prefix}/charging/start", json=body)


async def stop(ride: Ride, session: str, prefix: str = "/api") -> httpx.Response:
    return await ride.api.post(f"{prefix}/charging/stop", json={"session_id": session})


async def limit_of(ride: Ride, session: str) -> int:
    return await ride.owner.fetchval(
        "select limit_amount_minor from charging.sessions where id = $1", UUID(session)
    )


class TestSwitches:
    @pytest.mark.parametrize(("family", "prefix"), PREFIXES)
    async def test_are_off_by_default(
        self, db: Database, owner: Connection, client_id: UUID, family: Family, prefix: str
    ) -> None:
        async with running_api(db) as api:
            ride = Ride(api, owner, Site(db, api.clock), client_id)
            await ride.open()
            await list_client(ride)
            session = await ride.started()
            before = counted(family, "read", "refused")
            answers = [
                await api.get(f"{prefix}/charging/status/{session}"),
                await api.get(f"{prefix}/balance/{client_id}"),
                await stop(ride, session, prefix),
                await start(ride, prefix),
            ]
            assert [answer.status_code for answer in answers] == [401] * 4
            assert counted(family, "read", "refused") == before + 2
            assert (await ride.status(session)).json()["state"] == "requested"

    @pytest.mark.parametrize(("family", "prefix"), PREFIXES)
    async def test_are_of_one_family_and_operation(
        self, db: Database, owner: Connection, client_id: UUID, family: Family, prefix: str
    ) -> None:
        allowed: dict[Family, frozenset[Operation]] = {"mobile": frozenset(), "v1": frozenset()}
        allowed[family] = frozenset({"read"})
        async with running_api(db, without_token=allowed) as api:
            ride = Ride(api, owner, Site(db, api.clock), client_id)
            await ride.open()
            session = await ride.started()
            for _, path in PREFIXES:
                status = await api.get(f"{path}/charging/status/{session}")
                assert status.status_code == (200 if path == prefix else 401)
            assert (await stop(ride, session, prefix)).status_code == 401

    async def test_do_not_save_a_token_that_is_wrong(self, ride: Ride) -> None:
        session = await ride.started()
        response = await ride.api.get(
            f"/api/charging/status/{session}", {"Authorization": "Bearer nonsense"}
        )
        assert (response.status_code, response.json()["error_code"]) == (401, "invalid_token")


class TestSessions:
    async def test_are_read_and_stopped_by_their_id(self, ride: Ride) -> None:
        session = await ride.started()
        await ride.begin(session)
        assert (await ride.api.get(f"/api/charging/status/{session}")).json()["success"]
        stopped = await stop(ride, session)
        assert (stopped.status_code, stopped.json()["success"]) == (200, True)
        assert (await ride.status(session)).json()["state"] == "stopping"


class TestStart:
    async def test_of_a_client_that_is_not_listed_is_refused(self, ride: Ride) -> None:
        before = counted("mobile", "start", "not_listed")
        response = await start(ride)
        assert (response.status_code, response.json()["error"]) == (401, "unauthorized")
        assert counted("mobile", "start", "not_listed") == before + 1
        assert (await start(ride, client_id=None)).status_code == 401
        assert (await start(ride, client_id=str(uuid4()))).status_code == 401

    @pytest.mark.parametrize(("family", "prefix"), PREFIXES)
    async def test_of_a_listed_client_is_limited_to_300_som(
        self, ride: Ride, family: Family, prefix: str
    ) -> None:
        del family
        await list_client(ride)
        session = (await start(ride, prefix)).json()["session_id"]
        assert await limit_of(ride, session) == 300_00

    async def test_of_energy_costs_at_most_300_som(self, ride: Ride) -> None:
        await list_client(ride)
        response = await start(ride, energy_kwh=100)
        assert response.json()["reserved_amount"] == 300.0
        assert await limit_of(ride, response.json()["session_id"]) == 300_00

    async def test_of_more_than_300_som_is_refused(self, ride: Ride) -> None:
        await list_client(ride)
        response = await start(ride, amount_som=300.01)
        answer = response.json()
        assert (answer["error"], answer["error_code"], answer["max_allowed_amount"]) == (
            "amount_exceeds_balance", "charging_limit_exceeded", 300.0,
        )  # fmt: skip
        assert (await start(ride, "/api/v1", amount_som=300.01)).status_code == 409
        assert (await start(ride, amount_som=300)).json()["success"]

    async def test_of_a_smaller_balance_is_limited_to_it(
        self, db: Database, owner: Connection, ride: Ride
    ) -> None:
        del db
        poor = Ride(ride.api, owner, ride.site, await ride.api.new_client())
        await list_client(poor)
        assert (await start(poor)).json()["error"] == "zero_balance"
        from tests.charging.money import top_up

        await top_up(owner, poor.client, 500)
        assert (await start(poor)).json()["error"] == "insufficient_balance"
        await top_up(owner, poor.client, 120_00)
        session = (await start(poor)).json()["session_id"]
        assert await limit_of(poor, session) == 125_00

    async def test_two_taps_make_one_session(self, ride: Ride, owner: Connection) -> None:
        await list_client(ride)
        first = await start(ride)
        taps = [first, *await asyncio.gather(*(start(ride) for _ in range(4)))]
        assert len({tap.json()["session_id"] for tap in taps}) == 1, [tap.text for tap in taps]
        assert await owner.fetchval("select count(*) from wallet.holds") == 1

    async def test_is_one_at_a_time_also_while_the_last_stops(self, ride: Ride) -> None:
        await list_client(ride)
        session = (await start(ride)).json()["session_id"]
        await ride.begin(session)
        await stop(ride, session)
        assert (await start(ride, connector_id=2)).json()["error"] == "session_already_active"

    @pytest.mark.parametrize("som", [100, 300, 500])
    async def test_gets_no_session_that_was_begun_with_a_token(self, ride: Ride, som: int) -> None:
        await list_client(ride)
        own = await ride.start(amount_som=som)
        assert own.json()["success"], own.text
        bodies: list[dict[str, Any]] = [{}, {"amount_som": som}, {"connector_id": 2}]
        for body in bodies:
            answer = (await start(ride, **body)).json()
            assert answer["success"] is False
            assert "session_id" not in answer
        assert (await ride.start(amount_som=som)).json()["session_id"] == own.json()["session_id"]

    async def test_never_ends_by_a_client_taken_off_the_list(self, ride: Ride) -> None:
        await list_client(ride)
        async with ride.api.db.transaction() as connection:
            await identity.remove_without_token(
                connection, str(ride.client), actor="test", reason="has the new app"
            )
        assert (await start(ride)).status_code == 401


class TestBalance:
    @pytest.mark.parametrize(("family", "prefix"), PREFIXES)
    async def test_is_read_for_listed_clients_alone(
        self, ride: Ride, family: Family, prefix: str
    ) -> None:
        del family
        path = f"{prefix}/balance/{ride.client}"
        assert (await ride.api.get(path)).status_code == 401
        await list_client(ride)
        assert (await ride.api.get(path)).json()["balance"] == 1000.0
        history = await ride.api.get(f"/api/v1/balance/history/{ride.client}")
        assert history.status_code == 401


class TestLimits:
    async def test_a_session_s_own_budget(self, ride: Ride) -> None:
        session = await ride.started()
        path = f"/api/charging/status/{session}"
        answers = [await ride.api.get(path, of(FIRST)) for _ in range(31)]
        assert [answer.status_code for answer in answers] == [200] * 30 + [429]
        assert answers[-1].json()["error"] == "too_many_requests"
        assert int(answers[-1].headers["retry-after"]) > 0

    async def test_unknown_ids_count_against_the_address_and_known_ones_go_on(
        self, ride: Ride
    ) -> None:
        session = await ride.started()
        known = f"/api/charging/status/{session}"
        assert (await ride.api.get(known, of(FIRST))).status_code == 200
        guesses = [
            await ride.api.get(f"/api/charging/status/{uuid4()}", of(FIRST)) for _ in range(25)
        ]
        assert [guess.status_code for guess in guesses] == [200] * 20 + [429] * 5
        assert (await ride.api.get(known, of(FIRST))).status_code == 200
        elsewhere = await ride.api.get(f"/api/charging/status/{uuid4()}", of(OTHER))
        assert elsewhere.json()["error"] == "session_not_found"

    @pytest.mark.parametrize("operations", [frozenset[Operation](), ALL])
    async def test_calls_that_are_refused_count_against_the_address(
        self, db: Database, operations: frozenset[Operation]
    ) -> None:
        allowed: dict[Family, frozenset[Operation]] = {"mobile": operations, "v1": operations}
        async with running_api(
            db, without_token=allowed, trusted_proxies="127.0.0.1", rate_per_minute=20
        ) as api:
            for method, path, body in (
                ("POST", "/api/charging/start", b"nonsense"),
                ("POST", "/api/v1/charging/stop", b"{}"),
                ("POST", "/api/v1/charging/start", b'{"station_id": "x", "connector_id": 1}'),
                ("GET", "/api/v1/charging/status/x", b""),
                ("GET", "/api/balance/x", b""),
            ):
                headers = of(f"203.0.113.{len(path) + len(body)}")
                answers = [
                    await api.http.request(method, path, headers=headers, content=body)
                    for _ in range(22)
                ]
                codes = [answer.status_code for answer in answers]
                assert codes[-1] == 429, (path, codes)
                assert 429 not in codes[:20], (path, codes)


def large(size: int) -> bytes:
    return b"[" + b"1," * (size // 2) + b"1]"


async def in_parts(body: bytes) -> AsyncIterator[bytes]:
    yield body


class TestTopUps:
    async def test_of_one_address_are_few_however_many_clients_are_listed(
        self, db: Database
    ) -> None:
        allowed: dict[Family, frozenset[Operation]] = {"mobile": ALL, "v1": ALL}
        async with running_api(db, without_token=allowed, trusted_proxies="127.0.0.1") as api:
            clients = [await api.new_client() for _ in range(22)]
            async with db.transaction() as connection:
                await identity.add_without_token(
                    connection, [str(client) for client in clients], actor="test", reason="log"
                )
            codes = [
                (
                    await api.post(
                        "/api/balance/topup-qr",
                        of(address),
                        json={"client_id": str(client), "amount": 10},
                    )
                ).status_code
                for address, client in [
                    *((FIRST, client) for client in clients),
                    (OTHER, clients[21]),
                ]
            ]
        assert codes == [200] * 20 + [429] * 2 + [200]

    async def test_of_unknown_clients_take_none_from_the_listed_ones_at_an_address(
        self, db: Database
    ) -> None:
        allowed: dict[Family, frozenset[Operation]] = {"mobile": ALL, "v1": ALL}
        async with running_api(db, without_token=allowed, trusted_proxies="127.0.0.1") as api:
            client = await api.new_client()
            async with db.transaction() as connection:
                await identity.add_without_token(
                    connection, [str(client)], actor="test", reason="log"
                )
            for named in (*(uuid4() for _ in range(25)), client):
                body = {"client_id": str(named), "amount": 10}
                answer = await api.post("/api/balance/topup-qr", of(FIRST), json=body)
        assert answer.status_code == 200


class TestStrangers:
    """What the slice never sees, or sees late, costs the address something before it is done."""

    @pytest.fixture
    async def api(self, db: Database) -> AsyncIterator[Any]:
        allowed: dict[Family, frozenset[Operation]] = {"mobile": ALL, "v1": ALL}
        async with running_api(
            db, without_token=allowed, trusted_proxies="127.0.0.1", rate_per_minute=20
        ) as api:
            yield api

    @pytest.mark.parametrize(("family", "prefix"), PREFIXES)
    @pytest.mark.parametrize(
        ("method", "tail", "body"),  # of a number: as many bytes
        [
            ("POST", "/charging/start", 17_000),
            ("POST", "/charging/stop", 200_000),
            ("POST", "/balance/topup-qr", 200_000),
            ("POST", "/payment/cancel/x", 200_000),
            ("GET", "/charging/start", b""),
            ("PUT", "/charging/stop", b"{}"),
            ("DELETE", "/payment/status/x", b""),
            ("GET", "/payment/status-check/x", b""),
            ("HEAD", "/payment/cancel/x", b""),
            ("GET", "/charging/status/(101)", b""),
            ("GET", "/payment/status/(129)", b""),
            ("POST", "/payment/cancel/(129)", b""),
            ("GET", "/balance/(201)", b""),
            ("GET", "/charging/status%2F1", b""),
            ("GET", "/payment%2Fstatus/1", b""),
            ("GET", "/payment/status/", b""),
            ("GET", "/balance/get", b""),
            ("GET", "/charging/status/x", b""),
            ("GET", "/charging/status/x%2Fy", b""),
            ("GET", "/payment/status/x", b""),
            ("GET", "/payment/status/x/2", b""),
            ("GET", "/payment/status/x%2F2", b""),
            ("GET", "/payment/h2h-status/x", b""),
            ("POST", "/payment/status-check/x", b""),
            ("POST", "/payment/cancel/x", b""),
            ("POST", "/balance/topup-qr", b""),
            ("POST", "/balance/topup-qr", b'{"amount": 100}'),
            ("POST", "/charging/stop", b'{"session_id": "x"}'),
        ],
    )
    async def test_are_counted_whatever_they_send(
        self, api: Api, family: Family, prefix: str, method: str, tail: str, body: bytes | int
    ) -> None:
        del family
        headers = of(FIRST)
        path = prefix + re.sub(r"\((\d+)\)", lambda length: "x" * int(length[1]), tail)
        body = large(body) if isinstance(body, int) else body
        answers = [
            await api.http.request(method, path, headers=headers, content=body) for _ in range(21)
        ]
        codes = [answer.status_code for answer in answers]
        assert codes[-1] == 429, codes
        assert 429 not in codes[:20], codes

    async def test_get_no_key_stored_beyond_their_budget(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claimed: list[str] = []
        claim = idempotency.claim

        async def seen(connection: Connection, key: IdempotencyKey, now: datetime) -> Any:
            claimed.append(key.key)
            return await claim(connection, key, now)

        monkeypatch.setattr(idempotency, "claim", seen)
        codes = [
            (
                await api.post(
                    "/api/charging/stop", of(FIRST) | {"Idempotency-Key": str(uuid4())}, json={}
                )
            ).status_code
            for _ in range(30)
        ]
        assert codes[20:] == [429] * 10, codes
        assert len(claimed) == 20

    @pytest.mark.parametrize("body", [large(200_000), in_parts], ids=["whole", "in parts"])
    async def test_get_no_large_body_parsed_beyond_their_budget(
        self, api: Api, monkeypatch: pytest.MonkeyPatch, body: Any
    ) -> None:
        parsed: list[int] = []
        check = json_body.check

        def seen(raw: bytes) -> None:
            parsed.append(len(raw))
            check(raw)

        monkeypatch.setattr(json_body, "check", seen)
        for _ in range(30):
            content: Any = body(large(200_000)) if callable(body) else body
            await api.http.post("/api/charging/start", headers=of(FIRST), content=content)
        assert len(parsed) == 20

    def test_other_routes_are_not_left_to_the_slice(self) -> None:
        values: dict[str, Any] = {"_env_file": None, "env": "development"}
        settings = Settings(**values)
        limit = named_limit(settings, {"mobile": ALL, "v1": ALL})
        rates = RateLimits(Budgets(), Turning(), [limit])
        routes = {
            (method, route.path)
            for module in assemble(settings).modules
            for router in module.routers
            for route in router.routes
            if isinstance(route, APIRoute)
            for method in route.methods or ()
        }
        left = {
            f"{method} {path}"
            for method, path in routes
            if rates.is_counted_by_slice(method, *[re.sub(r"\{[^}]*\}", "x", path)] * 2)
        }
        assert left == set(limit.paths)

    async def test_leave_known_names_alone(self, ride: Ride) -> None:
        """A guesser with keys, large bodies and odd methods uses up only what is its own."""
        session = await ride.started()
        await ride.api.get(f"/api/charging/status/{session}", of(FIRST))
        for _ in range(25):
            await ride.api.post(
                "/api/charging/stop", of(FIRST) | {"Idempotency-Key": str(uuid4())}, json={}
            )
        known = await ride.api.get(f"/api/charging/status/{session}", of(FIRST))
        assert known.status_code == 200
