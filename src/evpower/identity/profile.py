"""Reads contacts and name from a token's claims, a user of the admin API, or a row of `clients`."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import cast

from evpower.identity.contact import clean_name, normal_email, phone_as_typed, phone_from_auth
from evpower.identity.model import Contact, Profile


def profile_of(record: Mapping[str, object], confirmed: Collection[Contact] = ()) -> Profile:
    """Reads email, phone and name; claims and users both have email, phone and user_metadata.

    `confirmed`: the login's own contacts that Auth confirmed. Contacts in user_metadata were typed
    by the user and are never verified.
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
    """Reads email, phone and name of a row of Supabase's `clients`, whoever wrote it.

    A contact is verified if `user`, the login's profile, has the same one verified. A phone equal
    to `user_phone`, the login's own, was copied from Auth and is read as Auth's.
    """
    phone = row.get("phone")
    copied = isinstance(phone, str) and isinstance(user_phone, str) and phone == user_phone
    profile = Profile(
        email=_text(row.get("email"), normal_email),
        phone=_text(phone, phone_from_auth if copied else phone_as_typed),
        name=_text(row.get("name"), clean_name),
    )
    if user is None:
        return profile
    return replace(
        profile,
        email_verified=user.email_verified and profile.email == user.email,
        phone_verified=user.phone_verified and profile.phone == user.phone,
    )


def _text(value: object, read: Callable[[str], str | None]) -> str | None:
    return read(value) if isinstance(value, str) and value else None
