"""Operators find, block, unblock and close clients: who may, what is written down, what follows."""

from typing import Any
from uuid import UUID, uuid4

import pytest

from evpower.foundation.db import Connection
from evpower.foundation.errors import Forbidden
from evpower.identity import add_operator, remove_operator, require_active
from evpower.identity.model import OperatorRole
from tests.api.scenario import Api, bearer

CLIENTS = "/api/v1/operator/clients"
ACTS = ["block", "unblock", "close"]
WHY = {"reason": "chargeback, call 4711"}


async def new_client(owner: Connection, **columns: Any) -> UUID:
    client = uuid4()
    await owner.execute(
        "insert into identity.clients (id, origin, email, phone) values ($1, 'import', $2, $3)",
        client,
        columns.get("email"),
        columns.get("phone"),
    )
    return client


async def give_role(api: Api, user: UUID, role: OperatorRole) -> None:
    async with api.db.transaction() as connection:
        await add_operator(connection, user_id=user, name="Bek", role=role, actor="test")


async def take_role(api: Api, user: UUID) -> None:
    async with api.db.transaction() as connection:
        await remove_operator(connection, user_id=user, actor="test")


async def audit(owner: Connection, client_id: UUID) -> list[tuple[str, str | None]]:
    rows = await owner.fetch(
        "select action, reason from identity.audit where subject = $1 order by id", str(client_id)
    )
    return [(row["action"], row["reason"]) for row in rows]


@pytest.mark.parametrize("act", ACTS)
class TestWhoMayAct:
    async def test_anonymous(self, api: Api, client_id: UUID, act: str) -> None:
        response = await api.post(f"{CLIENTS}/{client_id}/{act}", json=WHY)
        assert (response.status_code, response.json()["error"]) == (401, "missing_token")

    async def test_the_client_itself(self, api: Api, client_id: UUID, act: str) -> None:
        response = await api.post(f"{CLIENTS}/{client_id}/{act}", bearer(client_id), json=WHY)
        assert (response.status_code, response.json()["error"]) == (403, "forbidden")

    @pytest.mark.parametrize("caller", ["service", "operator"])
    async def test_a_service_key_and_a_viewer(
        self, api: Api, owner: Connection, client_id: UUID, act: str, caller: str
    ) -> None:
        headers = getattr(api, caller)
        response = await api.post(f"{CLIENTS}/{client_id}/{act}", headers, json=WHY)
        assert (response.status_code, response.json()["error"]) == (403, "forbidden")
        assert await audit(owner, client_id) == []


class TestRolesThatChange:
    """With no time between: the clock of these nodes stands still."""

    @pytest.mark.parametrize("act", ACTS)
    async def test_a_removed_operator_acts_no_more(
        self, api: Api, owner: Connection, client_id: UUID, act: str
    ) -> None:
        user = uuid4()
        await give_role(api, user, "operator")
        response = await api.get(CLIENTS, bearer(user), params={"q": str(client_id)})
        assert response.status_code == 200
        await take_role(api, user)
        response = await api.post(f"{CLIENTS}/{client_id}/{act}", bearer(user), json=WHY)
        assert (response.status_code, response.json()["error"]) == (403, "forbidden")
        assert await audit(owner, client_id) == []

    async def test_a_removed_operator_reads_no_client(self, api: Api, client_id: UUID) -> None:
        user = uuid4()
        await give_role(api, user, "viewer")
        assert (await api.get(f"/api/v1/balance/{client_id}", bearer(user))).status_code == 200
        await take_role(api, user)
        for path in (f"{CLIENTS}?q={client_id}", f"/api/v1/balance/{client_id}"):
            assert (await api.get(path, bearer(user))).status_code == 403

    async def test_a_viewer_who_was_an_operator_acts_no_more(
        self, api: Api, client_id: UUID
    ) -> None:
        user = uuid4()
        await give_role(api, user, "operator")
        await api.get(CLIENTS, bearer(user), params={"q": str(client_id)})
        await give_role(api, user, "viewer")
        response = await api.post(f"{CLIENTS}/{client_id}/block", bearer(user), json=WHY)
        assert response.status_code == 403

    async def test_a_new_operator_acts_at_once(self, api: Api, client_id: UUID) -> None:
        user = uuid4()
        refused = await api.get(CLIENTS, bearer(user), params={"q": str(client_id)})
        assert refused.status_code == 403
        await give_role(api, user, "operator")
        response = await api.post(f"{CLIENTS}/{client_id}/block", bearer(user), json=WHY)
        assert response.status_code == 200
        assert (await api.get(f"/api/v1/balance/{client_id}", bearer(user))).status_code == 200


class TestActs:
    async def test_a_blocked_client_reads_and_moves_no_money(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        response = await api.post(f"{CLIENTS}/{client_id}/block", api.manager, json=WHY)
        assert (response.status_code, response.json()["status"]) == (200, "blocked")
        with pytest.raises(Forbidden, match="blocked"):
            await require_active(owner, client_id)
        balance = await api.get(f"/api/v1/balance/{client_id}", bearer(client_id))
        assert balance.status_code == 200
        assert await audit(owner, client_id) == [("client.block", WHY["reason"])]

    async def test_unblocking_lets_the_client_spend_again(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        await api.post(f"{CLIENTS}/{client_id}/block", api.manager, json=WHY)
        response = await api.post(f"{CLIENTS}/{client_id}/unblock", api.manager, json=WHY)
        assert response.json()["status"] == "active"
        assert (await require_active(owner, client_id)).status == "active"

    async def test_closing_frees_the_contacts_and_is_final(
        self, api: Api, owner: Connection
    ) -> None:
        client = await new_client(owner, email="a@example.kg", phone="+996555000001")
        response = await api.post(f"{CLIENTS}/{client}/close", api.manager, json=WHY)
        assert response.json()["status"] == "closed"
        await new_client(owner, email="a@example.kg", phone="+996555000001")
        for act in ("block", "unblock"):
            response = await api.post(f"{CLIENTS}/{client}/{act}", api.manager, json=WHY)
            assert (response.status_code, response.json()["error"]) == (409, "client_closed")

    async def test_the_audit_names_the_operator(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        await api.post(f"{CLIENTS}/{client_id}/block", api.manager, json=WHY)
        row = await owner.fetchrow(
            "select actor, details from identity.audit where subject = $1", str(client_id)
        )
        assert row is not None
        assert row["actor"].startswith("operator:")
        assert "Aida" in row["details"]

    @pytest.mark.parametrize("body", [{}, {"reason": ""}, {"reason": "   "}, {"reason": "x" * 501}])
    async def test_no_act_without_a_reason(
        self, api: Api, owner: Connection, client_id: UUID, body: dict[str, str]
    ) -> None:
        response = await api.post(f"{CLIENTS}/{client_id}/block", api.manager, json=body)
        assert response.status_code == 422
        assert await audit(owner, client_id) == []

    @pytest.mark.parametrize("act", ACTS)
    async def test_an_unknown_client(self, api: Api, act: str) -> None:
        response = await api.post(f"{CLIENTS}/{uuid4()}/{act}", api.manager, json=WHY)
        assert (response.status_code, response.json()["error"]) == (404, "client_not_found")


class TestFind:
    @pytest.mark.parametrize("how", ["id", "email", "phone", "typed phone"])
    async def test_by_what_is_at_hand(self, api: Api, owner: Connection, how: str) -> None:
        client = await new_client(owner, email="find@example.kg", phone="+996555000002")
        await new_client(owner, email="other@example.kg", phone="+996555000003")
        query = {
            "id": str(client),
            "email": "Find@Example.kg",
            "phone": "+996555000002",
            "typed phone": "0555 000 002",
        }[how]
        response = await api.get(CLIENTS, api.operator, params={"q": query})
        assert [row["client_id"] for row in response.json()] == [str(client)]

    async def test_a_closed_client_comes_after_the_one_who_has_the_contact_now(
        self, api: Api, owner: Connection
    ) -> None:
        before = await new_client(owner, email="same@example.kg")
        await api.post(f"{CLIENTS}/{before}/close", api.manager, json=WHY)
        now = await new_client(owner, email="same@example.kg")
        response = await api.get(CLIENTS, api.operator, params={"q": "same@example.kg"})
        assert [row["client_id"] for row in response.json()] == [str(now), str(before)]

    async def test_no_one_has_it(self, api: Api) -> None:
        for query in (str(uuid4()), "unknown@example.kg"):
            response = await api.get(CLIENTS, api.operator, params={"q": query})
            assert (response.status_code, response.json()) == (200, [])

    async def test_what_is_no_contact(self, api: Api) -> None:
        response = await api.get(CLIENTS, api.operator, params={"q": "12"})
        assert (response.status_code, response.json()["error"]) == (422, "invalid_request")

    @pytest.mark.parametrize("caller", ["service", "client"])
    async def test_who_may_not(self, api: Api, client_id: UUID, caller: str) -> None:
        headers = api.service if caller == "service" else bearer(client_id)
        response = await api.get(CLIENTS, headers, params={"q": str(client_id)})
        assert (response.status_code, response.json()["error"]) == (403, "forbidden")
