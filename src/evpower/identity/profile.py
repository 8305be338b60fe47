"""A person's contacts out of what Supabase says: a token's claims or a user of the admin API."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import cast

from evpower.identity.contact import clean_name, normal_email, phone_as_typed, phone_from_auth
from evpower.identity.model import Contact, Profile


def profile_of(record: Mapping[str, object], confirmed: Collection[Contact] = ()) -> Profile:
    """Read email, phone and name; both shapes have email, phone and user_metadata.

    `confirmed`: contacts of the login itself that Auth confirmed. What stands in user_metadata is
    what the user typed, and never verified.
    """
    metadata = record.get("user_metadata")
    typed: Mapping[str, object] = (
        cast("Mapping[str, object]", metadata) if isinstance(metadata, dict) else {}
    )
    email = _text(record.get("email"), normal_email)
    phone = _text(record.get("phone"), phone_from_auth)
    return Profile(
        email=email,
        phone=phone or _text(typed.get("phone"), phone_as_typed),
        name=_text(typed.get("name"), clean_name) or _text(typed.get("full_name"), clean_name),
        email_verified=email is not None and "email" in confirmed,
        phone_verified=phone is not None and "phone" in confirmed,
    )


def profile_of_row(
    row: Mapping[str, object], user: Profile | None = None, user_phone: object = None
) -> Profile:
    """Read email, phone and name of a row of Supabase's `clients`, whoever wrote it.

    A contact is verified if it is the one that the login, `user`, has verified. A phone with the
    digits of `user_phone`, the login's own, was copied from Auth.
    """
    phone = row.get("phone")
    copied = isinstance(phone, str) and isinstance(user_phone, str) and phone == user_phone
    found = Profile(
        email=_text(row.get("email"), normal_email),
        phone=_text(phone, phone_from_auth if copied else phone_as_typed),
        name=_text(row.get("name"), clean_name),
    )
    if user is None:
        return found
    return replace(
        found,
        email_verified=user.email_verified and found.email == user.email,
        phone_verified=user.phone_verified and found.phone == user.phone,
    )


def _text(value: object, read: Callable[[str], str | None]) -> str | None:
    return read(value) if isinstance(value, str) and value else None
