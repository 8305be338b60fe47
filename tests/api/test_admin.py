"""The app's admin pages: their calls over real stations, sessions and wallets."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from evpower.foundation.db import Connection, Database
from evpower.foundation.money import to_som
from evpower.identity.model import OperatorRole
from tests.api.operator_scenario import OperatorApi, running_operator_api
from tests.api.scenario import Headers
from tests.api.stations_scenario import YARD, Site
from tests.charging.place import ChargingPlace
from tests.hard_inputs import JSON_AMOUNTS, ROUNDED_AMOUNTS

ADMIN = "/api/v1/admin"


@pytest.fixture
async def place(db: Database, owner: Connection) -> ChargingPlace:
    now = await owner.fetchval("select now()")
    place = ChargingPlace(db, owner, now=now)
    await place.build()
    return place


@pytest.fixture
async def api(db: Database, place: ChargingPlace) -> AsyncIterator[OperatorApi]:
    del place
    async with running_operator_api(db) as api:
        yield api


async def call(
    api: OperatorApi,
    method: str,
    path: str,
    role: OperatorRole = "admin",
    *,
    expect: int = 200,
    headers: Headers | None = None,
    **more: Any,
) -> Any:
    """Returns `data` of an answer, the code of a refusal."""
    response = await answer(api, method, path, role, headers=headers, **more)
    assert response.status_code == expect, response.text
    body = response.json()
    assert body["success"] is (expect == 200)
    if expect != 200:
        assert body["error"] == body["message"]
        return body["error_code"]
    assert "null" not in response.text
    return body["data"]


async def answer(
    api: OperatorApi, method: str, path: str, role: OperatorRole, **more: Any
) -> httpx.Response:
    own: Headers = more.pop("headers", None) or {}
    headers = {**api.headers(role), **own}
    return await api.http.request(method, f"{ADMIN}{path}", headers=headers, **more)


async def charged(place: ChargingPlace, energy_wh: int = 10_000) -> tuple[UUID, UUID]:
    """Lets a driver charge; returns client and session."""
    client = await place.driver()
    session, transaction = await place.charging(client)
    place.later(minutes=20)
    await place.stop(transaction, energy_wh)
    return client, session


async def test_the_figures_are_those_of_the_day(api: OperatorApi, place: ChargingPlace) -> None:
    await charged(place)
    await place.charging(await place.driver())
    stats = await call(api, "GET", "/stats", "viewer")
    assert stats["stations"]["total"] == 1
    assert set(stats["stations"]) == {"total", "online", "offline", "error"}
    assert stats["sessions"] == {"active": 1, "today": 2}
    assert stats["today"] == {"energy_kwh": 10.0, "revenue_som": 120.0}
    begins = datetime.fromisoformat(stats["period"]["from"])
    week = await call(api, "GET", "/stats?period_days=7")
    assert begins - datetime.fromisoformat(week["period"]["from"]) == timedelta(days=6)
    assert week["period"]["revenue_som"] == 120.0
    for days in ("0", "32", "x"):
        code = await call(api, "GET", f"/stats?period_days={days}", expect=422)
        assert code == "invalid_request"


async def test_stations_are_listed_by_pages_and_filters(
    api: OperatorApi, db: Database, place: ChargingPlace
) -> None:
    del place
    site = Site(db, api.clock)
    for number in (2, 3):
        await site.add(f"S{number}", YARD)
    page = await call(api, "GET", "/stations?limit=2&offset=1")
    assert [row["id"] for row in page["stations"]] == ["S2", "S3"]
    assert (page["total"], page["limit"], page["offset"]) == (3, 2, 1)
    filtered = await call(api, "GET", f"/stations?location_id={YARD.id}&status=active")
    assert filtered["total"] == 2
    assert (await call(api, "GET", "/stations?status=inactive"))["total"] == 0
    online = await call(api, "GET", "/stations?is_online=true")
    offline = await call(api, "GET", "/stations?is_online=false")
    assert online["total"] + offline["total"] == 3
    station = await call(api, "GET", "/stations/S1")
    assert station == page_row(station)
    assert (station["price_per_kwh"], station["connectors_count"]) == (12.0, 2)
    powers = [connector["power_kw"] for connector in station["connectors"]]
    assert len(powers) == 2
    assert station["power_capacity"] == max(powers)
    assert await call(api, "GET", "/stations/none", expect=404) == "station_not_found"


def page_row(station: Any) -> Any:
    """What R5 and HEAD read of a station, with their types."""
    types = {
        "id": str, "serial_number": str, "model": str, "manufacturer": str, "location_id": str,
        "location_name": str, "location_address": str, "status": str, "is_available": bool,
        "power_capacity": float, "price_per_kwh": float, "session_fee": float, "currency": str,
        "connectors_count": int, "connectors": list, "created_at": str, "updated_at": str,
    }  # fmt: skip
    assert {name for name in types if not isinstance(station[name], types[name])} == set()
    for connector in station["connectors"]:
        assert {"id", "connector_number", "connector_type", "power_kw", "status"} <= set(connector)
    return station


async def test_a_station_is_taken_out_of_service_with_a_row_in_the_audit(
    api: OperatorApi, place: ChargingPlace, owner: Connection
) -> None:
    del place
    body = {"status": "maintenance", "price_per_kwh": 12, "session_fee": 0, "reason": "broken"}
    done = await call(api, "PUT", "/stations/S1", json=body)
    assert done == {
        "id": "S1", "status": "maintenance", "is_available": False, "price_per_kwh": 12.0,
        "session_fee": 0.0,
    }  # fmt: skip
    row = await owner.fetchrow(
        "select action, reason, actor from identity.audit where subject = 'S1' order by id desc"
    )
    assert row is not None
    assert (row["action"], row["reason"]) == ("station.change", "broken")
    assert row["actor"] == f"operator:{api.users['admin']}"
    back = await call(api, "PUT", "/stations/S1", "operator", json={"is_available": True})
    assert back["status"] == "active"
    unchanged = await call(api, "PUT", "/stations/S1", json={})
    assert unchanged["status"] == "active"


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"price_per_kwh": 13}, 409, "price_by_tariff"),
        ({"session_fee": 5.5}, 409, "price_by_tariff"),
        ({"status": "maintenance", "price_per_kwh": 13}, 409, "price_by_tariff"),
        ({"status": "broken"}, 422, "invalid_request"),
        ({"status": "active", "is_available": False}, 422, "invalid_request"),
        ({"price_per_kwh": -1}, 422, "invalid_request"),
        ({"price_per_kwh": "much"}, 422, "invalid_request"),
        ([], 422, "invalid_request"),
    ],
)
async def test_a_change_that_makes_no_sense_changes_nothing(
    api: OperatorApi, body: Any, status: int, code: str
) -> None:
    assert await call(api, "PUT", "/stations/S1", json=body, expect=status) == code
    assert (await call(api, "GET", "/stations/S1"))["status"] == "active"


async def test_sessions_are_listed_with_their_clients(
    api: OperatorApi, place: ChargingPlace, owner: Connection
) -> None:
    client, ended = await charged(place)
    await owner.execute("update identity.clients set phone = '+996700000001' where id = $1", client)
    running, _ = await place.charging(await place.driver(), amount_minor=50_000)
    listed = await call(api, "GET", "/sessions?station_id=S1")
    [row] = listed["sessions"]
    assert (row["id"], row["status"]) == (str(running), "started")
    assert (row["limit_type"], row["limit_value"]) == ("amount", 500.0)
    assert "stop_time" not in row
    history = await call(api, "GET", "/sessions/history?status=stopped")
    [row] = history["sessions"]
    assert row["id"] == str(ended)
    assert (row["energy_kwh"], row["amount_som"], row["duration_minutes"]) == (10.0, 120.0, 20)
    assert (row["client_phone"], row["location_name"]) == ("+996700000001", "L")
    assert row["stop_time"].endswith("Z")
    assert await call(api, "GET", f"/sessions/{ended}") == row
    both = await call(api, "GET", "/sessions/history?limit=1&offset=1")
    assert ([row["id"] for row in both["sessions"]], both["has_more"]) == ([str(ended)], False)
    later = (place.now + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert (await call(api, "GET", f"/sessions/history?date_from={later}"))["sessions"] == []
    assert len((await call(api, "GET", f"/sessions/history?date_to={later}"))["sessions"]) == 2


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/sessions?station_id=none", 404, "station_not_found"),
        ("/sessions/history?status=finished", 422, "invalid_request"),
        ("/sessions/history?date_from=yesterday", 422, "invalid_request"),
        ("/sessions?limit=0", 422, "invalid_request"),
        ("/sessions?offset=-1", 422, "invalid_request"),
        ("/sessions/x", 404, "session_not_found"),
        (f"/sessions/{UUID(int=7)}", 404, "session_not_found"),
        ("/clients?status=inactive", 422, "invalid_request"),
        (f"/clients/{UUID(int=7)}", 404, "client_not_found"),
    ],
)
async def test_a_question_without_an_answer_is_refused(
    api: OperatorApi, path: str, status: int, code: str
) -> None:
    assert await call(api, "GET", path, expect=status) == code


async def test_clients_are_listed_with_their_money(
    api: OperatorApi, place: ChargingPlace, owner: Connection
) -> None:
    client, session = await charged(place)
    blocked, closed = await place.client(), await place.client()
    for status, each in (("blocked", blocked), ("closed", closed)):
        await owner.execute("update identity.clients set status = $2 where id = $1", each, status)
    await owner.execute("update identity.clients set email = 'a@example.kg' where id = $1", client)
    every = await call(api, "GET", "/clients?limit=2&offset=1", "support")
    assert (every["total"], len(every["clients"])) == (3, 2)
    [row] = (await call(api, "GET", "/clients?search=a@example.kg"))["clients"]
    assert (row["id"], row["balance"], row["status"]) == (str(client), 880.0, "active")
    assert (row["sessions_count"], row["total_energy_kwh"]) == (1, 10.0)
    assert (row["total_spent_som"], row["anonymized"]) == (120.0, False)
    unable = await call(api, "GET", "/clients?status=blocked")
    assert {row["id"]: row["anonymized"] for row in unable["clients"]} == {
        str(blocked): False, str(closed): True,
    }  # fmt: skip
    assert {row["status"] for row in unable["clients"]} == {"blocked"}
    for text in ("stranger@example.kg", "Aida", "  %  ", str(uuid4())):
        listed = await call(api, "GET", "/clients", params={"search": text})
        assert (listed["clients"], listed["total"]) == ([], 0)
    client_page = await call(api, "GET", f"/clients/{client}")
    assert [each["id"] for each in client_page["recent_sessions"]] == [str(session)]


async def test_a_balance_is_raised_by_a_receipt_once(
    api: OperatorApi, place: ChargingPlace, owner: Connection
) -> None:
    client = await place.driver(som=100)
    path, body = f"/clients/{client}/balance", {"amount": 250.5, "reason": "R-17"}
    done = await call(api, "PUT", path, "finance", json=body)
    assert done == {
        "client_id": str(client), "old_balance": 100.0, "new_balance": 350.5,
        "adjustment": 250.5, "reason": "R-17",
    }  # fmt: skip
    again = await answer(api, "PUT", path, "finance", json=body, headers={"Accept-Language": "en"})
    assert again.json()["data"] == {
        **done, "old_balance": 350.5, "new_balance": 350.5, "adjustment": 0.0,
    }  # fmt: skip
    assert again.json()["message"] == "This receipt was credited before. Nothing has changed."
    other = {"amount": 10, "reason": "R-17"}
    assert await call(api, "PUT", path, "finance", json=other, expect=409) == "receipt_reused"
    row = await owner.fetchrow(
        "select provider, method, amount_minor from payments.payments where provider_ref = 'R-17'"
    )
    assert row is not None
    assert tuple(row.values()) == ("manual", "cash", 25_050)
    acts = await owner.fetch(
        "select actor, reason from identity.audit where action = 'payments.cash'"
    )
    assert [(act["actor"], act["reason"]) for act in acts] == [
        (f"operator:{api.users['finance']}", "R-17")
    ]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"amount": -10, "reason": "mistake"}, 422, "lowered_by_refund"),
        ({"amount": 0, "reason": "R-1"}, 422, "invalid_amount"),
        ({"amount": 0.001, "reason": "R-1"}, 422, "invalid_amount"),
        ({"amount": 1e30, "reason": "R-1"}, 422, "invalid_request"),
        ({"amount": "much", "reason": "R-1"}, 422, "invalid_request"),
        ({"amount": None, "reason": "R-1"}, 422, "invalid_request"),
        ({"amount": "1_0", "reason": "R-1"}, 422, "invalid_request"),
        ({"amount": "10", "reason": "R-1"}, 422, "invalid_request"),
        ({"amount": "\u0661\u0660", "reason": "R-1"}, 422, "invalid_request"),
        ({"amount": True, "reason": "R-1"}, 422, "invalid_request"),
        ({"amount": 10, "reason": "R-1\u200b"}, 422, "invalid_request"),
        ({"amount": 10, "reason": "R-1\u00ad"}, 422, "invalid_request"),
        ({"amount": 10, "reason": "\u202eR-1"}, 422, "invalid_request"),
        ({"amount": 10, "reason": "E\u0301-1"}, 422, "invalid_request"),
        ({"amount": 10}, 422, "invalid_request"),
        ({"amount": 10, "reason": ""}, 422, "invalid_request"),
        ({"amount": 10, "reason": "  "}, 422, "reason_missing"),
        ({"amount": 10, "reason": "x" * 201}, 422, "invalid_request"),
    ],
)
async def test_a_balance_is_changed_by_nothing_else(
    api: OperatorApi, place: ChargingPlace, body: Any, status: int, code: str
) -> None:
    client = await place.driver(som=100)
    path = f"/clients/{client}/balance"
    refused = await answer(api, "PUT", path, "finance", json=body)
    assert (refused.status_code, refused.json()["error_code"]) == (status, code)
    assert (await call(api, "GET", f"/clients/{client}"))["balance"] == 100.0
    if code == "lowered_by_refund":
        assert "evpower payments refund-payment" in refused.text


async def test_a_balance_is_raised_by_the_amount_that_is_written(
    api: OperatorApi, place: ChargingPlace
) -> None:
    client = await place.driver(som=100)
    wrong = [*((text, None) for text in ROUNDED_AMOUNTS), ('"5"', None), ("NaN", None)]
    credited = 0
    for number, (text, minor) in enumerate([*JSON_AMOUNTS.items(), *wrong]):
        body = f'{{"reason": "R-{number}", "amount": {text}}}'
        done = await answer(
            api, "PUT", f"/clients/{client}/balance", "finance", content=body,
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        assert done.status_code == (422 if minor is None else 200), (text, done.text)
        credited += minor or 0
    page = await call(api, "GET", f"/clients/{client}")
    assert page["balance"] == to_som(10_000 + credited)


async def test_only_finance_credits_and_an_unknown_client_gets_nothing(
    api: OperatorApi, place: ChargingPlace
) -> None:
    client = await place.driver(som=100)
    body = {"amount": 10, "reason": "R-1"}
    for role in ("viewer", "support", "operator", "admin"):
        path = f"/clients/{client}/balance"
        assert await call(api, "PUT", path, role, json=body, expect=403) == "forbidden"
    unknown = f"/clients/{uuid4()}/balance"
    assert await call(api, "PUT", unknown, "finance", json=body, expect=404) == "client_not_found"


async def test_an_idempotency_key_repeats_the_answer_of_a_put(
    api: OperatorApi, place: ChargingPlace
) -> None:
    client = await place.driver(som=100)
    path, headers = f"/clients/{client}/balance", {"Idempotency-Key": "k-1"}
    body = {"amount": 10, "reason": "R-1"}
    first = await answer(api, "PUT", path, "finance", json=body, headers=headers)
    again = await answer(api, "PUT", path, "finance", json=body, headers=headers)
    assert first.content == again.content
    assert again.headers["idempotent-replayed"] == "true"
    other = {"amount": 20, "reason": "R-2"}
    code = await call(api, "PUT", path, "finance", json=other, headers=headers, expect=409)
    assert code == "idempotency_conflict"


async def test_a_client_is_blocked_by_the_query(
    api: OperatorApi, place: ChargingPlace, owner: Connection
) -> None:
    client = await place.client()
    path = f"/clients/{client}/status"
    done = await call(api, "PUT", f"{path}?status=blocked", "support")
    assert done == {
        "client_id": str(client), "old_status": "active", "new_status": "blocked",
    }  # fmt: skip
    back = await call(api, "PUT", path, params={"status": "active", "reason": "paid"})
    assert (back["old_status"], back["new_status"]) == ("blocked", "active")
    acts = await owner.fetch(
        "select action, reason from identity.audit where subject = $1 order by id", str(client)
    )
    assert [act["action"] for act in acts] == ["client.block", "client.unblock"]
    assert acts[1]["reason"] == "paid"
    for query in ("", "?status=inactive", "?status=closed", "?status=blocked&reason=x"):
        assert await call(api, "PUT", f"{path}{query}", expect=422) == "invalid_request"
    await owner.execute("update identity.clients set status = 'closed' where id = $1", client)
    assert await call(api, "PUT", f"{path}?status=active", expect=409) == "client_closed"
