"""One browser and one whole stack for all of these tests; a new page for each."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import httpx
import pytest

from evpower.devstack.local import LocalEvPower, running
from tests.browser.chromium import Chromium
from tests.browser.page import Page
from tests.browser.site import Site, serving
from tests.faults.driver import Driver
from tests.folders import server_folder
from tests.waiting import patient_http

NewPage = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Chromium]:
    browser = await Chromium.start()
    yield browser
    await browser.stop()


@pytest.fixture
async def new_page(chromium: Chromium) -> AsyncIterator[NewPage]:
    """More pages, each as on a device of its own."""
    async with AsyncExitStack() as opened:

        async def new_page(language: str = "ru") -> Page:
            page = await chromium.new_page(language)
            opened.push_async_callback(chromium.close, page)
            return page

        yield new_page


@pytest.fixture
async def page(new_page: NewPage) -> Page:
    return await new_page()


@pytest.fixture(scope="session")
async def app() -> AsyncIterator[Site]:
    """Where the operator's web app lives: its origin is allowed."""
    async with serving() as site:
        yield site


@pytest.fixture(scope="session")
async def stranger() -> AsyncIterator[Site]:
    """The site of another origin."""
    async with serving() as site:
        yield site


@pytest.fixture(scope="session")
async def evpower(app: Site) -> AsyncIterator[LocalEvPower]:
    with server_folder("browser") as folder:
        made = LocalEvPower(folder / "data", environment={"EVPOWER_CORS_ORIGINS": app.origin})
        async with running(made) as evpower:
            yield evpower


@pytest.fixture(scope="session")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with patient_http() as http:
        yield http


@pytest.fixture
async def driver(evpower: LocalEvPower, http: httpx.AsyncClient) -> Driver:
    """Signed up and signed in."""
    driver = Driver(evpower, http)
    await driver.sign_up()
    return driver
