"""Decides whether a contact that Supabase Auth confirmed may be trusted to link accounts.

If confirmations are turned off, Auth confirms any typed contact at sign-up. Only fields that Auth
alone writes tell such a user from others; user_metadata, and the identity of an email or phone, may
hold the user's own claims.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, cast

from evpower.foundation.clock import read_time
from evpower.identity.contact import normal_email
from evpower.identity.model import Contact

_OWN: Final = {"email", "phone"}  # providers that are Auth itself


def trusted_contacts(record: Mapping[str, object]) -> frozenset[Contact]:
    """Returns the contacts of a user of the admin API that may be trusted once they are confirmed.

    A contact is trusted if a link or a code was sent before it was confirmed, or another provider
    has verified it, or a server created the user and it has never signed in: a sign-up always does.
    """
    if not record.get("last_sign_in_at"):
        return frozenset({"email", "phone"})
    trusted: set[Contact] = set()
    app_metadata = _fields(record.get("app_metadata"))
    first = app_metadata.get("provider")  # the contact that the message at sign-up was sent to
    email_sent = ["invited_at", "email_change_sent_at"]
    phone_sent = ["phone_change_sent_at"]
    if first == "phone":
        phone_sent.append("confirmation_sent_at")
    else:
        email_sent.append("confirmation_sent_at")
    if _sent_before(record, email_sent, "email_confirmed_at") or _provider_verified(record):
        trusted.add("email")
    if _sent_before(record, phone_sent, "phone_confirmed_at"):
        trusted.add("phone")
    return frozenset(trusted)


def moment(value: object) -> datetime | None:
    """Parses a time as Auth writes it, UTC if it has no zone; None if it is none."""
    if not isinstance(value, str) or not value:
        return None
    try:
        return read_time(value, zone=UTC)
    except ValueError:
        return None


def _sent_before(record: Mapping[str, object], sent: Sequence[str], confirmed: str) -> bool:
    at = moment(record.get(confirmed))
    if at is None:
        return False
    return any((sent_at := moment(record.get(name))) and sent_at <= at for name in sent)


def _provider_verified(record: Mapping[str, object]) -> bool:
    email, identities = record.get("email"), record.get("identities")
    own = normal_email(email) if isinstance(email, str) else None
    if own is None or not isinstance(identities, list):
        return False
    for identity in map(_fields, cast("list[object]", identities)):
        data = _fields(identity.get("identity_data"))
        verified_email = data.get("email")
        if (
            isinstance(identity.get("provider"), str)
            and identity.get("provider") not in _OWN
            and data.get("email_verified") is True
            and isinstance(verified_email, str)
            and normal_email(verified_email) == own
        ):
            return True
    return False


def _fields(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
