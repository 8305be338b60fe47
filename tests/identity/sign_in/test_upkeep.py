"""What is no longer needed goes; what a limit or a sign-in rests on stays."""

from evpower.foundation.db import Connection
from evpower.identity import metrics
from evpower.identity.sign_in.refresh import refresh
from evpower.identity.sign_in.upkeep import measure_signing_key, purge_sign_ins
from tests.identity.sign_in.conftest import HOME, Phones, new_phone

TABLES = ("sign_in_codes", "sign_in_budgets", "sign_in_addresses", "refresh_tokens")


async def rows(owner: Connection) -> dict[str, int]:
    return {
        table: await owner.fetchval(f"select count(*) from identity.{table}") for table in TABLES
    }


async def test_nothing_goes_while_it_is_needed(phones: Phones, owner: Connection) -> None:
    await phones.sign_in(new_phone())
    before = await rows(owner)
    phones.clock.forward(days=1)
    async with phones.calls.db.transaction() as connection:
        assert await purge_sign_ins(connection, phones.clock(), 1000) == 0
    assert await rows(owner) == before


async def test_old_rows_go_and_known_addresses_and_tokens_stay_longer(
    phones: Phones, owner: Connection
) -> None:
    phone = new_phone()
    token = (await phones.sign_in(phone, HOME)).tokens.refresh
    phones.clock.forward(days=3)
    async with phones.calls.db.transaction() as connection:
        await purge_sign_ins(connection, phones.clock(), 1000)
    assert await rows(owner) == {
        "sign_in_codes": 0, "sign_in_budgets": 0, "sign_in_addresses": 1, "refresh_tokens": 1,
    }  # fmt: skip
    await refresh(phones.refreshes, token)
    phones.clock.forward(days=200)
    async with phones.calls.db.transaction() as connection:
        await purge_sign_ins(connection, phones.clock(), 1000)
    assert sum((await rows(owner)).values()) == 0


async def test_the_keys_age_is_measured(phones: Phones) -> None:
    await phones.sign_in(new_phone())
    phones.clock.forward(days=10)
    await measure_signing_key(phones.calls.db, phones.clock)
    assert metrics.SIGNING_KEY_AGE._value.get() > 9 * 86_400
