"""The balance and the history, as the apps read them."""

import json
from datetime import UTC, datetime
from uuid import uuid4

from evpower import wallet
from evpower.foundation.db import Database
from evpower.wallet.statement import first_statements, statement
from tests.wallet.scenario import NOON, Scenario


async def test_history_pages_from_the_newest(db: Database, scenario: Scenario) -> None:
    client = await scenario.client()
    ids = [await scenario.payment(client, 100 + n) for n in range(7)]
    async with db.connection() as connection:
        await wallet.credit_many(connection, ids)
        first, before = await statement(connection, client, 3)
        second, before_second = await statement(connection, client, 3, before)
        last, end = await statement(connection, client, 3, before_second)
        exact, exact_end = await statement(connection, client, 7)
    versions = [[row["version"] for row in json.loads(page)] for page in (first, second, last)]
    assert versions == [[7, 6, 5], [4, 3, 2], [1]]
    assert (before, before_second, end, exact_end) == (5, 2, None, None)
    assert len(json.loads(exact)) == 7


async def test_rows_have_the_keys_of_supabase(db: Database, scenario: Scenario) -> None:
    client = await scenario.client()
    payment = await scenario.payment(client, 12_345)
    await scenario.sql.execute("select wallet.credit($1)", payment)
    settlement = await scenario.charged(client, 2_350)
    given = await scenario.refund_order(client, 50, settlement_id=settlement)
    returned = await scenario.refund_order(client, 1_000, payment_id=payment)
    for refund in (given, returned):
        await scenario.sql.execute("select wallet.refund($1)", refund)
    invoice = await scenario.sql.fetchval("select invoice_id from payments.payments")
    session = str(await scenario.sql.fetchval("select id from charging.sessions"))
    async with db.connection() as connection:
        page, _ = await statement(connection, client, 50)
    rows = json.loads(page)[::-1]
    assert list(rows[0]) == [
        "id", "client_id", "type", "amount", "balance_before", "balance_after", "version",
        "created_at", "event_at", "invoice_id", "session_id",
    ]  # fmt: skip
    assert [
        (row["type"], row["amount"], row["balance_before"], row["balance_after"]) for row in rows
    ] == [
        ("topup", 123.45, 0, 123.45),
        ("charge", -23.5, 123.45, 99.95),
        ("refund", 0.5, 99.95, 100.45),
        ("refund", -10, 100.45, 90.45),
    ]
    assert [(row["invoice_id"], row["session_id"]) for row in rows] == [
        (invoice, None), (None, session), (None, session), (invoice, None),
    ]  # fmt: skip
    assert rows[0]["client_id"] == str(client)
    assert rows[0]["event_at"] == "2026-03-08T12:00:00Z"
    assert rows[0]["created_at"].endswith("Z")
    assert abs(datetime.fromisoformat(rows[0]["created_at"]) - datetime.now(UTC)).days == 0
    assert b'"amount":-23.50,' in page


async def test_first_pages_of_several_clients_are_those_of_each(
    db: Database, scenario: Scenario
) -> None:
    clients = [await scenario.client() for _ in range(3)]
    ids = [await scenario.payment(clients[n % 2], 100 + n) for n in range(7)]
    requested = [(client, limit) for limit in (1, 3, 50) for client in (*clients[::-1], uuid4())]
    async with db.connection() as connection:
        await wallet.credit_many(connection, ids)
        each = [await statement(connection, client, limit) for client, limit in requested]
        assert await first_statements(connection, requested) == each
    assert len({page for page, _ in each}) == 3 + 2 + 1  # of four rows, of three, of none


async def test_an_invoice_id_is_escaped(db: Database, scenario: Scenario) -> None:
    client = await scenario.client()
    payment = await scenario.payment(client, 100)
    await scenario.sql.execute("alter table payments.payments disable trigger payments_go_one_way")
    await scenario.sql.execute("""update payments.payments set invoice_id = 'a"\\b,c'""")
    await scenario.sql.execute("select wallet.credit($1)", payment)
    async with db.connection() as connection:
        page, _ = await statement(connection, client, 50)
    assert json.loads(page)[0]["invoice_id"] == 'a"\\b,c'


async def test_no_one_has_an_empty_history_and_no_balance(db: Database) -> None:
    async with db.connection() as connection:
        assert await statement(connection, uuid4(), 50) == (b"[]", None)
        assert await wallet.balance(connection, uuid4()) is None


async def test_the_balance_has_the_old_shape_and_more(db: Database, scenario: Scenario) -> None:
    client = await scenario.client()
    async with db.connection() as connection:
        empty = await wallet.balance(connection, client)
        await wallet.credit(connection, await scenario.payment(client, 100_050))
        settlement = await scenario.charged(client, 30_000)
        order = await scenario.refund_order(client, 10_000, settlement_id=settlement)
        await wallet.refund(connection, order)
        await wallet.hold(connection, await scenario.session(client), 25)
        full = await wallet.balance(connection, client)
    nothing = {
        "success": True, "client_id": str(client), "balance": 0, "currency": "KGS",
        "total_spent": 0, "held": 0, "available": 0, "version": 0, "debt": 0,
    }  # fmt: skip
    assert empty is not None
    assert json.loads(empty) == nothing
    assert full is not None
    assert json.loads(full) == nothing | {
        "balance": 800.5, "last_topup_at": NOON.isoformat().replace("+00:00", "Z"),
        "total_spent": 200, "held": 0.25, "available": 800.25, "version": 3,
    }  # fmt: skip
