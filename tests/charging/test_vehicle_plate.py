"""The plate of the vehicle: optional, in one form, absent wherever it is unknown."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from evpower.foundation.db import Connection
from tests.api.scenario import Api, bearer
from tests.charging.test_sync_history import report, send

PLATE = "01KG123ABC"


async def shown(api: Api, client_id: UUID, order: str = "created_at") -> dict[str, Any]:
    """Returns the client's only session as a history shows it."""
    path = f"/api/v1/charging/history/{client_id}?order={order}"
    (session,) = (await api.get(path, bearer(client_id))).json()
    return session


class TestReported:
    async def test_a_plate_that_is_too_long_is_refused_by_its_characters(
        self, api: Api, client_id: UUID
    ) -> None:
        response = await send(api, report(client_id, vehicle_plate="A" * 17))
        [error] = response.json()["errors"]
        assert "at most 16 characters" in str(error)

    @pytest.mark.parametrize("order", ["created_at", "start_time"])
    async def test_both_histories_show_it(self, api: Api, client_id: UUID, order: str) -> None:
        await send(api, report(client_id, vehicle_plate=PLATE))
        assert (await shown(api, client_id, order))["vehicle_plate"] == PLATE

    async def test_an_unknown_one_is_absent(self, api: Api, client_id: UUID) -> None:
        assert (await send(api, report(client_id))).status_code == 201
        assert "vehicle_plate" not in await shown(api, client_id)

    @pytest.mark.parametrize(
        ("reported", "stored"),
        [
            ("01kg123abc", PLATE),
            ("  01 kg  123 abc ", "01 KG 123 ABC"),
            ("\uff10\uff11\uff2b\uff27\uff11\uff12\uff13\uff21\uff22\uff23", PLATE),  # full width
            ("01\u00a0KG", "01 KG"),  # a no-break space
            ("\u0430123\u0432\u044177", "\u0410123\u0412\u042177"),
            ("京A12345", "京A12345"),
            ('"A|B"\\', '"A|B"\\'),
            ("X" * 16, "X" * 16),
        ],
    )
    async def test_it_is_stored_in_one_form(
        self, api: Api, client_id: UUID, reported: str, stored: str
    ) -> None:
        assert (await send(api, report(client_id, vehicle_plate=reported))).status_code == 201
        assert (await shown(api, client_id))["vehicle_plate"] == stored

    @pytest.mark.parametrize(
        "reported",
        [
            "X" * 17,
            "ﷺ",  # one character, eighteen in its compatibility form
            "",
            "   ",
            "01KG\n123",
            "01KG\t123",
            "01KG\x7f",
            "01KG\u200b123",  # invisible
            "\u202e01KG",  # turns the text round
            "\ud800",
            None,
            123,
            [PLATE],
        ],
    )
    async def test_what_is_no_plate_is_refused_and_named(
        self, api: Api, owner: Connection, client_id: UUID, reported: object
    ) -> None:
        response = await send(api, report(client_id, vehicle_plate=reported))
        assert response.status_code == 422
        assert response.json()["error"] == "invalid_request"
        assert [error["field"] for error in response.json()["errors"]] == ["vehicle_plate"]
        assert await owner.fetchval("select count(*) from charging.sessions") == 0

    async def test_a_plate_with_a_null_character_is_refused(
        self, api: Api, client_id: UUID
    ) -> None:
        response = await send(api, report(client_id, vehicle_plate="01KG\x00"))
        assert response.status_code in {400, 422}


class TestReportedAgain:
    async def test_the_same_in_another_spelling_changes_nothing(
        self, api: Api, client_id: UUID
    ) -> None:
        body = report(client_id, vehicle_plate=PLATE)
        await send(api, body)
        again = await send(api, {**body, "vehicle_plate": " 01kg123abc"})
        assert (again.status_code, again.json()["created"]) == (200, False)

    async def test_a_report_without_it_says_nothing_of_it(self, api: Api, client_id: UUID) -> None:
        body = report(client_id, vehicle_plate=PLATE)
        await send(api, body)
        del body["vehicle_plate"]
        assert (await send(api, body)).status_code == 200
        assert (await shown(api, client_id))["vehicle_plate"] == PLATE

    @pytest.mark.parametrize("first", [{}, {"vehicle_plate": "01KG999XYZ"}])
    async def test_another_one_is_a_conflict(
        self, api: Api, client_id: UUID, first: dict[str, str]
    ) -> None:
        body = report(client_id, **first)
        await send(api, body)
        response = await send(api, {**body, "vehicle_plate": PLATE})
        assert (response.status_code, response.json()["error"]) == (409, "session_conflict")
        assert response.json()["detail"].endswith("another vehicle_plate")
        assert (await shown(api, client_id)).get("vehicle_plate") == first.get("vehicle_plate")

    @pytest.mark.parametrize("at", ["start", "end"])
    async def test_it_may_come_with_the_start_or_the_end(
        self, api: Api, client_id: UUID, at: str
    ) -> None:
        ended = report(client_id)
        started = {**ended, "status": "started", "end_time": None, "total_cost": 0}
        plate = {"vehicle_plate": PLATE}
        await send(api, started | (plate if at == "start" else {}))
        response = await send(api, ended | (plate if at == "end" else {}))
        assert response.status_code == 200
        session = await shown(api, client_id)
        assert (session["status"], session["vehicle_plate"]) == ("stopped", PLATE)


class TestStored:
    @pytest.mark.parametrize("plate", ["", "X" * 17])
    async def test_the_database_refuses_what_is_none(
        self, api: Api, owner: Connection, client_id: UUID, plate: str
    ) -> None:
        await send(api, report(client_id, status="started", end_time=None))
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute("update charging.sessions set vehicle_plate = $1", plate)

    async def test_a_finished_session_keeps_it(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        await send(api, report(client_id, vehicle_plate=PLATE))
        with pytest.raises(asyncpg.CheckViolationError, match="its facts stay"):
            await owner.execute("update charging.sessions set vehicle_plate = null")
