"""Registration: an intent, a Supabase user under the id we chose, a client. Every crash converges.

The intent is written before the call, so that the id is known whatever happens after. A retry
takes the open intent's id up again. "Already exists" is our own earlier try only when the user
with our id exists and the caller proves its password.
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
from evpower.identity.errors import AuthRefused, AuthUnanswered
from evpower.identity.model import AuthUser, Client, Confirm, Intent, NewUser
from evpower.identity.supabase_admin import SupabaseAdmin

PASSWORD_MIN_BYTES: Final = 8
PASSWORD_MAX_BYTES: Final = 72  # bcrypt reads no further
# No later merge of records may trust an email that nobody has confirmed.
UNVERIFIED: Final = {"evpower_email_unverified": True}
_TRIES: Final = 3
_EXISTS: Final = {"email_exists", "user_already_exists", "conflict"}

_log: Final = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Application:
    """Who wants to become a client, as typed."""

    email: str
    password: SecretStr
    phone: str
    name: str | None = None


async def register(
    db: Database,
    admin: SupabaseAdmin,
    application: Application,
    *,
    confirm: Confirm,
    clock: Clock,
    new_id: Callable[[], UUID] = new_uuid,
) -> tuple[Client, Mail]:
    """Create the Supabase user and the client under one id; queue its confirmation mail.

    Registering again with the same email, phone and password before the address was confirmed
    has the mail sent again and returns the same client.

    Raises Invalid("invalid_email" | "invalid_phone" | "weak_password" | "invalid_password"),
    Conflict("email_taken" | "phone_taken"), Unavailable("auth_unavailable").
    """
    try:
        wanted = _check(application, new_id(), clock())
        user = await _unconfirmed(db, admin, wanted, application.password)
        result = "created" if user is None else "resent"
        if user is None:
            async with db.transaction() as connection:
                intent = await _intend(connection, wanted)
            user = await _bring_about(
                db, admin, intent.client_id, wanted, application.password, confirm
            )
        async with db.transaction() as connection:
            client = await complete(connection, user, clock())
    except (Invalid, Conflict, Unavailable) as error:
        metrics.REGISTRATIONS.labels(error.code).inc()
        raise
    metrics.REGISTRATIONS.labels(result).inc()
    return client, await send_confirmation(db, admin, user, clock)


async def complete(connection: Connection, user: AuthUser, now: datetime) -> Client:
    """Make the client of a user that exists, queue its mail, and close its registration."""
    client = await clients.ensure(connection, user.id, user.profile, "register")
    await store.finish_intent(connection, user.id)
    await queue_confirmation(connection, user, now)
    return client


async def _unconfirmed(
    db: Database, admin: SupabaseAdmin, wanted: Intent, password: SecretStr
) -> AuthUser | None:
    """The user of an earlier registration by the same person, whose address is not confirmed yet.

    Email and phone can be a stranger's guess: only the password says that it is the same person.
    It is never changed here, or whoever guesses would set it for the one who opens the mail.
    """
    async with db.connection() as connection:
        client_id = await resend_target(connection, wanted.email, wanted.phone)
    if client_id is None:
        return None
    user = await admin.get_user(client_id)
    if user is None or not needs_mail(user) or user.email != wanted.email:
        return None
    proved = await admin.proves_password(client_id, wanted.email, password)
    return user if proved else None


def _check(application: Application, client_id: UUID, now: datetime) -> Intent:
    email = normal_email(application.email)
    if email is None:
        raise Invalid("invalid_email", "email is no address: letters a to z, as in name@example.kg")
    phone = phone_as_typed(application.phone)
    if phone is None:
        raise Invalid(
            "invalid_phone",
            "phone is no number: write + and the country, or nine digits of a Kyrgyz one",
        )
    password = application.password.get_secret_value()
    size = len(password.encode(errors="replace"))
    if not PASSWORD_MIN_BYTES <= size <= PASSWORD_MAX_BYTES:
        raise _weak(f"a password has {PASSWORD_MIN_BYTES} to {PASSWORD_MAX_BYTES} bytes")
    wrong = flaw(password, most=PASSWORD_MAX_BYTES)
    if wrong is not None:
        raise Invalid("invalid_password", f"the password {wrong}")
    name = clean_name(application.name) if application.name else None
    return Intent(client_id, email, phone, name, now)


def _weak(detail: str) -> Invalid:
    bounds = {"min": PASSWORD_MIN_BYTES, "max": PASSWORD_MAX_BYTES}
    return Invalid("weak_password", detail, params=bounds)


async def _intend(connection: Connection, wanted: Intent) -> Intent:
    """Write the intent, or find the open one of this email."""
    for _ in range(_TRIES):
        intent = await store.resume_intent(connection, wanted.email, wanted.created_at)
        intent = intent or await store.insert_intent(connection, wanted)
        if intent is None:  # another registration of this email began or ended just now
            continue
        # After the intent is ours: whoever finished until now is seen. Only who verified a contact
        # has it; whether a login has the email, Auth says.
        by_email, by_phone = await store.holders(connection, wanted.email, wanted.phone)
        if by_email not in {None, intent.client_id}:
            raise Conflict("email_taken", "this email is registered")
        if by_phone not in {None, intent.client_id}:
            raise Conflict("phone_taken", "this phone is registered")
        return intent
    raise Unavailable("database_busy", "the registration could not be begun", retry_after_s=1)


async def _bring_about(
    db: Database,
    admin: SupabaseAdmin,
    client_id: UUID,
    wanted: Intent,
    password: SecretStr,
    confirm: Confirm,
) -> AuthUser:
    """Create the user, or find the one an earlier try of the same person created."""
    auto = confirm == "auto"
    new_user = NewUser(
        id=client_id,
        email=wanted.email,
        phone=wanted.phone,
        name=wanted.name,
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
        if existing is None:  # somebody who signed up at Supabase itself
            await _give_up(db, client_id, refusal.code)
            raise Conflict("email_taken", "this email is registered") from refusal
    except AuthUnanswered:
        existing = await admin.get_user(client_id)
        if existing is None:
            raise
    proved = existing.email == wanted.email and await admin.proves_password(
        client_id, wanted.email, password
    )
    if not proved:
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
            # The id, the password's length and the metadata are ours and right; the address is not.
            return Invalid("invalid_email", "Supabase doesn't take this email address")
        case "not_text":
            return Invalid("invalid_request", "a text can't be sent: it has half of a character")
        case _:
            _log.error("auth_refused_registration", code=refusal.code, status=refusal.status)
            return Unavailable(
                "auth_unavailable", f"Supabase Auth answered {refusal}", retry_after_s=30
            )
