"""A process that makes one call of a provider and kills itself at a named failpoint."""

import asyncio
import os
import sys
from pathlib import Path
from uuid import UUID

import orjson

from evpower.foundation import failpoints
from evpower.foundation.bus import LocalBus
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.payments import (
    Confirmer,
    Providers,
    RefundDesk,
    cancel,
    refund_at_bank,
    top_up,
)
from evpower.payments.providers.protocol import Provider, Question
from evpower.payments.providers.sandbox import SandboxProvider
from evpower.payments.questions import Questions
from tests.conftest import patient_database
from tests.waiting import WAIT_LIMIT_S, patient_http


async def act(db: Database, provider: Provider, facts: dict[str, str]) -> None:
    """Begins a top-up, cancels a bill, refunds at the bank, or asks about a notice's order."""
    bus = LocalBus()
    confirmer, providers = Confirmer(db, bus), Providers([provider], provider.name)
    match facts["act"]:
        case "top_up":
            await top_up(
                db,
                provider,
                confirmer,
                client_id=UUID(facts["client"]),
                amount_minor=10_000,
                description=None,
                clock=utc_now,
                key="the-key",
            )
        case "cancel":
            await cancel(db, providers, confirmer, invoice_id=facts["invoice"], clock=utc_now)
        case "refund":
            await refund_at_bank(
                RefundDesk(db, bus, providers, confirmer, utc_now),
                invoice_id=facts["invoice"],
                amount_minor=3_000,
                operator="Aida",
                reason="the driver asked",
                key="request-1",
            )
        case _:
            question = Question(facts["order"], trusted=True)
            await Questions(db, confirmer, utc_now).ask(provider, question)


async def main(dsn: str, bank: str, secret: str, file: Path, step: str, facts: str) -> None:
    file.write_text(f"{step} {os.getpid()}")
    failpoints.watch(file)
    db = patient_database(dsn)
    await db.start()
    async with patient_http() as http:
        provider = SandboxProvider(bank, [secret], http, timeout_s=WAIT_LIMIT_S)
        await act(db, provider, orjson.loads(facts))
    await db.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:4], Path(sys.argv[4]), *sys.argv[5:]))
