"""Each kind of event in each state of a payment: credited, returned or reviewed, never lost."""

from collections.abc import Sequence
from uuid import UUID

import pytest

from evpower.foundation.db import Connection, Database
from evpower.payments.model import Confirmation, Event
from evpower.payments.store import confirm_many
from tests.payments import matrix
from tests.payments.matrix import BACK, DUE, Cell
from tests.payments.test_confirm import event

_BATCH = 400
_MAKE = """
insert into payments.payments (invoice_id, order_id, client_id, provider, method, amount_minor,
  expires_at, status, paid_minor, confirmed_at, credited_ref, resolved_at, closed_at)
select 'inv-' || n, 'order-' || n, $1, 'sandbox', 'qr', $4::bigint, now(),
       case when credited then 'approved' when state = 'processing' then state else 'canceled' end,
       case when credited then $4::bigint end, case when credited then now() end,
       case when credited then 'own-' || n end, case when state = 'resolved' then now() end,
       case when state <> 'processing' then now() end
  from (select n, state, state in ('approved', 'partial_refund', 'refunded') as credited
          from unnest($2::int[], $3::text[]) x (n, state)) x
"""
_REFUND = """
insert into wallet.refunds (client_id, payment_id, amount_minor, actor, reason, provider_ref)
select client_id, id, case state when 'refunded' then $3::bigint else $4::bigint end, 'test',
       'before', 'before'
  from unnest($1::int[], $2::text[]) x (n, state)
  join payments.payments p on p.order_id = 'order-' || n
 where state in ('partial_refund', 'refunded')
"""


async def make(owner: Connection, client_id: UUID, cells: Sequence[tuple[int, Cell]]) -> None:
    """Insert a payment for each cell, in its state, credited and refunded accordingly."""
    numbers = [number for number, _ in cells]
    states = [cell.state for _, cell in cells]
    async with owner.transaction():
        await owner.execute(_MAKE, client_id, numbers, states, DUE)
        await owner.execute(
            "select from wallet.credit_many(array(select p.id from payments.payments p"
            " left join wallet.transactions t on t.payment_id = p.id"
            " where p.credited_minor is not null and t.id is null))"
        )
        await owner.execute(_REFUND, numbers, states, DUE, BACK)
        await owner.execute(
            "select from wallet.refund_many(array(select id from wallet.refunds"
            " where posted_at is null))"
        )


def report(number: int, cell: Cell) -> Event:
    reference = {
        "none": None,
        "own": f"own-{number}",
        "other": f"other-{number}",
        "of another payment": "of-another",
    }[cell.reference]
    return event(
        f"order-{number}",
        status=cell.status,
        paid_minor=cell.paid,
        refunded_minor=cell.returned,
        provider_ref=reference,
        currency=cell.currency,
    )


def outcome_of(done: Confirmation) -> str:
    return done.outcome if done.review is None else f"{done.outcome}:{done.review}"


@pytest.mark.parametrize("state", matrix.STATES)
async def test_every_event_about_every_payment(
    db: Database, owner: Connection, client_id: UUID, state: str
) -> None:
    await owner.execute(
        "insert into payments.payments (invoice_id, order_id, client_id, provider, provider_ref,"
        " method, amount_minor, expires_at) values ('another', 'another', $1, 'sandbox',"
        " 'of-another', 'qr', 1, now())",
        client_id,
    )
    cells = [pair for pair in enumerate(matrix.cells(), 100) if pair[1].state == state]
    wrong: list[str] = []
    for start in range(0, len(cells), _BATCH):
        batch = cells[start : start + _BATCH]
        await make(owner, client_id, batch)
        moved = await owner.fetchval("select balance_minor from wallet.wallets")
        async with db.transaction() as connection:
            done = await confirm_many(connection, [report(*pair) for pair in batch])
        moved = await owner.fetchval("select balance_minor from wallet.wallets") - moved
        should_move = 0
        for (_, cell), confirmation in zip(batch, done, strict=True):
            if outcome_of(confirmation) != matrix.expected(cell):
                wrong.append(f"{cell}: {outcome_of(confirmation)}, not {matrix.expected(cell)}")
            if confirmation.outcome == "confirmed":
                should_move += DUE - cell.back
            if confirmation.outcome == "refunded":
                should_move -= cell.back - cell.was_returned
        assert moved == should_move
    assert wrong == []
    reviewed = await owner.fetchval(
        "select count(*) from payments.payments p join payments.events e on e.payment_id = p.id"
        " where (p.review is not null) <> (e.review is not null)"
    )
    assert reviewed == 0, "a payment is in review if, and only if, its event is"


def test_the_table_lets_no_claim_of_money_pass() -> None:
    """No database: plain arithmetic must agree with what the table ignores or calls known."""
    passed = [
        cell
        for cell in matrix.cells()
        if matrix.expected(cell) in {"ignored", "repeated", "canceled"}
        and matrix.claims_money(cell)
    ]
    assert passed == []


def test_the_table_is_used_whole() -> None:
    used = {
        next(name for name, fits, _ in rows if fits(cell))
        for cell in matrix.cells()
        for rows in [matrix.CREDITED if cell.credited else matrix.OPEN]
    }
    assert used == {name for rows in (matrix.CREDITED, matrix.OPEN) for name, _, _ in rows}
