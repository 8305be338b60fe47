"""GET /api/v1/operator/reports/daily."""

import csv
import io
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from evpower.foundation.db import Connection, Database
from evpower.identity import Access
from evpower.identity.tokens import TokenVerifier
from evpower.reports.endpoints import report_router
from tests.api.scenario import ISSUER, SECRET, Api, bearer, running_api
from tests.reports.books import FIRST, NOW, Books
from tests.waiting import patient_http

DAILY = "/api/v1/operator/reports/daily"


@pytest.fixture
async def api(db: Database) -> AsyncIterator[Api]:
    async with patient_http() as http:
        verifier = TokenVerifier(issuer_url=ISSUER, http=http, hs256_secret=SecretStr(SECRET))
        router = report_router(Access(db, verifier), db, lambda: NOW)
        async with running_api(db, [router]) as api:
            yield api


async def posted(db: Database, owner: Connection) -> None:
    books = Books(db, owner)
    client = await books.money.topped_up(100_000)
    await books.session(client, "S1", 1_250, 4_000, owner="Aida")
    await books.at(3_600)


async def test_who_may_read_it(api: Api, client_id: UUID) -> None:
    assert (await api.get(DAILY)).status_code == 401
    for caller in (bearer(client_id), api.service):
        assert (await api.get(DAILY, caller)).status_code == 403
    assert (await api.get(DAILY, api.operator)).status_code == 200


async def test_a_day_as_json(api: Api, db: Database, owner: Connection) -> None:
    await posted(db, owner)
    response = await api.get(DAILY, api.operator, params={"date": FIRST.isoformat()})
    report = response.json()
    figures = {
        "energy_wh": 4_000, "sessions": 1, "free_sessions": 0, "quarantined_sessions": 0,
        "charged_minor": 1_250, "debts_collected_minor": 0, "refunded_minor": 0,
        "revenue_minor": 1_250, "uptime": None, "unbilled_tail_wh": 0, "outside_charges": 0,
        "outside_wh": 0,
    }  # fmt: skip
    assert report == {
        "date": "2026-03-10",
        "time_zone": "Asia/Bishkek",
        "begins_at": "2026-03-09T18:00:00Z",
        "ends_at": "2026-03-10T18:00:00Z",
        "is_complete": True,
        "currency": "KGS",
        "total": figures,
        "stations": [{"station_id": "S1", "location_id": None, "owner": None, **figures}],
        "locations": [{"location_id": None, "name": None, **figures}],
        "owners": [{"owner": "Aida", **figures}],
    }


async def test_a_day_as_csv(api: Api, db: Database, owner: Connection) -> None:
    await posted(db, owner)
    query = {"date": FIRST.isoformat(), "format": "csv"}
    response = await api.get(DAILY, api.operator, params=query)
    assert response.headers["content-type"].startswith("text/csv")
    assert "evpower-2026-03-10.csv" in response.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(response.text)))
    assert [(row["scope"], row["revenue_som"]) for row in rows] == [
        ("total", "12.50"), ("station", "12.50"), ("location", "12.50"), ("owner", "12.50"),
    ]  # fmt: skip


async def test_without_a_date_it_is_the_last_day_that_is_over(api: Api) -> None:
    report = (await api.get(DAILY, api.operator)).json()
    assert report["date"] == (NOW.date() - timedelta(days=1)).isoformat()
    assert report["is_complete"]


@pytest.mark.parametrize(
    "query",
    [{"date": "2026-02-30"}, {"date": "tomorrow"}, {"date": "2026-05-02"}, {"date": "1999-12-31"},
     {"date": "9999-12-31"}, {"format": "pdf"}],
)  # fmt: skip
async def test_a_day_that_makes_no_sense_is_refused(api: Api, query: dict[str, Any]) -> None:
    response = await api.get(DAILY, api.operator, params=query)
    assert (response.status_code, response.json()["error"]) == (422, "invalid_request")
