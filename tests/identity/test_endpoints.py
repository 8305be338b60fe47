"""POST /api/v1/auth/register, as an app calls it."""

from collections.abc import AsyncIterator
from itertools import count
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError
from evpower.identity.endpoints import router
from evpower.identity.supabase_admin import SupabaseAdmin

PATH = "/api/v1/auth/register"
_PHONES = count(1)


@pytest.fixture
async def app(db: Database, admin: SupabaseAdmin) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.include_router(router(db, admin, LocalBus(), confirm="auto"))

    @app.exception_handler(EvPowerError)
    async def render(_: Request, error: Any) -> Response:
        return Response(error.code, error.http_status)

    @app.exception_handler(RequestValidationError)
    async def refuse(_: Request, error: Any) -> Response:
        # FastAPI's own rendering quotes the body, password included; EvPower's must not.
        return Response(" ".join(str(item["loc"][-1]) for item in error.errors()), 422)

    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


def body(**changes: Any) -> dict[str, Any]:
    return {
        "email": f"{uuid4().hex}@Example.kg",
        "password": "correct-horse-7",
        "phone": f"0555 {next(_PHONES):06}",
        **changes,
    }


async def test_the_created_client_is_returned(app: httpx.AsyncClient) -> None:
    sent = body(name="Aida", balance=1_000_000, client_id=str(uuid4()), role="service_role")
    answer = await app.post(PATH, json=sent)
    members = answer.json()
    assert answer.status_code == 201
    assert set(members) == {"success", "client_id", "email", "phone", "confirmation"}
    assert members["confirmation"] == "none"
    assert members["success"] is True
    assert UUID(members["client_id"]) != UUID(sent["client_id"])
    assert members["email"] == sent["email"].lower()
    assert members["phone"] == "+996" + sent["phone"].replace(" ", "")[1:]


async def test_second_registration_is_a_conflict(app: httpx.AsyncClient) -> None:
    sent = body()
    assert (await app.post(PATH, json=sent)).status_code == 201
    again = await app.post(PATH, json=sent)
    assert (again.status_code, again.text) == (409, "email_taken")
    phone = await app.post(PATH, json=body(phone=sent["phone"]))
    assert phone.status_code == 201  # an unverified phone is no conflict


@pytest.mark.parametrize(
    "changes",
    [
        {"email": None},
        {"email": 7},
        {"email": "a" * 400},
        {"password": None},
        {"password": ["x"]},
        {"password": "x" * 2000},
        {"password": "short"},
        {"phone": 996555123456},
        {"phone": "1" * 100},
        {"phone": "call me"},
        {"email": "no-address"},
        {"name": "x" * 201},
        {"name": {"first": "A"}},
    ],
)
async def test_nonsense_is_422(app: httpx.AsyncClient, changes: dict[str, Any]) -> None:
    answer = await app.post(PATH, json=body(**changes))
    assert answer.status_code == 422


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b'{"email": "\\ud800"}']
)
async def test_what_is_no_object_is_422(app: httpx.AsyncClient, raw: bytes) -> None:
    answer = await app.post(PATH, content=raw, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
