"""O!Dengi's settings: what of them is missing or unsafe, and what they are for the adapter."""

import re
from typing import Final
from urllib.parse import urlsplit

from evpower.config import Settings
from evpower.payments.providers.odengi.client import Merchant

PATH: Final = "/api/json/json.php"
_PREFIX: Final = "EVPOWER_ODENGI_"
_ADDRESS: Final = re.compile(r"https?://[A-Za-z0-9.\[\]:-]+(/[\x21-\x7e]*\.php)?")
_SID: Final = re.compile(r"[\x21-\x7e]{1,64}")
_HOST: Final = re.compile(r"[a-z0-9.-]+(:[0-9]{1,5})?")
_MIN_PASSWORD: Final = 8


def is_configured(settings: Settings) -> bool:
    """Whether all that a call of the bank needs is set."""
    return bool(
        settings.odengi_url and settings.odengi_sid and settings.odengi_password.get_secret_value()
    )


def odengi_problems(settings: Settings) -> list[str]:
    """Returns what of the settings is missing or unsafe, each with its fix; no value is quoted."""
    values = {
        "URL": settings.odengi_url,
        "SID": settings.odengi_sid,
        "PASSWORD": settings.odengi_password.get_secret_value(),
    }
    if not any(values.values()):
        return []
    texts = [
        f"{_PREFIX}{name} is missing: the bank gives URL, SID and PASSWORD together"
        for name, value in values.items()
        if not value
    ]
    if settings.odengi_url and not _is_address(settings.odengi_url):
        texts.append(f"{_PREFIX}URL must read https://host or https://host/path/json.php")
    if settings.odengi_sid and not _SID.fullmatch(settings.odengi_sid):
        texts.append(f"{_PREFIX}SID holds a space or a letter that no number has: copy it again")
    if not all(map(_HOST.fullmatch, _listed_hosts(settings))):
        texts.append(f"{_PREFIX}REPORT_HOSTS must read host,host:port without https://")
    if settings.env == "production":
        texts += _unsafe(settings, values["PASSWORD"])
    return texts


def merchant(settings: Settings) -> Merchant:
    """Returns the merchant of the settings."""
    url = settings.odengi_url
    return Merchant(
        url if urlsplit(url).path else url + PATH,
        settings.odengi_sid,
        settings.odengi_password.get_secret_value().encode(),
        settings.odengi_mktime,
        settings.odengi_test,
    )


def report_hosts(settings: Settings) -> list[str]:
    """Returns the hosts that files of history are fetched from; by default the API's own."""
    return _listed_hosts(settings) or [urlsplit(settings.odengi_url).netloc.lower()]


def _listed_hosts(settings: Settings) -> list[str]:
    listed = settings.odengi_report_hosts.lower().split(",")
    return [host for part in listed if (host := part.strip())]


def _is_address(url: str) -> bool:
    try:
        return bool(_ADDRESS.fullmatch(url)) and urlsplit(url).port != 0
    except ValueError:
        return False


def _unsafe(settings: Settings, password: str) -> list[str]:
    texts: list[str] = []
    if settings.odengi_url.startswith("http://"):
        texts.append(f"{_PREFIX}URL is not https: what payers send would travel in clear")
    if 0 < len(password) < _MIN_PASSWORD:
        texts.append(f"{_PREFIX}PASSWORD is shorter than {_MIN_PASSWORD} characters")
    if settings.odengi_test:
        texts.append(f"{_PREFIX}TEST is on: test bills credit money that was never paid")
    return texts
