"""Registration: an intent, a Supabase user under an id that EvPower chose, a client.

The intent is committed before the call, so that the id is known after any crash; a job finishes
what a crash interrupted. A retry reuses the open intent's id. "Already exists" counts as the same
caller's earlier attempt only if the user with that id exists and the caller's password signs in.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

import structlog
from pydantic import SecretStr

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Invalid, Unavailable
from evpower.foundation.ids import new_uuid
from evpower.foundation.text import flaw
from evpower.identity import clients, metrics, store
from evpower.identity.confirmations import (
    Mail,
    needs_mail,
    queue_confirmation,
    resend_target,
    send_confirmation,
)
from evpower.identity.contact import clean_name, normal_email, phone_as_typed
from evpower.identity.errors import AuthOutcomeUnknown, AuthRefused
from evpower.identity.model import AuthUser, Client, Confirm, Intent, NewUser
from evpower.identity.supabase_admin import SupabaseAdmin

PASSWORD_MIN_BYTES: Final = 8
PASSWORD_MAX_BYTES: Final = 72  # bcrypt reads no further
# A later merge of records must not trust an email that was never confirmed.
UNVERIFIED: Final = {"evpower_email_unverified": True}
_TRIES: Final = 3
_EXISTS: Final = {"email_exists", "user_already_exists", "conflict"}

_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class RegistrationRequest:
    """The contacts, password and name of a new client, as typed."""

    email: str
    password: SecretStr
    phone: str
    name: str | None = None


async def register(
    db: Database,
    admin: SupabaseAdmin,
    request: RegistrationRequest,
    *,
    confirm: Confirm,
    clock: Clock,
    new_id: Callable[[], UUID] = new_uuid,
) -> tuple[Client, Mail]:
    """Creates the Supabase user and the client under one id; queues its confirmation mail.

    Registering again with the same email, phone and password before the address was confirmed
    sends the mail again and returns the same client.

    Raises Invalid("invalid_email" | "invalid_phone" | "weak_password" | "invalid_password"),
    Conflict("email_taken" | "phone_taken"), Unavailable("auth_unavailable").
    """
    try:
        new = _check(request, new_id(), clock())
        user = await _find_unconfirmed(db, admin, new, request.password)
        result = "created" if user is None else "resent"
        if user is None:
            async with db.transaction() as connection:
                intent = await _open_intent(connection, new)
            user = await _ensure_user(db, admin, intent.client_id, new, request.password, confirm)
        async with db.transaction() as connection:
            client = await complete(connection, user, clock())
    except (Invalid, Conflict, Unavailable) as error:
        metrics.REGISTRATIONS.labels(error.code).inc()
        raise
    metrics.REGISTRATIONS.labels(result).inc()
    return client, await send_confirmation(db, admin, user, clock)


async def complete(connection: Connection, user: AuthUser, now: datetime) -> Client:
    """Creates the client of an existing user, queues its mail, and closes its registration."""
    client = await clients.ensure(connection, user.id, user.profile, "register")
    await store.finish_intent(connection, user.id)
    await queue_confirmation(connection, user, now)
    return client


async def _find_unconfirmed(
    db: Database, admin: SupabaseAdmin, new: Intent, password: SecretStr
) -> AuthUser | None:
    """Returns the user of the same person's earlier registration if its email is not confirmed.

    A stranger may guess email and phone, so only the password identifies the person. It is never
    changed here: otherwise a stranger could set the password of the account that the mail's reader
    confirms.
    """
    async with db.connection() as connection:
        client_id = await resend_target(connection, new.email, new.phone)
    if client_id is None:
        return None
    user = await admin.get_user(client_id)
    if user is None or not needs_mail(user) or user.email != new.email:
        return None
    is_same_person = await admin.check_password(client_id, new.email, password)
    return user if is_same_person else None


def _check(request: RegistrationRequest, client_id: UUID, now: datetime) -> Intent:
    email = normal_email(request.email)
    if email is None:
        raise Invalid("invalid_email", "email is no address: letters a to z, as in name@example.kg")
    phone = phone_as_typed(request.phone)
    if phone is None:
        raise Invalid(
            "invalid_phone",
            "phone is no number: write + and the country, or nine digits of a Kyrgyz one",
        )
    password = request.password.get_secret_value()
    size = len(password.encode(errors="replace"))
    if not PASSWORD_MIN_BYTES <= size <= PASSWORD_MAX_BYTES:
        raise _weak(f"a password has {PASSWORD_MIN_BYTES} to {PASSWORD_MAX_BYTES} bytes")
    wrong = flaw(password, most=PASSWORD_MAX_BYTES)
    if wrong is not None:
        raise Invalid("invalid_password", f"the password {wrong}")
    name = clean_name(request.name) if request.name else None
    return Intent(client_id, email, phone, name, now)


def _weak(detail: str) -> Invalid:
    bounds = {"min": PASSWORD_MIN_BYTES, "max": PASSWORD_MAX_BYTES}
    return Invalid("weak_password", detail, params=bounds)


async def _open_intent(connection: Connection, new: Intent) -> Intent:
    """Inserts the intent, or resumes the open one of this email."""
    for _ in range(_TRIES):
        intent = await store.resume_intent(connection, new.email, new.created_at)
        intent = intent or await store.insert_intent(connection, new)
        if intent is None:  # a concurrent registration of this email began or ended
            continue
        # Checked after the intent is written, so that every registration finished until now is
        # seen. Only verified contacts are checked; Auth checks whether a login has the email.
        by_email, by_phone = await store.holders(connection, new.email, new.phone)
        if by_email not in {None, intent.client_id}:
            raise Conflict("email_taken", "this email is registered")
        if by_phone not in {None, intent.client_id}:
            raise Conflict("phone_taken", "this phone is registered")
        return intent
    raise Unavailable("database_busy", "the registration could not be begun", retry_after_s=1)


async def _ensure_user(
    db: Database,
    admin: SupabaseAdmin,
    client_id: UUID,
    new: Intent,
    password: SecretStr,
    confirm: Confirm,
) -> AuthUser:
    """Creates the user, or returns the one that the same person's earlier attempt created."""
    auto = confirm == "auto"
    new_user = NewUser(
        id=client_id,
        email=new.email,
        phone=new.phone,
        name=new.name,
        password=password,
        email_confirm=auto,
        app_metadata=UNVERIFIED if auto else {},
    )
    try:
        return await admin.create_user(new_user)
    except AuthRefused as refusal:
        if refusal.code not in _EXISTS:
            await _give_up(db, client_id, refusal.code)
            raise _refused(refusal) from refusal
        existing = await admin.get_user(client_id)
        if existing is None:  # another person signed up with this email at Supabase itself
            await _give_up(db, client_id, refusal.code)
            raise Conflict("email_taken", "this email is registered") from refusal
    except AuthOutcomeUnknown:
        existing = await admin.get_user(client_id)
        if existing is None:
            raise
    is_same_person = existing.email == new.email and await admin.check_password(
        client_id, new.email, password
    )
    if not is_same_person:
        raise Conflict("email_taken", "this email is registered")
    return existing


async def _give_up(db: Database, client_id: UUID, reason: str) -> None:
    async with db.transaction() as connection:
        await store.end_intent(connection, client_id, "refused", reason)


def _refused(refusal: AuthRefused) -> Invalid | Unavailable:
    match refusal.code:
        case "weak_password":
            return _weak("Supabase finds the password too weak")
        case "validation_failed" | "email_address_invalid":
            # EvPower made the id and the metadata and checked the password's length, so only the
            # address can be wrong.
            return Invalid("invalid_email", "Supabase doesn't take this email address")
        case "not_text":
            return Invalid("invalid_request", "a text can't be sent: it has half of a character")
        case _:
            _log.error("registration_failed", code=refusal.code, status=refusal.status)
            return Unavailable(
                "auth_unavailable", f"Supabase Auth answered {refusal}", retry_after_s=30
            )
