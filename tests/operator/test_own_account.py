"""An operator who is a driver too moves no money of the own account: another operator does."""

import json
from pathlib import Path
from typing import Any

import pytest

from evpower.foundation.db import Connection
from evpower.identity import RIGHTS, add_operator
from evpower.identity.sign_in.store_accounts import lock_open_review, put_review
from tests.api.operator_scenario import OPERATOR, OperatorApi
from tests.api.scenario import bearer
from tests.charging.place import ChargingPlace

OPENAPI = Path(__file__).parents[2] / "docs" / "openapi.json"
WHY = {"reason": "read on the meter"}
# Acts of those who move money that name no account: prices for all, what is compared.
OF_NO_ACCOUNT = {
    ("post", f"{OPERATOR}/reconciliations"),
    ("post", f"{OPERATOR}/tariff-assignments"),
    ("post", f"{OPERATOR}/tariffs/{{plan}}/versions"),
    ("post", f"{OPERATOR}/tariffs/{{plan}}/versions/{{version}}/activate"),
}


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


def test_each_act_of_those_who_move_money_refuses_the_own_account() -> None:
    money = {right for right, grant in RIGHTS.items() if grant.roles == {"finance"}}
    paths = json.loads(OPENAPI.read_text("utf-8"))["paths"]
    without = {
        (method, path)
        for path, calls in paths.items()
        for method, call in calls.items()
        if call.get("x-evpower-right") in money
        and "own_account" not in call["responses"].get("409", {}).get("description", "")
    }
    assert without == OF_NO_ACCOUNT


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


PAYMENT = """
with payment as (
  insert into payments.payments (invoice_id, order_id, client_id, provider, provider_ref, method,
    amount_minor, expires_at)
  values ('evp-i-0001', 'qr_topup_I', $1, 'odengi', 'bill', 'qr', 5000, now())
  returning id
), second as (
  insert into payments.events (provider, event_id, body_sha256, payment_id, order_id, provider_ref,
    status, paid_minor, outcome, review)
  select 'odengi', 'e', sha256('e'), id, 'qr_topup_I', 'second', 'approved', 5000, 'review',
    'paid_twice' from payment
) select id from payment
"""
CREDITED = """
update payments.payments set status = 'approved', paid_minor = amount_minor, confirmed_at = now(),
  closed_at = now(), credited_ref = 'credited' where id = $1
"""
DIFFERENCE = """
with run as (
  insert into payments.reconciliations (provider, kind, source, since, until, actor, started_at,
    finished_at, ours_count, ours_minor, ours_returned_minor, theirs_count, theirs_minor,
    theirs_returned_minor, difference_count)
  values ('odengi', 'daily', 'list', now() - interval '1 day', now(), 'test', now(), now(), 0, 0, 0,
    1, 5000, 0, 1) returning id
)
insert into payments.differences (provider, subject, kind, payment_id, order_id, reference,
  currency, theirs_currency, theirs_status, ours_minor, theirs_minor, ours_returned_minor,
  theirs_returned_minor, at, found_at, first_run, last_run)
select 'odengi', 'd', 'missing_at_ours', $1, $2, $3, 'KGS', 'KGS', 'approved', 0, 5000, 0, 0,
  now(), now(), id, id from run returning id
"""


@pytest.mark.parametrize(
    ("is_known", "order_id", "reference"),
    [
        (True, None, "elsewhere"),
        (False, "qr_topup_I", "elsewhere"),
        (False, None, "bill"),
        (False, None, "credited"),
        (False, None, "second"),
    ],
    ids=["its payment", "its order", "its bill", "its credit", "a second payment in review"],
)
async def test_a_difference_about_the_own_payment_is_decided_by_another(
    own: OwnAccount,
    owner: Connection,
    is_known: bool,  # noqa: FBT001
    order_id: str | None,
    reference: str,
) -> None:
    async with owner.transaction():
        payment = await owner.fetchval(PAYMENT, own.client)
        await owner.execute(CREDITED, payment)
        await owner.execute("select wallet.credit($1)", payment)
    difference = await owner.fetchval(
        DIFFERENCE, payment if is_known else None, order_id, reference
    )
    path = f"/payment-differences/{difference}/decide"
    for decision in ("ask", "review", "explained"):
        body = {"decision": decision, **WHY}
        assert await own.refusal("POST", f"{OPERATOR}{path}", body) == "own_account", decision
    assert await own.refused_rights() == ["payment.decide"] * 3
    assert await own.operators.acts(f"difference:{difference}") == []
    decided = await own.operators.call(
        "POST", path, "finance", json={"decision": "explained", **WHY}
    )
    assert decided["difference"]["decision"] == "explained"


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
