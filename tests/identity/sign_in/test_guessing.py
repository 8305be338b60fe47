"""Guessing voids the code, never the phone: its owner and all others still sign in."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from evpower.foundation.db import Connection
from evpower.foundation.errors import EvPowerError
from evpower.identity.sign_in import limits
from evpower.identity.sign_in.codes import ATTEMPTS
from evpower.identity.sign_in.send import SentCode
from evpower.identity.sign_in.senders.protocol import NotSent, SentPerhaps
from tests.identity.conftest import Clock
from tests.identity.sign_in.conftest import ADDRESS_CODES, HOME, Phones, new_phone, refusal_of

AWAY = "198.51.100.7"


@pytest.fixture
def clock() -> Clock:
    """Begins with a full hour: no test passes the end of an hour's limits by chance."""
    return Clock(datetime.now(UTC).replace(minute=0, second=0, microsecond=0))


def wrong(code: str, n: int = 1) -> str:
    return f"{(int(code) + n) % 1_000_000:06}"


async def guess(phones: Phones, phone: str, code: str, address: str) -> str:
    return (await refusal_of(phones.type(phone, code, address))).code


async def is_sent(phones: Phones, phone: str, address: str) -> bool:
    """Whether a code was sent, or else a limit refused it."""
    sent = len(phones.inbox.messages)
    results = await asyncio.gather(phones.ask(phone, address), return_exceptions=True)
    return len(phones.inbox.messages) > sent or isinstance(results[0], SentCode)


async def test_a_thousand_addresses_void_the_code_and_lock_no_phone(
    phones: Phones, owner: Connection
) -> None:
    phone, neighbour = new_phone(), new_phone()
    await phones.sign_in(phone, HOME)
    await phones.ask(phone, AWAY)
    code = phones.inbox.code(phone)
    addresses = [f"203.0.{n // 250}.{n % 250}" for n in range(1000)]

    async def attack(guesses: range) -> set[str]:
        return {
            await guess(phones, phone, wrong(code, n + 1), addresses[n % 1000]) for n in guesses
        }

    answers = await asyncio.gather(*(attack(range(n, 11_000, 8)) for n in range(8)))

    assert set().union(*answers) == {"invalid_code"}
    attempts = await owner.fetchval(
        "select attempts_unknown from identity.sign_in_codes where phone = $1"
        " and not by_known_address order by id desc limit 1",
        phone,
    )
    assert attempts == ATTEMPTS
    # Void for strangers, though it is right.
    assert await guess(phones, phone, code, "198.51.100.9") == "invalid_code"
    phones.clock.forward(seconds=61)
    await phones.sign_in(phone, HOME)  # at once, from where the phone signed in before
    await phones.sign_in(phone, "198.51.100.8")  # and from anywhere else with the next code
    await phones.sign_in(neighbour, addresses[0])


async def test_strangers_guesses_leave_the_attempts_of_a_known_address(phones: Phones) -> None:
    phone = new_phone()
    await phones.sign_in(phone, HOME)
    await phones.ask(phone, HOME)
    code = phones.inbox.code(phone)
    for n in range(2 * ATTEMPTS):
        await guess(phones, phone, wrong(code, n + 1), AWAY)
    signed_in = await phones.type(phone, code, HOME)
    assert signed_in.account.phone == phone


async def test_strangers_void_no_code_for_the_address_that_asked_for_it(phones: Phones) -> None:
    phone = new_phone()
    await phones.ask(phone, AWAY)
    code = phones.inbox.code(phone)
    for n in range(2 * ATTEMPTS):
        await guess(phones, phone, wrong(code, n + 1), f"203.0.113.{n}")
    # Void for strangers alone.
    assert await guess(phones, phone, code, "203.0.113.99") == "invalid_code"
    assert (await phones.type(phone, code, AWAY)).account.phone == phone


async def test_the_address_that_asked_for_a_code_has_five_attempts(
    phones: Phones, owner: Connection
) -> None:
    phone = new_phone()
    await phones.ask(phone, AWAY)
    code = phones.inbox.code(phone)
    for n in range(ATTEMPTS):
        await guess(phones, phone, wrong(code, n + 1), AWAY)
    assert await guess(phones, phone, code, AWAY) == "invalid_code"
    counted = await owner.fetchrow(
        "select attempts_asker, attempts_unknown from identity.sign_in_codes where phone = $1",
        phone,
    )
    assert counted is not None
    assert tuple(counted) == (ATTEMPTS, 0)
    await phones.type(phone, code, "198.51.100.8")  # strangers have attempts of their own


async def test_a_stranger_s_code_replaces_none_of_another_address(phones: Phones) -> None:
    phone = new_phone()
    await phones.ask(phone, AWAY)
    code = phones.inbox.code(phone)
    phones.clock.forward(seconds=61)
    await phones.ask(phone, "203.0.113.1")
    strangers = phones.inbox.code(phone)
    await phones.type(phone, code, AWAY)
    assert await guess(phones, phone, strangers, "203.0.113.1") == "invalid_code"


async def test_a_phone_has_no_more_guesses_in_a_day_than_the_bound_counts(
    phones: Phones, owner: Connection
) -> None:
    phone = new_phone()
    await phones.sign_in(phone, HOME)
    for _ in range(24 * 6):
        phones.clock.forward(minutes=10)
        for address in (HOME, AWAY, "203.0.113.1"):
            if not await is_sent(phones, phone, address):
                continue
            code = phones.inbox.code(phone)
            for n in range(ATTEMPTS + 1):
                await guess(phones, phone, wrong(code, n + 1), HOME)
                await guess(phones, phone, wrong(code, n + 1), AWAY)
                await guess(phones, phone, wrong(code, n + 1), "203.0.113.1")
                await guess(phones, phone, wrong(code, n + 1), "203.0.113.2")
    rows = await owner.fetch(
        "select created_at::date as day, count(*) as codes,"
        " sum(attempts_known + attempts_asker + attempts_unknown) as guesses"
        " from identity.sign_in_codes where phone = $1 group by 1",
        phone,
    )
    assert max(row["codes"] for row in rows) <= limits.CODES_PER_DAY
    most = limits.GUESSES_PER_DAY
    assert max(row["guesses"] for row in rows) <= most
    assert max(row["guesses"] for row in rows) > most / 2  # the test reached the limit


async def test_a_code_signs_in_once(phones: Phones) -> None:
    phone = new_phone()
    await phones.ask(phone)
    code = phones.inbox.code(phone)
    results = await asyncio.gather(
        *(phones.type(phone, code) for _ in range(4)), return_exceptions=True
    )
    refused = [result for result in results if isinstance(result, Exception)]
    assert len(refused) == 3
    assert await guess(phones, phone, code, HOME) == "invalid_code"


async def test_a_code_ends_after_five_minutes(phones: Phones) -> None:
    phone = new_phone()
    await phones.ask(phone)
    phones.clock.forward(minutes=5)
    assert await guess(phones, phone, phones.inbox.code(phone), HOME) == "invalid_code"


async def test_a_code_that_ends_while_auth_is_asked_signs_in_no_one(phones: Phones) -> None:
    phone = new_phone()
    await phones.ask(phone)
    passed = iter([timedelta(), timedelta(minutes=5)])
    calls = replace(phones.calls, clock=lambda: phones.clock() + next(passed))
    refused = await refusal_of(replace(phones, calls=calls).type(phone, phones.inbox.code(phone)))
    assert (refused.code, next(passed, None)) == ("invalid_code", None)


async def test_a_code_is_for_its_phone(phones: Phones) -> None:
    first, second = new_phone(), new_phone()
    await phones.ask(first)
    await phones.ask(second)
    assert await guess(phones, second, phones.inbox.code(first), HOME) == "invalid_code"


async def test_the_next_code_waits_a_minute_and_replaces_the_one_before(phones: Phones) -> None:
    phone = new_phone()
    sent = await phones.ask(phone)
    assert (sent.phone, sent.expires_in_s, sent.resend_in_s) == (phone, 300, 60)
    first = phones.inbox.code(phone)
    phones.clock.forward(seconds=20)
    refused = await refusal_of(phones.ask(phone))
    assert (refused.http_status, refused.retry_after_s) == (429, 40)
    phones.clock.forward(seconds=40)
    await phones.ask(phone)
    if first != phones.inbox.code(phone):
        assert await guess(phones, phone, first, HOME) == "invalid_code"
    await phones.type(phone, phones.inbox.code(phone))


async def test_a_code_asked_for_at_home_signs_in_from_anywhere(phones: Phones) -> None:
    phone = new_phone()
    await phones.sign_in(phone, HOME)
    await phones.ask(phone, HOME)
    await phones.type(phone, phones.inbox.code(phone), AWAY)


async def test_a_strangers_code_lets_its_owner_wait_for_nothing(phones: Phones) -> None:
    phone = new_phone()
    await phones.sign_in(phone, HOME)
    await phones.ask(phone, AWAY)
    strangers = phones.inbox.code(phone)
    await phones.ask(phone, HOME)  # at the same moment
    await phones.type(phone, phones.inbox.code(phone), HOME)
    assert await guess(phones, phone, strangers, AWAY) == "invalid_code"  # ended with the sign-in


async def test_codes_asked_for_at_once_are_one(phones: Phones) -> None:
    phone = new_phone()
    results = await asyncio.gather(*(phones.ask(phone) for _ in range(4)), return_exceptions=True)
    codes = [result.code for result in results if isinstance(result, EvPowerError)]
    assert codes == ["too_many_requests"] * 3
    await phones.type(phone, phones.inbox.code(phone))


async def test_a_message_that_did_not_go_out_costs_no_waiting(phones: Phones) -> None:
    phone = new_phone()
    phones.inbox.fails = NotSent("no money", is_ours=True)
    refused = await refusal_of(phones.ask(phone))
    assert (refused.code, refused.http_status) == ("sms_unavailable", 503)
    phones.inbox.fails = None
    await phones.ask(phone)
    await phones.type(phone, phones.inbox.code(phone))


async def test_a_message_of_unknown_outcome_is_answered_as_sent(phones: Phones) -> None:
    phones.inbox.fails = SentPerhaps()
    sent = await phones.ask(new_phone())
    assert sent.resend_in_s == 60


async def test_a_block_of_numbers_gets_few_codes_and_its_known_phones_still_do(
    phones: Phones,
) -> None:
    known = "+996771230001"
    await phones.sign_in(known, HOME)
    for n in range(limits.BLOCK_PER_HOUR - 1):
        await phones.ask(f"+9967712310{n:02}", f"198.51.100.{n}")
    refused = await refusal_of(phones.ask("+996771239999", "198.51.100.99"))
    assert refused.code == "too_many_requests"
    await phones.ask(known, HOME)
    await phones.ask("+996771249999", "198.51.100.99")


async def test_an_address_gets_few_codes_and_so_does_its_ipv6_network(phones: Phones) -> None:
    for n in range(ADDRESS_CODES):
        await phones.ask(f"+9967{n:02}000001", "2001:db8:0:1::/64")
    assert (await refusal_of(phones.ask(new_phone(), "2001:db8:0:1::/64"))).http_status == 429
    await phones.ask(new_phone(), "2001:db8:0:2::/64")
    for n in range(3 * ADDRESS_CODES - 1):
        await phones.ask(f"+99655{n:03}0001", f"2001:db8:0:{n + 10:x}::/64")
    assert (await refusal_of(phones.ask(new_phone(), "2001:db8:0:3::/64"))).http_status == 429


async def test_refused_codes_use_up_no_budget(phones: Phones, owner: Connection) -> None:
    phone = new_phone()
    await phones.ask(phone)
    before = await owner.fetchval("select sum(used) from identity.sign_in_budgets")
    for _ in range(20):
        await refusal_of(phones.ask(phone))
    assert await owner.fetchval("select sum(used) from identity.sign_in_budgets") == before


async def test_no_code_and_no_address_stands_in_the_database(
    phones: Phones, owner: Connection
) -> None:
    phone = new_phone()
    await phones.ask(phone, "198.51.100.77")
    rows = [
        str(dict(row))
        for table in ("sign_in_codes", "sign_in_budgets", "sign_in_addresses")
        for row in await owner.fetch(f"select * from identity.{table}")
    ]
    assert phones.inbox.code(phone) not in "".join(rows).replace(phone, "")
    assert "198.51.100.77" not in "".join(rows)
