"""Signs in by a code: checks it, finds or makes the account, uses the code, issues the tokens."""

from dataclasses import dataclass

from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError
from evpower.identity import metrics
from evpower.identity.sign_in import store_codes
from evpower.identity.sign_in.account import Accounts, PhoneAccount, find_or_make
from evpower.identity.sign_in.check_code import CheckedCode, check_code, invalid_code
from evpower.identity.sign_in.keys import TokenIssuer
from evpower.identity.sign_in.refresh import Tokens, issue
from evpower.identity.sign_in.send import CodeRules, read_phone
from evpower.identity.sign_in.signing_keys import Subject


@dataclass(frozen=True, slots=True)
class SignInCalls:
    """What signing in works with."""

    db: Database
    rules: CodeRules
    accounts: Accounts
    issuer: TokenIssuer
    clock: Clock


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A finished sign-in."""

    account: PhoneAccount
    tokens: Tokens


async def sign_in_by_code(calls: SignInCalls, raw_phone: str, code: str, address: str) -> SignedIn:
    """Signs in with a code; the code is used in the transaction that issues the tokens.

    So a failure or a crash before it leaves the code for another attempt, and two calls with one
    code sign in once. Raises Invalid("invalid_phone"), Unauthenticated("invalid_code"),
    Conflict("phone_needs_review"), Forbidden("client_blocked"), Unavailable.
    """
    phone = read_phone(raw_phone)
    try:
        checked = await check_code(
            calls.db, calls.rules.hasher, phone, code, address, calls.clock()
        )
        account = await find_or_make(calls.accounts, phone)
        tokens = await _finish(calls, checked, account)
    except EvPowerError as error:
        metrics.PHONE_SIGN_INS.labels(error.code).inc()
        raise
    metrics.CODES_CHECKED.labels("right").inc()
    result = "admin" if account.operator else "new" if account.is_new else "known"
    metrics.PHONE_SIGN_INS.labels(result).inc()
    return SignedIn(account, tokens)


async def _finish(calls: SignInCalls, checked: CheckedCode, account: PhoneAccount) -> Tokens:
    async with calls.db.transaction() as connection:
        now = calls.clock()
        await store_codes.lock_phone(connection, checked.phone)
        if not await store_codes.use_code(connection, checked.id, checked.phone, now):
            raise invalid_code()
        await store_codes.remember_address(connection, checked.phone, checked.address_hash, now)
        operator = account.operator
        subject = Subject(
            account.user_id,
            "admin" if operator else "client",
            account.phone,
            operator.role if operator else "",
        )
        return await issue(connection, calls.issuer, subject, now)
