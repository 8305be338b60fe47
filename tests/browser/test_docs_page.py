"""/docs in a browser: it shows the API and calls it, and loads nothing from afar."""

import pytest

from evpower.devstack.local import LocalEvPower
from tests.browser.page import Page

pytestmark = pytest.mark.xdist_group("browser")

HEALTH = ".opblock[id*=healthz]"


async def test_the_docs_come_from_here_alone_and_call_the_api(
    page: Page, evpower: LocalEvPower
) -> None:
    await page.open(f"{evpower.api_url}/docs")
    await page.until(f"document.querySelector('{HEALTH}')")
    assert "EvPower API" in await page.text(".info .title")
    paths = "fetch('/openapi.json').then(answer => answer.json()).then(({paths}) => paths)"
    operations = await page.evaluate(
        f"{paths}.then(all => Object.values(all).flatMap(Object.keys).length)"
    )
    assert operations
    await page.until(f"document.querySelectorAll('.opblock').length === {operations}")

    for step in (".opblock-summary-control", ".try-out__btn", ".execute"):
        await page.until(f"document.querySelector('{HEALTH} {step}')")
        await page.press(f"{HEALTH} {step}")
    status = f"{HEALTH} .live-responses-table tbody .response-col_status"
    await page.until(f"document.querySelector('{status}')?.innerText.includes('200')")

    foreign = [url for url in page.requests if not url.startswith((evpower.api_url, "data:"))]
    assert foreign == []
    assert page.errors == []
