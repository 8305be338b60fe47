"""What `evpower doctor` examines; each finding carries its fix."""

from evpower.cli.doctor_alerts import look_at_alerts
from evpower.cli.doctor_database import look_at_database
from evpower.cli.doctor_odengi import look_at_odengi
from evpower.cli.doctor_old_api import look_at_old_api
from evpower.cli.doctor_push import look_at_push
from evpower.cli.doctor_registration import look_at_registration
from evpower.cli.doctor_sign_in import look_at_phone_sign_up, look_at_sign_in
from evpower.cli.doctor_supabase import examine_supabase
from evpower.cli.finding import Finding
from evpower.cli.settings import all_problems
from evpower.config import Settings, is_project_address
from evpower.foundation.bus.nats_bus import reach
from evpower.foundation.bus.nats_keys import NatsFiles
from evpower.foundation.http import HttpClient


async def examine(settings: Settings, *, may_write: bool = True) -> list[Finding]:
    """Examines everything. Returns the findings; a part that fails does not hide the others.

    With `may_write` Supabase sends a change notification, and a user of doctor's own signs in.
    """
    findings = [_settings(settings)]
    findings += await look_at_database(settings.database_url.get_secret_value())
    findings += await look_at_old_api(settings)
    findings += await look_at_alerts(settings)
    findings += await look_at_sign_in(settings)
    findings += await look_at_push(settings)
    findings += await _nats(settings)
    findings += await look_at_odengi(settings)
    if settings.supabase_url and not is_project_address(settings.supabase_url):
        findings.append(Finding("Supabase address", None, "not examined: mend the above first"))
    elif settings.supabase_url:
        try:
            http = HttpClient(
                supabase_ca=settings.supabase_ca, proxy=settings.http_proxy.get_secret_value()
            )
        except ValueError as error:
            fix = "mend the file of EVPOWER_SUPABASE_CA, or the address in EVPOWER_HTTP_PROXY"
            return [*findings, Finding("outgoing HTTP", False, str(error), fix)]
        async with http:
            findings += await examine_supabase(settings, http, may_write=may_write)
            findings += await look_at_registration(settings, http)
            findings += await look_at_phone_sign_up(settings, http)
    return findings


def _settings(settings: Settings) -> Finding:
    wrong = all_problems(settings)
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
