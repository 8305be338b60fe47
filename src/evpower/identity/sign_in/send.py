"""Sends a code to a phone. The answer is the same whether the phone is known or not."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

import structlog

from evpower.foundation.addresses import wider_networks
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Invalid, Unavailable
from evpower.identity import metrics
from evpower.identity.contact import phone_as_typed
from evpower.identity.sign_in import store_codes
from evpower.identity.sign_in.codes import (
    LIFETIME,
    RESEND_AFTER,
    CodeHasher,
    new_code,
)
from evpower.identity.sign_in.limits import (
    budgets,
    refuse_if_over,
    refuse_other_countries,
    too_many,
)
from evpower.identity.sign_in.senders.protocol import NotSent, Sender, SentPerhaps, Sms

_ID_ALPHABET: Final = "ABCDEFGHJKLMNPQRSTUVWXYZ0123456789"
_ID_LENGTH: Final = 12  # the most that the carrier takes
# Returns the text of the message with a code, in the language of the caller.
SmsText = Callable[[str], str]

_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CodeRules:
    """What the settings say of codes."""

    sender: Sender
    hasher: CodeHasher
    countries: Sequence[str]
    codes_per_hour: int  # to all phones of a country
    codes_per_address: int  # in an hour
    make_code: Callable[[], str] = field(default=new_code)


@dataclass(frozen=True, slots=True)
class SentCode:
    """A code that was sent."""

    phone: str  # E.164
    expires_in_s: int
    resend_in_s: int


def read_phone(raw: str) -> str:
    """Returns E.164 of a typed phone. Raises Invalid("invalid_phone")."""
    phone = phone_as_typed(raw)
    if phone is None:
        raise Invalid("invalid_phone", "phone is no number: write + and the country")
    return phone


async def send_code(
    db: Database, rules: CodeRules, raw_phone: str, address: str, *, text: SmsText, clock: Clock
) -> SentCode:
    """Sends a code; an earlier one of the same address is void from then on.

    The code is committed before it is sent: a crash in between costs the driver the pause before
    the next one. Raises Invalid("invalid_phone" | "phone_country_not_served"),
    EvPowerError("too_many_requests"), Unavailable("sms_unavailable").
    """
    phone = read_phone(raw_phone)
    refuse_other_countries(phone, rules.countries)
    code = rules.make_code()
    async with db.transaction() as connection:
        now = clock()
        code_id = await _store(connection, rules, phone, address, code, now)
    message = Sms(_message_id(), phone, text(code))
    try:
        await rules.sender.send(message)
    except NotSent as error:
        async with db.transaction() as connection:
            await store_codes.end_unsent(connection, code_id, clock())
        metrics.CODES.labels(rules.sender.name, "not_sent").inc()
        report = _log.error if error.is_ours else _log.warning
        report("sign_in_code_not_sent", sender=rules.sender.name, reason=error.reason)
        raise Unavailable(
            "sms_unavailable", "the message could not be sent", retry_after_s=10, cause=error.reason
        ) from error
    except SentPerhaps:
        # It may arrive, and its code must work then; else the driver asks for another.
        metrics.CODES.labels(rules.sender.name, "unknown").inc()
        _log.warning("sign_in_code_outcome_unknown", sender=rules.sender.name)
    else:
        metrics.CODES.labels(rules.sender.name, "sent").inc()
    return SentCode(phone, int(LIFETIME.total_seconds()), int(RESEND_AFTER.total_seconds()))


async def _store(
    connection: Connection, rules: CodeRules, phone: str, address: str, code: str, now: datetime
) -> int:
    await store_codes.lock_phone(connection, phone)
    address_hash = rules.hasher.hash_address(address)
    known = await store_codes.is_known_address(connection, phone, address_hash)
    last_at = await store_codes.last_code_at(connection, phone, known=known)
    if last_at is not None and now < last_at + RESEND_AFTER:
        metrics.CODES.labels(rules.sender.name, "too_soon").inc()
        raise too_many(last_at + RESEND_AFTER - now)
    keys = [rules.hasher.hash_address(place).hex() for place in (address, *wider_networks(address))]
    wanted = budgets(
        phone,
        keys,
        known=known,
        now=now,
        codes_per_hour=rules.codes_per_hour,
        codes_per_address=rules.codes_per_address,
    )
    used = await store_codes.take_budgets(connection, wanted)
    over = [budget.name.split(" ", 1)[0] for budget in wanted if used[budget.name] > budget.most]
    for limit in sorted(set(over)):
        metrics.CODES_LIMITED.labels(limit).inc()
        _log.warning("sign_in_codes_limited", limit=limit, known_address=known)
    refuse_if_over(wanted, used, now)
    return await store_codes.insert_code(
        connection,
        phone,
        rules.hasher.hash_code(phone, code),
        address_hash=address_hash,
        known=known,
        created_at=now,
        expires_at=now + LIFETIME,
    )


def _message_id() -> str:
    return "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
