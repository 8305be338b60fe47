"""Which pages may call: the browser asks the API, and believes what it says."""

import json
from typing import Any

import asyncpg
import pytest

from evpower.devstack.local import LocalEvPower
from tests.browser.page import Page
from tests.browser.site import Site
from tests.conftest import as_owner
from tests.faults.driver import Driver
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("browser")

ASK = """fetch({url}, {how}).then(
  async answer => ({{status: answer.status, id: answer.headers.get("X-Request-ID"),
                    body: await answer.json()}}),
  error => error.name)"""


async def ask(page: Page, url: str, **how: Any) -> Any:
    """The answer as the page gets to see it, or the name of the error."""
    return await page.evaluate(ASK.format(url=json.dumps(url), how=json.dumps(how)))


def of_cors(page: Page) -> list[str]:
    return [line for line in page.errors if "CORS" in line]


async def payments(evpower: LocalEvPower, driver: Driver) -> int:
    connection = await asyncpg.connect(as_owner(evpower.stack.evpower_dsn))
    try:
        return await connection.fetchval(
            "select count(*) from payments.payments where client_id = $1", driver.client_id
        )
    finally:
        await connection.close()


async def test_a_page_of_the_app_calls_with_a_token_and_reads_answers_and_errors(
    page: Page, app: Site, evpower: LocalEvPower, driver: Driver
) -> None:
    await page.open(app.origin)
    balance = f"{evpower.api_url}/api/v1/balance/{driver.client_id}"
    signed = {"Authorization": f"Bearer {driver._token}"}
    read = await ask(page, balance, headers=signed)
    assert (read["status"], read["body"]["balance"]) == (200, 0)
    assert read["id"]
    begun = await ask(
        page,
        f"{evpower.api_url}/api/v1/balance/topup-qr",
        method="POST",
        headers={**signed, "Content-Type": "application/json", "Idempotency-Key": "one-of-a-page"},
        body='{"amount": 100}',
    )
    assert begun["body"]["success"] is True
    assert await payments(evpower, driver) == 1
    assert page.errors == []

    refused = await ask(page, balance, headers={"Authorization": "Bearer nonsense"})
    assert (refused["status"], refused["body"]["error_code"]) == (401, "invalid_token")


async def test_a_page_of_a_strange_site_reads_and_does_nothing(
    page: Page, stranger: Site, evpower: LocalEvPower, driver: Driver
) -> None:
    await page.open(stranger.origin)
    balance = f"{evpower.api_url}/api/v1/balance/{driver.client_id}"
    signed = {"Authorization": f"Bearer {driver._token}"}
    assert await ask(page, balance, headers=signed) == "TypeError"
    assert await ask(page, f"{evpower.api_url}/healthz") == "TypeError"  # sent, but not readable
    top_up = f"{evpower.api_url}/api/v1/balance/topup-qr"
    request = {"method": "POST", "body": '{"amount": 100}'}
    typed = {**signed, "Content-Type": "application/json"}
    assert await ask(page, top_up, **request, headers=typed) == "TypeError"
    assert await ask(page, top_up, **request) == "TypeError"  # a "simple" one is sent unasked
    assert await payments(evpower, driver) == 0
    await until(lambda: len(of_cors(page)) >= 4, "the browser complains of each")
    assert len(of_cors(page)) == 4, page.errors
