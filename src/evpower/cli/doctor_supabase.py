"""What `evpower doctor` examines in Supabase, from the outside in.

A check whose precondition failed is skipped: a wrong address gives one finding, not one for each
function, and a failure of Auth is not reported as a wrong key.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final, Literal
from urllib.parse import urlsplit

import asyncpg

from evpower import sync
from evpower.cli.doctor_calls import STATUS_PAGE, TIMEOUT_S, call, key_headers
from evpower.cli.doctor_installed import examine_installed
from evpower.cli.doctor_notification import examine_notifications
from evpower.cli.doctor_tokens import examine_tokens
from evpower.cli.finding import Finding, clock
from evpower.cli.supabase_guard import describe
from evpower.config import Settings
from evpower.foundation.db import Database
from evpower.foundation.errors import EvPowerError
from evpower.foundation.http import HttpClient, HttpError, HttpResponse, RequestNotSent
from evpower.foundation.json_reader import NotJson, read_object

_NOT_FOUND: Final = 404
_SERVER_ERROR: Final = 500
_ADDRESS: Final = "check EVPOWER_SUPABASE_URL: the project's URL, https://<ref>.supabase.co"
_PROXY: Final = (
    "check EVPOWER_HTTP_PROXY: the proxy does not answer, or lets no call through to the host of"
    " EVPOWER_SUPABASE_URL"
)
_PUBLISHABLE_FIX: Final = "EVPOWER_SUPABASE_PUBLISHABLE_KEY from the project's API settings"
_FIX_SERVICE_KEY: Final = (
    "EVPOWER_SUPABASE_SECRET_KEY: a secret key (sb_secret_...) of this project, not the"
    " publishable one"
)
_SKIPPED: Final = "not examined: mend the above first"
ProbeResult = Literal["fine", "bad_key", "database_down", "down", "not_supabase"]


async def examine_supabase(
    settings: Settings, http: HttpClient, *, may_write: bool
) -> list[Finding]:
    """Returns what was found, the outermost first.

    With `may_write` a change notification is sent and a user is created, signed in and deleted.
    """
    try:
        rest = await _rest(settings, http)
    except HttpError as error:
        return [_unreachable(settings, error)]
    kind = classify(rest)
    if kind == "not_supabase":
        detail = f"something answers ({rest.status_code}), and it is no Supabase"
        fix = f"{_ADDRESS}; or {_PROXY}" if _has_proxy(settings) else _ADDRESS
        return [Finding("Supabase address", False, detail, fix)]
    findings = [Finding("Supabase address", True, _host(settings))]
    if "date" in rest.headers:
        findings.append(_clock(rest))
    has_publishable = bool(settings.supabase_publishable_key)
    publishable_fits = has_publishable and kind != "bad_key"
    verdict = "accepted" if publishable_fits else f"refused with {rest.status_code}"
    name = "Supabase publishable key"
    findings.append(
        Finding(name, publishable_fits, verdict, _PUBLISHABLE_FIX)
        if has_publishable
        else Finding(name, None, "not set")  # a line before says so
    )
    secret_fits = await _secret_key(settings, http, findings)
    database_is_up = kind not in {"database_down", "down"}
    if not database_is_up:
        findings.append(
            Finding("Supabase database", False, f"REST answers {_words(rest)}", STATUS_PAGE)
        )
    auth_is_up = await _auth(settings, http, findings, has_key=publishable_fits or secret_fits)
    if secret_fits and database_is_up:
        try:
            findings += await examine_installed(settings, http)
        except HttpError as error:
            findings.append(Finding("Supabase migrations", None, f"{_SKIPPED} ({error})"))
        findings += await _guard(settings, http)
        findings += await _status_words(settings, http)
        findings += await examine_notifications(settings, http, may_write=may_write)
    else:
        findings += [
            Finding(name, None, _SKIPPED) for name in ("Supabase migrations", "change notification")
        ]
    if auth_is_up:
        findings += await examine_tokens(
            settings, http, may_write=may_write, keys_fit=secret_fits and publishable_fits
        )
    else:
        findings += [
            Finding(name, None, _SKIPPED) for name in ("token signing keys", "access token")
        ]
    return findings


def classify(response: HttpResponse) -> ProbeResult:
    """Tells the gateway's refusal of a key from the responses of PostgREST and PostgreSQL."""
    body = _object(response)
    code = str(body.get("code", "")) if body is not None else ""
    if code.startswith(("PGRST00", "08", "53", "57P")):
        return "database_down"
    if response.status_code >= _SERVER_ERROR:
        return "down"
    if body is None and not response.text.lstrip().startswith("["):
        return "not_supabase"
    if response.status_code in {401, 403} and not code:
        return "bad_key"
    if response.status_code == _NOT_FOUND and not code:
        return "not_supabase"
    return "fine"


async def _rest(settings: Settings, http: HttpClient) -> HttpResponse:
    url = f"{settings.supabase_url}/rest/v1/clients?select=id&limit=1"
    headers = key_headers(settings)
    return await http.fetch("supabase_rest", "GET", url, headers=headers, timeout_s=TIMEOUT_S)


async def _secret_key(settings: Settings, http: HttpClient, findings: list[Finding]) -> bool:
    """Returns whether REST accepts the key as the service's; without a response it may be right."""
    try:
        answer = await call(settings, http, "evpower_installed", {})
    except HttpError as error:
        findings.append(Finding("Supabase secret key", None, f"{_SKIPPED} ({error})"))
        return False
    refused = answer.status_code in {401, 403}
    if not refused and answer.status_code >= _SERVER_ERROR:
        findings.append(Finding("Supabase secret key", None, _SKIPPED))
        return False
    detail = "accepted"
    if refused:  # with a code: a role other than service_role has no right to the function
        detail = "is not a secret key" if classify(answer) == "fine" else "refused"
        detail = f"{detail} (answered {answer.status_code})"
    findings.append(Finding("Supabase secret key", not refused, detail, _FIX_SERVICE_KEY))
    return not refused


async def _auth(
    settings: Settings, http: HttpClient, findings: list[Finding], *, has_key: bool
) -> bool:
    if not has_key:
        findings.append(Finding("Supabase Auth", None, _SKIPPED))
        return False
    url = f"{settings.supabase_url}/auth/v1/settings"
    headers = key_headers(settings)
    try:
        answer = await http.fetch("supabase_auth", "GET", url, headers=headers, timeout_s=TIMEOUT_S)
        detail = f"answers {_words(answer)}"
        is_up = answer.is_success
        if answer.status_code in {401, 403}:  # the gateway's verdict on the key, reported above
            findings.append(Finding("Supabase Auth", None, _SKIPPED))
            return False
    except HttpError as error:
        is_up, detail = False, str(error)
    findings.append(Finding("Supabase Auth", is_up, "answers" if is_up else detail, STATUS_PAGE))
    return is_up


async def _guard(settings: Settings, http: HttpClient) -> list[Finding]:
    """Says who writes money, stations and tariffs in Supabase; nothing without the function."""
    secret = settings.supabase_secret_key.get_secret_value()
    rpc = sync.SupabaseRpc(http, settings.supabase_url, secret)
    try:
        guard = await sync.guard_status(rpc)
    except (sync.SyncError, KeyError, ValueError) as error:
        return [Finding("Supabase guard", None, f"{_SKIPPED} ({error})")]
    fix = "stop the older backend, then evpower supabase guard enable --reason ... (docs/sync.md)"
    findings = [Finding("Supabase guard", guard.is_enabled, describe(guard), fix)]
    if guard.is_enabled and guard.is_invoice_id_short:
        invoices: list[str] = []
        with suppress(EvPowerError, asyncpg.PostgresError, OSError, ValueError):  # said elsewhere
            database = await Database.open(settings.database_url.get_secret_value(), size=2)
            try:
                invoices = await sync.not_mirrored(database, guard)
            finally:
                await database.close()
        findings.append(short_ids(guard, invoices))
    return findings


def short_ids(guard: sync.GuardStatus, invoices: Sequence[str]) -> Finding:
    """Returns the finding that a bill's second payments are not mirrored, with the newest."""
    detail = f"balance_topups.invoice_id is {guard.invoice_id}: a bill's second payment is not"
    newest = f"; not there: {', '.join(invoices)}" if invoices else "; none yet"
    widen = (
        "make balance_topups.invoice_id varchar(64), as the owner of the table; then"
        " evpower sync backfill"
    )
    return Finding("Supabase invoice ids", False, f"{detail} mirrored{newest}", widen)


async def _status_words(settings: Settings, http: HttpClient) -> list[Finding]:
    """Returns words of the project's own that are not mapped; none without the function."""
    secret = settings.supabase_secret_key.get_secret_value()
    rpc = sync.SupabaseRpc(http, settings.supabase_url, secret)
    try:
        database = await Database.open(settings.database_url.get_secret_value(), size=2)
        try:
            words = await sync.find_words(database, rpc)
        finally:
            await database.close()
    except (EvPowerError, sync.SyncError, asyncpg.PostgresError, OSError, ValueError) as error:
        return [Finding("status words", None, f"{_SKIPPED} ({error})")]
    unmapped = [f"{word.word!r} ({word.clients})" for word in words if word.mapped is None]
    return [
        Finding(
            "status words",
            not unmapped,
            f"not mapped: {', '.join(unmapped)}" if unmapped else "none waits",
            "evpower sync words map WORD active|blocked|inactive --reason ...: until then their"
            " clients may not spend",
        )
    ]


def _has_proxy(settings: Settings) -> bool:
    return bool(settings.http_proxy.get_secret_value())


def _unreachable(settings: Settings, error: HttpError) -> Finding:
    text = str(error)
    fix = _ADDRESS
    if "CERTIFICATE" in text.upper() or "SSL" in text.upper():
        fix = (
            "the certificate is not trusted here: check the host name of EVPOWER_SUPABASE_URL; an"
            " authority of your own goes into EVPOWER_SUPABASE_CA"
        )
    elif _has_proxy(settings) and isinstance(error, RequestNotSent):
        fix = _PROXY  # it connects to the project: an unsent call failed there
    elif "resolve" in text or "not known" in text or "getaddrinfo" in text:
        fix = f"the host is unknown to DNS. {_ADDRESS}"
    return Finding("Supabase address", False, f"no answer: {text}", fix)


def _clock(response: HttpResponse) -> Finding:
    if response.date is None:
        return Finding("Supabase clock", None, "its date header can't be read")
    return clock("Supabase clock", response.date)


def _host(settings: Settings) -> str:
    return urlsplit(settings.supabase_url).netloc.rpartition("@")[2]


def _object(response: HttpResponse) -> Mapping[str, object] | None:
    try:
        return read_object(response.content)
    except NotJson:
        return None


def _words(response: HttpResponse) -> str:
    message = str((_object(response) or {}).get("message", ""))[:200]
    return f"{response.status_code} {message}".strip()
