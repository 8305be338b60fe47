"""A person's contacts out of what Supabase says: a token's claims or a user of the admin API."""

from collections.abc import Callable, Mapping
from typing import cast

from evpower.identity.contact import clean_name, normal_email, phone_as_typed, phone_from_auth
from evpower.identity.model import Profile


def profile_of(record: Mapping[str, object]) -> Profile:
    """Read email, phone and name; both shapes have email, phone and user_metadata.

    Nothing here is proof of anything: user_metadata is what the user typed.
    """
    metadata = record.get("user_metadata")
    typed: Mapping[str, object] = (
        cast("Mapping[str, object]", metadata) if isinstance(metadata, dict) else {}
    )
    return Profile(
        email=_text(record.get("email"), normal_email),
        phone=_text(record.get("phone"), phone_from_auth)
        or _text(typed.get("phone"), phone_as_typed),
        name=_text(typed.get("name"), clean_name) or _text(typed.get("full_name"), clean_name),
    )


def profile_of_row(row: Mapping[str, object], user_phone: object = None) -> Profile:
    """Read email, phone and name of a row of Supabase's `clients`, whoever wrote it.

    A phone with the digits of `user_phone`, the login's own, was copied from Auth.
    """
    phone = row.get("phone")
    copied = isinstance(phone, str) and isinstance(user_phone, str) and phone == user_phone
    return Profile(
        email=_text(row.get("email"), normal_email),
        phone=_text(phone, phone_from_auth if copied else phone_as_typed),
        name=_text(row.get("name"), clean_name),
    )


def _text(value: object, read: Callable[[str], str | None]) -> str | None:
    return read(value) if isinstance(value, str) and value else None
