"""Bad input at every old route: a clear refusal in the form of its family, and nothing changes."""

import re
from collections.abc import AsyncIterator
from typing import Any, Final, NamedTuple
from uuid import uuid4

import asyncpg
import httpx
import pytest
from pydantic import SecretStr

from evpower.api import create_app
from evpower.api.legacy.families import Family
from evpower.api.legacy.old_routes import CARD_PATHS, OLD_ROUTES, TableRow
from evpower.bootstrap.modules import assemble
from evpower.config import Settings
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.http import HttpClient
from evpower.foundation.module import Shared
from tests.api.charging_scenario import STATION, Ride
from tests.api.scenario import ISSUER, SECRET, Api, bearer, running_api
from tests.api.stations_scenario import Site
from tests.conftest import Server, as_owner, patient_database

SUPABASE: Final = ISSUER.removesuffix("/auth/v1")
OF_FAMILIES: Final = [row for row in OLD_ROUTES if row.family is not None]
OPEN: Final = (
    "/station/status/", "/api/v1/locations",  # for everyone
    "-otp", "/auth/otp/", "/auth/refresh", "/auth/logout",  # by which a caller gets a token
)  # fmt: skip


class Wrong(NamedTuple):
    """A member that is wrong, and what a right body has beside it."""

    tail: str
    name: str
    value: Any
    right: dict[str, Any]


_START_TAIL: Final = "/charging/start"
_TOP_UP_TAIL: Final = "/balance/topup-qr"
_START: Final = {"station_id": STATION, "connector_id": 1}
_TOP_UP: Final = {"amount": 100}
_STOP: Final = {"session_id": "5e0c2f0a-6e3a-4d0b-9a41-7a1d6f0f5c11"}
_NOT_TEXT: Final[list[Any]] = [None, 1, True, [], {}, ""]
_NOT_NUMBER: Final[list[Any]] = ["1", True, [], {}, -1, 0, 1e308]
WRONG: Final = [
    *(Wrong(_START_TAIL, "station_id", value, _START) for value in [*_NOT_TEXT, "x" * 256]),
    *(Wrong(_START_TAIL, "connector_id", value, _START) for value in [*_NOT_NUMBER, None, 1.5]),
    *(Wrong(_START_TAIL, "energy_kwh", value, _START) for value in [*_NOT_NUMBER, 200.001]),
    *(Wrong(_START_TAIL, "amount_som", value, _START) for value in [*_NOT_NUMBER, 100_000.5]),
    *(Wrong("/charging/stop", "session_id", value, _STOP) for value in [*_NOT_TEXT, "x" * 101]),
    *(Wrong(_TOP_UP_TAIL, "amount", value, _TOP_UP) for value in [*_NOT_NUMBER, None, 100_001]),
    *(Wrong(_TOP_UP_TAIL, "description", value, _TOP_UP) for value in [1, True, [], "x" * 501]),
]  # fmt: skip
SHAPES: Final = [
    b"", b"nonsense", b"null", b"[]", b'"text"', b"{", b'{"a": NaN}', b'{"a": 1', b"\xff\xfe",
    b'{"station_id": "\\u0000"}',
]  # fmt: skip
BODIES: Final = (_START_TAIL, "/charging/stop", "/balance/topup-qr")
PREFIXES: Final[list[tuple[Family, str]]] = [("mobile", "/api"), ("v1", "/api/v1")]


def assert_refused(response: httpx.Response, family: Family, status: int | None = None) -> None:
    answer = response.json()
    assert response.headers["content-type"] == "application/json", response.text
    if status is not None:
        assert response.status_code == status, response.text
    assert 400 <= response.status_code < 500 or family == "mobile"
    assert answer["success"] is False
    assert re.fullmatch("[a-z0-9_]+", answer["error_code"])
    assert " " in answer["message"]
    assert (answer["error"] == answer["message"]) == (family == "v1")
    if response.status_code == 422:
        assert [fault.keys() for fault in answer["detail"]] == [{"loc", "msg", "type"}] * len(
            answer["detail"]
        )
        assert answer["detail"]


async def traces(ride: Ride) -> tuple[Any, ...]:
    counted = await ride.owner.fetchrow(
        """
        select (select count(*) from charging.sessions), (select count(*) from wallet.holds),
               (select count(*) from payments.payments), (select count(*) from stations.commands),
               (select count(*) from foundation.idempotency_keys)
        """
    )
    assert counted is not None
    return tuple(counted)


@pytest.fixture(scope="module")
async def dsn_of_module(server: Server) -> str:
    """For calls that change nothing: one database and one application for all of them."""
    return await server.new_database()


@pytest.fixture(scope="module")
async def db_of_module(dsn_of_module: str) -> AsyncIterator[Database]:
    db = patient_database(dsn_of_module)
    await db.start()
    yield db
    await db.close()


@pytest.fixture(scope="module")
async def still(dsn_of_module: str, db_of_module: Database) -> AsyncIterator[Ride]:
    """A driver at a station, who is refused."""
    owner: Connection = await asyncpg.connect(as_owner(dsn_of_module))
    async with running_api(db_of_module, rate_money_per_minute=100_000) as api:
        ride = Ride(api, owner, Site(db_of_module, api.clock), await api.new_client())
        await ride.open()
        yield ride
    await owner.close()


@pytest.fixture
async def ride(api: Api, db: Database, owner: Connection, client_id: Any) -> Ride:
    ride = Ride(api, owner, Site(db, api.clock), client_id)
    await ride.open()
    return ride


@pytest.mark.parametrize(("family", "prefix"), PREFIXES)
class TestBodies:
    @pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: f"{wrong.tail} {wrong.name}")
    async def test_a_wrong_member_is_422_and_changes_nothing(
        self, still: Ride, family: Family, prefix: str, wrong: Wrong
    ) -> None:
        before = await traces(still)
        headers = {**bearer(still.client), "Idempotency-Key": "bad"}
        body = {**wrong.right, wrong.name: wrong.value}
        response = await still.api.post(f"{prefix}{wrong.tail}", headers, json=body)
        assert_refused(response, family, 422)
        assert await traces(still) == before

    @pytest.mark.parametrize("tail", BODIES)
    @pytest.mark.parametrize("body", SHAPES)
    async def test_a_body_that_is_no_object_is_422(
        self, still: Ride, family: Family, prefix: str, tail: str, body: bytes
    ) -> None:
        before = await traces(still)
        response = await still.api.post(f"{prefix}{tail}", bearer(still.client), content=body)
        assert_refused(response, family, 422)
        assert await traces(still) == before

    @pytest.mark.parametrize("tail", BODIES)
    @pytest.mark.parametrize("size", [20_000, 300_000])
    async def test_a_huge_body_is_413(
        self, still: Ride, family: Family, prefix: str, tail: str, size: int
    ) -> None:
        before = await traces(still)
        body = {"station_id": "x" * size, "session_id": "x", "amount": 1}
        response = await still.api.post(f"{prefix}{tail}", bearer(still.client), json=body)
        assert_refused(response, family, 413)
        assert await traces(still) == before

    @pytest.mark.parametrize(("tail", "right"), [(BODIES[0], _START), (BODIES[2], _TOP_UP)])
    @pytest.mark.parametrize(
        "client", [1, True, [], {}, "x", "5e0c2f0a-6e3a-4d0b-9a41-7a1d6f0f5c11"]
    )
    async def test_another_client_s_id_is_403(
        self, still: Ride, family: Family, prefix: str, tail: str,
        right: dict[str, Any], client: Any,
    ) -> None:  # fmt: skip
        before = await traces(still)
        body = {**right, "client_id": client}
        response = await still.api.post(f"{prefix}{tail}", bearer(still.client), json=body)
        assert_refused(response, family, 403)
        assert await traces(still) == before

    async def test_unknown_members_and_nulls_are_passed_over(
        self, ride: Ride, family: Family, prefix: str
    ) -> None:
        del family
        body = {
            **_START, "client_id": None, "energy_kwh": None, "amount_som": None, "state": "settled",
            "held_minor": 0, "nested": {"a": [1, 2]},
        }  # fmt: skip
        response = await ride.api.post(f"{prefix}/charging/start", bearer(ride.client), json=body)
        assert response.json()["success"] is True


@pytest.fixture(scope="module")
async def whole(db_of_module: Database) -> AsyncIterator[httpx.AsyncClient]:
    """The application with every slice, without its loops."""
    settings = Settings(
        _env_file=None, env="development", rate_per_minute=100_000, rate_money_per_minute=100_000,
        supabase_url=SUPABASE, supabase_jwt_secret=SecretStr(SECRET),
    )  # fmt: skip
    async with HttpClient() as outside:
        shared = Shared(db=db_of_module, http=outside, bus=LocalBus(), clock=utc_now)
        parts = assemble(settings, shared=shared)
        app = create_app(parts.modules, db_of_module, parts.access.principal, settings, version="0")
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://api"
        ) as http:
            yield http


@pytest.mark.parametrize("row", OF_FAMILIES, ids=lambda row: f"{row.method} {row.path}")
class TestEveryRoute:
    def is_open(self, row: TableRow) -> bool:
        return any(tail in row.path for tail in OPEN) or row.path in CARD_PATHS

    async def test_without_a_token_is_401_unless_everyone_may(
        self, whole: httpx.AsyncClient, row: TableRow
    ) -> None:
        response = await whole.request(row.method, re.sub(r"\{.*\}", "x", row.path))
        if self.is_open(row):
            assert response.status_code in {200, 404, 409, 422}
        else:
            assert row.family is not None
            assert_refused(response, row.family, 401)

    async def test_with_a_token_that_is_wrong_is_401_unless_everyone_may(
        self, whole: httpx.AsyncClient, row: TableRow
    ) -> None:
        headers = {"Authorization": "Bearer nonsense"}
        response = await whole.request(
            row.method, re.sub(r"\{.*\}", "x", row.path), headers=headers
        )
        if not self.is_open(row):
            assert row.family is not None
            assert_refused(response, row.family, 401)

    async def test_an_id_is_no_fault_of_ours(self, whole: httpx.AsyncClient, row: TableRow) -> None:
        headers = bearer(uuid4())
        for value in ("x", "%00", "%2F", "..%2F..", "x" * 300, "%FF", "null", "5e0c2f0a"):
            path = re.sub(r"\{.*\}", value, row.path)
            response = await whole.request(row.method, path, headers=headers)
            # Without an id in the path, 503 is an outage of Supabase, which is not there.
            assert response.status_code < 500 or "{" not in row.path, (path, response.text)
            if "{" in row.path and value == "x" * 300:
                assert row.family is not None
                assert_refused(response, row.family)

    async def test_another_method_is_405(self, whole: httpx.AsyncClient, row: TableRow) -> None:
        path = re.sub(r"\{.*\}", "x", row.path)
        response = await whole.patch(path)
        assert response.status_code == 405
        assert "Allow" in response.headers


async def test_a_start_by_two_phones_of_a_client_makes_one_session(
    ride: Ride, owner: Connection
) -> None:
    import asyncio

    taps = await asyncio.gather(
        *(
            ride.api.post(f"{prefix}/charging/start", bearer(ride.client), json=_START)
            for _, prefix in PREFIXES * 3
        )
    )
    assert len({tap.json()["session_id"] for tap in taps}) == 1
    assert await owner.fetchval("select count(*) from charging.sessions") == 1


async def test_a_flood_of_card_calls_is_limited_by_address(db: Database) -> None:
    async with running_api(db, rate_per_minute=5) as api:
        answers = [await api.post(CARD_PATHS[0], json={"card_pan": "4111"}) for _ in range(7)]
        assert [answer.status_code for answer in answers] == [200] * 5 + [429] * 2
        newer = await api.post(next(path for path in CARD_PATHS if path.startswith("/api/v1/")))
    for answer, family in ((answers[-1], "mobile"), (newer, "v1")):
        body = answer.json()
        assert answer.status_code == 429
        assert (body["success"], body["error_code"]) == (False, "too_many_requests")
        assert body["error"] == (body["error_code"] if family == "mobile" else body["message"])
        assert body["retry_after_seconds"] == int(answer.headers["retry-after"])
