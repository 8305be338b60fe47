"""An operator who is a driver too moves no money of the own account: another operator does."""

from typing import Any

import pytest

from evpower.identity import add_operator
from evpower.identity.sign_in.store_accounts import lock_open_review, put_review
from tests.api.operator_scenario import OPERATOR, OperatorApi
from tests.api.scenario import bearer
from tests.charging.place import ChargingPlace

WHY = {"reason": "read on the meter"}


class OwnAccount:
    """A driver with a bill of 120 som, who gets the role finance."""

    def __init__(self, operators: OperatorApi, place: ChargingPlace) -> None:
        self.operators, self.place = operators, place

    async def build(self) -> None:
        self.client = await self.place.driver()
        self.session, transaction = await self.place.charging(self.client)
        self.place.later(30)
        await self.place.stop(transaction, 10_000)
        async with self.operators.db.transaction() as connection:
            await add_operator(
                connection, user_id=self.client, name="Aida", role="finance", actor="test"
            )

    async def refusal(self, method: str, path: str, body: dict[str, Any]) -> str:
        response = await self.operators.http.request(
            method, path, headers=bearer(self.client), json=body
        )
        assert response.status_code == 409, response.text
        answer = response.json()
        return answer.get("error_code") or answer["error"]

    async def balance(self) -> int:
        return (await self.place.money.wallet(self.client))["balance_minor"]

    async def refused_rights(self) -> list[str]:
        async with self.operators.db.connection() as connection:
            rows = await connection.fetch(
                "select actor, details from identity.audit"
                " where action = 'own_account.refused' and subject = $1 order by id",
                f"client:{self.client}",
            )
        assert {row["actor"] for row in rows} <= {f"operator:{self.client}"}
        return [row["details"]["right"] for row in rows]


@pytest.fixture
async def own(operators: OperatorApi, place: ChargingPlace) -> OwnAccount:
    own = OwnAccount(operators, place)
    await own.build()
    return own


async def test_each_act_on_the_own_money_is_refused_and_in_the_audit(own: OwnAccount) -> None:
    before = await own.balance()
    client, session = str(own.client), own.session
    figure = {"energy_kwh": 1, **WHY}
    tariff = {"client_id": client, "valid_from": "2999-01-01T00:00:00Z", "discount_percent": "50"}
    given = await own.operators.call(
        "POST", "/client-tariffs", "finance", json={**tariff, **WHY}, expect=201
    )
    number, ended = given["id"], {"valid_until": "2999-01-02T00:00:00Z", **WHY}
    receipt = {"amount": 5, "reason": "receipt self"}
    tries: list[tuple[str, str, dict[str, Any], str]] = [
        ("PUT", f"/api/v1/admin/clients/{client}/balance", receipt, "client.credit"),
        ("POST", f"{OPERATOR}/sessions/{session}/correction", figure, "session.bill"),
        ("POST", f"{OPERATOR}/quarantine/{session}/decision", figure, "session.bill"),
        ("POST", f"{OPERATOR}/client-tariffs", {**tariff, **WHY}, "tariff.change"),
        ("POST", f"{OPERATOR}/client-tariffs/{number}/end", ended, "tariff.change"),
        (
            "POST",
            f"{OPERATOR}/phone-reviews/decide",
            {"phone": "+996555123456", "owner": client, **WHY},
            "client.phone",
        ),
    ]
    for method, path, body, _ in tries:
        assert await own.refusal(method, path, body) == "own_account", path
    assert await own.refused_rights() == [right for *_, right in tries]
    assert await own.balance() == before
    assert await own.place.bills(session) == [(10_000, 120)]


@pytest.mark.parametrize("status", ["active", "blocked"])
async def test_the_own_account_is_neither_blocked_nor_unblocked_nor_closed(
    own: OwnAccount, status: str
) -> None:
    async with own.operators.db.transaction() as connection:
        await add_operator(
            connection, user_id=own.client, name="Aida", role="operator", actor="test"
        )
        await connection.execute(
            "update identity.clients set status = $2 where id = $1", own.client, status
        )
    clients, admin_pages = f"{OPERATOR}/clients/{own.client}", "/api/v1/admin/clients"
    tries: list[tuple[str, str, str]] = [
        ("POST", f"{clients}/block", "client.block"),
        ("POST", f"{clients}/unblock", "client.block"),
        ("POST", f"{clients}/close", "client.close"),
        ("PUT", f"{admin_pages}/{own.client}/status?status=active", "client.block"),
        ("PUT", f"{admin_pages}/{own.client}/status?status=blocked", "client.block"),
    ]
    for method, path, _ in tries:
        assert await own.refusal(method, path, WHY) == "own_account", path
    assert await own.refused_rights() == [right for *_, right in tries]
    async with own.operators.db.connection() as connection:
        stored = await connection.fetchval(
            "select status from identity.clients where id = $1", own.client
        )
    assert stored == status
    await own.operators.call("POST", f"/clients/{own.client}/unblock", "support", json=WHY)


async def test_what_another_operator_does_for_it_is_done(own: OwnAccount) -> None:
    before = await own.balance()
    path = f"/sessions/{own.session}/correction"
    await own.operators.call("POST", path, "finance", json={"energy_kwh": 9, **WHY})
    assert await own.balance() == before + 1_200
    assert await own.refused_rights() == []


async def test_the_own_bill_may_be_previewed(own: OwnAccount) -> None:
    response = await own.operators.http.post(
        f"{OPERATOR}/sessions/{own.session}/correction/preview",
        headers=bearer(own.client),
        json={"energy_kwh": 9, **WHY},
    )
    assert response.status_code == 200, response.text


@pytest.mark.parametrize("has_another_phone_now", [False, True])
async def test_a_phone_that_the_own_account_claims_is_decided_by_another(
    own: OwnAccount,
    has_another_phone_now: bool,  # noqa: FBT001
) -> None:
    phone = "+996555123456"
    other = await own.place.driver()
    async with own.operators.db.transaction() as connection:
        for client in (own.client, other):
            await connection.execute(
                "update identity.clients set phone = $2 where id = $1", client, phone
            )
        await put_review(
            connection, phone, "claim_with_money", [own.client, other], own.operators.clock()
        )
        if has_another_phone_now:
            await connection.execute(
                "update identity.clients set phone = '+996555123457' where id = $1", own.client
            )
    for owner in (None, str(other)):
        body = {"phone": phone, "owner": owner, **WHY}
        path = f"{OPERATOR}/phone-reviews/decide"
        assert await own.refusal("POST", path, body) == "own_account", owner
    assert await own.refused_rights() == ["client.phone"] * 2
    async with own.operators.db.connection() as connection:
        assert await lock_open_review(connection, phone) is not None


async def test_a_phone_that_the_own_account_claims_since_is_decided_by_another(
    own: OwnAccount,
) -> None:
    phone = "+996555123456"
    other = await own.place.driver()
    async with own.operators.db.transaction() as connection:
        await put_review(connection, phone, "claim_with_money", [other], own.operators.clock())
        await connection.execute(
            "update identity.clients set phone = $2 where id = $1", own.client, phone
        )
    body = {"phone": phone, "owner": None, **WHY}
    assert await own.refusal("POST", f"{OPERATOR}/phone-reviews/decide", body) == "own_account"
