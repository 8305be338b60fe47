"""The bank's checkout page as a driver meets it, and what it does to the money on both sides."""

from collections.abc import Awaitable, Callable

import pytest

from evpower.devstack.local import LocalEvPower
from tests.browser.conftest import NewPage
from tests.browser.page import Page
from tests.faults.driver import Driver, Money
from tests.waiting import until

pytestmark = pytest.mark.xdist_group("browser")

APPROVE, CANCEL = "form[action*=approve] button", "form[action*=cancel] button"
WORDS = {
    "ru": ("Оплата · EvPower", "сом", "Ожидает оплаты", "Оплатить", "Отменить"),
    "ky": ("Төлөм · EvPower", "сом", "Төлөм күтүлүүдө", "Төлөө", "Жокко чыгаруу"),
    "en": ("Payment · EvPower", "som", "Waiting for payment", "Approve", "Cancel"),
}


def is_status(status: str) -> str:
    return f"document.querySelector('.state')?.dataset.status === '{status}'"


async def both_show(driver: Driver, money: Money) -> None:
    """EvPower comes to it, and Supabase after it."""

    async def is_in(side: Callable[[], Awaitable[Money]]) -> bool:
        return await side() == money

    await until(lambda: is_in(driver.here), f"{money} in EvPower")
    await until(lambda: is_in(driver.there), f"{money} in Supabase")


async def all_told(driver: Driver, bill: dict[str, str], times: int) -> None:
    """The bank notified EvPower so often, and every time EvPower took it."""

    async def is_told() -> bool:
        sent = (await driver.http.get(f"{bill['app_link']}/events")).json()
        return [event["state"] for event in sent] == ["done"] * times

    await until(is_told, f"{times} webhooks are taken")


async def test_a_driver_pays(page: Page, driver: Driver) -> None:
    bill = await driver.open_invoice(1250)
    await page.open_once(bill["app_link"])
    assert "1\N{NO-BREAK SPACE}250 сом" in await page.text()
    await page.press(APPROVE)
    await page.until(is_status("approved"))
    assert "Оплачено" in await page.text()
    assert await page.evaluate("document.querySelectorAll('button').length") == 0
    await both_show(driver, Money(125_000, 1))
    assert page.errors == []


async def test_a_bill_paid_on_two_devices_is_paid_once(new_page: NewPage, driver: Driver) -> None:
    bill = await driver.open_invoice(300)
    phone, laptop = await new_page(), await new_page()
    for page in (phone, laptop):
        await page.open_once(bill["app_link"])
    await phone.press(APPROVE)
    await phone.until(is_status("approved"))
    await laptop.press(APPROVE)
    await laptop.until(is_status("approved"))
    await all_told(driver, bill, 2)
    await both_show(driver, Money(30_000, 1))
    assert [*phone.errors, *laptop.errors] == []


async def test_a_declined_bill_leaves_the_money_alone(page: Page, driver: Driver) -> None:
    bill = await driver.open_invoice(200)
    await page.open_once(bill["app_link"])
    await page.press(CANCEL)
    await page.until(is_status("canceled"))
    assert "Отменено" in await page.text()
    await all_told(driver, bill, 1)
    status = await driver.read(f"/api/v1/payment/status/{bill['invoice_id']}")
    assert status.json()["status"] == 2
    await both_show(driver, Money(0, 0))
    assert page.errors == []


async def test_a_page_left_open_sees_by_itself_that_it_was_paid(page: Page, driver: Driver) -> None:
    bill = await driver.open_invoice(150)
    await page.open(bill["app_link"])
    await page.until(is_status("processing"))
    await driver.approve(bill)
    await page.until(is_status("approved"))
    assert page.errors == []


async def test_declining_what_was_paid_meanwhile_shows_that_it_is_paid(
    page: Page, driver: Driver
) -> None:
    bill = await driver.open_invoice(170)
    await page.open_once(bill["app_link"])
    await driver.approve(bill)
    await page.press(CANCEL)
    await page.until(is_status("approved"))
    await both_show(driver, Money(17_000, 1))
    assert page.errors == []


async def test_it_works_under_another_name_of_the_machine(
    page: Page, driver: Driver, evpower: LocalEvPower
) -> None:
    bill = await driver.open_invoice(180)
    here = f"http://localhost:{evpower.sandbox_port}/pay/{bill['app_link'].rsplit('/', 1)[1]}"
    await page.open_once(here)
    await page.press(APPROVE)
    await page.until(is_status("approved"))
    assert (await page.evaluate("location.href")).startswith(here)
    await both_show(driver, Money(18_000, 1))
    assert page.errors == []


async def test_it_speaks_the_languages_of_the_country(new_page: NewPage, driver: Driver) -> None:
    bill = await driver.open_invoice(100)
    page = await new_page("ky-KG,ky;q=0.9,ru;q=0.5")
    await page.open_once(bill["app_link"])
    for language in ("ky", "en", "ru"):
        if language != "ky":  # its device asked for that one
            await page.press(f"nav a[href='?lang={language}']")
            await page.until(f"document.documentElement.lang === '{language}'")
        shown = await page.text()
        assert [word for word in WORDS[language] if word not in shown] == []
        others = {word for key in WORDS if key != language for word in WORDS[key][2:]}
        assert [word for word in others if word in shown] == []
    assert page.errors == []


async def test_it_fits_a_small_phone(page: Page, driver: Driver) -> None:
    bill = await driver.open_invoice(100_000)
    await page.resize(320, 640)
    await page.open_once(bill["app_link"])
    edges = "(({left, right}) => [left, innerWidth - right])"
    card = await page.evaluate(f"{edges}(document.querySelector('main').getBoundingClientRect())")
    assert min(card) > 0, card
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")


async def test_its_qr_is_drawn_large_enough_and_nothing_comes_from_elsewhere(
    page: Page, driver: Driver, evpower: LocalEvPower
) -> None:
    bill = await driver.open_invoice(100)
    await page.open_once(bill["app_link"])
    drawn = "document.querySelector('.qr svg').getBoundingClientRect()"
    assert await page.evaluate(f"[{drawn}.width, {drawn}.height]") == [220, 220]
    assert await page.evaluate("getComputedStyle(document.querySelector('main')).borderRadius") == (
        "20px"
    )
    foreign = [url for url in page.requests if not url.startswith((evpower.sandbox_url, "data:"))]
    assert foreign == []
