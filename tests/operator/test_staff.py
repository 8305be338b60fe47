"""Roles are given by administrators, and every act can be read."""

from uuid import uuid4

from tests.api.operator_scenario import OPERATOR, OperatorApi
from tests.api.scenario import bearer

ROLE = {"name": "Bek", "role": "support", "reason": "new shift"}


async def test_a_role_is_given_changed_and_taken(operators: OperatorApi) -> None:
    user = uuid4()
    path = f"/operators/{user}"
    assert (await operators.call("PUT", path, json=ROLE))["role"] == "support"
    listed = await operators.http.get(f"{OPERATOR}/stations", headers=bearer(user))
    assert listed.status_code == 200
    await operators.call("PUT", path, json=ROLE | {"role": "finance"})
    [first, second] = (await operators.call("GET", "/audit", params={"subject": str(user)}))[
        "items"
    ]
    assert first["details"] == {"name": "Bek", "role": "finance", "role_before": "support"}
    assert second["details"]["role_before"] is None
    await operators.call("DELETE", path, params={"reason": "left"}, expect=204)
    await operators.call("DELETE", path, params={"reason": "left"}, expect=404)
    refused = await operators.http.get(f"{OPERATOR}/stations", headers=bearer(user))
    assert refused.status_code == 403


async def test_the_own_role_is_not_given(operators: OperatorApi) -> None:
    own = f"/operators/{operators.users['admin']}"
    refused = await operators.call("PUT", own, json=ROLE | {"role": "finance"}, expect=409)
    assert refused["error"] == "own_role"
    await operators.call("DELETE", own, params={"reason": "left"}, expect=409)


async def test_the_audit_is_read_page_by_page(operators: OperatorApi) -> None:
    users = [uuid4() for _ in range(3)]
    for user in users:
        await operators.call("PUT", f"/operators/{user}", json=ROLE)
    actor = f"operator:{operators.users['admin']}"
    query = {"actor": actor, "action": "operator.add", "limit": 2}
    page = await operators.call("GET", "/audit", "finance", params=query)
    rest = await operators.call("GET", "/audit", params=query | {"cursor": page["next"]})
    seen = [act["subject"] for act in (*page["items"], *rest["items"])]
    assert seen == [str(user) for user in reversed(users)]
    assert rest["next"] is None
