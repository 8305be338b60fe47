"""The JavaScript client of docs/live.md in a web page: let in by its origin, and coming back."""

import json
from typing import Any

import pytest

from evpower.devstack.local import LocalEvPower
from tests.browser.page import Page
from tests.browser.site import Site
from tests.faults.driver import Driver
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("browser")


async def watch(page: Page, evpower: LocalEvPower, driver: Driver) -> None:
    """Start the client in the page; what it says is in `messages`. By chance it comes back soon."""
    await page.evaluate(
        "Math.random = () => 0.05; globalThis.messages = []; globalThis.client = watch("
        f"{json.dumps(evpower.api_url)}, async () => {json.dumps(driver._token)},"
        " message => messages.push(message), message => messages.push(message)); 0"
    )


async def messages(page: Page) -> list[dict[str, Any]]:
    return await page.evaluate("messages")


async def test_a_page_of_the_app_sees_money_come_even_after_the_server_was_away(
    page: Page, app: Site, evpower: LocalEvPower, driver: Driver
) -> None:
    await page.open(app.origin)
    await watch(page, evpower, driver)
    await page.until("messages.at(-1)?.balance === 0")

    await driver.approve(await driver.open_invoice(250))
    await page.until("messages.at(-1).balance === 250")
    assert page.errors == []

    bill = await driver.open_invoice(100)
    before = len(await messages(page))
    await evpower.api.stop()
    await driver.approve(bill)  # at the bank, which will tell it to the new process
    await evpower.restart("all")
    await page.until("messages.at(-1).balance === 350")

    await driver.approve(await driver.open_invoice(50))
    await page.until("messages.at(-1).balance === 400")
    seen = await messages(page)
    assert len(seen) > before
    versions = [message["version"] for message in seen]
    assert versions == sorted(versions)
    assert {message["client_id"] for message in seen} == {str(driver.client_id)}
    assert [line for line in page.errors if "WebSocket connection" not in line] == []


async def test_a_page_of_a_strange_site_is_refused(
    page: Page, app: Site, stranger: Site, evpower: LocalEvPower, driver: Driver
) -> None:
    await page.open(stranger.origin)
    await watch(page, evpower, driver)
    await until_refused(page, evpower)
    assert await messages(page) == []
    await page.evaluate("client.close()")

    await page.open(app.origin)  # the very same, from where it is allowed
    await watch(page, evpower, driver)
    await page.until("messages.at(-1)?.balance === 0")


async def until_refused(page: Page, evpower: LocalEvPower) -> None:
    """Two sockets of the page's own were closed before they opened: a browser shows 1006."""
    url = evpower.api_url.replace("http", "ws", 1) + "/api/v1/ws"
    for _ in range(2):
        closed = await page.evaluate(
            f"new Promise(done => {{ const socket = new WebSocket({json.dumps(url)});"
            " socket.onopen = () => done('opened'); socket.onclose = ({code}) => done(code); })"
        )
        assert closed == 1006
    await until(lambda: any("403" in line for line in page.errors), "it says 403 in red")
