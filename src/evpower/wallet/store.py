"""The SQL of the wallet. Balances change only through the functions of schema wallet."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from evpower.foundation.db import Connection, Record, fetch_one
from evpower.foundation.rows import columns, read_row
from evpower.wallet.model import Hold, Posting, Wallet

# The JSON is built in SQL, so that Python only copies bytes. Amounts times 0.01 are exact numerics
# with two decimals; only the invoice's id is free text and needs escaping. Fetching rows is most of
# a page's cost, so each transaction looks up only its own cause. A zone written as an interval
# needs no look-up of the zone's name, and replace() costs half as much as to_json or to_char.
_AT: Final = """replace(({} at time zone interval '0')::text, ' ', 'T') || 'Z"'"""
_INVOICE: Final = """(
  select to_json(p.invoice_id)::text from payments.payments_public p where p.id = {})"""
_SESSION: Final = "(select s.session_id::text from charging.settlements_public s where s.id = {})"


def _statement(client_id: str, before: str, limit: str) -> str:
    return f"""
select convert_to('[' || coalesce(string_agg(x.item, ','), '') || ']', 'UTF8') as page,
       min(x.version) as lowest
  from (
    select t.version,
           '{{"id":"' || t.id || (select '","client_id":"' || {client_id} || '","type":"')
           || t.kind || '","amount":' || t.amount_minor * 0.01
           || ',"balance_before":' || t.balance_before_minor * 0.01
           || ',"balance_after":' || t.balance_after_minor * 0.01
           || ',"version":' || t.version
           || ',"created_at":"' || {_AT.format("t.created_at")}
           || ',"event_at":"' || {_AT.format("t.event_at")}
           || coalesce(case t.kind
                when 'topup' then
                  ',"invoice_id":' || {_INVOICE.format("t.payment_id")} || ',"session_id":null}}'
                when 'charge' then
                  ',"invoice_id":null,"session_id":"'
                  || {_SESSION.format("t.settlement_id")} || '"}}'
                when 'refund' then (
                  select ',"invoice_id":' || coalesce({_INVOICE.format("r.payment_id")}, 'null')
                         || ',"session_id":'
                         || coalesce('"' || {_SESSION.format("r.settlement_id")} || '"', 'null')
                         || '}}'
                    from wallet.refunds r where r.id = t.refund_id)
              end, ',"invoice_id":null,"session_id":null}}') as item
      from wallet.transactions t
     where t.client_id = {client_id} and t.version < coalesce({before}, 9223372036854775807)
     order by t.version desc limit {limit}
  ) x
"""


_STATEMENT_JSON: Final = _statement("$1::uuid", "$2::bigint", "$3")
_FIRST_STATEMENTS_JSON: Final = f"""
select requested.place, listed.page, listed.lowest
  from unnest($1::uuid[], $2::bigint[]) with ordinality as requested (client_id, size, place)
 cross join lateral ({_statement("requested.client_id", "null::bigint", "requested.size")}) listed
"""
_BALANCE_JSON: Final = f"""
select convert_to(
         '{{"success":true,"client_id":"' || client_id || '","balance":' || balance_minor * 0.01
         || ',"currency":"' || currency || '"'
         || coalesce(',"last_topup_at":"' || {_AT.format("last_topup_at")}, '')
         || ',"total_spent":' || spent_minor * 0.01
         || ',"held":' || held_minor * 0.01
         || ',"available":' || (balance_minor - held_minor) * 0.01
         || ',"version":' || version
         || ',"debt":' || debt_minor * 0.01 || '}}', 'UTF8')
  from wallet.wallets where client_id = $1
"""


async def credit(connection: Connection, payment_id: int) -> Posting:
    """Credits one confirmed payment."""
    return await _posting(connection, "select * from wallet.credit($1)", payment_id)


async def credit_many(connection: Connection, payment_ids: Sequence[int]) -> list[Posting]:
    """Credits confirmed payments; returns one posting per distinct id."""
    rows = await connection.fetch("select * from wallet.credit_many($1::bigint[])", payment_ids)
    return [read_row(Posting, row) for row in rows]


async def hold(
    connection: Connection,
    session_id: UUID,
    amount_minor: int,
    least_minor: int | None,
    attempt: int,
) -> Posting:
    """Puts money on hold for a session."""
    return await _posting(
        connection,
        "select * from wallet.hold($1, $2, $3, $4)",
        session_id,
        amount_minor,
        least_minor,
        attempt,
    )


async def extend_hold(
    connection: Connection, session_id: UUID, total_minor: int, *, partly: bool
) -> Posting:
    """Raises an open hold to a new total."""
    return await _posting(
        connection, "select * from wallet.extend_hold($1, $2, $3)", session_id, total_minor, partly
    )


async def release_hold(connection: Connection, session_id: UUID) -> Posting:
    """Releases a hold."""
    return await _posting(connection, "select * from wallet.release_hold($1)", session_id)


async def charge(connection: Connection, session_id: UUID) -> Posting:
    """Charges one finished session."""
    return await _posting(connection, "select * from wallet.charge($1)", session_id)


async def charge_many(connection: Connection, session_ids: Sequence[UUID]) -> list[Posting]:
    """Charges finished sessions; returns one posting per distinct id."""
    rows = await connection.fetch("select * from wallet.charge_many($1::uuid[])", session_ids)
    return [read_row(Posting, row) for row in rows]


async def correct(
    connection: Connection,
    session_id: UUID,
    cost_minor: int,
    energy_wh: int,
    ended_at: datetime,
    actor: str,
    reason: str,
) -> Posting:
    """Replaces the facts of a settled session and writes its next bill."""
    return await _posting(
        connection,
        "select * from wallet.correct($1, $2, $3, $4, $5, $6)",
        session_id,
        cost_minor,
        energy_wh,
        ended_at,
        actor,
        reason,
    )


async def refund(connection: Connection, refund_id: int) -> Posting:
    """Posts one refund order."""
    return await _posting(connection, "select * from wallet.refund($1)", refund_id)


async def refund_many(connection: Connection, refund_ids: Sequence[int]) -> list[Posting]:
    """Posts refund orders; returns one posting per distinct id."""
    rows = await connection.fetch("select * from wallet.refund_many($1::bigint[])", refund_ids)
    return [read_row(Posting, row) for row in rows]


async def insert_settlement_refund(
    connection: Connection,
    settlement_id: int,
    amount_minor: int,
    actor: str,
    reason: str,
    reference: str,
) -> int | None:
    """Orders a refund to the wallet; returns its id.

    None: there is no such settlement, or this reference was used before.
    """
    # The session is locked first, as in a correction. The foreign key locks the settlement, whose
    # trigger lets an update lock it whole: without the session's lock, an order and a correction
    # would each wait for the other.
    return await connection.fetchval(
        """
        insert into wallet.refunds
          (client_id, settlement_id, amount_minor, actor, reason, provider_ref)
        select b.client_id, b.id, $2, $3, $4, $5
          from charging.settlements_public b join charging.sessions s on s.id = b.session_id
         where b.id = $1 for no key update of s
        on conflict (settlement_id, provider_ref) do nothing
        returning id
        """,
        settlement_id,
        amount_minor,
        actor,
        reason,
        reference,
    )


async def insert_payment_refund(
    connection: Connection,
    payment_id: int,
    amount_minor: int,
    actor: str,
    reason: str,
    reference: str,
) -> int | None:
    """Records money that a provider returned; returns the refund order's id.

    None: there is no such payment, or this reference was used before.
    """
    # The payment is locked first. With the foreign key's share lock alone, two concurrent orders
    # would each block the other's posting.
    return await connection.fetchval(
        """
        insert into wallet.refunds
          (client_id, payment_id, amount_minor, actor, reason, provider_ref)
        select client_id, id, $2, $3, $4, $5 from payments.payments where id = $1
           for no key update
        on conflict (payment_id, provider_ref) do nothing
        returning id
        """,
        payment_id,
        amount_minor,
        actor,
        reason,
        reference,
    )


async def find_refund(
    connection: Connection, settlement_id: int | None, payment_id: int | None, reference: str
) -> tuple[int, int] | None:
    """Returns the id and amount (minor units) of the order with this reference; None: no order."""
    row = await connection.fetchrow(
        """
        select id, amount_minor from wallet.refunds
         where provider_ref = $3 and (settlement_id = $1 or payment_id = $2)
        """,
        settlement_id,
        payment_id,
        reference,
    )
    return None if row is None else (row["id"], row["amount_minor"])


async def get_wallet(connection: Connection, client_id: UUID) -> Wallet | None:
    """Returns a client's wallet; None: no such client."""
    row = await connection.fetchrow(
        """
        select client_id, currency, balance_minor, held_minor, debt_minor, spent_minor,
               last_topup_at, version, revision
          from wallet.wallets where client_id = $1
        """,
        client_id,
    )
    return None if row is None else read_row(Wallet, row)


async def get_wallets(connection: Connection, client_ids: Sequence[UUID]) -> dict[UUID, Wallet]:
    """Returns the wallets of clients; clients that do not exist are left out."""
    rows = await connection.fetch(
        f"select {columns(Wallet)} from wallet.wallets where client_id = any ($1::uuid[])",
        list(client_ids),
    )
    return {row["client_id"]: read_row(Wallet, row) for row in rows}


async def get_hold(connection: Connection, session_id: UUID) -> Hold | None:
    """Returns the newest hold of a session, open or resolved; None: it has none."""
    row = await connection.fetchrow(
        f"""
        select {columns(Hold)}
          from wallet.holds where session_id = $1 order by attempt desc limit 1
        """,
        session_id,
    )
    return None if row is None else read_row(Hold, row)


async def get_balance_json(connection: Connection, client_id: UUID) -> bytes | None:
    """Returns the body of GET /api/v1/balance/{client_id}; None: no such client."""
    return await connection.fetchval(_BALANCE_JSON, client_id)


async def get_statement_json(
    connection: Connection, client_id: UUID, before_version: int | None, limit: int
) -> tuple[bytes, int | None]:
    """Returns a page of history as a JSON array, newest first, and its lowest version."""
    row = await fetch_one(connection, _STATEMENT_JSON, client_id, before_version, limit)
    return row["page"], row["lowest"]


async def get_first_statements_json(
    connection: Connection, requested: Sequence[tuple[UUID, int]]
) -> list[tuple[bytes, int | None]]:
    """Returns the first page of each client's history, of at most so many rows, in their order."""
    rows: list[Record] = await connection.fetch(
        _FIRST_STATEMENTS_JSON,
        [client_id for client_id, _ in requested],
        [limit for _, limit in requested],
    )
    return [(row["page"], row["lowest"]) for row in sorted(rows, key=lambda row: row["place"])]


async def _posting(connection: Connection, query: str, *values: object) -> Posting:
    return read_row(Posting, await fetch_one(connection, query, *values))
