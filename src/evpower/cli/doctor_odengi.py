"""What `evpower doctor` finds of O!Dengi: whether the bank answers, and can reach EvPower."""

from evpower import payments
from evpower.cli.finding import Finding
from evpower.config import Settings
from evpower.foundation.http import HttpClient

_FIX = (
    "compare EVPOWER_ODENGI_URL with the host in the contract, ask the bank to allow this address,"
    " and check the SID and the password (docs/providers/odengi.md)"
)


async def look_at_odengi(settings: Settings) -> list[Finding]:
    """Returns a finding for each host; none where the bank is not set."""
    if payments.odengi_problems(settings):
        return []  # the settings' own line says it
    try:
        http = HttpClient(proxy=settings.http_proxy.get_secret_value())
    except ValueError:
        return []
    async with http:
        probes = await payments.probe_odengi(settings, http)
    findings = [Finding(f"O!Dengi {it.host}", it.ok, it.detail, _FIX) for it in probes]
    if findings and not settings.public_url:
        detail = "not sent: without EVPOWER_PUBLIC_URL the bank knows no address of ours"
        fix = "set EVPOWER_PUBLIC_URL: until then a payment is found by asking, later"
        findings.append(Finding("O!Dengi notices", False, detail, fix))
    if findings and settings.odengi_test:
        findings.append(Finding("O!Dengi test mode", None, "test bills: no real money moves"))
    return findings
