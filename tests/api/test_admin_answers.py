"""What the app's admin pages get, member for member: as documented, and as stored in files."""

from collections.abc import AsyncIterator
from typing import Any, Final
from uuid import UUID

import pytest
from pydantic import BaseModel

from evpower.api.legacy import admin_schemas as schemas
from evpower.foundation.db import Connection, Database
from evpower.identity.model import OperatorRole
from tests.api.operator_scenario import OperatorApi, running_operator_api
from tests.api.scenario import Headers
from tests.charging.place import ChargingPlace
from tests.conftest import patient_database
from tests.old_api.golden_answers import assert_golden

ADMIN: Final = "/api/v1/admin"
UNKNOWN: Final = UUID(int=7)
RECEIPT: Final = {"amount": 250.5, "reason": "R-17"}
REFUSED: Final = [
    ("GET", "stats", "stats?period_days=32", None, "invalid_request"),
    ("GET", "stations", "stations?status=broken", None, "invalid_request"),
    ("GET", "stations", "stations/none", None, "station_not_found"),
    ("PUT", "stations", "stations/none", {}, "change_station_not_found"),
    ("PUT", "stations", "stations/S1", {"price_per_kwh": 13}, "price_by_tariff"),
    ("PUT", "stations", "stations/S1", {"status": "broken"}, "change_invalid_request"),
    ("GET", "sessions", "sessions?station_id=none", None, "station_not_found"),
    ("GET", "sessions", f"sessions/{UNKNOWN}", None, "session_not_found"),
    ("GET", "sessions/history", "sessions/history?status=x", None, "invalid_request"),
    ("GET", "clients", "clients?status=inactive", None, "invalid_request"),
    ("GET", "clients", f"clients/{UNKNOWN}", None, "client_not_found"),
    ("PUT", "clients/balance", f"clients/{UNKNOWN}/balance", RECEIPT, "client_not_found"),
    ("PUT", "clients/status", f"clients/{UNKNOWN}/status?status=blocked", None, "client_not_found"),
]  # fmt: skip
# A call of each right that the pages need, and a role without it.
FORBIDDEN: Final[list[tuple[str, str, str, Any, OperatorRole]]] = [
    ("PUT", "stations", "stations/S1", {"status": "maintenance"}, "viewer"),
    ("PUT", "clients/balance", f"clients/{UNKNOWN}/balance", RECEIPT, "admin"),
    ("PUT", "clients/status", f"clients/{UNKNOWN}/status?status=blocked", None, "viewer"),
]


class Pages:
    """The pages of an operator with every right."""

    def __init__(self, api: OperatorApi, place: ChargingPlace) -> None:
        self.api = api
        self.place = place

    async def call(self, method: str, path: str, role: OperatorRole | None, body: Any) -> Any:
        headers: Headers = {} if role is None else self.api.headers(role)
        more = {} if body is None else {"json": body}
        return await self.api.http.request(method, f"{ADMIN}/{path}", headers=headers, **more)

    async def shown(
        self, golden: str, path: str, model: type[BaseModel], *, body: Any = None,
        role: OperatorRole = "admin",
    ) -> None:  # fmt: skip
        """Fails unless the answer is the stored one, with no member beside the model's."""
        method = "GET" if body is None else "PUT"
        response = await self.call(method, path, role, body)
        assert response.status_code == 200, response.text
        read = model.model_validate_json(response.content, strict=True)
        assert read.model_dump(by_alias=True, exclude_unset=True) == response.json()
        assert_golden(f"v1/admin/{golden}", response)


@pytest.fixture
async def pages(db: Database, dsn: str, owner: Connection) -> AsyncIterator[Pages]:
    """No page borrows a second connection while it has one: there is only one."""
    place = ChargingPlace(db, owner, now=await owner.fetchval("select now()"))
    await place.build()
    single = patient_database(dsn, size=1)
    await single.start()
    async with running_operator_api(single) as api:
        yield Pages(api, place)
    await single.close()


async def test_what_the_pages_show_is_documented_and_stored(
    pages: Pages, owner: Connection
) -> None:
    place = pages.place
    client = await place.driver()
    session, transaction = await place.charging(client)
    place.later(minutes=20)
    await place.stop(transaction, 10_000)
    await owner.execute(
        "update identity.clients set phone = '+996700000001', email = 'a@b.kg' where id = $1",
        client,
    )
    await place.charging(await place.driver(), amount_minor=50_000)
    await pages.shown("stats/day", "stats", schemas.StatsAnswer)
    await pages.shown("stations/listed", "stations", schemas.StationsAnswer)
    await pages.shown("stations/one", "stations/S1", schemas.StationAnswer)
    await pages.shown("sessions/open", "sessions", schemas.SessionsAnswer)
    history = "sessions/history?status=stopped"
    await pages.shown("sessions/history/stopped", history, schemas.SessionsAnswer)
    await pages.shown("sessions/one", f"sessions/{session}", schemas.SessionAnswer)
    await pages.shown("clients/found", "clients?search=a@b.kg", schemas.ClientsAnswer)
    await pages.shown("clients/one", f"clients/{client}", schemas.ClientAnswer)


async def test_what_the_pages_change_is_documented_and_stored(pages: Pages) -> None:
    client = await pages.place.driver(som=100)
    change = {"status": "maintenance", "price_per_kwh": 12, "session_fee": 0}
    await pages.shown("stations/changed", "stations/S1", schemas.StationChangeAnswer, body=change)
    balance = f"clients/{client}/balance"
    for golden in ("credited", "credited_before"):
        await pages.shown(
            f"clients/balance/{golden}", balance, schemas.CreditAnswer, body=RECEIPT, role="finance"
        )
    status = f"clients/{client}/status?status="
    for word in ("blocked", "active"):
        await pages.shown(
            f"clients/status/{word}", f"{status}{word}", schemas.StatusAnswer, body={}
        )


async def test_refusals_are_stored(pages: Pages, owner: Connection) -> None:
    for method, folder, path, body, name in REFUSED:
        role: OperatorRole = "finance" if folder == "clients/balance" else "admin"
        response = await pages.call(method, path, role, body)
        assert_golden(f"v1/admin/{folder}/ru_refused_{name}", response)
    client = await pages.place.driver(som=100)
    balance = f"clients/{client}/balance"
    await pages.call("PUT", balance, "finance", RECEIPT)
    for name, body in (
        ("receipt_reused", {**RECEIPT, "amount": 10}),
        ("lowered_by_refund", {**RECEIPT, "amount": -10}),
        ("invalid_amount", {**RECEIPT, "amount": 0}),
        ("invalid_request", {**RECEIPT, "amount": "10"}),
    ):
        response = await pages.call("PUT", balance, "finance", body)
        assert_golden(f"v1/admin/clients/balance/ru_refused_{name}", response)
    await owner.execute("update identity.clients set status = 'closed' where id = $1", client)
    response = await pages.call("PUT", f"clients/{client}/status?status=active", "admin", None)
    assert_golden("v1/admin/clients/status/ru_refused_client_closed", response)


async def test_who_may_not_is_refused_as_stored(pages: Pages) -> None:
    for method, folder, path, body, role in FORBIDDEN:
        response = await pages.call(method, path, role, body)
        assert_golden(f"v1/admin/{folder}/ru_refused_forbidden", response)
    for folder in ("stats", "stations", "sessions", "sessions/history", "clients"):
        response = await pages.call("GET", folder, None, None)
        assert_golden(f"v1/admin/{folder}/ru_refused_missing_token", response)
