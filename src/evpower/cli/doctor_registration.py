"""Whether registered addresses are verified, and whether confirmation mails leave."""

from typing import Final
from urllib.parse import urlsplit

import asyncpg

from evpower import identity
from evpower.cli.doctor_calls import auth_settings, providers
from evpower.cli.finding import Finding
from evpower.cli.out import counted
from evpower.config import Settings
from evpower.foundation.db import connect
from evpower.foundation.http import HttpClient

_NAME: Final = "registration"
_TIMEOUT_S: Final = 5.0
_OWN_PROVIDERS: Final = frozenset({"email", "phone", "anonymous_users"})
_FIX_AUTO: Final = (
    "EVPOWER_REGISTER_CONFIRM=email, and a mail server (SMTP) in the project: with auto anyone may"
    " register another person's address, whose sign-in there is then linked to that account"
)
_FIX_MAIL: Final = (
    "set up a mail server in the project (Auth, SMTP settings) and raise its rate limit for emails"
)
_HOSTED: Final = "; without one a hosted project sends 2 mails an hour, to members of the team only"


async def look_at_registration(settings: Settings, http: HttpClient) -> list[Finding]:
    """Returns one finding: the mode, and its risks."""
    if settings.register_confirm == "auto":
        return [await _automatic(settings, http)]
    return [await _by_mail(settings)]


async def _automatic(settings: Settings, http: HttpClient) -> Finding:
    external = providers(await auth_settings(settings, http))
    if external is None:
        return Finding(_NAME, None, "auto; not examined: Supabase Auth does not tell its providers")
    others = sorted(
        name for name, on in external.items() if on is True and name not in _OWN_PROVIDERS
    )
    if others:
        detail = f"auto, beside sign-in with {', '.join(others)}"
        return Finding(_NAME, False, detail, _FIX_AUTO)
    return Finding(_NAME, True, "auto: addresses are unverified")


async def _by_mail(settings: Settings) -> Finding:
    host = urlsplit(settings.supabase_url).hostname or ""
    fix = _FIX_MAIL + (_HOSTED if host.endswith(".supabase.co") else "")
    try:
        async with connect(
            settings.database_url.get_secret_value(),
            timeout_s=_TIMEOUT_S,
            command_timeout_s=_TIMEOUT_S,
        ) as connection:
            waiting = await identity.waiting_confirmations(connection)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError):
        return Finding(_NAME, None, "by mail; not examined: mend the database first")
    if waiting.error is not None:
        hours = waiting.oldest_s / 3600
        mails = f"{counted(waiting.count, 'mail')} {'waits' if waiting.count == 1 else 'wait'}"
        detail = f"{mails}, the oldest for {hours:.1f} h: {waiting.error}"
        return Finding(_NAME, False, detail, fix)
    return Finding(_NAME, True, "by mail, none waits (the project's mail server can't be seen)")
