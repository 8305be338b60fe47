"""Each operator's call, tried by each role, a driver, another system and a stranger."""

import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from evpower.foundation.db import Database
from evpower.identity import RIGHTS, ROLES
from evpower.identity.model import OperatorRole
from tests.api.operator_scenario import OPERATOR, OperatorApi, running_operator_api
from tests.api.scenario import Headers, bearer
from tests.conftest import Server, patient_database
from tests.contracts.answers import code_of
from tests.contracts.document import document

OF_OPERATORS = (f"{OPERATOR}/", "/api/v1/admin/")
CALLS: list[tuple[str, str, dict[str, Any]]] = sorted(
    (
        (method.upper(), path, operation)
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
        if path.startswith(OF_OPERATORS)
    ),
    key=lambda call: call[:2],
)
EACH = pytest.mark.parametrize(
    ("method", "path", "operation"), CALLS, ids=[f"{method} {path}" for method, path, _ in CALLS]
)
# What a path needs where any text would be refused before its role is.
NOTHING = "00000000-0000-4000-8000-000000000000"


@pytest.fixture(scope="module")
async def operators(server: Server) -> AsyncIterator[OperatorApi]:
    """One application for all: what the calls are given exists nowhere."""
    db = patient_database(await server.new_database())
    await db.start()
    async with running_operator_api(db) as api:
        yield api
    await db.close()


async def try_call(api: OperatorApi, method: str, path: str, headers: Headers) -> tuple[int, str]:
    """Calls it with what exists nowhere and a body that says nothing."""
    address = re.sub(r"{[^}]+}", NOTHING, path)
    body = None if method in {"GET", "DELETE"} else {}
    response = await api.http.request(method, address, headers=headers, json=body)
    return response.status_code, code_of(response) if response.status_code >= 400 else ""


def test_every_call_names_a_right_of_the_table() -> None:
    rights = {operation.get("x-evpower-right") for _, _, operation in CALLS}
    assert rights <= set(RIGHTS)


@EACH
def test_the_document_says_who_may(method: str, path: str, operation: dict[str, Any]) -> None:
    del method, path
    roles = RIGHTS[operation["x-evpower-right"]].roles
    assert operation["x-evpower-roles"] == [role for role in ROLES if role in roles]
    assert operation["security"] == [{"supabaseToken": []}]


@EACH
@pytest.mark.parametrize("role", ROLES)
async def test_only_the_roles_of_its_right_may_call(
    operators: OperatorApi,
    method: str,
    path: str,
    operation: dict[str, Any],
    role: OperatorRole,
) -> None:
    status, code = await try_call(operators, method, path, operators.headers(role))
    if role in RIGHTS[operation["x-evpower-right"]].roles:
        assert status not in {401, 403, 405}
        assert status < 500
    else:
        assert (status, code) == (403, "forbidden")


@EACH
@pytest.mark.parametrize("caller", ["driver", "service", "stranger"])
async def test_who_is_no_operator_may_call_nothing(
    operators: OperatorApi, method: str, path: str, operation: dict[str, Any], caller: str
) -> None:
    del operation
    driver: UUID = uuid4()
    headers = {"driver": bearer(driver), "service": operators.service, "stranger": {}}[caller]
    refused = (401, "missing_token") if caller == "stranger" else (403, "forbidden")
    assert await try_call(operators, method, path, headers) == refused


async def test_a_role_that_changed_counts_at_once(db: Database) -> None:
    async with running_operator_api(db) as api:
        path = f"/clients/{uuid4()}/block"
        why = {"reason": "chargeback, call 4711"}
        await api.call("POST", path, "support", json=why, expect=404)
        async with db.transaction() as connection:
            await connection.execute(
                "update identity.operators set role = 'viewer' where user_id = $1",
                api.users["support"],
            )
        await api.call("POST", path, "support", json=why, expect=403)


async def test_each_call_is_of_the_test(operators: OperatorApi) -> None:
    """The calls of the document are those of the application."""
    served = {
        (method.upper(), path)
        for path, methods in operators.app.openapi()["paths"].items()
        for method in methods
        if path.startswith(OF_OPERATORS)
    }
    assert served == {(method, path) for method, path, _ in CALLS}
