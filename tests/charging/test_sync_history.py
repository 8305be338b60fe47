"""Sessions that ran elsewhere: recorded, and charged exactly once."""

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from evpower.charging import SESSION_CHANGED
from evpower.foundation.bus import Topic
from evpower.foundation.db import Connection
from evpower.identity import CLIENT_CHANGED
from tests.api.scenario import Api, bearer
from tests.charging.money import top_up

PATH = "/api/v1/charging/sync-history"


def report(client: UUID, **other: Any) -> dict[str, Any]:
    return {
        "session_id": str(uuid4()),
        "client_id": str(client),
        "station_id": "EVI-0080",
        "connector_id": 1,
        "start_time": "2025-09-25T10:00:00Z",
        "end_time": "2025-09-25T10:45:00Z",
        "energy_consumed": 21.375,
        "total_cost": 88.56,
        "status": "stopped",
        **other,
    }


async def send(api: Api, body: dict[str, Any]) -> httpx.Response:
    headers = {**api.service, "Content-Type": "application/json"}
    return await api.post(PATH, headers, content=json.dumps(body))


async def balance_minor(owner: Connection, client_id: UUID) -> int:
    return await owner.fetchval(
        "select balance_minor from wallet.wallets where client_id = $1", client_id
    )


@pytest.fixture
async def rich(owner: Connection, client_id: UUID) -> UUID:
    await top_up(owner, client_id, 100_000)
    return client_id


class TestRecording:
    async def test_a_new_finished_session_is_recorded_and_charged(
        self, api: Api, owner: Connection, rich: UUID
    ) -> None:
        body = report(rich)
        response = await send(api, body)
        assert response.status_code == 201
        assert response.json() == {
            "success": True, "session_id": body["session_id"], "created": True, "charged": True,
        }  # fmt: skip
        assert await balance_minor(owner, rich) == 100_000 - 8856
        session = await owner.fetchrow(
            "select * from charging.sessions where id = $1", body["session_id"]
        )
        assert session is not None
        facts = [session[name] for name in ("state", "energy_wh", "cost_minor", "source")]
        assert facts == ["settled", 21_375, 8856, "import"]

    async def test_the_same_again_charges_nothing(
        self, api: Api, owner: Connection, rich: UUID
    ) -> None:
        body = report(rich)
        await send(api, body)
        spelled = {"start_time": "2025-09-25T16:00:00+06:00", "connector_id": 1.0}
        again = await send(api, {**body, **spelled})
        assert again.status_code == 200
        assert again.json() == {
            "success": True, "session_id": body["session_id"], "created": False, "charged": True,
        }  # fmt: skip
        assert await balance_minor(owner, rich) == 100_000 - 8856

    @pytest.mark.parametrize(
        "other",
        [
            {"total_cost": 88.57}, {"energy_consumed": 21.376}, {"station_id": "EVI-0081"},
            {"connector_id": 2},
            {"start_time": "2025-09-25T10:00:01Z"}, {"end_time": "2025-09-25T10:45:01Z"},
            {"billed": True},
            {"status": "error"},
        ],
    )  # fmt: skip
    async def test_the_same_id_with_other_facts_is_a_conflict(
        self, api: Api, owner: Connection, rich: UUID, other: dict[str, Any]
    ) -> None:
        body = report(rich)
        await send(api, body)
        response = await send(api, {**body, **other})
        assert response.status_code == 409
        assert response.json()["error"] == "session_conflict"
        assert response.json()["detail"].endswith(f"another {', '.join(other)}")
        assert await balance_minor(owner, rich) == 100_000 - 8856

    async def test_the_same_id_for_another_client_is_a_conflict(self, api: Api, rich: UUID) -> None:
        body = report(rich)
        await send(api, body)
        response = await send(api, {**body, "client_id": str(await api.new_client())})
        assert response.json()["error"] == "session_conflict"

    async def test_a_session_billed_elsewhere_is_not_charged(
        self, api: Api, owner: Connection, rich: UUID
    ) -> None:
        body = report(rich, billed=True)
        first, again = await send(api, body), await send(api, body)
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["charged"] is False
        assert await balance_minor(owner, rich) == 100_000

    async def test_a_free_session_moves_no_money(
        self, api: Api, owner: Connection, rich: UUID
    ) -> None:
        response = await send(api, report(rich, total_cost=0))
        assert response.status_code == 201
        assert await balance_minor(owner, rich) == 100_000

    async def test_a_cost_without_energy_is_charged(
        self, api: Api, owner: Connection, rich: UUID
    ) -> None:
        assert (await send(api, report(rich, energy_consumed=0))).json()["charged"] is True
        assert await balance_minor(owner, rich) == 100_000 - 8856

    async def test_what_the_balance_cannot_pay_is_a_debt(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        await top_up(owner, client_id, 5_000)
        body = report(client_id, total_cost=88.56)
        first, again = await send(api, body), await send(api, body)
        assert first.status_code == 201
        assert first.json() | {"created": False} == again.json()
        assert first.json()["debt"] == 38.56
        assert await balance_minor(owner, client_id) == 0
        await top_up(owner, client_id, 10_000)
        assert await balance_minor(owner, client_id) == 10_000 - 3856

    async def test_an_unknown_client_is_not_found(self, api: Api, owner: Connection) -> None:
        response = await send(api, report(uuid4()))
        assert (response.status_code, response.json()["error"]) == (404, "client_not_found")
        assert await owner.fetchval("select count(*) from charging.sessions") == 0


class TestRunningSessions:
    async def test_a_started_session_ends_and_is_charged_once(
        self, api: Api, owner: Connection, rich: UUID
    ) -> None:
        stopped = report(rich)
        started = {
            **stopped,
            "status": "started",
            "end_time": None,
            "energy_consumed": 0,
            "total_cost": 0,
        }
        first = await send(api, started)
        assert (first.status_code, first.json()["charged"]) == (201, False)
        assert (await send(api, started)).status_code == 200
        ended = await send(api, stopped)
        assert (ended.status_code, ended.json()["charged"], ended.json()["created"]) == (
            200,
            True,
            False,
        )
        assert (await send(api, stopped)).status_code == 200
        assert await balance_minor(owner, rich) == 100_000 - 8856

    async def test_a_late_start_of_an_ended_session_changes_nothing(
        self, api: Api, owner: Connection, rich: UUID
    ) -> None:
        stopped = report(rich)
        await send(api, stopped)
        late = {
            **stopped,
            "status": "started",
            "end_time": None,
            "energy_consumed": 0,
            "total_cost": 0,
        }
        assert (await send(api, late)).status_code == 200
        assert await balance_minor(owner, rich) == 100_000 - 8856

    async def test_a_started_session_with_other_facts_is_a_conflict(
        self, api: Api, rich: UUID
    ) -> None:
        started = report(rich, status="started", end_time=None)
        await send(api, started)
        assert (await send(api, {**started, "connector_id": 2})).status_code == 409

    async def test_a_failed_session_is_recorded_but_not_charged(
        self, api: Api, owner: Connection, rich: UUID
    ) -> None:
        response = await send(api, report(rich, status="error"))
        assert (response.status_code, response.json()["charged"]) == (201, False)
        assert await balance_minor(owner, rich) == 100_000

    async def test_twenty_at_once_charge_once(
        self, api: Api, owner: Connection, rich: UUID
    ) -> None:
        body = report(rich)
        responses = await asyncio.gather(*(send(api, body) for _ in range(20)))
        assert Counter(response.status_code for response in responses) == {201: 1, 200: 19}
        assert all(response.json()["charged"] for response in responses)
        assert await balance_minor(owner, rich) == 100_000 - 8856


def _in(minutes: float) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


class TestNonsense:
    @pytest.mark.parametrize(
        ("other", "code"),
        [
            ({"energy_consumed": -0.001}, "invalid_energy"),
            ({"energy_consumed": 1.2345}, "invalid_energy"),
            ({"energy_consumed": "21"}, "invalid_energy"),
            ({"energy_consumed": True}, "invalid_energy"),
            ({"energy_consumed": None}, "invalid_energy"),
            ({"energy_consumed": 1000.001}, "implausible_energy"),
            ({"energy_consumed": 10**40}, "implausible_energy"),
            ({"total_cost": -0.01}, "invalid_amount"),
            ({"total_cost": 1.234}, "invalid_amount"),
            ({"total_cost": "12"}, "invalid_amount"),
            ({"total_cost": 10**30}, "invalid_amount"),
            ({"start_time": "2025-09-25T10:00:00"}, "invalid_time"),
            ({"start_time": "yesterday"}, "invalid_time"),
            ({"start_time": 1758794400}, "invalid_time"),
            ({"start_time": "2014-12-31T23:59:59Z"}, "invalid_time"),
            ({"start_time": "0001-01-01T00:00:00+14:00"}, "invalid_time"),
            ({"start_time": None}, "invalid_time"),
            ({"end_time": "9999-12-31T23:59:59-14:00"}, "invalid_time"),
            ({"end_time": "2025-09-25T09:59:59Z"}, "end_before_start"),
            ({"end_time": None}, "end_time_required"),
            ({"status": "started"}, "end_time_unexpected"),
            ({"status": "completed"}, "invalid_request"),
            ({"connector_id": 0}, "invalid_request"),
            ({"connector_id": 10**30}, "invalid_request"),
            ({"connector_id": 1.5}, "invalid_request"),
            ({"station_id": ""}, "invalid_request"),
            ({"station_id": "E" * 65}, "invalid_request"),
            ({"station_id": "EVI\x00"}, "invalid_request"),
            ({"station_id": "\ud800"}, "invalid_request"),
            ({"client_id": "'; drop table wallet.wallets; --"}, "invalid_request"),
            ({"session_id": 7}, "invalid_request"),
            ({"billed": "yes"}, "invalid_request"),
        ],
    )  # fmt: skip
    async def test_is_refused_with_its_code(
        self, api: Api, owner: Connection, rich: UUID, other: dict[str, Any], code: str
    ) -> None:
        response = await send(api, report(rich, **other))
        assert (response.status_code, response.json()["error"]) == (422, code)
        assert await owner.fetchval("select count(*) from charging.sessions") == 0

    @pytest.mark.parametrize("number", ["NaN", "1e309", "-1e309", "Infinity", "1" * 5000])
    @pytest.mark.parametrize("name", ["energy_consumed", "total_cost"])
    async def test_numbers_that_are_none_are_refused(
        self, api: Api, rich: UUID, name: str, number: str
    ) -> None:
        body = json.dumps(report(rich, **{name: "HERE"})).replace('"HERE"', number)
        response = await api.post(
            PATH, {**api.service, "Content-Type": "application/json"}, content=body
        )
        assert response.status_code == 422

    @pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff\xfe", b"{}"])
    async def test_bodies_that_are_no_report_are_refused(self, api: Api, body: bytes) -> None:
        response = await api.post(
            PATH, {**api.service, "Content-Type": "application/json"}, content=body
        )
        assert (response.status_code, response.json()["error"]) == (422, "invalid_request")

    async def test_the_far_future_is_refused_and_clocks_may_differ(
        self, api: Api, rich: UUID
    ) -> None:
        late = report(rich, start_time=_in(-60), end_time=_in(6))
        assert (await send(api, late)).json()["error"] == "invalid_time"
        soon = report(rich, start_time=_in(-60), end_time=_in(4))
        assert (await send(api, soon)).status_code == 201


class TestAccess:
    async def test_anonymous(self, api: Api, client_id: UUID) -> None:
        response = await api.post(PATH, json=report(client_id))
        assert response.status_code == 401

    async def test_client(self, api: Api, client_id: UUID) -> None:
        response = await api.post(PATH, bearer(client_id), json=report(client_id))
        assert (response.status_code, response.json()["error"]) == (403, "forbidden")

    async def test_operator(self, api: Api, client_id: UUID) -> None:
        assert (await api.post(PATH, api.operator, json=report(client_id))).status_code == 403

    async def test_wrong_key(self, api: Api, client_id: UUID) -> None:
        response = await api.post(PATH, {"X-Service-Key": "evp_no"}, json=report(client_id))
        assert response.status_code == 401


async def test_a_session_is_published_once(api: Api, client_id: UUID) -> None:
    published: list[tuple[Topic, UUID]] = []
    api.bus.subscribe(lambda topic, key: published.append((topic, key)))
    body = report(client_id)
    for _ in range(2):
        await api.post(PATH, api.service, json=body)
    assert published == [(SESSION_CHANGED, UUID(body["session_id"])), (CLIENT_CHANGED, client_id)]
