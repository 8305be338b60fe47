"""A person's contacts out of what Supabase says: a token's claims or a user of the admin API."""

from collections.abc import Callable, Mapping
from typing import cast

from evpower.identity.contact import clean_name, normal_email, normal_phone
from evpower.identity.model import Profile


def profile_of(record: Mapping[str, object]) -> Profile:
    """Read email, phone and name; both shapes have email, phone and user_metadata.

    Nothing here is proof of anything: user_metadata is what the user typed.
    """
    metadata = record.get("user_metadata")
    told: Mapping[str, object] = (
        cast("Mapping[str, object]", metadata) if isinstance(metadata, dict) else {}
    )
    return Profile(
        email=_text(record.get("email"), normal_email),
        # Auth keeps a phone's digits without "+".
        phone=_text(_plus(record.get("phone")), normal_phone)
        or _text(told.get("phone"), normal_phone),
        name=_text(told.get("name"), clean_name) or _text(told.get("full_name"), clean_name),
    )


def _text(value: object, normal: Callable[[str], str | None]) -> str | None:
    return normal(value) if isinstance(value, str) and value else None


def _plus(value: object) -> object:
    return f"+{value}" if isinstance(value, str) and value.isdigit() else value
