"""A stored response is for who may act now: the role is judged anew at each repeat."""

from uuid import UUID, uuid4

import httpx
import pytest

from evpower.identity import add_operator, remove_operator
from evpower.identity.model import OperatorRole
from tests.api.operator_scenario import OPERATOR, OperatorApi
from tests.api.scenario import bearer

ROLE = {"name": "Bek", "role": "support", "reason": "new shift"}
KEY = {"Idempotency-Key": "k-1"}


async def give(operators: OperatorApi, user: UUID, role: OperatorRole | None) -> None:
    async with operators.db.transaction() as connection:
        if role is None:
            await remove_operator(connection, user_id=user, actor="test")
        else:
            await add_operator(connection, user_id=user, name="Aida", role=role, actor="test")


def is_replayed(response: httpx.Response) -> bool:
    return response.headers.get("idempotent-replayed") == "true"


@pytest.mark.parametrize("role", ["viewer", "finance", None])
async def test_a_repeat_is_refused_once_the_role_is_lost(
    operators: OperatorApi, role: OperatorRole | None
) -> None:
    path = f"/operators/{uuid4()}"
    first = await operators.answer("PUT", path, json=ROLE, headers=KEY)
    assert first.status_code == 200
    await give(operators, operators.users["admin"], role)
    refused = await operators.answer("PUT", path, json=ROLE, headers=KEY)
    assert (refused.status_code, refused.json()["error"]) == (403, "forbidden")
    assert not is_replayed(refused)
    if role is None:
        return  # for 30 s the process takes the user for a driver
    await give(operators, operators.users["admin"], "admin")
    again = await operators.answer("PUT", path, json=ROLE, headers=KEY)
    assert (again.content, is_replayed(again)) == (first.content, True)


@pytest.mark.usefixtures("place")
async def test_a_repeat_takes_each_role_that_its_request_took(operators: OperatorApi) -> None:
    """A configuration is changed by operators; support may send commands, but not this one."""
    path = "/stations/S1/commands"
    wanted = {
        "action": "change_configuration",
        "arguments": {"key": "HeartbeatInterval", "value": "60"},
        "reason": "too many heartbeats",
    }
    sent = {"headers": KEY, "json": wanted}
    first = await operators.answer("POST", path, "operator", **sent)
    assert first.status_code == 202, first.text
    await give(operators, operators.users["operator"], "support")
    assert (await operators.answer("POST", path, "operator", **sent)).status_code == 403
    await give(operators, operators.users["operator"], "admin")
    assert is_replayed(await operators.answer("POST", path, "operator", **sent))


async def test_an_act_of_a_new_operator_is_done_once(operators: OperatorApi) -> None:
    """The process may hold a new operator for a driver at first; the key is the same user's."""
    user, path = uuid4(), f"{OPERATOR}/operators/{uuid4()}"
    await operators.call("GET", "/stations")  # the operators are cached without the new one
    await give(operators, user, "admin")
    headers = bearer(user) | KEY
    first = await operators.http.put(path, headers=headers, json=ROLE)
    again = await operators.http.put(path, headers=headers, json=ROLE)
    assert first.status_code == 200
    assert (again.content, is_replayed(again)) == (first.content, True)
