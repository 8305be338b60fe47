"""Forgeries of a session and a payment that the database's owner might try in psql.

Each must be refused whenever it would change something, which its condition checks. A condition
that was true stays true, so that a forgery may be tried while other operations run.
"""

from collections.abc import Callable
from typing import Final

from tests.properties.ledger import Ledger, Payment, Session

Applies = Callable[[Ledger, Session, Payment], bool]
Forgery = tuple[str, Applies]

_CLIENT: Final = "(select client_id from charging.sessions where id = %(session)s)"
_PAYER: Final = "(select client_id from payments.payments where id = %(payment)s)"
_WALLET: Final = (
    f"update wallet.wallets set revision = revision + 1, {{}} where client_id = {_CLIENT};"
)
_COST: Final = "(select cost_minor from charging.sessions where id = %(session)s)"
_CHARGE: Final = (
    "(select min(id) from charging.settlements where session_id = %(session)s"
    " and refunded_minor = 0 and debited_minor > 0)"
)
_DEBT: Final = f"(select min(id) from wallet.debts where client_id = {_CLIENT})"


def _move(client: str, kind: str, amount: str, cause: str, value: str) -> str:
    """SQL: change a wallet and write the matching transaction."""
    return f"""
      with moved as (
        update wallet.wallets set revision = revision + 1, version = version + 1,
          balance_minor = balance_minor + {amount}
         where client_id = {client} returning client_id, version, balance_minor
      ) insert into wallet.transactions (client_id, version, kind, amount_minor,
          balance_before_minor, balance_after_minor, {cause}, event_at)
        select client_id, version, '{kind}', {amount}, balance_minor - ({amount}), balance_minor,
               {value}, now() from moved;
    """


def _bill(total: str, due: str) -> str:
    return f"""
      insert into charging.settlements (session_id, client_id, bill_number, total_minor, energy_wh,
        ended_at, due_minor, debited_minor, actor, reason)
      select s.id, s.client_id, 1 + coalesce(
               (select max(bill_number) from charging.settlements where session_id = s.id), 0),
             {total}, s.energy_wh, s.ended_at, {due}, {due}, 'me', 'forged'
        from charging.sessions s where s.id = %(session)s;
    """


_NEWEST: Final = "(select max(id) from charging.settlements)"
_NEWEST_REFUND: Final = "(select max(id) from wallet.refunds)"


def _always(_ledger: Ledger, _session: Session, _payment: Payment) -> bool:
    return True


def _settled(_ledger: Ledger, session: Session, _payment: Payment) -> bool:
    return session.state == "settled"


def _billed_something(_ledger: Ledger, session: Session, _payment: Payment) -> bool:
    return session.state == "settled" and session.bills[0].due > 0


def _over_without_a_bill(_ledger: Ledger, session: Session, _payment: Payment) -> bool:
    return session.state == "cancelled"


def _debited_something(_ledger: Ledger, session: Session, _payment: Payment) -> bool:
    return any(charge.debited for charge in session.charges)


def _has_debt(ledger: Ledger, session: Session, _payment: Payment) -> bool:
    """Whether the client ever owed something: a bill that was not debited in full."""
    return any(
        bill.debited < bill.due
        for other in ledger.sessions.values()
        if other.client == session.client
        for bill in other.bills
    )


def _confirmed(_ledger: Ledger, _session: Session, payment: Payment) -> bool:
    return payment.confirmed


def _hold_resolved(_ledger: Ledger, session: Session, _payment: Payment) -> bool:
    return session.hold is not None and not session.hold_open


_ONE_TABLE: Final[list[Forgery]] = [
    *(
        (_WALLET.format(change), _always)
        for change in (
            "balance_minor = balance_minor + 1",
            "balance_minor = balance_minor + 1, version = version + 1",
            "held_minor = held_minor + 1",
            "debt_minor = debt_minor + 1",
            "spent_minor = spent_minor + 1",
            "last_topup_at = '2001-01-01'",
            "version = version - 1",
        )
    ),
    (f"delete from wallet.wallets where client_id = {_CLIENT}", _always),
    ("truncate wallet.transactions cascade", _always),
    (f"delete from wallet.transactions where client_id = {_CLIENT}", _always),
    ("update wallet.transactions set event_at = now()", _always),
    (
        ("insert into wallet.holds (session_id, client_id, amount_minor)"
        " select id, client_id, 1 from charging.sessions where id = %(session)s"),
        _always,
    ),
    (
        "update wallet.holds set state = 'open', resolved_at = null where session_id = %(session)s",
        _hold_resolved,
    ),
    (
        ("update payments.payments set status = 'processing', refunded_minor = 0"
        " where id = %(payment)s"),
        _confirmed,
    ),
    (
        "update payments.payments set amount_minor = amount_minor + 1 where id = %(payment)s",
        _always,
    ),
    (
        ("update charging.settlements set refunded_minor = refunded_minor + 1"
        " where session_id = %(session)s"),
        _debited_something,
    ),
    ("delete from charging.settlements where session_id = %(session)s", _settled),
    *(
        (f"update charging.sessions set {change} where id = %(session)s", _settled)
        for change in (
            "cost_minor = cost_minor + 1",
            "energy_wh = energy_wh + 1",
            "ended_at = ended_at + interval '1 second'",
            "billed_elsewhere = true",
            "state = 'finished'",
        )
    ),
    (
        "update charging.sessions set state = 'settled' where id = %(session)s",
        _over_without_a_bill,
    ),
]  # fmt: skip
_TWO_TABLES: Final[list[Forgery]] = [
    # The same bill again, complete.
    (_bill(_COST, _COST) + _move(_CLIENT, "charge", f"-{_COST}", "settlement_id", _NEWEST),
     _billed_something),
    # A bill above the session's cost.
    (_bill(f"{_COST} + 1", "1") + _move(_CLIENT, "charge", "-1", "settlement_id", _NEWEST),
     _settled),
    # A higher cost whose bill makes nothing due; a lower one without its correction.
    ("update charging.sessions set cost_minor = cost_minor + 5 where id = %(session)s;"
     + _bill(_COST, "0"), _settled),
    ("update charging.sessions set cost_minor = cost_minor - 1 where id = %(session)s;"
     + _bill(_COST, "0"), _settled),
    # A correction without a bill.
    (f"""
      insert into wallet.refunds (client_id, settlement_id, amount_minor, posted_minor, posted_at,
        correction_minor, actor, reason)
      select client_id, id, 1, 1, now(), 1, 'me', 'forged' from charging.settlements
       where id = {_CHARGE};
      update charging.settlements set refunded_minor = refunded_minor + 1 where id = {_CHARGE};
     """ + _move(_CLIENT, "refund", "1", "refund_id", _NEWEST_REFUND), _debited_something),
    # A debt that is forgiven or made smaller, or collected without a collection.
    *((f"update wallet.debts set {change} where id = {_DEBT};"
       + _WALLET.format("debt_minor = debt_minor - 1"), _has_debt)
      for change in ("forgiven_minor = forgiven_minor + 1", "amount_minor = amount_minor - 1",
                     "collected_minor = collected_minor + 1")),
    # An honest charge pointed at a debt.
    (f"""
      update charging.settlements set collects_debt_id = {_DEBT}, bill_number = null,
        total_minor = null, energy_wh = null, ended_at = null
       where session_id = %(session)s and bill_number = 1;
      update wallet.debts set collected_minor = collected_minor + 1 where id = {_DEBT};
     """ + _WALLET.format("debt_minor = debt_minor - 1"),
     lambda ledger, session, payment: (
         _has_debt(ledger, session, payment) and _settled(ledger, session, payment))),
    # A payment credited again.
    (_move(_PAYER, "topup", "(select amount_minor from payments.payments where id = %(payment)s)",
           "payment_id", "%(payment)s"), _confirmed),
    # An unconfirmed payment, credited by hand.
    (_move(_CLIENT, "topup", "1", "payment_id", "%(payment)s"), _always),
    # A reversal that is missing in its payment.
    (f"""
      insert into wallet.refunds (client_id, payment_id, amount_minor, posted_minor, posted_at,
        actor, reason) select client_id, id, 1, 0, now(), 'me', 'forged'
        from payments.payments where id = %(payment)s;
      insert into wallet.debts (client_id, refund_id, amount_minor)
      select {_PAYER}, {_NEWEST_REFUND}, 1;
      update wallet.wallets set debt_minor = debt_minor + 1, revision = revision + 1
       where client_id = {_PAYER};
     """, _always),
    # A hold that shrinks.
    ("update wallet.holds set amount_minor = amount_minor - 1 where session_id = %(session)s;"
     + _WALLET.format("held_minor = held_minor - 1"),
     lambda _ledger, session, _payment: session.hold is not None),
]  # fmt: skip
FORGERIES: Final = _ONE_TABLE + _TWO_TABLES
# TRUNCATE locks whole tables in its own order: concurrent with other operations it may deadlock.
CONCURRENT_FORGERIES: Final = [
    (sql, applies) for sql, applies in FORGERIES if not sql.startswith("truncate")
]
