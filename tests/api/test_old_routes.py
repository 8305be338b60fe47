"""The table of old routes: it is what is mounted, what the page shows, what responses say."""

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

import pytest
from fastapi.routing import APIRoute
from prometheus_client import REGISTRY

from evpower.api.legacy.old_routes import CARD_PATHS, DEPRECATED_ON, OLD_ROUTES, TableRow
from evpower.bootstrap.modules import assemble
from evpower.bootstrap.server import openapi
from evpower.config import Settings
from evpower.payments import OLD_NOTICE_PATHS
from tests.api.charging_scenario import STATION
from tests.api.scenario import Api, bearer

PAGE: Final = Path(__file__).parents[2] / "docs" / "old-api.md"
# Routes of the slice that no older backend had.
NEW: Final = {("GET", "/api/v1/charging/active")}
DEPRECATED: Final = [row for row in OLD_ROUTES if row.is_deprecated]


def mounted() -> set[tuple[str, str]]:
    return {
        (method.upper(), path) for path, methods in openapi()["paths"].items() for method in methods
    } | {("POST", path) for path in OLD_NOTICE_PATHS}  # the document does not show them


def test_every_row_is_mounted_once() -> None:
    rows = [(row.method, row.path) for row in OLD_ROUTES]
    assert len(rows) == len(set(rows))
    assert set(rows) - mounted() == set()


def test_every_route_of_the_old_api_has_its_row() -> None:
    settings = Settings(_env_file=None, env="development")
    legacy = next(module for module in assemble(settings).modules if module.name == "legacy")
    of_the_slice = {
        (method, route.path)
        for router in legacy.routers
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods
    }
    of_the_older_family = {
        (method, path) for method, path in mounted() if re.match(r"/api/(?!v1/)", path)
    }
    rows = {(row.method, row.path) for row in OLD_ROUTES}
    of_push = {row for row in mounted() if re.match("/api/v1/(devices|notifications)/", row[1])}
    assert (of_the_slice | of_the_older_family | of_push) - rows - NEW == set()


def test_every_deprecated_route_names_a_mounted_successor() -> None:
    paths = {path for _, path in mounted()}
    assert {row.path for row in DEPRECATED if row.successor not in paths} == set()


def test_the_page_shows_the_table() -> None:
    shown = re.findall(r"^\| `(GET|POST|PUT|DELETE) (/\S*)` \| ([^|]*) \| ([^|]*) \| ([^|]*) \|$",
                       PAGE.read_text("utf-8"), re.MULTILINE)  # fmt: skip
    assert [tuple(cell.strip() for cell in row) for row in shown] == [
        _shown(row) for row in OLD_ROUTES
    ]


def _shown(row: TableRow) -> tuple[str, ...]:
    successor = f"`{row.successor}`" if row.successor else ""
    since = DEPRECATED_ON.isoformat() if row.is_deprecated else ""
    return row.method, row.path, row.callers, successor, since


def of(row: TableRow) -> str:
    return re.sub(r"\{[^}]*\}", "some%20id", row.path)


@pytest.mark.parametrize("row", DEPRECATED, ids=lambda row: f"{row.method} {row.path}")
async def test_responses_of_deprecated_routes_say_so(api: Api, row: TableRow) -> None:
    for headers in ({}, {"Authorization": "Bearer nonsense"}):
        response = await api.http.request(row.method, of(row), headers=headers)
        at = datetime.combine(DEPRECATED_ON, datetime.min.time(), UTC)
        assert response.headers["deprecation"] == f"@{int(at.timestamp())}"
        assert parsedate_to_datetime(response.headers["sunset"]) > at
        assert row.successor is not None
        successor = re.sub(r"\{[^}]*\}", "some%20id", row.successor)
        assert response.headers["link"] == f'<{successor}>; rel="successor-version"'
        assert response.headers["x-correlation-id"] == response.headers["x-request-id"]


async def test_responses_of_other_routes_do_not(api: Api) -> None:
    for path in ("/readyz", f"/api/v1/station/status/{STATION}", "/api/v1/locations", "/nothing"):
        response = await api.get(path)
        assert "deprecation" not in response.headers
        assert "sunset" not in response.headers


async def test_head_requests_say_so_too(api: Api) -> None:
    response = await api.http.head(f"/api/station/status/{STATION}")
    assert "sunset" in response.headers


async def test_refusals_before_routing_say_so_too(api: Api) -> None:
    response = await api.post("/api/charging/start", content=b"x" * 300_000)
    assert (response.status_code, "sunset" in response.headers) == (413, True)


async def test_each_is_counted_by_whether_a_credential_was_sent(api: Api) -> None:
    client = await api.new_client()

    def count(token: str) -> float:
        labels = {
            "family": "mobile", "method": "GET", "route": "/api/balance/{client_id}",
            "token": token,
        }  # fmt: skip
        return REGISTRY.get_sample_value("evpower_old_requests_total", labels) or 0.0

    before = count("yes"), count("no")
    await api.get(f"/api/balance/{client}", bearer(client))
    await api.get(f"/api/balance/{client}")
    await api.get(f"/api/balance/{client}")
    assert (count("yes"), count("no")) == (before[0] + 1, before[1] + 2)


class TestCards:
    BODY: Final = {
        "client_id": "x", "amount": 100, "card_pan": "4111111111111111", "card_cvv": "123",
        "card_name": "A B", "card_year": "29", "card_month": "01", "email": "a@b.kg",
    }  # fmt: skip

    @pytest.mark.parametrize("path", CARD_PATHS)
    async def test_are_refused_in_the_form_of_their_family(self, api: Api, path: str) -> None:
        response = await api.post(path, json=self.BODY)
        answer = response.json()
        assert response.status_code == (409 if path.startswith("/api/v1/") else 200)
        assert answer["success"] is False
        code = answer["error_code"]
        assert code in {"card_not_available", "h2h_not_available", "token_not_available"}
        assert (answer["error"] == code) == (not path.startswith("/api/v1/"))

    @pytest.mark.parametrize("path", CARD_PATHS)
    @pytest.mark.parametrize("body", [b"", b"nonsense", b'{"a": 1, "a": NaN}', b"\x00" * 2000])
    async def test_no_body_changes_the_answer(self, api: Api, path: str, body: bytes) -> None:
        usual = await api.post(path, json=self.BODY)
        other = await api.post(path, content=body)
        assert (other.status_code, other.json()) == (usual.status_code, usual.json())

    @pytest.mark.parametrize("path", CARD_PATHS)
    async def test_nothing_is_stored_for_a_key(self, api: Api, path: str) -> None:
        client = await api.new_client()
        headers = {**bearer(client), "Idempotency-Key": "card-1"}
        first = await api.post(path, headers, json=self.BODY)
        second = await api.post(path, headers, json={**self.BODY, "card_cvv": "124"})
        assert first.status_code == second.status_code
        async with api.db.connection() as connection:
            keys = "select count(*) from foundation.idempotency_keys where key = 'card-1'"
            assert await connection.fetchval(keys) == 0

    async def test_nothing_is_logged(self, api: Api, caplog: pytest.LogCaptureFixture,
                                     capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
        for path in CARD_PATHS:
            await api.post(f"{path}?card_token=tok-4111", json=self.BODY)
        written = "".join(capsys.readouterr()) + caplog.text
        assert "4111" not in written
