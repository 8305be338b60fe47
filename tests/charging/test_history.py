"""A client's charging history: who may read it, and pages without gaps."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from evpower.charging import store
from evpower.charging.history import _FIRST, first_pages, history
from evpower.charging.model import Order
from evpower.foundation.db import Connection
from tests.api.scenario import Api, bearer

NOON = datetime(2026, 3, 8, 12, tzinfo=UTC)


def path(client_id: UUID | str) -> str:
    return f"/api/v1/charging/history/{client_id}"


async def sessions(owner: Connection, client_id: UUID, count: int, start: int = 0) -> list[str]:
    """Insert sessions, two per minute at the same time; returns the ids, newest first."""
    ids = [uuid4() for _ in range(count)]
    await owner.executemany(
        "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
        " started_at, ended_at, energy_wh, cost_minor, created_at)"
        " values ($1, $2, 'EVI-\"80\"', 1, 'finished', 'import',"
        " $3, $4, 12345, 1250, $5)",
        [
            (session, client_id, NOON, NOON + timedelta(minutes=45, microseconds=120_000),
             NOON + timedelta(minutes=(start + index) // 2))
            for index, session in enumerate(ids)
        ],
    )  # fmt: skip
    rows = await owner.fetch(
        "select id from charging.sessions where client_id = $1 order by created_at desc, id desc",
        client_id,
    )
    return [str(row["id"]) for row in rows]


async def test_first_pages_of_several_clients_are_those_of_each(
    api: Api, owner: Connection, client_id: UUID
) -> None:
    no_sessions = await owner.fetchval(
        "insert into identity.clients (id, origin) values (gen_random_uuid(), 'import')"
        " returning id"
    )
    await sessions(owner, client_id, 7)
    requested = [(client, limit) for limit in (1, 3, 7, 50) for client in (client_id, no_sessions)]
    async with api.db.connection() as connection:
        each = [
            await history(connection, client, limit=limit, before=None)
            for client, limit in requested
        ]
        assert await first_pages(connection, [*requested, (uuid4(), 50)]) == [*each, None]
    assert len({page.body for page in each}) == 4


class TestShape:
    async def test_keys_are_those_of_supabase_and_the_older_ones(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        [session_id] = await sessions(owner, client_id, 1)
        response = await api.get(path(client_id), bearer(client_id))
        assert response.status_code == 200
        assert response.headers["content-type"] == "application/json"
        assert response.json() == [
            {
                "id": session_id, "client_id": str(client_id), "user_id": str(client_id),
                "station_id": 'EVI-"80"', "connector_id": 1,
                "start_time": "2026-03-08T12:00:00Z",
                "end_time": "2026-03-08T12:45:00.12Z", "stop_time": "2026-03-08T12:45:00.12Z",
                "energy_consumed": 12.345, "energy": 12.345, "total_cost": 12.5, "amount": 12.5,
                "status": "stopped", "created_at": "2026-03-08T12:00:00Z",
            }
        ]  # fmt: skip

    async def test_a_running_session_has_no_end(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        await owner.execute(
            "insert into charging.sessions"
            " (id, client_id, station_id, connector_id, state, source, started_at)"
            " values (gen_random_uuid(), $1, 'S', 1, 'charging', 'import', now())",
            client_id,
        )
        [session] = (await api.get(path(client_id), bearer(client_id))).json()
        assert (session["status"], session["end_time"], session["energy"]) == ("started", None, 0)

    async def test_no_sessions_are_an_empty_list(self, api: Api, client_id: UUID) -> None:
        response = await api.get(path(client_id), bearer(client_id))
        assert (response.status_code, response.text) == (200, "[]")
        assert "link" not in response.headers


class TestPages:
    async def test_120_sessions_have_no_gap_or_repeat_while_new_ones_arrive(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        before = await sessions(owner, client_id, 120)
        seen: list[str] = []
        address = f"{path(client_id)}?limit=7"
        arrived = 120
        while address:
            response = await api.get(address, bearer(client_id))
            assert response.status_code == 200
            seen += [session["id"] for session in response.json()]
            await sessions(owner, client_id, 3, start=arrived)
            arrived += 3
            link = response.headers.get("link", "")
            address = link.partition(">")[0].lstrip("<")
        assert seen == before

    async def test_the_default_is_50_and_the_last_page_has_no_link(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        await sessions(owner, client_id, 50)
        response = await api.get(path(client_id), bearer(client_id))
        assert (len(response.json()), "link" in response.headers) == (50, False)
        await sessions(owner, client_id, 1, start=50)
        response = await api.get(path(client_id), bearer(client_id))
        assert len(response.json()) == 50
        assert response.headers["link"].endswith('; rel="next"')

    @pytest.mark.parametrize("limit", ["0", "-1", "501", "100000", "abc", "1.5", "", "9" * 40])
    async def test_limits_out_of_range_are_refused(
        self, api: Api, client_id: UUID, limit: str
    ) -> None:
        response = await api.get(f"{path(client_id)}?limit={limit}", bearer(client_id))
        assert (response.status_code, response.json()["error"]) == (422, "invalid_request")
        assert response.json()["errors"][0]["field"] == "limit"

    @pytest.mark.parametrize(
        "cursor",
        ["x", "", "AAAA", "%00", "' or 1=1", "ю", "_" * 32, "A" * 33, "2026-03-08T12:00:00Z",
         "AA==", "9" * 4000],
    )  # fmt: skip
    async def test_cursors_that_are_none_are_refused(
        self, api: Api, client_id: UUID, cursor: str
    ) -> None:
        response = await api.get(f"{path(client_id)}?before={cursor}", bearer(client_id))
        assert response.status_code == 422
        assert response.json()["error"] in {"invalid_cursor", "invalid_request"}


async def sessions_begun_at(owner: Connection, client_id: UUID, *at: datetime | None) -> list[str]:
    """Insert sessions, in this order, that began at these times; returns their ids."""
    ids = [uuid4() for _ in at]
    await owner.executemany(
        "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
        " started_at, created_at) values ($1, $2, 'S', 1, $3, 'import', $4, $5)",
        [
            (session, client_id, "requested" if began is None else "charging", began,
             NOON + timedelta(minutes=index))
            for index, (session, began) in enumerate(zip(ids, at, strict=True))
        ],
    )  # fmt: skip
    return [str(session) for session in ids]


async def ids_of(api: Api, client_id: UUID, query: str) -> list[str]:
    response = await api.get(f"{path(client_id)}{query}", bearer(client_id))
    assert response.status_code == 200
    return [session["id"] for session in response.json()]


class TestOrder:
    async def test_an_old_session_recorded_late_is_first_only_by_recording(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        new, old = await sessions_begun_at(owner, client_id, NOON, NOON - timedelta(days=900))
        assert await ids_of(api, client_id, "") == [old, new]
        assert await ids_of(api, client_id, "?order=created_at") == [old, new]
        assert await ids_of(api, client_id, "?order=start_time") == [new, old]

    async def test_a_session_that_has_not_begun_is_ordered_by_its_recording(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        made = await sessions_begun_at(owner, client_id, NOON, NOON + timedelta(minutes=2), None)
        assert await ids_of(api, client_id, "?order=start_time") in (
            [made[1], made[2], made[0]],
            [made[2], made[1], made[0]],
        )

    @pytest.mark.parametrize("limit", [1, 7, 50])
    async def test_pages_have_no_gap_or_repeat_and_the_link_keeps_the_order(
        self, api: Api, owner: Connection, client_id: UUID, limit: int
    ) -> None:
        moments = [NOON - timedelta(hours=index * 37 % 20) for index in range(60)]
        await sessions_begun_at(owner, client_id, *moments)
        rows = await owner.fetch(
            "select id from charging.sessions where client_id = $1"
            " order by started_at desc, id desc",
            client_id,
        )
        seen: list[str] = []
        address = f"{path(client_id)}?limit={limit}&order=start_time"
        while address:
            response = await api.get(address, bearer(client_id))
            assert response.status_code == 200
            seen += [session["id"] for session in response.json()]
            address = response.headers.get("link", "").partition(">")[0].lstrip("<")
            assert not address or "order=start_time" in address
        assert seen == [str(row["id"]) for row in rows]

    async def test_a_cursor_is_of_its_own_order(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        await sessions_begun_at(owner, client_id, NOON, NOON)
        for order, other in (("created_at", "start_time"), ("start_time", "created_at")):
            first = f"{path(client_id)}?limit=1&order={order}"
            link = (await api.get(first, bearer(client_id))).headers["link"]
            cursor = link.partition("before=")[2].partition("&")[0].partition(">")[0]
            for requested, status in ((order, 200), (other, 422)):
                address = f"{path(client_id)}?before={cursor}&order={requested}"
                assert (await api.get(address, bearer(client_id))).status_code == status

    @pytest.mark.parametrize("order", ["", "end_time", "start_time desc", "START_TIME"])
    async def test_another_order_is_refused(self, api: Api, client_id: UUID, order: str) -> None:
        response = await api.get(f"{path(client_id)}?order={order}", bearer(client_id))
        assert (response.status_code, response.json()["error"]) == (422, "invalid_request")
        assert response.json()["errors"][0]["field"] == "order"

    @pytest.mark.parametrize("order", ["created_at", "start_time"])
    async def test_a_page_is_read_from_an_index_and_progress_only_of_what_runs(
        self, owner: Connection, client_id: UUID, order: Order
    ) -> None:
        await sessions(owner, client_id, 60, start=-120)
        await sessions_begun_at(owner, client_id, NOON + timedelta(days=1))
        await owner.execute("set enable_seqscan = off; set enable_sort = off")
        raw = await owner.fetchval(
            f"explain (analyze, format json) {store._PAGES[order]}", client_id, 50, *_FIRST
        )
        nodes = list(nodes_of(json.loads(raw)[0]["Plan"]))
        assert not {"Sort", "Incremental Sort", "Seq Scan"} & {node["Node Type"] for node in nodes}
        of_sessions = [node for node in nodes if node.get("Relation Name") == "sessions"]
        index = {"created_at": "sessions_by_client", "start_time": "sessions_by_start"}[order]
        assert {node["Index Name"] for node in of_sessions} == {index}
        assert sum(node["Actual Rows"] for node in of_sessions) <= 51
        of_progress = [node for node in nodes if node.get("Relation Name") == "progress"]
        assert [node["Actual Loops"] for node in of_progress] == [1]

    async def test_first_pages_are_read_from_the_index_each(
        self, owner: Connection, client_id: UUID
    ) -> None:
        await sessions(owner, client_id, 60)
        await owner.execute("set enable_seqscan = off; set enable_sort = off")
        raw = await owner.fetchval(
            f"explain (analyze, format json) {store._FIRST_PAGES}",
            [client_id, client_id], [50, 3], *_FIRST,
        )  # fmt: skip
        nodes = list(nodes_of(json.loads(raw)[0]["Plan"]))
        assert not {"Sort", "Incremental Sort", "Seq Scan"} & {node["Node Type"] for node in nodes}
        of_sessions = [node for node in nodes if node.get("Relation Name") == "sessions"]
        assert {node["Index Name"] for node in of_sessions} == {"sessions_by_client"}
        read = sum(node["Actual Rows"] * node["Actual Loops"] for node in of_sessions)
        assert read <= 51 + 4


def nodes_of(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", []):
        yield from nodes_of(part)


class TestAccess:
    async def test_anonymous(self, api: Api, client_id: UUID) -> None:
        response = await api.get(path(client_id))
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")

    async def test_other_client(self, api: Api, client_id: UUID) -> None:
        response = await api.get(path(client_id), bearer(uuid4()))
        assert (response.status_code, response.json()["error"]) == (403, "forbidden")

    @pytest.mark.parametrize("caller", ["operator", "service"])
    async def test_operator_and_service(
        self, api: Api, owner: Connection, client_id: UUID, caller: str
    ) -> None:
        await sessions(owner, client_id, 2)
        headers = getattr(api, caller)
        assert len((await api.get(path(client_id), headers)).json()) == 2
        unknown = await api.get(path(uuid4()), headers)
        assert (unknown.status_code, unknown.json()["error"]) == (404, "client_not_found")

    @pytest.mark.parametrize("client", ["me", "%27%20or%201=1", "00000000", "%00", "..%2F"])
    async def test_ids_that_are_none_are_refused(self, api: Api, client: str) -> None:
        response = await api.get(path(client), api.operator)
        assert response.status_code in {404, 422}
        body: dict[str, Any] = json.loads(response.content)
        assert body["success"] is False
