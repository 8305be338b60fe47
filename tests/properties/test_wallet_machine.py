"""Any operations, in any order and concurrently: the database agrees with plain arithmetic."""

import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from copy import deepcopy
from itertools import permutations
from typing import Any, LiteralString, cast
from uuid import UUID, uuid4

import psycopg
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from evpower.wallet.store_verify import CAUSES, SESSIONS, WALLETS
from evpower.wallet.verify import wallet_discrepancies
from tests.properties import operations as op
from tests.properties.forgeries import CONCURRENT_FORGERIES, FORGERIES, Forgery
from tests.properties.ledger import Account, Ledger, Payment, Session
from tests.waiting import WAIT_LIMIT_S

CONNECTIONS = 4
AMOUNTS = st.integers(1, 100) | st.sampled_from([1, 50, 99, 100, 101, 200, 10_000_000])
# Where concurrent operations are made to wait: by then each has taken its earlier locks.
GATES: dict[str, LiteralString] = {
    "wallets": "select from wallet.wallets order by client_id for no key update",
    "sessions": "select from charging.sessions order by id for no key update",
    "payments": "select from payments.payments order by id for no key update",
    "nothing": "select",
}


class Connections:
    """Several connections of one database, each with its own thread."""

    def __init__(self, dsn: str) -> None:
        self.main = psycopg.connect(dsn, autocommit=True, options="-c role=none")
        self.gate = psycopg.connect(dsn, autocommit=True, options="-c role=none")
        self.others = [
            psycopg.connect(dsn, autocommit=True, options="-c role=none")
            for _ in range(CONNECTIONS)
        ]
        self.threads = ThreadPoolExecutor(CONNECTIONS)
        for connection in (self.main, self.gate, *self.others):
            connection.execute("set jit = off")

    def run_concurrently(self, operations: Sequence[op.Operation], gate: str) -> list[op.Outcome]:
        """Run each on its own connection; all have begun before the first may continue."""
        used = self.others[: len(operations)]
        with self.gate.transaction():
            self.gate.execute(GATES[gate])
            running = [
                self.threads.submit(operation, connection)
                for operation, connection in zip(operations, used, strict=True)
            ]
            self._wait_until_all_blocked(
                running, [connection.info.backend_pid for connection in used]
            )
        return [future.result() for future in running]

    def _wait_until_all_blocked(self, running: Sequence[Future[Any]], pids: list[int]) -> None:
        deadline = time.monotonic() + WAIT_LIMIT_S
        while time.monotonic() < deadline:
            waiting = self.main.execute(
                "select array_agg(pid) from pg_stat_activity"
                " where pid = any (%s) and wait_event_type = 'Lock'",
                [pids],
            ).fetchone()
            blocked: set[int] = set(waiting[0] or ()) if waiting else set()
            if all(
                future.done() or pid in blocked for future, pid in zip(running, pids, strict=True)
            ):
                return
        raise AssertionError("an operation neither ends nor waits for a lock")

    def close(self) -> None:
        self.threads.shutdown()
        for connection in (self.main, self.gate, *self.others):
            connection.close()


class WalletMachine(RuleBasedStateMachine):
    """Clients, payments, sessions, bills and refunds, and all operations on them."""

    connections: Connections  # set by the test

    accounts = Bundle("accounts")
    payments = Bundle("payments")
    sessions = Bundle("sessions")

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.sql = self.connections.main
        newest = {table: f"select coalesce(max(id), 0) from {table}" for table in CAUSES}
        self.start = {
            table: self.row(cast("LiteralString", query))[0] for table, query in newest.items()
        }
        # A client with a history, so that there is something to repeat, refund and forge.
        self.client: Any = self.new_client()
        self.paid: Any = self.new_payment(self.client, 300)
        self.do(op.Confirm(self.paid))
        self.used: Any = self.new_session(self.client)
        self.do(op.Hold(self.used, 100))
        self.do(op.SetState(self.used, "charging"))
        self.do(op.FinishAndCharge(self.used, 60))

    def row(self, query: LiteralString, *arguments: object) -> tuple[Any, ...]:
        row = self.sql.execute(query, arguments).fetchone()
        assert row is not None
        return row

    def do(self, operation: op.Operation) -> None:
        assert operation(self.sql) == operation.expect(self.ledger), operation

    def do_concurrently(self, operations: Sequence[op.Operation], gate: str) -> None:
        """Run concurrently: some order of the operations must explain the outcomes and state."""
        before = state_of(self.ledger)
        outcomes = self.connections.run_concurrently(operations, gate)
        state = self.state()
        tried: list[object] = []
        for order in permutations(range(len(operations))):
            ledger = deepcopy(self.ledger)
            expected = {index: operations[index].expect(ledger) for index in order}
            if [expected[index] for index in range(len(operations))] == outcomes:
                if state_of(ledger) == state:
                    self.ledger = ledger
                    return
                tried.append((order, state_of(ledger)))
        raise AssertionError(
            f"no order explains {operations}\nwith outcomes {outcomes}\nfrom state {before}\n"
            f"to {state}\ntried {tried}"
        )

    def state(self) -> dict[UUID, Any]:
        """Return the stored state of every client and session of this run."""
        wallets = self.sql.execute(
            """
            select w.client_id, balance_minor, held_minor, debt_minor, spent_minor, w.version,
                   array(
                   select amount_minor from wallet.transactions t
                    where t.client_id = w.client_id order by version), c.status::text
              from wallet.wallets w join identity.clients c on c.id = w.client_id
             where w.client_id = any (%s)
            """,
            [list(self.ledger.accounts)],
        ).fetchall()
        sessions = self.sql.execute(
            """
            select s.id, s.state, s.cost_minor, s.energy_wh, array(
                   select row (b.total_minor, b.due_minor, b.debited_minor, b.refunded_minor)::text
                     from charging.settlements b where b.session_id = s.id order by b.id)
              from charging.sessions s where s.id = any (%s)
            """,
            [list(self.ledger.sessions)],
        ).fetchall()
        return {row[0]: tuple(row[1:]) for row in (*wallets, *sessions)}

    @initialize(target=accounts)
    def first_client(self) -> UUID:
        return self.client

    @initialize(target=payments)
    def first_payment(self) -> int:
        return self.paid

    @initialize(target=sessions)
    def first_session(self) -> UUID:
        return self.used

    @precondition(lambda self: len(self.ledger.accounts) < 3)
    @rule(target=accounts)
    def new_client(self) -> UUID:
        client = uuid4()
        self.sql.execute(
            "insert into identity.clients (id, origin) values (%s, 'import')", [client]
        )
        self.ledger.accounts[client] = Account(client)
        return client

    @rule(target=payments, client=accounts, amount=AMOUNTS)
    def new_payment(self, client: UUID, amount: int) -> int:
        code = uuid4().hex
        (payment,) = self.row(
            """
            insert into payments.payments (invoice_id, order_id, client_id, provider, method,
              amount_minor, expires_at) values (%s, %s, %s, 'sandbox', 'qr', %s, now()) returning id
            """,
            code, code, client, amount,
        )  # fmt: skip
        self.ledger.payments[payment] = Payment(payment, client, amount)
        return payment

    @rule(target=sessions, client=accounts)
    def new_session(self, client: UUID) -> UUID:
        session = uuid4()
        self.sql.execute(
            """
            insert into charging.sessions (id, client_id, station_id, connector_id, state, source)
            values (%s, %s, 'S1', 1, 'requested', 'import')
            """,
            [session, client],
        )
        self.ledger.sessions[session] = Session(session, client)
        return session

    @rule(target=payments, client=accounts, amount=AMOUNTS)
    def top_up(self, client: UUID, amount: int) -> int:
        payment: Any = self.new_payment(client, amount)
        self.do(op.Confirm(payment))
        return payment

    @rule(target=sessions, client=accounts, amount=AMOUNTS)
    def start_session(self, client: UUID, amount: int) -> UUID:
        """As an app does: request the session, hold money, begin to charge."""
        session: Any = self.new_session(client)
        self.do(op.Hold(session, amount))
        self.do(op.SetState(session, "charging"))
        return session

    @rule(target=sessions, client=accounts, off=st.sampled_from([-1, 0, 1]))
    def hold_what_is_free(self, client: UUID, off: int) -> UUID:
        """Exactly the free balance, 1 tyiyn less or more: a wrong comparison fails here."""
        free = self.ledger.accounts[client].free
        session: Any = self.start_session(client, max(1, free + off))
        return session

    @rule(session=sessions, amount=AMOUNTS)
    def hold_anew(self, session: UUID, amount: int) -> None:
        """As for a start that comes late; alone, since the attempt depends on those before."""
        self.do(op.HoldAnew(session, amount))

    @rule(session=sessions, off=st.sampled_from([-1, 0, 1]))
    def charge_what_is_free(self, session: UUID, off: int) -> None:
        """Charge all free money and the own hold; other sessions' holds must stay untouched."""
        model = self.ledger.sessions[session]
        own = model.hold if model.hold is not None and model.hold_open else 0
        cost = max(0, self.ledger.accounts[model.client].free + own + off)
        self.do(op.FinishAndCharge(session, cost))

    @rule(session=sessions, off=st.sampled_from([-1, 0, 1]))
    def correct_to_what_is_left(self, session: UUID, off: int) -> None:
        """Lower the cost by all that is not refunded; any more turns goodwill into correction."""
        model = self.ledger.sessions[session]
        left = sum(charge.debited - charge.refunded for charge in model.charges)
        self.do(op.Correct(session, max(0, model.cost - left + off), model.energy))

    def operations(self, data: st.DataObject, client: UUID) -> op.Operation:
        """Draw any operation on any session and payment."""
        session = data.draw(st.sampled_from(list(self.ledger.sessions)))
        payment = data.draw(st.sampled_from(list(self.ledger.payments)))
        return data.draw(
            st.one_of(
                st.builds(op.Confirm, st.just(payment)),
                st.builds(op.ConfirmMany, _subset(self.ledger.payments)),
                st.builds(op.Credit, st.just(payment)),
                st.builds(op.Cancel, st.just(payment)),
                st.builds(op.ReturnPayment, st.just(payment), AMOUNTS),
                st.builds(op.RefundCharge, st.just(session), st.integers(0, 3), AMOUNTS),
                st.builds(op.Hold, st.just(session), AMOUNTS),
                st.builds(op.Extend, st.just(session), st.integers(1, 160)),
                st.builds(op.Release, st.just(session)),
                st.builds(
                    op.SetState, st.just(session), st.sampled_from(["charging", "cancelled"])
                ),
                st.builds(op.Finish, st.just(session), AMOUNTS | st.just(0)),
                st.builds(op.Charge, st.just(session)),
                st.builds(op.FinishAndCharge, st.just(session), AMOUNTS | st.just(0)),
                st.builds(op.ChargeMany, _subset(self.ledger.sessions)),
                st.builds(
                    op.Correct, st.just(session), AMOUNTS | st.just(0), st.integers(0, 2)
                ),
                st.builds(op.Block, st.just(client), st.booleans()),
                self.forgeries(session, payment),
            )
        )  # fmt: skip

    def forgeries(
        self, session: UUID, payment: int, known: Sequence[Forgery] = CONCURRENT_FORGERIES
    ) -> st.SearchStrategy[op.Operation]:
        """The draw never depends on earlier concurrent operations: their order is not known."""

        def forge(forgery: Forgery) -> op.Operation:
            sql, applies = forgery
            facts = self.ledger, self.ledger.sessions[session], self.ledger.payments[payment]
            return op.Forge(payment, session, sql) if applies(*facts) else op.Credit(payment)

        return st.sampled_from(known).map(forge)

    @rule(client=accounts, data=st.data())
    def run_any(self, client: UUID, data: st.DataObject) -> None:
        self.do(self.operations(data, client))

    @rule(client=accounts, data=st.data())
    def try_forgery(self, client: UUID, data: st.DataObject) -> None:
        del client
        session = data.draw(st.sampled_from(list(self.ledger.sessions)))
        payment = data.draw(st.sampled_from(list(self.ledger.payments)))
        self.do(data.draw(self.forgeries(session, payment, FORGERIES)))

    @rule(
        client=accounts,
        data=st.data(),
        gate=st.sampled_from(list(GATES)),
        count=st.integers(2, CONNECTIONS),
    )
    def run_any_concurrently(
        self, client: UUID, data: st.DataObject, gate: str, count: int
    ) -> None:
        self.do_concurrently([self.operations(data, client) for _ in range(count)], gate)

    @rule(session=sessions, data=st.data(), gate=st.sampled_from(list(GATES)))
    def run_on_one_session_concurrently(
        self, session: UUID, data: st.DataObject, gate: str
    ) -> None:
        """The likeliest conflicts: the end, the bill, its correction, its refund, a forgery."""
        payment = data.draw(st.sampled_from(list(self.ledger.payments)))
        likely = st.one_of(
            st.builds(op.FinishAndCharge, st.just(session), AMOUNTS),
            st.builds(op.Charge, st.just(session)),
            st.builds(op.Correct, st.just(session), AMOUNTS | st.just(0), st.just(0)),
            st.builds(op.RefundCharge, st.just(session), st.integers(0, 1), AMOUNTS),
            st.builds(op.Hold, st.just(session), AMOUNTS),
            st.builds(op.Release, st.just(session)),
            st.builds(op.ReturnPayment, st.just(payment), AMOUNTS),
            st.builds(op.Confirm, st.just(payment)),
            self.forgeries(session, payment),
        )
        count = data.draw(st.integers(2, CONNECTIONS))
        self.do_concurrently([data.draw(likely) for _ in range(count)], gate)

    @invariant()
    def the_state_equals_the_model(self) -> None:
        assert self.state() == state_of(self.ledger)

    @invariant()
    def ledger_verify_finds_nothing(self) -> None:
        with psycopg.RawCursor(self.sql) as cursor:
            for client in self.ledger.accounts:
                cursor.execute(WALLETS, [UUID(int=client.int - 1), client])
                names = [column.name for column in cursor.description or ()]
                for row in cursor.fetchall():
                    assert wallet_discrepancies(dict(zip(names, row, strict=True))) == []
            for session in self.ledger.sessions:
                arguments = [UUID(int=session.int - 1), session, 3600.0]
                assert cursor.execute(SESSIONS, arguments).fetchall() == []
            for table, sql in CAUSES.items():
                arguments = [self.start[table], 2**62, 3600.0][: 3 if "$3" in sql else 2]
                query = cast("LiteralString", sql)
                assert cursor.execute(query, arguments).fetchall() == []


def state_of(ledger: Ledger) -> dict[UUID, Any]:
    """Return the state the database should have."""
    wallets = {
        account.client: (
            account.balance, account.held, account.debt, account.spent, len(account.amounts),
            account.amounts, account.status,
        )
        for account in ledger.accounts.values()
    }  # fmt: skip
    sessions = {
        session.id: (
            session.state, session.cost, session.energy,
            [
                f"({'' if charge.total is None else charge.total},{charge.due},{charge.debited},"
                f"{charge.refunded})"
                for charge in session.charges
            ],
        )
        for session in ledger.sessions.values()
    }  # fmt: skip
    return {**wallets, **sessions}


def _subset(known: dict[Any, Any]) -> st.SearchStrategy[Any]:
    return st.lists(st.sampled_from(list(known)), min_size=1, max_size=4).map(tuple)


def deadlocks(dsn: str) -> int:
    """Return the database's number of deadlocks; a connection adds its own when it closes."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(
            "select deadlocks from pg_stat_database where datname = current_database()"
        ).fetchone()
    assert row is not None
    return row[0]


@contextmanager
def connected(dsn: str) -> Generator[Connections]:
    connections = Connections(dsn)
    try:
        yield connections
    finally:
        connections.close()


async def test_the_wallet_follows_the_model(dsn: str) -> None:
    with connected(dsn) as opened:

        class Machine(WalletMachine):
            connections = opened

        run_state_machine_as_test(
            Machine,
            settings=settings(max_examples=settings().max_examples // 2, phases=[Phase.generate]),
        )
    assert deadlocks(dsn) == 0
