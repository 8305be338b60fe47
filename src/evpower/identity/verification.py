"""Whether anybody vouches for a contact that Supabase Auth has confirmed.

Where confirmations are turned off, Auth confirms whatever is typed at sign-up, in that moment. What
tells such a user from others is what Auth, and nobody else, wrote into the record; what stands in
user_metadata, and in the identity of an email or phone, may be the user's own word.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, cast

from evpower.foundation.clock import read_time
from evpower.identity.contact import normal_email
from evpower.identity.model import Contact

_OWN: Final = {"email", "phone"}  # providers that are Auth itself


def trusted_contacts(record: Mapping[str, object]) -> frozenset[Contact]:
    """Of a user as the admin API writes it: the contacts that are its owner's if confirmed.

    Either a link or a code was sent before the contact was confirmed, or another provider has
    verified it, or a server made the user and nobody has signed in as it: a sign-up always does.
    """
    if not record.get("last_sign_in_at"):
        return frozenset({"email", "phone"})
    found: set[Contact] = set()
    marks = _fields(record.get("app_metadata"))
    first = marks.get("provider")  # what the message at sign-up was about
    email_sent = ["invited_at", "email_change_sent_at"]
    phone_sent = ["phone_change_sent_at"]
    if first == "phone":
        phone_sent.append("confirmation_sent_at")
    else:
        email_sent.append("confirmation_sent_at")
    if _sent_before(record, email_sent, "email_confirmed_at") or _provider_verified(record):
        found.add("email")
    if _sent_before(record, phone_sent, "phone_confirmed_at"):
        found.add("phone")
    return frozenset(found)


def moment(value: object) -> datetime | None:
    """A time as Auth writes it; without a zone it is UTC."""
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
    for one in map(_fields, cast("list[object]", identities)):
        data = _fields(one.get("identity_data"))
        said = data.get("email")
        if (
            isinstance(one.get("provider"), str)
            and one.get("provider") not in _OWN
            and data.get("email_verified") is True
            and isinstance(said, str)
            and normal_email(said) == own
        ):
            return True
    return False


def _fields(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}
