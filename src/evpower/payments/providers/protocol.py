"""What a payment provider must be able to do. All amounts here are tyiyn."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Literal, Protocol

from evpower.payments.model import Event


@dataclass(frozen=True, slots=True)
class Invoice:
    """A provider's bill: its own id, the QR's content, a picture of it, a link for the phone."""

    provider_ref: str
    qr_code: str
    qr_code_url: str
    app_link: str


class Provider(Protocol):
    """One payment provider. Its HTTP calls happen outside of any database transaction."""

    name: ClassVar[str]  # as in the webhook's path and in the table of payments
    method: ClassVar[Literal["qr", "card"]]  # how people pay with it

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
        """Make a bill; the same order twice is the same bill. Raises ProviderError."""
        ...

    def verify_webhook(self, headers: Mapping[str, str], raw: bytes, now: datetime) -> Event:
        """Check who signed the raw bytes, then read them.

        Raises Unauthenticated("invalid_signature" or "stale_webhook"), Invalid("invalid_webhook").
        """
        ...

    async def ask_status(self, *, order_id: str, provider_ref: str | None) -> Event:
        """What became of a bill. Raises ProviderError; UnknownToProvider when there is none."""
        ...
