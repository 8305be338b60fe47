"""Codes are hashed with a key, compared in constant time, and too few to be guessed."""

from datetime import UTC, datetime, timedelta

import pytest

from evpower.foundation.errors import EvPowerError, Invalid
from evpower.identity.sign_in import codes, limits
from evpower.identity.sign_in.codes import CodeHasher, HashedCode

SECRET = "a sign-in secret of the tests, 32 bytes and more"
PHONE = "+996555123456"
NOW = datetime(2026, 11, 29, 18, 30, tzinfo=UTC)


@pytest.fixture
def hasher() -> CodeHasher:
    return CodeHasher(SECRET)


def test_guessing_finds_a_phones_code_less_than_once_in_a_thousand_days() -> None:
    # Each compared pair of a guess and a code matches with probability 10**-6, and there are at
    # most so many pairs, however the guesses are divided (union bound).
    bound = limits.GUESSES_PER_DAY / codes.POSSIBLE_CODES
    assert bound < 0.001
    # Two days' windows may touch: even all codes of both within 24 hours stay below.
    assert 2 * bound < 0.001


def test_a_code_matches_its_phone_only(hasher: CodeHasher) -> None:
    stored = hasher.hash_code(PHONE, "012345")
    assert hasher.matches(PHONE, "012345", stored)
    assert not hasher.matches("+996555123457", "012345", stored)
    assert not hasher.matches(PHONE, "012346", stored)


def test_the_same_code_is_stored_differently_each_time(hasher: CodeHasher) -> None:
    first, second = (hasher.hash_code(PHONE, "012345") for _ in range(2))
    assert first.code_hash != second.code_hash


def test_without_the_secret_all_million_codes_tell_nothing(hasher: CodeHasher) -> None:
    stored = hasher.hash_code(PHONE, "000007")
    other = CodeHasher("another secret, as long as the first one was")
    assert not any(other.matches(PHONE, f"{code:06}", stored) for code in range(1000))


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="EVPOWER_SIGN_IN_SECRET"):
        CodeHasher("x" * 31)


def test_hashes_of_codes_and_addresses_have_keys_of_their_own(hasher: CodeHasher) -> None:
    assert codes.derive(SECRET, "sign-in codes") != codes.derive(SECRET, "sign-in addresses")
    assert hasher.hash_address("192.0.2.1") != hasher.hash_address("192.0.2.2")


def test_a_code_keeps_its_leading_zeros() -> None:
    assert codes.new_code(lambda _: 7) == "000007"


@pytest.mark.parametrize(
    "text", ["12345", "1234567", "12345a", "\N{FULLWIDTH DIGIT ONE}23456", "", " 12345", "12345\n"]
)
def test_what_is_no_six_digits_is_no_code(text: str) -> None:
    assert not codes.is_code(text)


def test_comparing_uses_all_bytes(hasher: CodeHasher, monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []

    def compare(left: bytes, other: bytes) -> bool:
        compared.append((left, other))
        return left == other

    monkeypatch.setattr(codes.hmac, "compare_digest", compare)
    hasher.matches(PHONE, "012345", HashedCode(b"s" * 16, b"x" * 32))
    assert [len(part) for pair in compared for part in pair] == [32, 32]


def wanted(*, known: bool = False, phone: str = PHONE) -> list[limits.Budget]:
    return limits.budgets(
        phone, ["a", "b"], known=known, now=NOW, codes_per_hour=1000, codes_per_address=40
    )


def test_known_addresses_take_from_budgets_of_their_own() -> None:
    new, known = ({budget.name for budget in wanted(known=known)} for known in (False, True))
    assert not new & known


def test_an_address_may_use_up_its_hour_five_times_a_day_and_wider_networks_more() -> None:
    most = {budget.name: budget.most for budget in wanted() if budget.name.startswith("address")}
    assert most == {
        "address a new hour": 40,
        "address a new day": 200,
        "address b new hour": 160,
        "address b new day": 800,
    }


def test_windows_are_whole_hours_and_days() -> None:
    spans = {(budget.starts_at, budget.ends_at) for budget in wanted()}
    day = datetime(2026, 11, 29, tzinfo=UTC)
    hour = day + timedelta(hours=18)
    assert spans == {(hour, hour + timedelta(hours=1)), (day, day + timedelta(days=1))}


def test_numbers_of_a_block_share_its_budget() -> None:
    blocks = [
        {budget.name for budget in wanted(phone=phone) if budget.name.startswith("block")}
        for phone in (PHONE, "+996555129999", "+996555139999")
    ]
    assert blocks[0] == blocks[1] != blocks[2]


def test_an_exceeded_budget_is_refused_until_its_window_ends() -> None:
    budgets = wanted()
    used = {budget.name: 1 for budget in budgets}
    limits.refuse_if_over(budgets, used, NOW)
    hourly = next(budget for budget in budgets if budget.name == f"phone {PHONE} new hour")
    used[hourly.name] = hourly.most + 1
    with pytest.raises(EvPowerError) as refused:
        limits.refuse_if_over(budgets, used, NOW)
    assert (refused.value.http_status, refused.value.retry_after_s) == (429, 1800)


def test_codes_go_to_the_countries_of_the_settings_only() -> None:
    limits.refuse_other_countries(PHONE, ["996"])
    with pytest.raises(Invalid) as refused:
        limits.refuse_other_countries("+88213300000", ["996", "7"])
    assert refused.value.code == "phone_country_not_served"
