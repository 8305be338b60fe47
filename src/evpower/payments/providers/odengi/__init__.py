"""O!Dengi: bills that every bank's app in Kyrgyzstan pays, by the API "json.php", version 1005."""

from evpower.payments.providers.odengi.probe import HostProbe, probe_odengi
from evpower.payments.providers.odengi.provider import OdengiProvider, Reports
from evpower.payments.providers.odengi.settings import (
    is_configured,
    merchant,
    odengi_problems,
    report_hosts,
)

__all__ = [
    "HostProbe",
    "OdengiProvider",
    "Reports",
    "is_configured",
    "merchant",
    "odengi_problems",
    "probe_odengi",
    "report_hosts",
]
