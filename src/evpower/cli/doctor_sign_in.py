"""What `evpower doctor` examines of sign-in by phone: the signing key, phones that wait."""

from datetime import UTC, datetime, timedelta
from typing import Final

from evpower import identity
from evpower.cli.finding import Finding
from evpower.cli.out import counted
from evpower.config import Settings
from evpower.foundation.db import Database
from evpower.foundation.errors import Unavailable

_ROTATE_AFTER: Final = timedelta(days=365)
_KEY_FIX: Final = "evpower sign-in-keys rotate"
_REVIEW_FIX: Final = "evpower sign-in reviews, then evpower sign-in decide (docs/phone-sign-in.md)"


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
