"""`evpower payments reconcile`, `differences` and `decide`, as an owner types them."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from uuid import UUID

import pytest

from evpower.devstack.bank.server import create_sandbox
from evpower.foundation.db import Connection
from tests.cli.test_commands import GOOD, evpower
from tests.payments.conftest import LoopbackServer, payment

HEAD = "Транзакция;Заказ;Сумма;Дата;Статус\n"
COLUMNS = (
    "trans_id=Транзакция;order=Заказ;amount=Сумма;date=Дата;status=Статус;unit=som;approved=Оплачен"
)


SECRET = "the bank and the merchant know it"
Run = Callable[..., Awaitable[str]]


@pytest.fixture
async def bank(tmp_path: Path) -> AsyncIterator[LoopbackServer]:
    """A sandbox bank that knows no order."""
    server = LoopbackServer()
    await server.start(create_sandbox(SECRET, "http://127.0.0.1:1/none", tmp_path / "bank"))
    yield server
    await server.stop()
    server.close()


@pytest.fixture
def run(dsn: str, tmp_path: Path, bank: LoopbackServer) -> Run:
    """A command with that bank as its provider; returns what it printed, errors after."""

    async def run(*words: str, fails: bool = False) -> str:
        env = {
            **GOOD,
            "EVPOWER_DATABASE_URL": dsn,
            "EVPOWER_ENV": "development",
            "EVPOWER_SANDBOX_URL": bank.url,
            "EVPOWER_SANDBOX_SECRET": SECRET,
        }
        done = await asyncio.to_thread(evpower, tmp_path, "payments", *words, env=env)
        assert done.returncode == int(fails), done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return run


async def test_a_report_is_compared_listed_and_decided(
    owner: Connection, client_id: UUID, run: Run, tmp_path: Path
) -> None:
    order = await payment(owner, client_id)
    report = tmp_path / "november.csv"
    report.write_text(
        f"{HEAD}t1;{order};100;2026-11-01 12:00:00;Оплачен\n=2+2;x;5;01.11.2026;Оплачен\n"
    )
    refused = await run("reconcile", "--file", str(report), fails=True)
    assert "It has: Транзакция, Заказ, Сумма, Дата, Статус" in refused
    shown = await run("reconcile", "--file", str(report), "--columns", COLUMNS)
    assert "sandbox, 2026-10-31T18:00:00Z to 2026-11-01T18:00:00Z, by its file" in shown
    assert "theirs  2 transactions, 105.00 som" in shown
    assert "2 differences" in shown

    listed = json.loads((await run("differences", "--json")).splitlines()[0])
    assert {row["reference"]: row["kind"] for row in listed} == {
        "t1": "missing_at_ours", "=2+2": "missing_at_ours",
    }  # fmt: skip
    assert "'=2+2" in await run("differences", "--csv")
    numbers = {row["reference"]: str(row["id"]) for row in listed}
    why = ("--reason", "the bank showed it")
    answered = await run("decide", numbers["t1"], "ask", *why, fails=True)
    assert "error" in answered  # the bank does not know the order
    reviewed = await run("decide", numbers["t1"], "review", *why)
    assert "events: review" in reviewed
    assert "reported" in await run("review")
    unknown = await run("decide", numbers["=2+2"], "review", *why, fails=True)
    assert "no payment of ours has this order" in unknown
    explained = await run("decide", numbers["=2+2"], "explained", *why, "--json")
    assert json.loads(explained.splitlines()[0])["difference"]["decision"] == "explained"
    assert "0 differences" in await run("differences")
    assert "there is no decision" in await run("decide", "1", "credit", *why, fails=True)


async def test_the_banks_own_list_is_compared(run: Run) -> None:
    done = await run("reconcile", "--from", "2026-11-01", "--to", "2026-11-03", "--json")
    row = json.loads(next(line for line in done.splitlines() if line.startswith("{")))
    assert (row["provider"], row["source"], row["difference_count"]) == ("sandbox", "list", 0)
    assert "read from the provider: 5 of 5" in done
    wrong = await run("reconcile", "--from", "2026-11-31", fails=True)
    assert "are no dates" in wrong
