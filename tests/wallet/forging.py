"""SQL forgeries by the database's owner, complete so that only the rule under test refuses them."""

from uuid import UUID

import asyncpg
import pytest

from evpower.foundation.db import Connection
from tests.wallet.scenario import Scenario

REFUSED = (asyncpg.IntegrityConstraintViolationError, asyncpg.CheckViolationError)


async def refuse(connection: Connection, sql: str, *arguments: object) -> None:
    """Assert that a constraint refuses the statements, run as one transaction."""
    with pytest.raises(REFUSED):
        # Several statements in one text are one transaction; deferred checks run at its end.
        await connection.execute(sql, *arguments)


def forged_transaction(
    client: UUID, version: int, before: int, amount: int, **cause: int | str
) -> str:
    """SQL: change the wallet and write its transaction, consistent with one another."""
    name, value = next(iter(cause.items()))
    kind = {"payment_id": "topup", "settlement_id": "charge", "refund_id": "refund"}[name]
    return f"""
      update wallet.wallets set balance_minor = {before + amount}, version = {version},
        revision = revision + 1 where client_id = '{client}';
      insert into wallet.transactions (client_id, version, kind, amount_minor, balance_before_minor,
        balance_after_minor, {name}, event_at)
      values ('{client}', {version}, '{kind}', {amount}, {before}, {before + amount}, {value},
        now());
    """


NEWEST = "(select max(id) from charging.settlements)"
NEWEST_REFUND = "(select max(id) from wallet.refunds)"


def facts(session: UUID, cost_minor: int, **other: object) -> str:
    """SQL: change a session's cost and other facts."""
    more = "".join(f", {name} = {value}" for name, value in other.items())
    return f"update charging.sessions set cost_minor = {cost_minor}{more} where id = '{session}';"


def settlement(session: UUID, number: int, total: int, due: int, debited: int) -> str:
    """SQL: a bill without its transaction and wallet change."""
    return f"""
      insert into charging.settlements (session_id, client_id, bill_number, total_minor, energy_wh,
        ended_at, due_minor, debited_minor, actor, reason)
      select id, client_id, {number}, {total}, energy_wh, ended_at, {due}, {debited}, 'me', 'forged'
        from charging.sessions where id = '{session}';
    """


async def bill(scenario: Scenario, session: UUID, number: int, total: int, due: int) -> str:
    """SQL: a bill debited in full, with its transaction and its wallet change."""
    client = await scenario.sql.fetchval(
        "select client_id from charging.sessions where id = $1", session
    )
    now = await scenario.wallet(client)
    sql = settlement(session, number, total, due, due)
    if due:
        sql += forged_transaction(
            client, now["version"] + 1, now["balance_minor"], -due, settlement_id=NEWEST
        )
    return sql


async def refund(
    scenario: Scenario, of_settlement: int, amount: int, correction: int = 0, *, charged: int = 0
) -> str:
    """SQL: a posted refund of a charge, with its transaction and its wallet change.

    `charged`: the amount that an earlier bill of the same database transaction debited.
    """
    client = await scenario.sql.fetchval(
        "select client_id from charging.settlements where id = $1", of_settlement
    )
    now = await scenario.wallet(client)
    version = now["version"] + 1 + (charged > 0)
    moved = forged_transaction(
        client, version, now["balance_minor"] - charged, amount, refund_id=NEWEST_REFUND
    )
    return f"""
      insert into wallet.refunds (client_id, settlement_id, amount_minor, posted_minor, posted_at,
        correction_minor, actor, reason)
      values ('{client}', {of_settlement}, {amount}, {amount}, now(), {correction}, 'me', 'forged');
      update charging.settlements set refunded_minor = refunded_minor + {amount}
       where id = {of_settlement};
    """ + moved  # fmt: skip
