"""The providers of this process, by name."""

from collections.abc import Iterable, Mapping
from typing import Final

from evpower.config import Settings
from evpower.foundation.errors import NotFound
from evpower.foundation.http import HttpClient
from evpower.payments.providers import odengi
from evpower.payments.providers.odengi import OdengiProvider
from evpower.payments.providers.protocol import Provider
from evpower.payments.providers.report import parse_columns
from evpower.payments.providers.sandbox import SandboxProvider

WEBHOOK_PREFIX: Final = "/api/v1/payment/webhook"
# The old backend's, which a bank may still call: the settings say which provider that is.
OLD_NOTICE_PATHS: Final = ("/api/payment/webhook", "/api/v1/payment/webhook")


class Providers:
    """Providers by name; `qr` is the one that makes QR invoices (None: top-ups are off)."""

    def __init__(self, providers: Iterable[Provider], qr_provider: str = "") -> None:
        self._by_name: Mapping[str, Provider] = {provider.name: provider for provider in providers}
        if qr_provider and qr_provider not in self._by_name:
            raise ValueError(
                f"EVPOWER_PAYMENT_QR_PROVIDER is {qr_provider!r}: there is no such provider"
            )
        self.qr: Provider | None = self._by_name.get(qr_provider)

    def get(self, name: str) -> Provider | None:
        """Returns the provider of that name; None if there is none."""
        return self._by_name.get(name)

    def named(self, name: str) -> Provider:
        """Returns the provider of that name. Raises NotFound("provider_not_found")."""
        provider = self._by_name.get(name)
        if provider is None:
            raise NotFound("provider_not_found", "no such payment provider")
        return provider

    @property
    def names(self) -> list[str]:
        """The names of the providers; payments of any other provider are not rechecked."""
        return list(self._by_name)


def notice_url(public_url: str, name: str) -> str:
    """Returns where a provider sends its notices; "" without a public address."""
    return f"{public_url}{WEBHOOK_PREFIX}/{name}" if public_url else ""


def provider_problem(settings: Settings) -> str:
    """Returns why the settings' provider of QR invoices can't be used; "" if it can."""
    name = settings.payment_qr_provider
    if not name or name in _available(settings):
        return ""
    if name == SandboxProvider.name and settings.env == "production":
        return f"EVPOWER_PAYMENT_QR_PROVIDER={name} is for development only"
    if name == OdengiProvider.name:
        return f"EVPOWER_PAYMENT_QR_PROVIDER={name} needs EVPOWER_ODENGI_URL, _SID and _PASSWORD"
    return f"EVPOWER_PAYMENT_QR_PROVIDER is {name!r}: there is no such provider"


def _available(settings: Settings) -> list[str]:
    names = [SandboxProvider.name] if _has_sandbox(settings) else []
    return [*names, OdengiProvider.name] if odengi.is_configured(settings) else names


def _has_sandbox(settings: Settings) -> bool:
    return settings.env == "development" and bool(settings.sandbox_url)


def configured_providers(settings: Settings, http: HttpClient) -> Providers:
    """Returns the settings' providers. The sandbox exists in development only."""
    enabled: list[Provider] = []
    if _has_sandbox(settings):
        secrets = [
            part.strip()
            for part in settings.sandbox_secret.get_secret_value().split(",")
            if part.strip()
        ]
        enabled.append(SandboxProvider(settings.sandbox_url, secrets, http))
    if odengi.is_configured(settings):
        enabled.append(
            OdengiProvider(
                odengi.merchant(settings),
                http,
                notice_url=notice_url(settings.public_url, OdengiProvider.name),
                return_url=settings.payment_return_url,
                reports=odengi.Reports(
                    frozenset(odengi.report_hosts(settings)),
                    parse_columns(settings.payment_report_columns),
                ),
            )
        )
    qr_provider = settings.payment_qr_provider or (enabled[0].name if enabled else "")
    return Providers(enabled, qr_provider)
