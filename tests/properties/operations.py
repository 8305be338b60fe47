"""The operations on a wallet: each as one database transaction, and in the arithmetic model."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

import psycopg

from tests.properties.ledger import Ledger

Cursor = psycopg.Connection[Any]
Outcome = tuple[Any, ...]  # the result; for the wallet's functions also the wallet afterwards
REFUSED: Outcome = ("refused",)


class Operation(ABC):
    """One operation; it runs as the processes' role."""

    role: ClassVar[str] = "evpower_app"

    @abstractmethod
    def run(self, sql: Cursor) -> Outcome:
        """Run in the database, inside a transaction."""

    @abstractmethod
    def expect(self, ledger: Ledger) -> Outcome:
        """Apply to the model; returns the expected outcome."""

    def __call__(self, sql: Cursor) -> Outcome:
        """Run in its own transaction; a constraint's refusal is an outcome."""
        try:
            with sql.transaction():
                sql.execute(f"set local role {self.role}")
                return self.run(sql)
        except psycopg.errors.IntegrityError:
            return REFUSED


def post(sql: Cursor, call: str, *arguments: object) -> Outcome:
    placeholders = ", ".join(["%s"] * len(arguments))
    row = sql.execute(
        "select outcome, balance_minor, held_minor, version, debt_minor"
        f" from wallet.{call}({placeholders})",
        arguments,
    ).fetchone()
    assert row is not None
    return tuple(row)


def shown(ledger: Ledger, client: UUID, outcome: str) -> Outcome:
    if outcome == "not_found":
        return (outcome, None, None, None, None)
    return (outcome, *ledger.accounts[client].shown)


@dataclass(frozen=True)
class Confirm(Operation):
    payment: int

    def run(self, sql: Cursor) -> Outcome:
        sql.execute(
            """
            update payments.payments
               set status = 'approved', paid_minor = amount_minor, confirmed_at = now(),
                   credited_ref = order_id
             where id = %s and status in ('processing', 'canceled')
            """,
            [self.payment],
        )
        return post(sql, "credit", self.payment)

    def expect(self, ledger: Ledger) -> Outcome:
        payment = ledger.payments[self.payment]
        return shown(ledger, payment.client, ledger.confirm(payment))


@dataclass(frozen=True)
class ConfirmMany(Operation):
    """Payments in one call: each is credited, then debts are collected."""

    payments: tuple[int, ...]

    def run(self, sql: Cursor) -> Outcome:
        ids = list(self.payments)
        sql.execute(
            "select from payments.payments where id = any (%s) order by id for no key update", [ids]
        )
        sql.execute(
            """
            update payments.payments
               set status = 'approved', paid_minor = amount_minor, confirmed_at = now(),
                   credited_ref = order_id
             where id = any (%s) and status in ('processing', 'canceled')
            """,
            [ids],
        )
        rows = sql.execute(
            "select outcome from wallet.credit_many(%s) order by cause_id", [ids]
        ).fetchall()
        return tuple(row[0] for row in rows)

    def expect(self, ledger: Ledger) -> Outcome:
        payments = [ledger.payments[payment] for payment in sorted(set(self.payments))]
        outcomes = tuple("repeated" if payment.confirmed else "posted" for payment in payments)
        fresh = [payment for payment in payments if not payment.confirmed]
        for payment in fresh:
            payment.status = "approved"
            ledger.accounts[payment.client].post(payment.amount)
        for client in {payment.client for payment in fresh}:
            ledger.collect(ledger.accounts[client])
        return outcomes


@dataclass(frozen=True)
class Credit(Operation):
    """A credit without a confirmation."""

    payment: int

    def run(self, sql: Cursor) -> Outcome:
        return post(sql, "credit", self.payment)[:1]

    def expect(self, ledger: Ledger) -> Outcome:
        return ("repeated" if ledger.payments[self.payment].confirmed else "not_confirmed",)


@dataclass(frozen=True)
class Cancel(Operation):
    payment: int

    def run(self, sql: Cursor) -> Outcome:
        sql.execute(
            "update payments.payments set status = 'canceled' where id = %s", [self.payment]
        )
        return ("canceled",)

    def expect(self, ledger: Ledger) -> Outcome:
        payment = ledger.payments[self.payment]
        if payment.confirmed:
            return REFUSED
        payment.status = "canceled"
        return ("canceled",)


@dataclass(frozen=True)
class ReturnPayment(Operation):
    """The bank returned money: the wallet is debited."""

    payment: int
    amount: int

    def run(self, sql: Cursor) -> Outcome:
        row = sql.execute(
            """
            insert into wallet.refunds (client_id, payment_id, amount_minor, actor, reason)
            select client_id, id, %s, 'model', 'property' from payments.payments where id = %s
               for no key update
            returning id
            """,
            [self.amount, self.payment],
        ).fetchone()
        assert row is not None
        first = post(sql, "refund", *row)
        if first[0] == "posted":
            assert post(sql, "refund", *row) == ("repeated", *first[1:])
        return first

    def expect(self, ledger: Ledger) -> Outcome:
        payment = ledger.payments[self.payment]
        return shown(ledger, payment.client, ledger.return_payment(payment, self.amount))


@dataclass(frozen=True)
class RefundCharge(Operation):
    """Goodwill: a refund of part of the session's settlement number `index`."""

    session: UUID
    index: int
    amount: int

    def run(self, sql: Cursor) -> Outcome:
        row = sql.execute(
            """
            with locked as materialized ( -- as the wallet's own order does
              select id from charging.sessions where id = %s for no key update)
            insert into wallet.refunds (client_id, settlement_id, amount_minor, actor, reason)
            select b.client_id, b.id, %s, 'model', 'property'
              from locked s join charging.settlements b on b.session_id = s.id
             order by b.id limit 1 offset %s
            returning id
            """,
            [self.session, self.amount, self.index],
        ).fetchone()
        return ("no_such_charge",) if row is None else post(sql, "refund", *row)

    def expect(self, ledger: Ledger) -> Outcome:
        session = ledger.sessions[self.session]
        if self.index >= len(session.charges):
            return ("no_such_charge",)
        outcome = ledger.refund_charge(session, self.index, self.amount)
        return shown(ledger, session.client, outcome)


@dataclass(frozen=True)
class Hold(Operation):
    session: UUID
    amount: int

    def run(self, sql: Cursor) -> Outcome:
        return post(sql, "hold", self.session, self.amount)

    def expect(self, ledger: Ledger) -> Outcome:
        session = ledger.sessions[self.session]
        return shown(ledger, session.client, ledger.hold(session, self.amount))


@dataclass(frozen=True)
class HoldAnew(Operation):
    """The attempt after the newest one."""

    session: UUID
    amount: int

    def run(self, sql: Cursor) -> Outcome:
        attempt = sql.execute(
            "select coalesce(max(attempt), 0) + 1 from wallet.holds where session_id = %s",
            [self.session],
        ).fetchone()
        assert attempt is not None
        return post(sql, "hold", self.session, self.amount, self.amount, attempt[0])

    def expect(self, ledger: Ledger) -> Outcome:
        session = ledger.sessions[self.session]
        return shown(ledger, session.client, ledger.hold(session, self.amount, anew=True))


@dataclass(frozen=True)
class Extend(Operation):
    session: UUID
    total: int

    def run(self, sql: Cursor) -> Outcome:
        return post(sql, "extend_hold", self.session, self.total)

    def expect(self, ledger: Ledger) -> Outcome:
        session = ledger.sessions[self.session]
        return shown(ledger, session.client, ledger.extend(session, self.total))


@dataclass(frozen=True)
class Release(Operation):
    session: UUID

    def run(self, sql: Cursor) -> Outcome:
        return post(sql, "release_hold", self.session)

    def expect(self, ledger: Ledger) -> Outcome:
        session = ledger.sessions[self.session]
        return shown(ledger, session.client, ledger.release(session))


@dataclass(frozen=True)
class SetState(Operation):
    session: UUID
    to: str

    def run(self, sql: Cursor) -> Outcome:
        sql.execute(
            "update charging.sessions set state = %s where id = %s", [self.to, self.session]
        )
        return (self.to,)

    def expect(self, ledger: Ledger) -> Outcome:
        session = ledger.sessions[self.session]
        if session.state not in {"requested", self.to}:
            return REFUSED
        session.state = self.to
        return (self.to,)


@dataclass(frozen=True)
class Finish(Operation):
    """The session ends without being charged."""

    session: UUID
    cost: int

    def run(self, sql: Cursor) -> Outcome:
        sql.execute(
            """
            update charging.sessions
               set state = 'finished', cost_minor = %s, started_at = '2026-03-08 12:00Z',
                   ended_at = '2026-03-08 13:00Z'
             where id = %s and state = 'charging'
            """,
            [self.cost, self.session],
        )
        return ()

    def expect(self, ledger: Ledger) -> Outcome:
        session = ledger.sessions[self.session]
        if session.state == "charging":
            session.state, session.cost = "finished", self.cost
        return ()


@dataclass(frozen=True)
class Charge(Operation):
    session: UUID

    def run(self, sql: Cursor) -> Outcome:
        return post(sql, "charge", self.session)

    def expect(self, ledger: Ledger) -> Outcome:
        session = ledger.sessions[self.session]
        return shown(ledger, session.client, ledger.charge(session))


@dataclass(frozen=True)
class FinishAndCharge(Operation):
    session: UUID
    cost: int

    def run(self, sql: Cursor) -> Outcome:
        Finish(self.session, self.cost).run(sql)
        return Charge(self.session).run(sql)

    def expect(self, ledger: Ledger) -> Outcome:
        Finish(self.session, self.cost).expect(ledger)
        return Charge(self.session).expect(ledger)


@dataclass(frozen=True)
class ChargeMany(Operation):
    sessions: tuple[UUID, ...]

    def run(self, sql: Cursor) -> Outcome:
        rows = sql.execute(
            "select outcome from wallet.charge_many(%s::uuid[]) order by session_id",
            [list(self.sessions)],
        ).fetchall()
        return tuple(row[0] for row in rows)

    def expect(self, ledger: Ledger) -> Outcome:
        sessions = [ledger.sessions[session] for session in set(self.sessions)]
        outcomes = {
            session.id: ledger.charge(session)
            for session in sorted(sessions, key=lambda session: (session.client, session.id))
        }
        return tuple(outcomes[session] for session in sorted(outcomes))


@dataclass(frozen=True)
class Correct(Operation):
    session: UUID
    cost: int
    energy: int

    def run(self, sql: Cursor) -> Outcome:
        return post(
            sql, "correct", self.session, self.cost, self.energy, "2026-03-08 13:00Z", "model",
            "property",
        )  # fmt: skip

    def expect(self, ledger: Ledger) -> Outcome:
        session = ledger.sessions[self.session]
        return shown(ledger, session.client, ledger.correct(session, self.cost, self.energy))


@dataclass(frozen=True)
class Block(Operation):
    client: UUID
    blocked: bool

    @property
    def status(self) -> str:
        return "blocked" if self.blocked else "active"

    def run(self, sql: Cursor) -> Outcome:
        sql.execute(
            "update identity.clients set status = %s where id = %s", [self.status, self.client]
        )
        return ()

    def expect(self, ledger: Ledger) -> Outcome:
        ledger.accounts[self.client].status = self.status
        return ()


@dataclass(frozen=True)
class Forge(Operation):
    """A forgery by the database's owner, which must be refused; several statements as one."""

    role: ClassVar[str] = "none"
    payment: int
    session: UUID
    forgery: str

    def run(self, sql: Cursor) -> Outcome:
        # In the common lock order, so that it waits and never deadlocks.
        psycopg.ClientCursor(sql).execute(
            """
            select from charging.sessions where id = %(session)s for no key update;
            select from payments.payments where id = %(payment)s for no key update;
            select from wallet.wallets where client_id in (
              select client_id from charging.sessions where id = %(session)s
              union select client_id from payments.payments where id = %(payment)s)
             order by client_id for no key update;
            """
            + self.forgery,
            {"payment": self.payment, "session": self.session},
        )
        return ("allowed", self.forgery)

    def expect(self, ledger: Ledger) -> Outcome:
        del ledger
        return REFUSED
