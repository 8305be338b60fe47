"""The channels that the settings name, and what is wrong with them."""

from collections.abc import Mapping, Sequence
from email.headerregistry import Address
from email.utils import parseaddr
from typing import Final, Protocol
from urllib.parse import urlsplit

from evpower.alerts.certificates import read_tls_hosts
from evpower.alerts.mail import EmailChannel, Letterhead
from evpower.alerts.model import AlertMessage, Attempt, ChannelName
from evpower.alerts.quiet_hours import QuietHours, read_quiet_hours
from evpower.alerts.smtp import read_smtp_url, tls_context
from evpower.alerts.webhook import WebhookChannel, read_secrets
from evpower.config import Settings
from evpower.foundation.clock import Clock, utc_now
from evpower.foundation.http import HttpClient
from evpower.foundation.time_zones import read_time_zone

_MIN_SECRET: Final = 24  # bytes


class Channel(Protocol):
    """A way on which alerts are sent. `gathers`: what comes within a minute is sent together.

    `batch`: how many messages it takes at once.
    """

    gathers: bool
    batch: int

    async def send(self, messages: Sequence[AlertMessage]) -> list[Attempt]:
        """Sends messages, in 90 s at most, and returns how each of them ended."""
        ...


def configured_channels(
    settings: Settings, http: HttpClient, clock: Clock = utc_now
) -> Mapping[ChannelName, Channel]:
    """Returns the channels of the settings, by name. Raises ValueError for unusable settings."""
    channels: dict[ChannelName, Channel] = {}
    url = settings.alert_webhook_url.get_secret_value()
    if url:
        keys = read_secrets(settings.alert_webhook_secret.get_secret_value())
        channels["webhook"] = WebhookChannel(http, url, keys, settings.alert_language, clock)
    smtp_url = settings.alert_smtp_url.get_secret_value()
    if smtp_url:
        letterhead = Letterhead(
            settings.alert_email_from,
            tuple(addresses(settings.alert_email_to)),
            settings.alert_language,
            read_time_zone(settings.alert_time_zone),
        )
        channels["email"] = EmailChannel(
            read_smtp_url(smtp_url), tls_context(settings.alert_smtp_ca), letterhead, clock
        )
    return channels


def configured_quiet_hours(settings: Settings) -> QuietHours | None:
    """Returns the quiet hours of the settings. Raises ValueError for unusable settings."""
    return read_quiet_hours(settings.alert_quiet_hours, settings.alert_time_zone)


def channel_problems(settings: Settings) -> list[str]:
    """Returns what is wrong with the settings of alerts. No secret is quoted."""
    return [*_plain_problems(settings), *_webhook_problems(settings), *_email_problems(settings)]


def _plain_problems(settings: Settings) -> list[str]:
    try:
        read_time_zone(settings.alert_time_zone)
    except ValueError:
        return ["EVPOWER_ALERT_TIME_ZONE is no time zone such as Asia/Bishkek"]
    try:
        read_tls_hosts(settings.alert_tls_hosts)
    except ValueError as error:
        return [f"EVPOWER_ALERT_TLS_HOSTS: {error}"]
    return []


def _webhook_problems(settings: Settings) -> list[str]:
    url = settings.alert_webhook_url.get_secret_value()
    secret = settings.alert_webhook_secret.get_secret_value()
    if not url:
        return ["EVPOWER_ALERT_WEBHOOK_SECRET is set without a URL"] if secret else []
    texts: list[str] = []
    try:
        parts = urlsplit(url)
        is_address = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:
        is_address, parts = False, urlsplit("")
    if not is_address:
        texts.append("EVPOWER_ALERT_WEBHOOK_URL must read https://host/path")
    elif parts.scheme == "http" and settings.env == "production":
        texts.append("EVPOWER_ALERT_WEBHOOK_URL is not https: who reads it could forge alerts")
    try:
        keys = read_secrets(secret)
    except ValueError as error:
        return [*texts, f"EVPOWER_ALERT_WEBHOOK_SECRET: {error}"]
    if not keys or any(len(key) < _MIN_SECRET for key in keys):
        texts.append(
            "EVPOWER_ALERT_WEBHOOK_SECRET must be whsec_ and the base64 of 24 random bytes or more"
        )
    return texts


def _email_problems(settings: Settings) -> list[str]:
    if not settings.alert_smtp_url.get_secret_value():
        values = {
            "EMAIL_FROM": settings.alert_email_from,
            "EMAIL_TO": settings.alert_email_to,
            "SMTP_CA": settings.alert_smtp_ca,
        }
        return [
            f"EVPOWER_ALERT_{name} is set without EVPOWER_ALERT_SMTP_URL"
            for name, value in values.items()
            if value
        ]
    texts: list[str] = []
    try:
        read_smtp_url(settings.alert_smtp_url.get_secret_value())
    except ValueError as error:
        texts.append(f"EVPOWER_ALERT_SMTP_URL {error}")
    try:
        tls_context(settings.alert_smtp_ca)
    except ValueError as error:
        texts.append(f"EVPOWER_ALERT_SMTP_CA: {error}")
    if not _is_address(settings.alert_email_from):
        texts.append("EVPOWER_ALERT_EMAIL_FROM must be an address: alerts@example.kg")
    recipients = addresses(settings.alert_email_to)
    if not recipients or not all(map(_is_address, recipients)):
        texts.append("EVPOWER_ALERT_EMAIL_TO must be addresses with commas between")
    return texts


def addresses(text: str) -> list[str]:
    """Returns the addresses that commas separate."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _is_address(text: str) -> bool:
    try:
        address = Address(addr_spec=parseaddr(text)[1])
    except (ValueError, IndexError):
        return False
    return bool(address.username and address.domain)
