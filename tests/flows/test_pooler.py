"""The whole stack and the operator's commands work behind a pooler in transaction mode."""

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from evpower.devstack.local import LocalEvPower, running
from tests.faults.driver import Driver
from tests.waiting import COMMAND_S, patient_http, until

pytestmark = [pytest.mark.xdist_group("stacks"), pytest.mark.timeout(900)]


@asynccontextmanager
async def pooler(dsn: str) -> AsyncIterator[str]:
    """Run a pooler in its own process; yields the address to use in place of PostgreSQL's."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.pooler", dsn, stdout=PIPE
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), COMMAND_S)
        assert line, "it ended without being ready"
        yield line.decode().strip()
    finally:
        process.terminate()
        await process.wait()


async def test_drivers_and_operators_work_as_without_it(folder: Path) -> None:
    async with (
        running(LocalEvPower(folder / "data", split=True)) as evpower,
        pooler(evpower.stack.evpower_dsn) as address,
        patient_http() as http,
    ):
        behind = {"EVPOWER_DATABASE_URL": address}

        async def command(*words: str, code: int = 0) -> str:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "evpower", *words),
                stdout=PIPE,
                stderr=PIPE,
                env={**evpower.environment(), **behind},
            )
            out, err = await asyncio.wait_for(process.communicate(), COMMAND_S)
            text = (out + err).decode()
            assert process.returncode == code, (words, text)
            return text

        await evpower.restart("api", behind)
        await evpower.restart("worker", behind)
        driver = Driver(evpower, http)
        await driver.sign_up()
        invoice = await driver.open_invoice(100)
        await driver.approve(invoice)

        async def is_paid(som: int) -> bool:
            return (
                (await driver.here()).balance_minor
                == som * 100
                == (await driver.there()).balance_minor
            )

        await until(lambda: is_paid(100), "the top-up did not reach both sides")
        client = str(driver.client_id)
        await command(
            "payments", "cash", f"--client={client}", "--amount=50", "--receipt=1", "--reason=desk"
        )
        await until(lambda: is_paid(150), "the cash did not reach both sides")
        await command("clients", "block", client, "--reason=a test")
        await command("clients", "unblock", client, "--reason=a test")
        assert "importer" in await command("keys", "create", "importer") + await command(
            "keys", "list"
        )
        await command("supabase", "secret", "rotate")
        source = folder / "old.csv"
        source.write_text("old_id,email,name\n7,old@example.kg,Old\n")
        await command("identity", "migrate", f"--source={source}", "--reason=cut-over")
        assert "1" in await command("identity", "status")
        await command("identity", "revert", "--run=1")
        assert "equal" in await command("sync", "check")
        await command("sync", "status")
        await command("ledger", "verify")
        checks = {
            check["name"]: check["ok"]
            for check in json.loads(await command("doctor", "--json"))
            if check["name"].startswith(("database", "migrations", "durability"))
        }
        assert set(checks.values()) == {True}
        assert "connect to PostgreSQL directly" in await command("migrate", code=1)
