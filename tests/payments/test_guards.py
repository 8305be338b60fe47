"""The database refuses wrong changes of payments, by its owner in psql too, also through NULLs."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from evpower.foundation.bus import LocalBus
from evpower.foundation.db import Connection, Database
from evpower.payments.confirm import Confirmer
from tests.payments.conftest import payment
from tests.payments.test_confirm import event

APPROVE = (
    "update payments.payments set status = 'approved', paid_minor = {paid},"
    " confirmed_at = {at}, credited_ref = {ref}"
)


@pytest.mark.parametrize(
    ("paid", "at", "ref"),
    [
        ("null", "now()", "'r'"),
        ("amount_minor - 1", "now()", "'r'"),
        ("0", "now()", "'r'"),
        ("amount_minor", "null", "'r'"),
        ("amount_minor", "now()", "null"),
    ],
)
async def test_only_what_was_paid_in_full_by_a_reference_is_approved(
    owner: Connection, client_id: UUID, paid: str, at: str, ref: str
) -> None:
    await payment(owner, client_id)
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute(APPROVE.format(paid=paid, at=at, ref=ref))


@pytest.mark.parametrize(
    ("columns", "values"),
    [("provider_ref", "null"), ("provider_ref, credited_ref", "'receipt', 'r'")],
)
async def test_cash_has_a_receipt_and_no_provider_s_reference(
    owner: Connection, client_id: UUID, columns: str, values: str
) -> None:
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute(
            "insert into payments.payments (invoice_id, order_id, client_id, provider, method,"
            f" amount_minor, status, paid_minor, confirmed_at, expires_at, {columns}) values"
            " ('inv-01', 'inv-01', $1, 'manual', 'cash', 5, 'approved', 5, now(), now(),"
            f" {values})",
            client_id,
        )


@pytest.mark.parametrize(
    "change",
    [
        "order_id = 'another order'",
        "invoice_id = 'another invoice'",
        "provider_ref = 'another'",
        "provider_ref = null",
        "amount_minor = 1",
        "provider = 'odengi'",
        "client_id = gen_random_uuid()",
        "attempt_of = id",
    ],
)
@pytest.mark.parametrize("is_credited", [True, False])
async def test_the_identity_of_a_payment_stays(
    db: Database,
    owner: Connection,
    client_id: UUID,
    change: str,
    is_credited: bool,  # noqa: FBT001
) -> None:
    order = await payment(owner, client_id, provider_ref="ref")
    if is_credited:
        await Confirmer(db, LocalBus()).confirm(event(order, provider_ref="ref"))
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute(f"update payments.payments set {change}")


async def test_references_of_open_payments_are_not_swapped(
    owner: Connection, client_id: UUID
) -> None:
    for ref in ("one", "two"):
        await payment(owner, client_id, provider_ref=ref)
    swap = (
        "update payments.payments p set {0} = o.{0} || '.' from payments.payments o"
        " where o.id <> p.id"
    )
    for column in ("provider_ref", "order_id"):
        with pytest.raises(asyncpg.CheckViolationError):
            await owner.execute(swap.format(column))


@pytest.mark.parametrize(
    "change",
    [
        "credited_ref = 'second'",
        "credited_ref = null",
        "paid_minor = null",
        "paid_minor = 1",
        "confirmed_at = null",
        "confirmed_at = now() - interval '1 day'",
        "status = 'processing'",
        "status = 'canceled'",
    ],
)
async def test_what_was_credited_stays(
    db: Database, owner: Connection, client_id: UUID, change: str
) -> None:
    await Confirmer(db, LocalBus()).confirm(event(await payment(owner, client_id)))
    with pytest.raises(asyncpg.CheckViolationError):
        await owner.execute(f"update payments.payments set {change}")


@pytest.mark.parametrize("known_as", [None, "r"])
async def test_a_reference_is_credited_once_for_a_provider(
    owner: Connection, client_id: UUID, known_as: str | None
) -> None:
    first = await payment(owner, client_id, provider_ref=known_as)
    other = await payment(owner, client_id)
    approve = APPROVE.format(paid="amount_minor", at="now()", ref="'r'") + " where order_id = $1"
    await owner.execute(approve, first)
    with pytest.raises(asyncpg.UniqueViolationError):
        await owner.execute(approve, other)


async def indexed(owner: Connection, table: str) -> list[Any]:
    rows = await owner.fetch(
        "select indkey::text, indpred is not null as partial, indexprs is not null as computed"
        " from pg_index where indrelid = $1::regclass and indisunique",
        table,
    )
    return [tuple(row) for row in rows if not row["partial"] and not row["computed"]]


@pytest.mark.parametrize("schema", ["payments", "charging", "wallet"])
async def test_nothing_is_unique_twice(owner: Connection, schema: str) -> None:
    tables = await owner.fetch(
        "select oid::regclass::text from pg_class where relkind = 'r'"
        " and relnamespace = $1::regnamespace",
        schema,
    )
    for table in tables:
        keys = await indexed(owner, table[0])
        assert len(keys) == len(set(keys)), table[0]
