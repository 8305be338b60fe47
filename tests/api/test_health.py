"""Alive, ready, counted, documented."""

import base64
import hashlib
import re
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY, Gauge

from evpower.api import health
from evpower.api.errors import ErrorForms
from evpower.api.legacy import CODED_ERRORS, PLAIN_ERRORS
from evpower.foundation.db import Connection, Database
from tests.api.scenario import Api, bearer, running_api
from tests.api.stations_scenario import Site
from tests.old_api.golden_answers import assert_golden, folder_of
from tests.waiting import WAIT_LIMIT_S


class Supabase:
    """A probe that can be turned."""

    def __init__(self) -> None:
        self.answers: bool | Exception = True
        self.calls = 0

    async def __call__(self) -> bool:
        self.calls += 1
        if isinstance(self.answers, Exception):
            raise self.answers
        return self.answers


class TestReadiness:
    async def test_ready(self, db: Database) -> None:
        async with running_api(db, supabase=Supabase()) as api:
            response = await api.get("/readyz")
        assert (response.status_code, response.json()) == (
            200,
            {
                "status": "ready",
                "database": "ok",
                "load": "ok",
                "supabase": "ok",
                "bus": "local",
                "loops": "ok",
                "version": "0",
            },
        )

    @pytest.mark.parametrize("answer", [False, ConnectionError("refused"), TimeoutError()])
    async def test_supabase_down_is_degraded_not_unready(self, db: Database, answer: Any) -> None:
        supabase = Supabase()
        supabase.answers = answer
        async with running_api(db, supabase=supabase) as api:
            response = await api.get("/readyz")
        assert (response.status_code, response.json()["supabase"]) == (200, "degraded")

    @pytest.mark.parametrize(("connected", "state"), [(True, "ok"), (False, "degraded")])
    async def test_a_bus_that_is_away_is_degraded_not_unready(
        self, db: Database, *, connected: bool, state: str
    ) -> None:
        async with running_api(db, supabase=Supabase(), bus_connected=lambda: connected) as api:
            response = await api.get("/readyz")
        assert (response.status_code, response.json()["bus"]) == (200, state)

    async def test_supabase_is_asked_once_in_ten_seconds(self, db: Database) -> None:
        supabase = Supabase()
        async with running_api(db, supabase=supabase) as api:
            for _ in range(5):
                await api.get("/readyz")
            assert supabase.calls == 1
            api.now_s.at_s += 11
            await api.get("/readyz")
        assert supabase.calls == 2

    async def test_a_database_that_is_behind_is_unready(self, api: Api, owner: Connection) -> None:
        await owner.execute(
            "delete from public.evpower_migrations where version ="
            " (select max(version) from public.evpower_migrations)"
        )
        response = await api.get("/readyz")
        assert (response.status_code, response.json()["database"]) == (503, "behind")
        answer = response.json()
        assert (answer["status"], answer["error"]) == ("not_ready", "database_behind")

    async def test_a_database_of_an_unreleased_edition_is_unready(
        self, api: Api, owner: Connection
    ) -> None:
        await owner.execute("update public.evpower_migrations set sha256 = 'x'")
        response = await api.get("/readyz")
        assert (response.status_code, response.json()["database"]) == (503, "unreleased")

    async def test_a_newer_database_keeps_an_older_process_ready(
        self, api: Api, owner: Connection
    ) -> None:
        await owner.execute("insert into public.evpower_migrations values ('9999_after', 'x')")
        response = await api.get("/readyz")
        assert (response.status_code, response.json()["database"]) == (200, "ok")

    async def test_a_database_that_is_gone_is_unready_but_the_process_lives(self, api: Api) -> None:
        assert (await api.get("/readyz")).status_code == 200
        await api.db.close()
        api.now_s.at_s += 2
        response = await api.get("/readyz")
        assert (response.status_code, response.json()["database"]) == (503, "down")
        assert response.json()["error"] == "database_down"
        assert (await api.get("/healthz")).json() == {"status": "alive"}


class TestOldHealth:
    async def test_root_has_the_old_members(self, db: Database) -> None:
        async with running_api(db, public_url="https://ocpp.example.kg") as api:
            answer = (await api.get("/")).json()
        assert answer["websocket_urls"] == [
            "wss://ocpp.example.kg/ws/{station_id}",
            "wss://ocpp.example.kg/ocpp/{station_id}",
        ]
        texts = ("service", "description", "health_check", "version", "protocol", "note")
        assert all(isinstance(answer[name], str) for name in texts)

    async def test_health_has_the_old_members_and_counts_stations(self, api: Api) -> None:
        site = Site(api.db, api.clock)
        await site.ready("EVP-1")
        await site.add("EVP-2")
        response = await api.get("/health")
        answer = response.json()
        assert response.status_code == 200
        assert (answer["status"], answer["redis"]) == ("healthy", "connected")
        assert answer["connected_stations"] == 1
        assert len(answer["endpoints"]) == 3
        forced = (await api.get("/health-force")).json()
        assert (forced["rw_test"], forced["ping_result"]) == ("ok", True)
        assert forced.keys() - answer.keys() == {"rw_test", "ping_result"}

    async def test_it_is_200_also_without_a_database(self, api: Api) -> None:
        await api.db.close()
        for path in ("/health", "/health-force"):
            response = await api.get(path)
            assert (response.status_code, response.json()["status"]) == (200, "unhealthy")
            assert response.json()["error"] == "database_unavailable"
            assert_golden(f"{folder_of(path)}/unhealthy", response)
            assert "postgres" not in response.text

    async def test_it_is_asked_anew_once_in_a_second_at_most(
        self, api: Api, owner: Connection
    ) -> None:
        async def connected() -> int:
            return (await api.get("/health-force")).json()["connected_stations"]

        site = Site(api.db, api.clock)
        await site.ready("EVP-1")
        assert await connected() == 1
        await owner.execute("update stations.sockets set last_frame_at = now() - interval '1 h'")
        assert await connected() == 1
        api.now_s.at_s += 1
        assert await connected() == 0

    async def test_health_is_not_counted_as_a_request(self, db: Database) -> None:
        async with running_api(db, rate_per_minute=2) as api:
            answers = [await api.get("/health") for _ in range(10)]
        assert {answer.status_code for answer in answers} == {200}


class TestMetrics:
    async def test_requests_are_counted_by_route_never_by_path(
        self, api: Api, client_id: UUID
    ) -> None:
        await api.get(f"/api/v1/balance/{client_id}", bearer(client_id))
        await api.get("/some/strange/path")
        text = (await api.get("/metrics")).text
        assert (
            'evpower_http_requests_total{method="GET",route="/api/v1/balance/{client_id}",status="200"}'
            in text
        )
        assert 'evpower_http_requests_total{method="GET",route="unmatched",status="404"}' in text
        assert str(client_id) not in text
        assert "/some/strange/path" not in text

    async def test_gauges_are_refreshed_at_the_scrape_and_a_broken_one_hides_nothing(
        self, db: Database, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(health, "_COLLECT_TIMEOUT_S", WAIT_LIMIT_S)
        gauge = Gauge("evpower_test_clients", "Clients, for this test")

        async def broken() -> None:
            raise RuntimeError("no")

        async def refresh() -> None:
            async with db.connection() as connection:
                gauge.set(await connection.fetchval("select 42"))

        try:
            async with running_api(db, collectors=[broken, refresh]) as api:
                response = await api.get("/metrics")
        finally:
            REGISTRY.unregister(gauge)
        assert (response.status_code, "evpower_test_clients 42.0" in response.text) == (200, True)

    async def test_a_token_guards_them_when_there_is_one(self, db: Database) -> None:
        async with running_api(db, metrics_token="prometheus-reads-this") as api:
            refused = await api.get("/metrics")
            wrong = await api.get("/metrics", {"Authorization": "Bearer no"})
            right = await api.get("/metrics", {"Authorization": "Bearer prometheus-reads-this"})
        assert (refused.status_code, wrong.status_code, right.status_code) == (401, 401, 200)


class TestDocumentation:
    async def test_the_page_may_run_its_own_script_and_no_other(self, api: Api) -> None:
        response = await api.get("/docs")
        csp = response.headers["content-security-policy"]
        [inline] = re.findall(r"<script>(.*?)</script>", response.text)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in csp
        script_src = next(part for part in csp.split("; ") if part.startswith("script-src"))
        assert "unsafe-inline" not in script_src

    async def test_the_page_loads_nothing_from_elsewhere(self, api: Api) -> None:
        page = (await api.get("/docs")).text
        wanted = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert wanted
        assert [address for address in wanted if not address.startswith(("/", "data:"))] == []
        for path in wanted:
            if path.startswith("/docs/"):
                assert (await api.get(path)).status_code == 200
        assert (await api.get("/docs/../pyproject.toml")).status_code == 404
        assert (await api.get("/docs/redoc.standalone.js")).status_code == 404

    async def test_the_document_is_served(self, api: Api) -> None:
        document = (await api.get("/openapi.json")).json()
        assert "/api/v1/charging/sync-history" in document["paths"]

    async def test_every_answer_of_an_error_has_the_form_of_its_path(self, api: Api) -> None:
        forms = ErrorForms(PLAIN_ERRORS, CODED_ERRORS)
        document = (await api.get("/openapi.json")).json()
        for path, methods in document["paths"].items():
            for operation in methods.values():
                for status, response in operation["responses"].items():
                    if path.startswith("/api/") and status >= "400":
                        form = "problem+json" if forms.of(path) == "problem" else "json"
                        assert list(response["content"]) == [f"application/{form}"], path

    async def test_a_small_page_says_what_this_is(self, api: Api) -> None:
        assert (await api.get("/")).json()["service"] == "evpower"
