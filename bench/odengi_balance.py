"""A top-up through O!Dengi: from the bank's notice to the balance on the driver's socket."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import orjson

from bench import seed
from bench.evpower_server import EvPowerServer, access_token
from bench.harness import Bar, Row, in_turn
from bench.odengi import AMOUNT, COMMANDS, NOTICES, PASSWORD, SID, Banks, signed_notice
from bench.paths import EACH, paths
from bench.paths_client import GAP_S
from bench.pgbench import median_ms
from bench.recorded import RecordingDatabase, Statement, prepare
from bench.rig import Rig
from evpower.devstack.ports import LOOPBACK
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.payments import Confirmer, StartedTopUp, top_up
from evpower.payments.providers.odengi.signing import mktime, request_body
from evpower.payments.providers.protocol import Question
from evpower.payments.questions import Questions

_ROUNDS: Final = 5
_CONFIRMATION: Final = "payments.confirm_many"


@dataclass(frozen=True, slots=True)
class _Bill:
    """A bill that is paid at the bank, and not known to be."""

    client: UUID
    order_id: str
    bank_ref: str


async def odengi_balance(rig: Rig) -> list[Row]:
    """A notice until the balance is on the driver's socket, without the bank's own answer time.

    The limit is the statements that the balance waits for, sent by pgbench on a copy of the
    database, and an echo.
    """
    supabase = await rig.supabase()
    dsn = await rig.new_database()
    async with rig.owner(dsn) as owner:
        clients = await seed.add_clients(owner, _ROUNDS * EACH)
        await seed.settle_down(owner)
    done = 0
    async with AsyncExitStack() as stack:
        banks = await Banks.start(rig, stack)
        bills = await _bills(banks, dsn, clients)
        copies = [await rig.copy_database(dsn) for _ in range(2)]
        times = await _record(banks, copies[0], bills)
        async with rig.owner(copies[1]) as owner:
            script = await prepare(owner, times)
            await seed.settle_down(owner)
        server = await EvPowerServer.start(rig, stack, dsn, env=banks.settings("odengi"))
        bank = urlsplit(banks.odengi)
        phone = await stack.enter_async_context(
            paths(
                rig,
                server,
                paying=[
                    (
                        access_token(supabase, bill.client),
                        _request(NOTICES, orjson.dumps(signed_notice(bill.order_id))),
                    )
                    for bill in bills
                ],
                bank_port=bank.port or 0,
                questions=[_request(COMMANDS, _question(bill)) for bill in bills],
            )
        )

        async def ours() -> float:
            return await phone.median_ms("pay") - await phone.median_ms("ask")

        async def limit() -> float:
            nonlocal done
            first, done = done, done + EACH
            statements = await median_ms(
                rig.postgres, copies[1], script, rig.folder, times=EACH, per_s=1 / GAP_S,
                variables={"n": first},
            )  # fmt: skip
            return statements + await phone.median_ms("echo")

        turns = await in_turn(ours, limit, rounds=_ROUNDS)
    took_ms, limit_ms = turns
    return [
        Row(
            "odengi_balance", took_ms, "ms p50", "the same statements and an echo", limit_ms,
            Bar("<=", 3), f"{len(times[0])} statements", turns.ratio(),
        )
    ]  # fmt: skip


async def _bills(banks: Banks, dsn: str, clients: Sequence[UUID]) -> list[_Bill]:
    """Begins a top-up of each client in this process, and pays it at the bank."""
    bills: list[_Bill] = []
    db = await Database.open(dsn, size=1)
    confirmer, adapter = Confirmer(db, LocalBus()), banks.adapter()
    try:
        for client in clients:
            begun = await top_up(
                db, adapter, confirmer, client_id=client, amount_minor=AMOUNT, description=None,
                clock=utc_now,
            )  # fmt: skip
            if not isinstance(begun, StartedTopUp):
                raise RuntimeError(f"no bill: {begun.code}")  # noqa: TRY004 - no wrong type
            await banks.pay(begun.invoice.provider_ref)
            bills.append(_Bill(client, begun.payment.order_id, begun.invoice.provider_ref))
    finally:
        await confirmer.close()
        await db.close()
    return bills


async def _record(banks: Banks, dsn: str, bills: Sequence[_Bill]) -> list[list[Statement]]:
    """Asks about each bill as a notice does; returns the statements up to the confirmation."""
    db = RecordingDatabase(dsn)
    await db.start()
    confirmer, adapter = Confirmer(db, LocalBus()), banks.adapter()
    questions = Questions(db, confirmer, utc_now)
    times: list[list[Statement]] = []
    try:
        for bill in bills:
            db.statements = []
            result = await questions.ask(adapter, Question(bill.order_id, trusted=True))
            if result.outcome != "confirmed":
                raise RuntimeError(f"{bill.order_id} is {result.outcome}")
            texts = [statement for statement, _ in db.statements]
            last = max(n for n, text in enumerate(texts, 1) if _CONFIRMATION in text)
            times.append(db.statements[:last])
    finally:
        await confirmer.close()
        await db.close()
    return times


def _question(bill: _Bill) -> bytes:
    data = {"invoice_id": bill.bank_ref, "order_id": bill.order_id}
    return request_body(
        PASSWORD.encode(), command="statusPayment", sid=SID, time=mktime(utc_now(), "ms"), data=data
    )


def _request(path: str, body: bytes) -> str:
    """Returns a whole request with a JSON body."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {LOOPBACK}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head + body.decode()
