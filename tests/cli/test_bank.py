"""`evpower bank odengi`: for development, for the merchant of the settings."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import httpx
import pytest

from evpower.devstack.ports import free_port
from evpower.foundation.clock import utc_now
from evpower.payments.providers.odengi import OdengiProvider
from evpower.payments.providers.odengi.client import Merchant
from tests.cli.test_commands import evpower
from tests.waiting import patient_http, until

MERCHANT = {
    "EVPOWER_ENV": "development",
    "EVPOWER_ODENGI_SID": "1000000001",
    "EVPOWER_ODENGI_PASSWORD": "a password of the API",
}


def test_it_does_not_start_in_production_or_without_a_merchant(tmp_path: Path) -> None:
    for env, text in (
        ({**MERCHANT, "EVPOWER_ENV": "production"}, "EVPOWER_ENV=development"),
        ({"EVPOWER_ENV": "development"}, "EVPOWER_ODENGI_PASSWORD"),
    ):
        done = evpower(tmp_path, "bank", "odengi", env=env)
        assert done.returncode == 1
        assert text in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.usefixtures("true_starts")
async def test_it_makes_bills_at_the_address_it_prints(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EVPOWER_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "evpower", "bank", "odengi", f"--port={free_port()}",
        f"--data={tmp_path}", stdout=PIPE, env={**clean, **MERCHANT},
    )  # fmt: skip
    async with patient_http() as http:
        try:
            assert process.stdout is not None
            line = (await process.stdout.readline()).decode()
            match = re.fullmatch(r"EVPOWER_ODENGI_URL=(\S+)\n", line)
            assert match, line
            url = match[1]

            async def answers() -> bool:
                try:
                    return (await http.get(f"{url}/health")).status_code == 200
                except httpx.HTTPError:
                    return False

            await until(answers)
            merchant = Merchant(f"{url}/api/json/json.php", "1000000001", b"a password of the API")
            invoice = await OdengiProvider(merchant, http).create_invoice(
                order_id="order-1", amount_minor=100, currency="KGS", description="",
                expires_at=utc_now(),
            )  # fmt: skip
            assert invoice.page_url == f"{url}/pay/{invoice.provider_ref}"
        finally:
            process.terminate()
            await process.wait()
