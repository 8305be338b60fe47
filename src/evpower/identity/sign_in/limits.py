"""How many codes may be sent, by phone, address, number block and country.

A caller at an address that signed this phone in before is counted apart from all others, so that
strangers can't use up the budget of the phone's owner. Windows are whole hours and days, UTC.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from evpower.foundation.errors import EvPowerError, Invalid
from evpower.identity.sign_in.codes import ATTEMPTS

_HOUR: Final = timedelta(hours=1)
_DAY: Final = timedelta(days=1)
# Codes of one phone, for known addresses and again for all others.
PHONE_PER_HOUR: Final = 5
PHONE_PER_DAY: Final = 15
_ADDRESS_HOURS_PER_DAY: Final = 5  # an address may use up its hour's codes so often in a day
# Of the address itself (for IPv6 its /64), and of its /48 and /32, which one party may own.
_ADDRESS_FACTORS: Final = (1, 4, 16)
# Codes for a block of 10,000 consecutive numbers: pumping buys such blocks.
BLOCK_PER_HOUR: Final = 20
BLOCK_PER_DAY: Final = 60
_BLOCK_DIGITS: Final = 4  # at the end, that differ within a block
CODES_PER_DAY: Final = 2 * PHONE_PER_DAY  # of one phone, by known and by other addresses
# Compared with them: on a code that a known address asked for by these and by others, on any other
# by the address that asked, too.
GUESSES_PER_DAY: Final = PHONE_PER_DAY * 2 * ATTEMPTS + PHONE_PER_DAY * 3 * ATTEMPTS


@dataclass(frozen=True, slots=True)
class Budget:
    """What one code takes from: at most `most` in the window that starts at `starts_at`."""

    name: str
    starts_at: datetime
    ends_at: datetime
    most: int


def budgets(
    phone: str,
    address_keys: Sequence[str],
    *,
    known: bool,
    now: datetime,
    codes_per_hour: int,
    codes_per_address: int,
) -> list[Budget]:
    """Returns what sending one code takes from, by name.

    `address_keys`: what is stored of the caller's address, then of its wider IPv6 networks;
    `codes_per_hour`: for all phones of a country; `codes_per_address`: in an hour, asked for from
    one address, which a carrier's network address translation is, too.
    """
    group = "known" if known else "new"
    block = phone[:-_BLOCK_DIGITS]
    country = calling_code(phone)
    counted: list[tuple[str, timedelta, int]] = [
        (f"phone {phone} {group}", _HOUR, PHONE_PER_HOUR),
        (f"phone {phone} {group}", _DAY, PHONE_PER_DAY),
        (f"block {block} {group}", _HOUR, BLOCK_PER_HOUR),
        (f"block {block} {group}", _DAY, BLOCK_PER_DAY),
        (f"country {country} {group}", _HOUR, codes_per_hour),
    ]
    for key, factor in zip(address_keys, _ADDRESS_FACTORS, strict=False):
        counted.append((f"address {key} {group}", _HOUR, codes_per_address * factor))
        counted.append(
            (f"address {key} {group}", _DAY, codes_per_address * _ADDRESS_HOURS_PER_DAY * factor)
        )
    return sorted(
        (_budget(name, window, most, now) for name, window, most in counted),
        key=lambda budget: (budget.name, budget.starts_at),
    )


def _budget(name: str, window: timedelta, most: int, now: datetime) -> Budget:
    window_s = int(window.total_seconds())
    starts_at = datetime.fromtimestamp(int(now.timestamp()) // window_s * window_s, UTC)
    unit = "hour" if window == _HOUR else "day"
    return Budget(f"{name} {unit}", starts_at, starts_at + window, most)


def refuse_if_over(wanted: Sequence[Budget], used: Mapping[str, int], now: datetime) -> None:
    """Returns if no budget is exceeded; `used` counts this code too.

    Raises EvPowerError("too_many_requests") with the time until the last exceeded window ends. It
    names no budget: whoever sends in the name of another learns nothing.
    """
    over = [budget for budget in wanted if used[budget.name] > budget.most]
    if over:
        raise too_many(max(budget.ends_at for budget in over) - now)


def too_many(wait: timedelta) -> EvPowerError:
    """Returns the refusal with the whole seconds until the next code."""
    wait_s = max(1, -int(-wait.total_seconds() // 1))
    return EvPowerError(
        "too_many_requests", f"try again in {wait_s} s", status=429, retry_after_s=wait_s
    )


def calling_code(phone: str) -> str:
    """Returns the country's calling code of an E.164 number, as in "996"."""
    import phonenumbers  # only a server needs it

    return str(phonenumbers.parse(phone).country_code)


def refuse_other_countries(phone: str, countries: Iterable[str]) -> None:
    """Returns if codes are sent to this country. Raises Invalid("phone_country_not_served")."""
    served = set(countries)
    if calling_code(phone) not in served:
        raise Invalid(
            "phone_country_not_served",
            f"codes are sent to numbers of +{', +'.join(sorted(served))} only",
        )
