"""Whatever happens, in any order: the database agrees with plain arithmetic and proves itself."""

from collections.abc import Callable
from typing import Any
from uuid import UUID, uuid4

import psycopg
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from evpower.wallet.proof import CAUSES, WALLETS
from evpower.wallet.verify import wallet_offenders
from tests.properties.ledger import Account, Payment, Session, Settlement

AMOUNTS = st.integers(1, 100) | st.sampled_from([1, 50, 99, 100, 101, 200, 10_000_000])
# What a person in psql might try with a client, a payment, a session and a settlement. Each must be
# refused whenever there is something for it to change.
WALLET = "update wallet.wallets set revision = revision + 1, {} where client_id = %(client)s"
FORGERIES: list[tuple[str, Callable[[Account, Payment, Session, Settlement], bool]]] = [
    *(
        (WALLET.format(change), lambda *_: True)
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
    ("delete from wallet.wallets where client_id = %(client)s", lambda *_: True),
    ("truncate wallet.transactions cascade", lambda *_: True),
    ("delete from wallet.transactions where client_id = %(client)s", lambda *_: True),
    ("update wallet.transactions set event_at = now()", lambda *_: True),
    (
        (
            "insert into wallet.transactions (client_id, version, kind, amount_minor,"
            " balance_before_minor, balance_after_minor, payment_id, event_at)"
            " select client_id, version + 1, 'topup', 5, balance_minor, balance_minor + 5,"
            " %(payment)s, now() from wallet.wallets where client_id = %(client)s"
        ),
        lambda *_: True,
    ),
    (
        (
            "insert into wallet.holds (session_id, client_id, amount_minor)"
            " select id, client_id, 1 from charging.sessions where id = %(session)s"
        ),
        lambda *_: True,
    ),
    (
        "update wallet.holds set state = 'open', resolved_at = null where session_id = %(session)s",
        lambda _account, _payment, session, _settlement: (
            session.hold is not None and not session.hold_open
        ),
    ),
    (
        (
            "update payments.payments set status = 'processing', refunded_minor = 0"
            " where id = %(payment)s"
        ),
        lambda _account, payment, *_: payment.status != "processing",
    ),
    (
        "update payments.payments set amount_minor = amount_minor + 1 where id = %(payment)s",
        lambda *_: True,
    ),
    (
        (
            "update payments.payments set refunded_minor = amount_minor, status = 'refunded'"
            " where id = %(payment)s"
        ),
        lambda _account, payment, *_: payment.status != "refunded",
    ),
    (
        (
            "update charging.settlements set debited_minor = due_minor, charged_at = now()"
            " where id = %(settlement)s"
        ),
        lambda _account, _payment, _session, settlement: settlement.taken < settlement.due,
    ),
    (
        (
            "update charging.settlements set refunded_minor = refunded_minor + 1"
            " where id = %(settlement)s"
        ),
        lambda *_: True,
    ),
    ("delete from charging.settlements where id = %(settlement)s", lambda *_: True),
]


class WalletMachine(RuleBasedStateMachine):
    """Clients, payments, sessions and refunds, and everything that may happen to them."""

    sql: psycopg.Connection[Any]  # set by the test

    accounts = Bundle("accounts")
    payments = Bundle("payments")
    sessions = Bundle("sessions")
    settlements = Bundle("settlements")

    def __init__(self) -> None:
        super().__init__()
        self.all: list[Account] = []
        self.start = {
            table: self.one(f"select coalesce(max(id), 0) from {table}")[0] for table in CAUSES
        }

        # A client who has lived a little, so that there is something to repeat, refund and forge.
        account = self.new_client()
        self.paid = self.create_payment(account, 300)
        self.confirm(self.paid)
        self.used = self.request_session(account)
        self.hold(self.used, 100)
        self.go_on(self.used, "charging")
        self.billed: Settlement = self.finish(self.used, 60)
        self.charge(self.billed)

    def one(self, query: str, *arguments: object) -> tuple[Any, ...]:
        row = self.sql.execute(query, arguments).fetchone()
        assert row is not None
        return row

    def post(self, call: str, account: Account, *arguments: object) -> str:
        """Call a wallet function; answers the outcome, which must be shown as the wallet is now."""
        before = self.money(account)
        marks = ", ".join(["%s"] * len(arguments))
        outcome, *shown = self.one(
            "select outcome, balance_minor, held_minor, version, debt_minor"
            f" from wallet.{call}({marks})",
            *arguments,
        )
        after = self.money(account)
        assert tuple(shown) == after
        if outcome not in {"posted", "held", "released", "nothing_due"}:
            assert before == after, "nothing was done"
        return outcome

    def money(self, account: Account) -> tuple[Any, ...]:
        return self.one(
            "select balance_minor, held_minor, version, debt_minor from wallet.wallets"
            " where client_id = %s",
            account.client,
        )

    @initialize(target=accounts)
    def first_client(self) -> Account:
        return self.all[0]

    @initialize(target=payments)
    def first_payment(self) -> Payment:
        return self.paid

    @initialize(target=sessions)
    def first_session(self) -> Session:
        return self.used

    @initialize(target=settlements)
    def first_settlement(self) -> Settlement:
        return self.billed

    @precondition(lambda self: len(self.all) < 3)
    @rule(target=accounts)
    def another_client(self) -> Account:
        return self.new_client()

    @rule(target=sessions, account=accounts, amount=AMOUNTS)
    def start_session(self, account: Account, amount: int) -> Session:
        """What an app does: request, hold, and the car begins to charge."""
        session = self.request_session(account)
        self.hold(session, amount)
        self.go_on(session, "charging")
        return session

    @rule(target=settlements, session=sessions, cost=AMOUNTS)
    def finish_and_charge(self, session: Session, cost: int) -> Any:
        settlement = self.finish(session, cost)
        if isinstance(settlement, Settlement):
            self.charge(settlement)
        return settlement

    @rule(target=sessions, account=accounts, off=st.sampled_from([-1, 0, 1]))
    def hold_what_is_free(self, account: Account, off: int) -> Session:
        """To the tyiyn, one below and one above: where a wrong comparison would show."""
        session = self.request_session(account)
        self.hold(session, max(1, account.free + off))
        self.go_on(session, "charging")
        return session

    @rule(target=settlements, session=sessions, off=st.sampled_from([-1, 0, 1]))
    def charge_what_is_there(self, session: Session, off: int) -> Any:
        """Beside other sessions' holds, which must stay untouched, or to the last tyiyn."""
        own = session.hold if session.hold is not None and session.hold_open else 0
        settlement = self.finish(session, max(0, session.account.free + own + off))
        if isinstance(settlement, Settlement):
            self.charge(settlement)
        return settlement

    @rule(target=payments, account=accounts, amount=AMOUNTS)
    def top_up(self, account: Account, amount: int) -> Payment:
        payment = self.create_payment(account, amount)
        self.confirm(payment)
        return payment

    def new_client(self) -> Account:
        account = Account(uuid4())
        self.sql.execute(
            "insert into identity.clients (id, origin) values (%s, 'import')", [account.client]
        )
        self.all.append(account)
        return account

    @rule(account=accounts, blocked=st.booleans())
    def block_or_unblock(self, account: Account, blocked: bool) -> None:  # noqa: FBT001
        account.status = "blocked" if blocked else "active"
        self.sql.execute(
            "update identity.clients set status = %s where id = %s",
            [account.status, account.client],
        )

    @rule(target=payments, account=accounts, amount=AMOUNTS)
    def create_payment(self, account: Account, amount: int) -> Payment:
        code = uuid4().hex
        (payment_id,) = self.one(
            """
            insert into payments.payments (invoice_id, order_id, client_id, provider, method,
              amount_minor, expires_at) values (%s, %s, %s, 'sandbox', 'qr', %s, now()) returning id
            """,
            code, code, account.client, amount,
        )  # fmt: skip
        return Payment(payment_id, account, amount)

    @rule(payment=payments)
    def cancel(self, payment: Payment) -> None:
        sql = "update payments.payments set status = 'canceled' where id = %s"
        if payment.status in {"processing", "canceled"}:
            self.sql.execute(sql, [payment.id])
            payment.status = "canceled"
        else:
            self.refused(sql, [payment.id])

    @rule(payment=payments)
    def confirm(self, payment: Payment) -> None:
        """In time, late after a cancellation, or again."""
        with self.sql.transaction():
            self.sql.execute(
                """
                update payments.payments
                   set status = 'approved', paid_minor = amount_minor, confirmed_at = now(),
                       credited_ref = order_id
                 where id = %s and status in ('processing', 'canceled')
                """,
                [payment.id],
            )
            outcome = self.post("credit", payment.account, payment.id)
        if payment.status in {"processing", "canceled"}:
            assert outcome == "posted"
            payment.status = "approved"
            payment.account.post(payment.amount)
            payment.account.collect()
        else:
            assert outcome == "repeated"

    @rule(payment=payments)
    def credit_without_asking(self, payment: Payment) -> None:
        unconfirmed = payment.status in {"processing", "canceled"}
        expected = "not_confirmed" if unconfirmed else "repeated"
        assert self.post("credit", payment.account, payment.id) == expected

    @rule(payment=payments, amount=AMOUNTS)
    def refund_to_bank(self, payment: Payment, amount: int) -> None:
        account = payment.account
        order = self.order("payment_id", account, payment.id, amount)
        outcome = self.post("refund", account, order)
        confirmed = payment.status not in {"processing", "canceled"}
        if confirmed and payment.refunded + amount <= payment.amount:
            assert outcome == "posted"
            payment.refunded += amount
            full = payment.refunded == payment.amount
            payment.status = "refunded" if full else "partial_refund"
            account.take(amount, spending=False)
            assert self.post("refund", account, order) == "repeated"
        else:
            assert outcome == "exceeds"

    @rule(target=sessions, account=accounts)
    def request_session(self, account: Account) -> Session:
        session = Session(uuid4(), account)
        self.sql.execute(
            """
            insert into charging.sessions (id, client_id, station_id, connector_id, state, source)
            values (%s, %s, 'S1', 1, 'requested', 'import')
            """,
            [session.id, account.client],
        )
        return session

    @rule(session=sessions, amount=AMOUNTS)
    def hold(self, session: Session, amount: int) -> None:
        account = session.account
        outcome = self.post("hold", account, session.id, amount)
        if session.hold is not None:
            assert outcome == ("repeated" if session.hold_open else "resolved")
        elif account.status != "active" or session.state not in {"requested", "charging"}:
            assert outcome == "closed"
        elif account.free < amount:
            assert outcome == "insufficient"
        else:
            assert outcome == "held"
            session.hold, session.hold_open = amount, True
            account.held += amount

    @rule(session=sessions, more=st.integers(-20, 60))
    def extend(self, session: Session, more: int) -> None:
        account = session.account
        total = max(1, (session.hold or 0) + more)
        if session.hold is None:
            sql = "select outcome from wallet.extend_hold(%s, %s)"
            (outcome,) = self.one(sql, session.id, total)
            assert outcome == "not_found"
            return
        outcome = self.post("extend_hold", account, session.id, total)
        if not session.hold_open:
            assert outcome == "resolved"
        elif session.hold >= total:
            assert outcome == "repeated"
        elif account.free < total - session.hold:
            assert outcome == "insufficient"
        else:
            assert outcome == "held"
            account.held += total - session.hold
            session.hold = total

    @rule(session=sessions)
    def release(self, session: Session) -> None:
        account = session.account
        if session.hold is None:
            (outcome,) = self.one("select outcome from wallet.release_hold(%s)", session.id)
            assert outcome == "not_found"
            return
        outcome = self.post("release_hold", account, session.id)
        if session.hold_open:
            assert outcome == "released"
            session.hold_open = False
            account.held -= session.hold
            account.collect()
        else:
            charged = any(one.charged for one in session.settlements)
            assert outcome in ({"repeated", "resolved"} if charged else {"repeated"})

    @rule(session=sessions, to=st.sampled_from(["charging", "cancelled"]))
    def go_on(self, session: Session, to: str) -> None:
        sql = "update charging.sessions set state = %s where id = %s"
        if session.state in {"requested", to}:
            self.sql.execute(sql, [to, session.id])
            session.state = to
        else:
            self.refused(sql, [to, session.id])

    @rule(target=settlements, session=sessions, cost=AMOUNTS | st.just(0))
    def finish(self, session: Session, cost: int) -> Any:
        """End it and write its bill, or a later one; no bill for what has not ended."""
        sql = """
          insert into charging.settlements (session_id, revision, client_id, due_minor)
          select s.id, 1 + coalesce((select max(x.revision) from charging.settlements x
                                      where x.session_id = s.id), 0), s.client_id, %s
            from charging.sessions s where s.id = %s returning id
        """
        if session.state not in {"charging", "finished", "settled"}:
            self.refused(sql, [cost, session.id])
            return multiple()
        if session.state == "charging":
            self.sql.execute(
                """
                update charging.sessions
                   set state = 'finished', cost_minor = %s, started_at = now(), ended_at = now()
                 where id = %s
                """,
                [cost, session.id],
            )
            session.state = "finished"
        settlement = Settlement(self.one(sql, cost, session.id)[0], session, cost)
        session.settlements.append(settlement)
        return settlement

    @rule(settlement=settlements)
    def charge(self, settlement: Settlement) -> None:
        session = settlement.session
        account = session.account
        outcome = self.post("charge", account, settlement.id)
        if settlement.charged:
            assert outcome == ("repeated" if settlement.due else "nothing_due")
            return
        assert outcome == ("posted" if settlement.due else "nothing_due")
        if session.hold_open and session.hold is not None:
            session.hold_open = False
            account.held -= session.hold
        settlement.charged = True
        session.state = "settled"
        settlement.taken = account.take(settlement.due, spending=True)

    @rule(settlement=settlements, amount=AMOUNTS)
    def refund_to_wallet(self, settlement: Settlement, amount: int) -> None:
        account = settlement.session.account
        order = self.order("settlement_id", account, settlement.id, amount)
        outcome = self.post("refund", account, order)
        if settlement.refunded + amount <= settlement.taken:
            assert outcome == "posted"
            settlement.refunded += amount
            account.post(amount)
            account.spent -= amount
            account.collect()
            assert self.post("refund", account, order) == "repeated"
        else:
            assert outcome == "exceeds"

    @rule(
        account=accounts,
        payment=payments,
        session=sessions,
        settlement=settlements,
        forgery=st.sampled_from(FORGERIES),
    )
    def forge(
        self,
        account: Account,
        payment: Payment,
        session: Session,
        settlement: Settlement,
        forgery: tuple[str, Callable[[Account, Payment, Session, Settlement], bool]],
    ) -> None:
        sql, applies = forgery
        if applies(account, payment, session, settlement):
            subjects = {
                "client": account.client,
                "payment": payment.id,
                "session": session.id,
                "settlement": settlement.id,
            }
            self.refused(sql, subjects)

    def order(self, cause: str, account: Account, cause_id: int, amount: int) -> int:
        return self.one(
            f"""
            insert into wallet.refunds (client_id, {cause}, amount_minor, actor, reason)
            values (%s, %s, %s, 'model', 'property') returning id
            """,
            account.client, cause_id, amount,
        )[0]  # fmt: skip

    def refused(self, sql: str, arguments: Any) -> None:
        try:
            self.sql.execute(sql, arguments)
        except psycopg.errors.IntegrityError:
            return
        raise AssertionError(f"the database allowed: {sql}")

    @invariant()
    def every_wallet_is_what_arithmetic_says(self) -> None:
        for account in self.all:
            row = self.one(
                """
                select balance_minor, held_minor, debt_minor, spent_minor, version, array(
                  select amount_minor from wallet.transactions t
                   where t.client_id = w.client_id order by version)
                  from wallet.wallets w where client_id = %s
                """,
                account.client,
            )
            assert row == (
                account.balance, account.held, account.debt, account.spent,
                len(account.amounts), account.amounts,
            )  # fmt: skip

    @invariant()
    def the_ledger_proves_itself(self) -> None:
        with psycopg.RawCursor(self.sql) as cursor:
            for account in self.all:
                before = UUID(int=account.client.int - 1)
                cursor.execute(WALLETS, [before, account.client])
                names = [column.name for column in cursor.description or ()]
                for row in cursor.fetchall():
                    assert wallet_offenders(dict(zip(names, row, strict=True))) == []
            for table, sql in CAUSES.items():
                arguments = [self.start[table], 2**62, 3600.0][: 3 if "$3" in sql else 2]
                assert cursor.execute(sql, arguments).fetchall() == []


async def test_the_wallet_follows_the_model(dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("set jit = off")

        class Here(WalletMachine):
            sql = connection

        run_state_machine_as_test(Here)
