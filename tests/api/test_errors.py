"""Every error leaves as a problem, in the caller's language, and tells nothing it should not."""

import ast
import re
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import APIRouter
from prometheus_client import REGISTRY

from evpower.api import messages
from evpower.api.errors import ErrorForms
from evpower.foundation.db import Database
from evpower.foundation.errors import Conflict, EvPowerError, Unavailable
from evpower.identity.jwks import Jwks, UnreadKey
from tests.api.scenario import Api, bearer, running_api
from tests.contracts.answers import code_of

KEY = ec.generate_private_key(ec.SECP256R1())
ROUTE = "/api/v1/balance/{client_id}"
SRC = Path(__file__).parents[2] / "src" / "evpower"
KINDS = {
    "EvPowerError",
    "Invalid",
    "Unauthenticated",
    "Forbidden",
    "NotFound",
    "Conflict",
    "Unavailable",
    "TopUpFailure",
}


def failing_router(db: Database) -> APIRouter:
    routes = APIRouter(prefix="/api/v1/test")
    raised: dict[str, Exception] = {
        "bug": RuntimeError("the secret is sb_secret_123"),
        "down": Unavailable("database_unavailable", retry_after_s=2),
        "conflict": Conflict("session_conflict", "seen with other facts"),
        "unheard": EvPowerError("never_heard_of", status=409),
    }

    @routes.get("/raise/{name}")
    async def fail(name: str) -> None:
        raise raised[name]

    @routes.post("/store")
    async def store(text: str) -> Any:
        async with db.connection() as connection:
            return await connection.fetchval("select $1::text", text)

    @routes.get("/number/{number}")
    async def number(number: int) -> Any:
        async with db.connection() as connection:
            return await connection.fetchval("select $1::bigint", number)

    return routes


@pytest.fixture
async def api(db: Database) -> Any:
    async with running_api(db, [failing_router(db)]) as api:
        yield api


class TestProblems:
    async def test_all_members_are_there(self, api: Api, client_id: UUID) -> None:
        response = await api.get(f"/api/v1/charging/history/{client_id}?limit=0", bearer(client_id))
        body = response.json()
        assert response.headers["content-type"] == "application/problem+json"
        assert body.pop("message")
        assert body.pop("detail").startswith("limit: ")
        assert body == {
            "type": "urn:evpower:problem:invalid_request", "title": "Unprocessable Content",
            "status": 422, "success": False, "error": "invalid_request",
            "errors": [{"field": "limit", "problem": "Input should be greater than or equal to 1"}],
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("accepted", "language", "text"),
        [
            (None, "ru", "Ничего не найдено."),
            ("ky", "ky", "Эч нерсе табылган жок."),
            ("en-GB,ru;q=0.5", "en", "Nothing was found here."),
            ("de, *;q=0.1", "ru", "Ничего не найдено."),
            ("en;q=0.1, ky-KG;q=0.9", "ky", "Эч нерсе табылган жок."),
            ("en;q=nonsense," * 500, "ru", "Ничего не найдено."),
        ],
    )
    async def test_the_message_is_in_the_callers_language(
        self, api: Api, accepted: str | None, language: str, text: str
    ) -> None:
        response = await api.get("/nowhere", {"Accept-Language": accepted or ""})
        assert (response.status_code, code_of(response)) == (404, "not_found")
        assert response.json()["message"] == text
        assert response.headers["content-language"] == language

    async def test_a_wrong_method_names_the_right_ones(self, api: Api, client_id: UUID) -> None:
        response = await api.http.delete(f"/api/v1/balance/{client_id}")
        assert (response.status_code, code_of(response)) == (405, "method_not_allowed")
        assert response.headers["allow"] == "GET, HEAD, OPTIONS"

    async def test_a_trailing_slash_is_another_path(self, api: Api, client_id: UUID) -> None:
        response = await api.get(f"/api/v1/balance/{client_id}/", bearer(client_id))
        assert response.status_code == 404

    async def test_a_bug_tells_the_request_id_and_nothing_else(
        self, api: Api, capsys: pytest.CaptureFixture[str]
    ) -> None:
        response = await api.get("/api/v1/test/raise/bug", {"X-Request-ID": "phone-12345"})
        assert response.status_code == 500
        assert response.json() == {
            "type": "urn:evpower:problem:internal_error", "title": "Internal Server Error",
            "status": 500,
            "detail": "the request failed unexpectedly", "success": False,
            "error": "internal_error",
            "message": "Внутренняя ошибка. Мы уже разбираемся.", "request_id": "phone-12345",
        }  # fmt: skip
        assert response.headers["x-request-id"] == "phone-12345"
        logged = capsys.readouterr().out
        assert "request_failed" in logged
        assert "RuntimeError" in logged

    async def test_unavailable_says_when_to_try_again(self, api: Api) -> None:
        response = await api.get("/api/v1/test/raise/down")
        assert (response.status_code, response.headers["retry-after"]) == (503, "2")

    async def test_a_code_without_a_text_gets_that_of_its_status(self, api: Api) -> None:
        response = await api.get("/api/v1/test/raise/unheard", {"Accept-Language": "en"})
        assert response.json()["message"] == messages.LANGUAGES["en"]["conflict"]

    async def test_a_closed_database_is_503(self, api: Api, client_id: UUID) -> None:
        headers = bearer(client_id)
        await api.get(f"/api/v1/balance/{client_id}", headers)
        await api.db.close()
        response = await api.get(f"/api/v1/balance/{client_id}", headers)
        assert (response.status_code, code_of(response)) == (503, "database_unavailable")


class TestOldPaths:
    async def test_the_sentence_is_in_error_and_the_code_beside_it(
        self, api: Api, client_id: UUID
    ) -> None:
        headers = {"Accept-Language": "en", **bearer(client_id)}
        response = await api.get(f"/api/v1/balance/{uuid4()}", headers)
        assert response.status_code == 403
        assert response.headers["content-type"] == "application/json"
        assert response.headers["content-language"] == "en"
        sentence = messages.LANGUAGES["en"]["forbidden"]
        assert response.json() == {
            "success": False, "error": sentence, "message": sentence, "error_code": "forbidden",
            "detail": "this belongs to another client",
        }  # fmt: skip

    async def test_the_gateways_own_refusals_have_the_same_form(
        self, api: Api, client_id: UUID
    ) -> None:
        refused = await api.get(f"/api/v1/balance/{client_id}%00", bearer(client_id))
        assert refused.headers["content-type"] == "application/json"
        assert refused.json()["error_code"] == "invalid_request"

    def test_a_template_stands_for_one_segment(self) -> None:
        forms = ErrorForms(["/api/v1/balance/{client_id}", "/a.b"], ["/api/balance/{client_id}"])
        assert forms.of("/api/v1/balance/x") == "sentence"
        assert forms.of("/api/v1/balance/{client_id}") == "sentence"
        assert forms.of("/a.b") == "sentence"
        assert forms.of("/api/balance/x") == "code"
        for path in ("/api/v1/balance/", "/api/v1/balance/x/y", "/api/v1/balance/x/", "/axb"):
            assert forms.of(path) == "problem"
        assert ErrorForms().of("") == "problem"


class TestWhatNoColumnHolds:
    @pytest.mark.parametrize("query", ["text=a%00b", "text=%ED%A0%80"])
    async def test_a_text_that_cannot_be_stored_is_never_500(self, api: Api, query: str) -> None:
        assert (await api.post(f"/api/v1/test/store?{query}")).status_code in {200, 422}

    async def test_a_nul_in_json_is_refused_before_any_route(self, api: Api) -> None:
        headers = {**api.service, "Content-Type": "application/json"}
        for body, status in ((rb'{"a":"\u0000"}', 422), (rb'{"a":"\\\u0000"}', 422)):
            response = await api.post("/api/v1/charging/sync-history", headers, content=body)
            assert response.status_code == status
            assert "NUL" in response.json()["detail"]
        text = await api.post("/api/v1/charging/sync-history", headers, content=rb'{"a":"\\u0000"}')
        assert "NUL" not in text.json()["detail"]

    async def test_a_number_too_large_for_its_column_is_422(self, api: Api) -> None:
        assert (await api.get(f"/api/v1/test/number/{2**63}")).status_code == 422
        assert issubclass(asyncpg.NumericValueOutOfRangeError, asyncpg.DataError)


class TestAlarm:
    """What alarms by `5..` must not be set off by a stranger's made-up key id."""

    @staticmethod
    def counted(status: str) -> float:
        labels = {"method": "GET", "route": ROUTE, "status": status}
        return REGISTRY.get_sample_value("evpower_http_requests_total", labels) or 0.0

    @pytest.mark.parametrize("fast", [True, False])
    async def test_a_key_not_read_yet_is_counted_apart(
        self, api: Api, client_id: UUID, monkeypatch: pytest.MonkeyPatch, *, fast: bool
    ) -> None:
        async def unread(_self: Jwks, _kid: str) -> None:
            raise UnreadKey(3)

        monkeypatch.setattr(Jwks, "find", unread)
        token = jwt.encode({}, KEY, "ES256", headers={"kid": "new"})
        before = [self.counted(status) for status in ("503", "503_expected")]
        path = f"/api/v1/balance/{client_id}{'' if fast else '?x=1'}"
        refused = await api.get(path, {"Authorization": f"Bearer {token}"})
        assert (refused.status_code, code_of(refused)) == (503, "auth_unavailable")
        assert refused.headers["retry-after"] == "3"
        after = [self.counted(status) for status in ("503", "503_expected")]
        assert after == [before[0], before[1] + 1]

    async def test_a_large_token_is_called_that(self, api: Api, client_id: UUID) -> None:
        token = "A" * 9_000
        refused = await api.get(
            f"/api/v1/balance/{client_id}", {"Authorization": f"Bearer {token}"}
        )
        assert (refused.status_code, code_of(refused)) == (431, "token_too_large")


class TestCatalogs:
    def test_every_code_raised_has_its_three_texts(self) -> None:
        missing = {
            (language, code)
            for code in codes_raised()
            for language, texts in messages.LANGUAGES.items()
            if code not in texts
        }
        assert missing == set()

    def test_the_catalogs_have_the_same_codes_and_placeholders(self) -> None:
        shapes = [
            {code: set(re.findall(r"\{(\w+)\}", text)) for code, text in texts.items()}
            for texts in messages.LANGUAGES.values()
        ]
        assert shapes[0] == shapes[1] == shapes[2]


def codes_raised() -> set[str]:
    """The code in every call of an error's kind in src, or of one that is handed the kind."""
    codes: set[str] = set()
    for path in SRC.rglob("*.py"):
        if "devstack" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                row = [node.func, *node.args]
                codes.update(
                    code.value
                    for kind, code in pairwise(row)
                    if _name(kind) in KINDS
                    and isinstance(code, ast.Constant)
                    and isinstance(code.value, str)
                )
    return codes


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
