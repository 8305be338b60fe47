"""What operators and administrators decide: whose a phone is, and who signs in as an operator."""

from collections.abc import Sequence
from uuid import UUID

import asyncpg

from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Invalid, NotFound, Unavailable
from evpower.identity import clients, store_access
from evpower.identity.audit import record_act
from evpower.identity.errors import AuthRefused
from evpower.identity.model import Client, Operator
from evpower.identity.sign_in import store_accounts, store_refresh
from evpower.identity.sign_in.send import read_phone
from evpower.identity.sign_in.store_accounts import PhoneReview
from evpower.identity.supabase_admin import SupabaseAdmin

MOST_REVIEWS = 500


async def list_reviews(connection: Connection) -> Sequence[PhoneReview]:
    """Returns the phones that wait for a decision, the oldest first; at most 500."""
    return await store_accounts.open_reviews(connection, MOST_REVIEWS)


async def claims_phone(db: Database, raw_phone: str, client_id: UUID | None) -> bool:
    """Returns whether the client claims the phone, or is listed in its open review.

    Raises Invalid("invalid_phone").
    """
    phone = read_phone(raw_phone)
    async with db.connection() as connection:
        return await store_accounts.claims_phone(connection, phone, client_id)


async def decide_review(
    db: Database,
    admin: SupabaseAdmin,
    raw_phone: str,
    *,
    owner_id: UUID | None,
    actor: str,
    reason: str,
    clock: Clock,
) -> PhoneReview:
    """Decides whose a phone is: a claimant's, or, without `owner_id`, a new account's.

    The owner's login gets the phone in Supabase Auth first. A client that doesn't claim the phone
    is refused, with an audit row: it would be signed in to by whoever has the phone. Raises
    Invalid("invalid_phone"), NotFound("phone_review_not_found" | "client_not_found" |
    "user_not_found"), Conflict("not_a_claimant" | "phone_taken" | "client_closed"), Unavailable.
    """
    phone = read_phone(raw_phone)
    async with db.connection() as connection:
        review = await store_accounts.lock_open_review(connection, phone)
        if review is None:
            raise _no_review()
        owner = None if owner_id is None else await clients.get_client(connection, owner_id)
    has_login = False
    if owner is not None:
        if owner.status == "closed":
            raise Conflict("client_closed", "the client is closed")
        has_login = await _has_login(admin, review, owner)
        if not has_login and not _claims(owner, review):
            raise await _not_a_claimant(db, review, owner.id, actor, reason)
        await _give_phone(admin, owner, phone)
    async with db.transaction() as connection:
        review = await store_accounts.lock_open_review(connection, phone)
        if review is None:
            raise _no_review()
        if owner is not None:
            await _store_phone(connection, owner.id, review, has_login=has_login)
        await store_accounts.decide_review(connection, review.id, actor, owner_id, clock())
        await record_act(
            connection,
            actor=actor,
            action="phone_review.decide",
            subject=phone,
            reason=reason,
            details=_details(review, owner_id),
        )
    return review


async def set_operator_phone(
    connection: Connection,
    user_id: UUID,
    raw_phone: str | None,
    *,
    actor: str,
    clock: Clock = utc_now,
) -> None:
    """Lets an operator sign in by a code to this phone; None: no longer.

    Earlier sign-ins as this operator by a code end in the same transaction.
    Raises Invalid("invalid_phone"), NotFound("operator_not_found"), Conflict("phone_taken").
    """
    phone = None if raw_phone is None else read_phone(raw_phone)
    try:
        async with connection.transaction():
            changed = await store_accounts.set_operator_phone(connection, user_id, phone)
    except asyncpg.UniqueViolationError as error:
        raise Conflict("phone_taken", "another operator signs in with this phone") from error
    if not changed:
        raise NotFound("operator_not_found", "this user is no operator")
    await store_refresh.revoke_users(connection, [user_id], clock(), "operator", "admin")
    await record_act(
        connection,
        actor=actor,
        action="operator.phone",
        subject=str(user_id),
        details={"phone": phone},
    )


async def _give_phone(admin: SupabaseAdmin, owner: Client, phone: str) -> None:
    try:
        await admin.confirm_phone(owner.id, phone)
    except AuthRefused as refusal:
        if refusal.status == 404:  # noqa: PLR2004 - not found
            raise NotFound("user_not_found", "the client has no user in Supabase Auth") from refusal
        if refusal.code in {"phone_exists", "user_already_exists", "conflict"}:
            raise Conflict(
                "phone_taken", "another login has this phone: remove it there first"
            ) from refusal
        if refusal.code == "validation_failed":
            raise Invalid("invalid_phone", "Supabase doesn't take this phone") from refusal
        raise Unavailable("auth_unavailable", f"Supabase Auth answered {refusal}") from refusal


async def _has_login(admin: SupabaseAdmin, review: PhoneReview, owner: Client) -> bool:
    """Returns whether the review is of another login that has the phone, and it is this one."""
    if review.reason != "phone_of_another_login" or _claims(owner, review):
        return False
    user = await admin.get_user(owner.id)
    return user is not None and user.phone == review.phone


def _claims(owner: Client, review: PhoneReview) -> bool:
    """Returns whether a client is a claimant, and has taken no other phone since."""
    return owner.id in review.claimants and owner.phone == review.phone


async def _not_a_claimant(
    db: Database, review: PhoneReview, owner_id: UUID, actor: str, reason: str
) -> Conflict:
    async with db.transaction() as connection:
        await record_act(
            connection,
            actor=actor,
            action="phone_review.refused",
            subject=review.phone,
            reason=reason,
            details=_details(review, owner_id),
        )
    return _no_claim()


def _details(review: PhoneReview, owner_id: UUID | None) -> dict[str, object]:
    return {
        "owner": None if owner_id is None else str(owner_id),
        "claimants": [str(claimant) for claimant in review.claimants],
    }


async def _store_phone(
    connection: Connection, client_id: UUID, review: PhoneReview, *, has_login: bool
) -> None:
    """Gives the client the phone, verified; the puller would do the same a moment later."""
    locked = await clients.lock_client(connection, client_id)
    if locked is None or locked.status == "closed":
        raise Conflict("client_closed", "the client is closed")
    if not has_login and not _claims(locked, review):
        raise _no_claim()
    _, holders = await clients.sync_profile(connection, locked, locked.with_phone(review.phone))
    if holders:
        raise Conflict("phone_taken", "another client has verified this phone")


def _no_claim() -> Conflict:
    return Conflict("not_a_claimant", "this client doesn't claim the phone")


def _no_review() -> NotFound:
    return NotFound("phone_review_not_found", "no decision on this phone is waiting")


async def get_operator(connection: Connection, user_id: UUID) -> tuple[Operator, str] | None:
    """Returns an operator and the phone it signs in with ("": none); None: no operator."""
    operator = await store_access.active_operator(connection, user_id)
    if operator is None:
        return None
    return operator, await store_accounts.operators_phone(connection, user_id) or ""
