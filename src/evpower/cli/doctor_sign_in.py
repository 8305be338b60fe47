"""What `evpower doctor` examines of sign-in by phone: keys, phones that wait, Supabase's own."""

from datetime import UTC, datetime, timedelta
from typing import Final

from evpower import identity
from evpower.cli.doctor_calls import auth_settings, providers
from evpower.cli.finding import Finding
from evpower.cli.out import counted
from evpower.config import Settings
from evpower.foundation.db import Database
from evpower.foundation.errors import Unavailable
from evpower.foundation.http import HttpClient

_ROTATE_AFTER: Final = timedelta(days=365)
_KEY_FIX: Final = "evpower sign-in-keys rotate"
_REVIEW_FIX: Final = "evpower sign-in reviews, then evpower sign-in decide (docs/phone-sign-in.md)"
_SIGN_UP: Final = "sign-up by phone"
_SIGN_UP_FIX: Final = (
    "switch the provider Phone off in the project (Auth, Sign In / Providers): EvPower sends the"
    " codes itself (docs/phone-sign-in.md)"
)


async def look_at_sign_in(settings: Settings) -> list[Finding]:
    """Returns what was found; nothing where sign-in by phone is off."""
    if not settings.sign_in_sender or not settings.database_url.get_secret_value():
        return []
    try:
        database = await Database.open(settings.database_url.get_secret_value(), size=2)
    except Unavailable:
        return [Finding("sign-in by phone", None, "not examined: mend the database first")]
    try:
        async with database.connection() as connection:
            keys = await identity.list_signing_keys(connection)
            waiting = await identity.list_reviews(connection)
    except Unavailable as error:
        return [Finding("sign-in by phone", None, f"not examined: {error.detail}")]
    finally:
        await database.close()
    usable = [key for key in keys if key.revoked_at is None]
    return [_signing_key(settings, usable[:1]), _reviews(len(waiting))]


async def look_at_phone_sign_up(settings: Settings, http: HttpClient) -> list[Finding]:
    """Returns whether strangers can give a user in Supabase Auth any phone, beside EvPower's codes.

    Such a user, unconfirmed, makes the phone's owner wait for an operator (decision 0076). Nothing
    where sign-in by phone is off.
    """
    if not settings.sign_in_sender:
        return []
    auth = await auth_settings(settings, http)
    external = providers(auth)
    if external is None:
        detail = "not examined: Supabase Auth does not tell its providers"
        return [Finding(_SIGN_UP, None, detail)]
    if auth.get("disable_signup") is True or external.get("phone") is not True:
        return [Finding(_SIGN_UP, ok=True, detail="off in Supabase Auth")]
    detail = "on in Supabase Auth: anyone can claim any phone there, and its owner waits"
    return [Finding(_SIGN_UP, ok=False, detail=detail, fix=_SIGN_UP_FIX)]


def _signing_key(settings: Settings, newest: list[identity.OwnKey]) -> Finding:
    if not newest:
        return Finding("signing key", ok=True, detail="none yet: the first sign-in makes one")
    age = datetime.now(UTC) - newest[0].created_at
    detail = f"{newest[0].kid}, {counted(age.days, 'day')} old"
    if not identity.opens(settings.sign_in_secret.get_secret_value(), newest[0]):
        detail += ": encrypted with another EVPOWER_SIGN_IN_SECRET, nothing can be signed"
        return Finding("signing key", ok=False, detail=detail, fix=_KEY_FIX)
    return Finding("signing key", ok=age < _ROTATE_AFTER, detail=detail, fix=_KEY_FIX)


def _reviews(waiting: int) -> Finding:
    detail = f"{counted(waiting, 'phone')} without an account until an operator decides"
    return Finding("phones to decide", ok=not waiting, detail=detail, fix=_REVIEW_FIX)
