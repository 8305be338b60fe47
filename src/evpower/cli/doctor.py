"""What `evpower doctor` looks at; each finding carries its fix."""

<<<<<<< HEAD
=======
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import Final, cast

import asyncpg

from evpower import identity, sync
>>>>>>> 61f3ff6 (bootstrap: say that Supabase is down when its database is)
from evpower.cli.doctor_database import look_at_database
from evpower.cli.doctor_supabase import examine_supabase
from evpower.cli.finding import Finding
from evpower.config import Settings, problems
from evpower.foundation.http import HttpClient
from evpower.foundation.nats_bus import reach
from evpower.foundation.nats_keys import NatsFiles


async def examine(settings: Settings, *, may_write: bool = True) -> list[Finding]:
    """Look at everything; a part that fails does not hide the others.

    With `may_write` Supabase sends a change notification, and a user of doctor's own signs in.
    """
    found = [_settings(settings)]
    found += await look_at_database(settings.database_url.get_secret_value())
    found += await _nats(settings)
    if settings.supabase_url:
        async with HttpClient() as http:
            found += await examine_supabase(settings, http, may_write=may_write)
    return found


def _settings(settings: Settings) -> Finding:
    wrong = problems(settings)
    return Finding("settings", not wrong, "; ".join(wrong) or "complete", "see .env.example")


async def _nats(settings: Settings) -> list[Finding]:
    urls = settings.nats_url.get_secret_value()
    if not urls:
        return []
    fix = "check EVPOWER_NATS_*, and the right to publish and subscribe on EVPOWER_NATS_PREFIX.>"
    try:
        files = NatsFiles(settings.nats_creds, settings.nats_nkey_file, settings.nats_ca)
        answers = await reach(urls, prefix=settings.nats_prefix, files=files)
    except ValueError as error:
        return [Finding("NATS", False, str(error), fix)]
    return [
        Finding(f"NATS {address}", not trouble, trouble or "connected, may publish and listen", fix)
        for address, trouble in answers
    ]
<<<<<<< HEAD
=======


async def _supabase(settings: Settings, http: HttpClient) -> list[Finding]:
    checks: tuple[Callable[[Settings, HttpClient], Awaitable[list[Finding]]], ...] = (
        _reachable,
        _admin,
        _functions,
        _doorbell,
        _signing_keys,
    )
    found: list[Finding] = []
    for check in checks:
        try:
            found += await check(settings, http)
        except HttpError as error:
            what = f"no answer: {error}"
            found.append(Finding("Supabase", False, what, "check EVPOWER_SUPABASE_URL"))
            break
    return found


async def _reachable(settings: Settings, http: HttpClient) -> list[Finding]:
    url = f"{settings.supabase_url}/rest/v1/clients?select=id&limit=1"
    headers = {"apikey": settings.supabase_publishable_key}
    answer = await http.fetch("supabase_rest", "GET", url, headers=headers, timeout_s=_TIMEOUT_S)
    found = [
        Finding(
            "Supabase publishable key",
            answer.status_code not in {401, 403} or "permission" in answer.text,
            f"answered {answer.status_code}",
            "EVPOWER_SUPABASE_PUBLISHABLE_KEY from the project's API settings",
        )
    ]
    with suppress(ValueError, KeyError):  # no date, or none that can be read
        found.append(clock("Supabase clock", parsedate_to_datetime(answer.headers["date"])))
    return found


async def _admin(settings: Settings, http: HttpClient) -> list[Finding]:
    url = f"{settings.supabase_url}/auth/v1/admin/users?page=1&per_page=1"
    answer = await http.fetch(
        "supabase_auth",
        "GET",
        url,
        headers=sync.secret_key_headers(settings.supabase_secret_key.get_secret_value()),
        timeout_s=_TIMEOUT_S,
    )
    return [
        Finding(
            "Supabase secret key",
            answer.is_success,
            f"admin API answered {answer.status_code}",
            "EVPOWER_SUPABASE_SECRET_KEY: a secret key (sb_secret_...), not the publishable one",
        )
    ]


async def _functions(settings: Settings, http: HttpClient) -> list[Finding]:
    found: list[Finding] = []
    for name, arguments, file in _FUNCTIONS:
        answer = await _call(settings, http, name, arguments)
        missing = answer.status_code == _NOT_FOUND
        found.append(
            Finding(
                f"Supabase function {name}",
                not missing and answer.status_code not in {401, 403},
                f"missing: {file}" if missing else f"there ({answer.status_code})",
                _APPLY,
            )
        )
    return [*found, await _installed(settings, http)]


async def _installed(settings: Settings, http: HttpClient) -> Finding:
    """Whether every trigger is there, and every function of the newest edition."""
    name, file = _INSTALLED
    answer = await _call(settings, http, name, {})
    if answer.status_code == _NOT_FOUND:
        return Finding("Supabase migrations", False, f"missing: {file}", _APPLY)
    try:
        told = sync.read_answer(name, answer)
        lacking = cast("list[tuple[str, str]]", cast("Mapping[str, object]", told)["lacking"])
    except (sync.SyncError, KeyError, TypeError) as error:
        return Finding("Supabase migrations", False, f"can't tell: {error}", _APPLY)
    fix = _APPLY
    if any(what.startswith("trigger ") for _, what in lacking):
        fix += "; a trigger that is only switched off: alter table ... enable trigger ..."
    said = "; ".join(f"{one}: {what}" for one, what in lacking)
    return Finding("Supabase migrations", not lacking, said or "all there", fix)


async def _call(
    settings: Settings, http: HttpClient, name: str, payload: dict[str, object]
) -> HttpResponse:
    url = f"{settings.supabase_url}/rest/v1/rpc/{name}"
    return await http.fetch(
        "supabase_rest",
        "POST",
        url,
        headers=sync.secret_key_headers(settings.supabase_secret_key.get_secret_value()),
        json={"payload": payload},
        timeout_s=_TIMEOUT_S,
    )


async def _doorbell(settings: Settings, http: HttpClient) -> list[Finding]:
    fix = "evpower supabase secret rotate"
    secret = settings.supabase_secret_key.get_secret_value()
    rpc = sync.SupabaseRpc(http, settings.supabase_url, secret)
    try:
        database = await Database.open(settings.database_url.get_secret_value(), size=2)
        try:
            now = await sync.doorbell(
                database, rpc, settings.supabase_webhook_secrets.get_secret_value()
            )
        finally:
            await database.close()
    except (EvPowerError, sync.SyncError, asyncpg.PostgresError, ValueError) as error:
        return [Finding("doorbell", False, f"can't tell: {error}", "mend the above first")]
    return [Finding("doorbell", not what_is_wrong(now), told(now), fix)]


async def _signing_keys(settings: Settings, http: HttpClient) -> list[Finding]:
    url = f"{settings.supabase_url}/auth/v1/.well-known/jwks.json"
    answer = await http.fetch("supabase_keys", "GET", url, timeout_s=_TIMEOUT_S)
    try:
        keys = identity.read_keys(answer.content) if answer.is_success else {}
    except ValueError:
        keys = {}
    legacy = bool(settings.supabase_jwt_secret.get_secret_value())
    kinds = ", ".join(sorted({key.algorithm for key in keys.values()})) or "no public keys"
    return [
        Finding(
            "token signing keys",
            bool(keys) or legacy,
            kinds + (", HS256 secret set" if legacy else ""),
            "enable asymmetric signing keys in the project, or set EVPOWER_SUPABASE_JWT_SECRET",
        )
    ]
>>>>>>> 61f3ff6 (bootstrap: say that Supabase is down when its database is)
