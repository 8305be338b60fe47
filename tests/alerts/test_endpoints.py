"""Operators list alerts and take them up: /api/v1/operator/alerts."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from pydantic import SecretStr

from evpower.alerts import AlertKind, CallGuard, close_alert, open_alert
from evpower.alerts.endpoints import alert_router
from evpower.foundation.db import Database
from evpower.foundation.paging import write_cursor
from evpower.identity import Access, operator_call
from evpower.identity.tokens import TokenVerifier
from evpower.stations.operator_commands import CommandPlace
from tests.api.scenario import ISSUER, SECRET, Api, bearer, running_api
from tests.waiting import patient_http

ALERTS = "/api/v1/operator/alerts"
NOON = datetime(2026, 12, 1, 6, tzinfo=UTC)


@pytest.fixture
async def api(db: Database) -> AsyncIterator[Api]:
    async with patient_http() as http:
        verifier = TokenVerifier(issuer_url=ISSUER, http=http, hs256_secret=SecretStr(SECRET))
        access = Access(db, verifier)
        router = alert_router(
            db,
            lambda: NOON,
            may_read=CallGuard(access.may("read"), operator_call("read")),
            may_act=CallGuard(access.may("alert.act"), operator_call("alert.act")),
        )
        async with running_api(db, [router]) as api:
            yield api


async def opened(db: Database, kind: AlertKind, subject: str) -> int:
    async with db.transaction() as connection:
        await open_alert(connection, kind, subject, {"station": "EVP-001"}, NOON)
        return await connection.fetchval("select max(id) from alerts.alerts")


async def listed(api: Api, **query: Any) -> Any:
    response = await api.get(ALERTS, api.operator, params=query)
    assert response.status_code == 200, response.text
    return response.json()


class TestWhoMay:
    async def test_anonymous(self, api: Api) -> None:
        assert (await api.get(ALERTS)).status_code == 401
        assert (await api.post(f"{ALERTS}/1/acknowledge", json={})).status_code == 401

    async def test_a_driver_and_a_service_key(self, api: Api, client_id: UUID) -> None:
        for caller in (bearer(client_id), api.service):
            assert (await api.get(ALERTS, caller)).status_code == 403
            assert (await api.get(f"{ALERTS}/1", caller)).status_code == 403
            acted = await api.post(f"{ALERTS}/1/acknowledge", caller, json={})
            assert acted.status_code == 403

    async def test_a_viewer_reads_and_takes_nothing_up(self, api: Api, db: Database) -> None:
        alert_id = await opened(db, "stop_not_obeyed", "S1")
        assert (await api.get(f"{ALERTS}/{alert_id}", api.operator)).status_code == 200
        acted = await api.post(f"{ALERTS}/{alert_id}/acknowledge", api.operator, json={})
        assert acted.status_code == 403


async def test_an_alert_has_the_facts_of_its_kind(api: Api, db: Database) -> None:
    alert_id = await opened(db, "stop_not_obeyed", "S1")
    shown = (await api.get(f"{ALERTS}/{alert_id}", api.operator)).json()
    assert shown == {
        "id": alert_id,
        "kind": "stop_not_obeyed",
        "severity": "grave",
        "subject": "S1",
        "title": "The car goes on after the second stop",
        "act": "What it takes is billed. Stop it at the post, or restart the station when nothing "
        "else charges.",
        "detail": {"station": "EVP-001"},
        "count": 1,
        "opened_at": "2026-12-01T06:00:00Z",
        "last_seen_at": "2026-12-01T06:00:00Z",
        "closed_at": None,
        "acknowledged_at": None,
        "acknowledged_by": None,
        "note": None,
    }
    assert (await listed(api))["items"] == [shown]


async def test_pages_follow_each_other(api: Api, db: Database) -> None:
    for number in range(5):
        await opened(db, "stop_unmatched", f"S{number}")
    subjects: list[list[str]] = []
    after: dict[str, str] = {}
    for _ in range(3):
        page = await listed(api, limit=2, **after)
        subjects.append([alert["subject"] for alert in page["items"]])
        after = {"cursor": page["next"]}
    assert subjects == [["S4", "S3"], ["S2", "S1"], ["S0"]]
    assert after == {"cursor": None}


async def test_they_are_filtered(api: Api, db: Database) -> None:
    await opened(db, "stop_unmatched", "S1")
    await opened(db, "loop_overdue", "relay")
    await opened(db, "stop_unmatched", "S2")
    async with db.transaction() as connection:
        await close_alert(connection, "stop_unmatched", "S2", NOON)

    async def subjects(**query: Any) -> list[str]:
        return [alert["subject"] for alert in (await listed(api, **query))["items"]]

    assert await subjects() == ["relay", "S1"]
    assert await subjects(state="all") == ["S2", "relay", "S1"]
    assert await subjects(severity="grave") == ["relay"]
    assert await subjects(kind="stop_unmatched", severity="grave") == []
    assert await subjects(kind="stop_unmatched") == ["S1"]
    assert await subjects(subject="S1") == ["S1"]
    for query in ({"kind": "stop_unmatchd"}, {"kind": "stop_unmatchd", "severity": "grave"}):
        refused = await api.get(ALERTS, api.operator, params=query)
        assert refused.status_code == 422
        assert "stop_unmatched" in refused.json()["detail"]


async def test_a_kind_that_another_evpower_stored_is_a_filter(api: Api, db: Database) -> None:
    async with db.transaction() as connection:
        await connection.execute(
            """
            insert into alerts.alerts (kind, subject, detail, opened_at, last_seen_at)
            values ('of_another', 'S1', '{}', $1, $1)
            """,
            NOON,
        )
    for query in ({}, {"severity": "warning"}):
        [alert] = (await listed(api, kind="of_another", **query))["items"]
        assert (alert["kind"], alert["severity"]) == ("of_another", "warning")
    assert (await listed(api, kind="of_another", severity="grave"))["items"] == []


async def test_an_operator_takes_an_alert_up(api: Api, db: Database) -> None:
    alert_id = await opened(db, "stop_unmatched", "S1")
    path = f"{ALERTS}/{alert_id}/acknowledge"
    stored = (await api.post(path, api.manager, json={"note": " Bek drives there "})).json()
    assert stored["acknowledged_at"] == "2026-12-01T06:00:00Z"
    assert stored["acknowledged_by"].startswith("operator:")
    assert (stored["note"], stored["closed_at"]) == ("Bek drives there", None)
    assert (await listed(api))["items"] == [stored]


async def test_what_is_closed_or_unknown_is_not_taken_up(api: Api, db: Database) -> None:
    alert_id = await opened(db, "stop_unmatched", "S1")
    async with db.transaction() as connection:
        await close_alert(connection, "stop_unmatched", "S1", NOON)
    refused = await api.post(f"{ALERTS}/{alert_id}/acknowledge", api.manager, json={})
    assert (refused.status_code, refused.json()["error"]) == (409, "alert_closed")
    unknown = await api.post(f"{ALERTS}/{alert_id + 1}/acknowledge", api.manager, json={})
    assert (unknown.status_code, unknown.json()["error"]) == (404, "alert_not_found")


@pytest.mark.parametrize(
    "query", [{"limit": 0}, {"limit": 501}, {"severity": "bad"}, {"state": "x"},
              {"subject": "a\x00b"}],
)  # fmt: skip
async def test_a_query_that_makes_no_sense_is_refused(api: Api, query: dict[str, Any]) -> None:
    response = await api.get(ALERTS, api.operator, params=query)
    assert (response.status_code, response.json()["error"]) == (422, "invalid_request")


async def test_a_cursor_of_another_list_is_refused(api: Api) -> None:
    for cursor in ("x", write_cursor(CommandPlace(1))):
        response = await api.get(ALERTS, api.operator, params={"cursor": cursor})
        assert (response.status_code, response.json()["error"]) == (422, "invalid_cursor")


@pytest.mark.parametrize(
    "body", [{"note": ""}, {"note": "x" * 501}, {"more": 1}, {"note": "a\x00"}]
)
async def test_a_note_that_makes_no_sense_is_refused(
    api: Api, db: Database, body: dict[str, Any]
) -> None:
    alert_id = await opened(db, "stop_unmatched", "S1")
    refused = await api.post(f"{ALERTS}/{alert_id}/acknowledge", api.manager, json=body)
    assert refused.status_code == 422
