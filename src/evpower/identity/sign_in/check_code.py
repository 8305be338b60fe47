"""Checks a typed code. A wrong one counts before it is answered; too many void the code alone."""

from datetime import datetime
from typing import NamedTuple

from evpower.foundation.db import Database
from evpower.foundation.errors import Unauthenticated
from evpower.identity import metrics
from evpower.identity.sign_in import store_codes
from evpower.identity.sign_in.codes import CodeHasher, is_code


class CheckedCode(NamedTuple):
    """A right code: whose it is, and from where it was typed."""

    id: int
    phone: str
    address_hash: bytes


async def check_code(
    db: Database, hasher: CodeHasher, phone: str, code: str, address: str, now: datetime
) -> CheckedCode:
    """Returns the matching code, still to be used with `store_codes.use_code`.

    Each open code of the phone has 5 attempts from addresses that signed it in before, 5 from the
    address that asked for it, and 5 from all others. The attempt is committed before the codes are
    compared, so that no crash gives it back. Raises Unauthenticated("invalid_code"): wrong, void,
    used or expired alike.
    """
    address_hash = hasher.hash_address(address)
    code_id: int | None = None
    if is_code(code):
        async with db.transaction() as connection:
            known = await store_codes.is_known_address(connection, phone, address_hash)
            candidates = await store_codes.take_attempts(
                connection, phone, address_hash, known=known, now=now
            )
        for candidate in candidates:  # all are compared, whichever matches
            if hasher.matches(phone, code, candidate.hashed):
                code_id = candidate.id
    if code_id is None:
        metrics.CODES_CHECKED.labels("wrong").inc()
        raise invalid_code()
    return CheckedCode(code_id, phone, address_hash)


def invalid_code() -> Unauthenticated:
    """Returns the refusal of a code; it does not tell whether the phone had one."""
    return Unauthenticated("invalid_code", "the code is wrong or has expired: ask for another")
