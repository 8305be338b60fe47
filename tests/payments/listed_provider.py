"""A provider with a list of its transactions, held in memory: what a bank would answer."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar, Literal

from evpower.payments.errors import ProviderRefused, ProviderUnavailable, UnknownToProvider
from evpower.payments.model import Event
from evpower.payments.providers.protocol import (
    BillStatus,
    HistoryItem,
    Invoice,
    NoticeAnswer,
    NoticeRequest,
    NoticeResult,
)


@dataclass
class StatusProvider:
    """Answers only when asked about a bill."""

    name: str  # type: ignore[misc]
    statuses: dict[str, tuple[Event, ...]] = field(default_factory=dict[str, tuple[Event, ...]])
    is_down: bool = False
    refused: set[str] = field(default_factory=set[str])
    asked_about: list[str] = field(default_factory=list[str])
    method: ClassVar[Literal["qr", "card"]] = "qr"

    def to_unit(self, amount_minor: int) -> int:
        return amount_minor

    def from_unit(self, amount: object) -> int:
        assert isinstance(amount, int)
        return amount

    async def create_invoice(self, **_: object) -> Invoice:
        raise ProviderUnavailable("it makes none")

    def read_notice(self, request: NoticeRequest, now: datetime) -> Event:
        raise NotImplementedError

    def answer(self, request: NoticeRequest, result: NoticeResult) -> NoticeAnswer:
        raise NotImplementedError

    async def fetch_status(
        self,
        *,
        order_id: str,
        provider_ref: str | None,  # noqa: ARG002
        bills: int = 1,  # noqa: ARG002
    ) -> BillStatus:
        self.asked_about.append(order_id)
        if self.is_down:
            raise ProviderUnavailable("down")
        if order_id in self.refused:
            raise ProviderRefused("error 12")
        if order_id not in self.statuses:
            raise UnknownToProvider(order_id)
        return BillStatus(self.statuses[order_id])

    async def cancel(self, **_: object) -> Literal["canceled", "already_paid"]:
        raise NotImplementedError

    async def refund(self, **_: object) -> None:
        raise NotImplementedError


@dataclass
class ListedProvider(StatusProvider):
    """Has a list, too."""

    items: list[HistoryItem] = field(default_factory=list[HistoryItem])

    async def fetch_history(self, *, since: datetime, until: datetime) -> Sequence[HistoryItem]:
        if self.is_down:
            raise ProviderUnavailable("down")
        return [item for item in self.items if item.at is None or since <= item.at < until]
