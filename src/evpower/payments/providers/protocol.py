"""The interface of a payment provider. All amounts here are tyiyn."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, Protocol

from evpower.payments.model import Event


@dataclass(frozen=True, slots=True)
class Invoice:
    """A provider's invoice: its own id, the QR's content, its image's URL, a link for the app."""

    provider_ref: str
    qr_code: str
    qr_code_url: str
    app_link: str


class Provider(Protocol):
    """One payment provider. Its HTTP calls happen outside of any database transaction."""

    name: ClassVar[str]  # as in the webhook's path and in the payments table
    method: ClassVar[Literal["qr", "card"]]  # how drivers pay with it

    def to_unit(self, amount_minor: int) -> int | str:
        """Tyiyn to the provider's own unit, exactly."""
        ...

    def from_unit(self, amount: object) -> int:
        """The provider's own unit to tyiyn, exactly. Raises Invalid("invalid_webhook")."""
        ...

    async def create_invoice(
        self,
        *,
        order_id: str,
        amount_minor: int,
        currency: str,
        description: str,
        expires_at: datetime,
    ) -> Invoice:
        """Creates an invoice; the same order again returns the same one. Raises ProviderError."""
        ...

    def verify_webhook(self, headers: Mapping[str, str], raw: bytes, now: datetime) -> Event:
        """Verifies the signature of the raw bytes, then parses them.

        Raises Unauthenticated("invalid_signature" or "stale_webhook"), Invalid("invalid_webhook").
        """
        ...

    async def fetch_status(self, *, order_id: str, provider_ref: str | None) -> Event:
        """Returns an invoice's state. Raises ProviderError; UnknownToProvider if there is none."""
        ...
