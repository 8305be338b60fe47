"""Finds the account of a phone whose code was right, or makes it under one id in both systems.

The id is stored before the user is created in Supabase Auth, so that a crash at any step leaves
something the next sign-in goes on with: Auth knows a phone once, and EvPower its id.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import structlog

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Unavailable
from evpower.foundation.ids import new_uuid
from evpower.identity import clients, metrics, store, store_access
from evpower.identity.audit import record_act
from evpower.identity.errors import AuthOutcomeUnknown, AuthRefused
from evpower.identity.model import AuthUser, Client, ImportedUser, Operator, Profile
from evpower.identity.sign_in import store_accounts
from evpower.identity.sign_in.store_accounts import PhoneClaim, ReviewReason
from evpower.identity.supabase_admin import SupabaseAdmin

_MOST_CLAIMANTS: Final = 50
_TRIES: Final = 3
_EXISTS: Final = {"phone_exists", "user_already_exists", "conflict"}
# How old a claim must be to keep the driver who types a right code from a new account.
CLAIM_AGE: Final = timedelta(days=7)
# Those of the clients with a balance, money on hold, a debt or an open session, each with the time
# at which its balance from before EvPower was imported (None: it had none).
ClientsWithMoney = Callable[[Connection, Sequence[UUID]], Awaitable[Mapping[UUID, datetime | None]]]

_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class PhoneAccount:
    """Who signed in: an operator, or a client."""

    user_id: UUID
    phone: str
    operator: Operator | None = None
    is_new: bool = False


@dataclass(frozen=True, slots=True)
class Accounts:
    """What accounts are found and made with."""

    db: Database
    admin: SupabaseAdmin
    with_money: ClientsWithMoney
    clock: Clock
    new_id: Callable[[], UUID] = new_uuid


async def find_or_make(accounts: Accounts, phone: str) -> PhoneAccount:
    """Returns the account of a phone that was just verified.

    Raises Conflict("phone_needs_review") if an operator must decide whose the phone is,
    Forbidden("client_blocked") for a user that Supabase Auth bans, Unavailable.
    """
    for _ in range(_TRIES):
        async with accounts.db.transaction() as connection:
            account = await _find(connection, phone, accounts.clock())
            if account is not None:
                return account
            review = await _review_reason(accounts, connection, phone)
            client_id = await _begin(accounts, connection, phone)
        if review is not None:
            raise await _needs_review(accounts, phone, review)
        user = await _ensure_user(accounts, phone, client_id)
        async with accounts.db.transaction() as connection:
            if user.phone == phone:
                clients.require_not_banned(user.banned_until, accounts.clock())
                client = await _complete(connection, user, phone)
            else:  # the user of an earlier beginning has another phone by now
                client = await _drop(connection, phone, client_id)
        if client is not None:
            _log.info("phone_account_made", client_id=str(client.id))
            return PhoneAccount(client.id, phone, is_new=True)
    raise Unavailable("database_busy", "the account could not be made", retry_after_s=1)


async def _find(connection: Connection, phone: str, now: datetime) -> PhoneAccount | None:
    user_id = await store_accounts.operator_of_phone(connection, phone)
    if user_id is not None:
        operator = await store_access.active_operator(connection, user_id)
        if operator is not None:
            return PhoneAccount(user_id, phone, operator)
    client_id = await store_accounts.verified_owner(connection, phone)
    if client_id is None:
        return None
    client = await clients.get_client(connection, client_id)
    clients.require_not_banned(client.banned_until, now)
    # The puller may have completed what an earlier sign-in began.
    await store_accounts.close_account(connection, phone)
    return PhoneAccount(client_id, phone)


async def _begin(accounts: Accounts, connection: Connection, phone: str) -> UUID:
    """Returns the id to make the account under: of an earlier beginning, or a new one.

    A phone is given to another person one day: an earlier id is used only while it can be of this
    phone.
    """
    now = accounts.clock()
    client_id = await store_accounts.open_account(connection, phone, accounts.new_id(), now)
    client = await store.client_by_id(connection, client_id)
    if client is None or _may_get(client, phone):
        return client_id
    await _drop(connection, phone, client_id)
    return await store_accounts.open_account(connection, phone, accounts.new_id(), now)


def _may_get(client: Client, phone: str) -> bool:
    return client.status != "closed" and client.phone in {phone, None}


async def _drop(connection: Connection, phone: str, client_id: UUID) -> None:
    """Ends a beginning whose id is of another phone, or deleted: the next id is a new one."""
    _log.warning("phone_account_dropped", client_id=str(client_id))
    await store_accounts.close_account(connection, phone, client_id)


async def _review_reason(
    accounts: Accounts, connection: Connection, phone: str
) -> ReviewReason | None:
    claims = await store_accounts.claims(connection, phone, _MOST_CLAIMANTS)
    if not claims or await store_accounts.is_cleared(connection, phone):
        return None
    money = await accounts.with_money(connection, [claim.client_id for claim in claims])
    rich = [claim for claim in claims if claim.client_id in money]
    if any(_counts(claim, money[claim.client_id], accounts.clock()) for claim in rich):
        return "claim_with_money"
    if rich:
        await _pass_over(connection, phone, rich)
    return None


def _counts(claim: PhoneClaim, opened_at: datetime | None, now: datetime) -> bool:
    """Returns whether a claim may be the driver's own, of before: a stranger can make one any time.

    It is old, or came together with a balance that was imported.
    """
    if claim.since is None or claim.since <= now - CLAIM_AGE:
        return True
    return opened_at is not None and claim.since <= opened_at + CLAIM_AGE


async def _pass_over(connection: Connection, phone: str, claims: Sequence[PhoneClaim]) -> None:
    """Stores that young claims of clients with money ended: support finds them by the phone."""
    claimants = [str(claim.client_id) for claim in claims]
    _log.warning("phone_claims_passed_over", claimants=claimants)
    await record_act(
        connection, actor="system", action="phone_claim.pass_over", subject=phone,
        details={"claimants": claimants},
    )  # fmt: skip


async def _needs_review(accounts: Accounts, phone: str, reason: ReviewReason) -> Conflict:
    async with accounts.db.transaction() as connection:
        claims = await store_accounts.claims(connection, phone, _MOST_CLAIMANTS)
        claimants = [claim.client_id for claim in claims]
        await store_accounts.put_review(connection, phone, reason, claimants, accounts.clock())
    _log.warning("phone_needs_review", reason=reason, claimants=len(claimants))
    return Conflict("phone_needs_review", "an operator must decide whose account this phone has")


async def _ensure_user(accounts: Accounts, phone: str, client_id: UUID) -> AuthUser:
    """Creates the user in Auth, or returns the one that an earlier attempt created."""
    user = ImportedUser(
        id=client_id,
        email=None,
        email_confirm=False,
        phone=phone,
        phone_confirm=True,
        claimed_phone=None,
        name=None,
        app_metadata={"evpower_phone_sign_in": True},
    )
    try:
        return await accounts.admin.import_user(user)
    except AuthRefused as refusal:
        existing = await accounts.admin.get_user(client_id)
        if existing is not None:
            return existing
        if refusal.code in _EXISTS:
            # Another login has the phone. If it is confirmed there, the puller brings its client
            # within seconds; else its owner is not known.
            raise await _needs_review(accounts, phone, "phone_of_another_login") from refusal
        _log.error("phone_account_failed", code=refusal.code, status=refusal.status)
        raise Unavailable(
            "auth_unavailable", f"Supabase Auth answered {refusal}", retry_after_s=30
        ) from refusal
    except AuthOutcomeUnknown:
        existing = await accounts.admin.get_user(client_id)
        if existing is None:
            raise
        return existing


async def _complete(connection: Connection, user: AuthUser, phone: str) -> Client | None:
    """Makes the client of the user, with the phone verified; None: begin again.

    The puller may have made it a moment ago, from the same user.
    """
    profile = Profile(phone=phone, phone_verified=True)
    await clients.ensure(connection, user.id, profile, "register")
    client = await store.lock_client(connection, user.id)
    assert client is not None  # noqa: S101 - clients are never deleted
    if not _may_get(client, phone):  # it was deleted, or got another phone meanwhile
        return await _drop(connection, phone, client.id)
    if client.phone != phone or not client.phone_verified:
        client, holders = await clients.sync_profile(connection, client, client.with_phone(phone))
        if holders:
            metrics.CONTACTS_LEFT_OUT.labels("phone").inc()
            return None
    await store_accounts.close_account(connection, phone)
    return client
