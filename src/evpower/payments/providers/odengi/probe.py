"""Asks the bank's hosts whether they answer, for `evpower doctor`."""

from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.http import HttpClient, HttpError
from evpower.foundation.json_reader import NotJson, read_object
from evpower.payments.errors import ProviderUnavailable
from evpower.payments.providers.odengi.answers import BankError
from evpower.payments.providers.odengi.client import OdengiClient
from evpower.payments.providers.odengi.settings import PATH, is_configured, merchant

# Merchants' code names both; the contract says which is theirs.
PRODUCTION_HOSTS: Final = ("api.dengi.o.kg", "mw-api.dengi.kg")
_NO_ORDER: Final = "evpower-doctor"  # no bill has it
_TIMEOUT_S: Final = 5.0
_MAX_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class HostProbe:
    """What a host of the bank answered; `ok` None: another host than the settings'."""

    host: str
    ok: bool | None
    detail: str


async def probe_odengi(settings: Settings, http: HttpClient) -> list[HostProbe]:
    """Returns what the settings' host answers to a signed question, and whether the other does.

    The other production host gets no signature. Without settings of the bank there is none.
    """
    if not is_configured(settings):
        return []
    host = urlsplit(settings.odengi_url).netloc
    probes = [await _ask(settings, http, host)]
    if host in PRODUCTION_HOSTS:
        probes += [await _look(other, http) for other in PRODUCTION_HOSTS if other != host]
    return probes


async def _ask(settings: Settings, http: HttpClient, host: str) -> HostProbe:
    client = OdengiClient(merchant(settings), http, utc_now)
    try:
        await client.call("statusPayment", {"order_id": _NO_ORDER}, timeout_s=_TIMEOUT_S)
    except BankError as error:
        # Which code means a wrong password and which an unknown order stands in no public source.
        return HostProbe(host, True, f"answers a question about no order: {error}")
    except ProviderUnavailable as error:
        return HostProbe(host, False, str(error))
    return HostProbe(host, True, "answers")


async def _look(host: str, http: HttpClient, *, scheme: str = "https") -> HostProbe:
    try:
        response = await http.fetch(
            "payment_provider",
            "POST",
            f"{scheme}://{host}{PATH}",
            content=b"{}",
            headers={"Content-Type": "application/json"},
            timeout_s=_TIMEOUT_S,
            max_bytes=_MAX_BYTES,
        )
        read_object(response.content)
    except HttpError as error:
        return HostProbe(host, None, f"does not answer: {error}")
    except NotJson:
        return HostProbe(host, None, "answers, but no JSON")
    is_fine = response.status_code == HTTPStatus.OK
    return HostProbe(host, None, "answers too" if is_fine else f"answered {response.status_code}")
