"""Tariffs as the operator API shows and takes them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from evpower.foundation.request_time import UtcTime
from evpower.identity import ActReason
from evpower.tariffs.document import RATE_DIGITS, decimal_text
from evpower.tariffs.model import ClientTariff

_DOCUMENT: Mapping[str, Any] = {
    "name": "Day and night",
    "elements": [
        {"prices": {"energy_per_kwh": "9"}, "if": {"from": "23:00", "to": "07:00"}},
        {"prices": {"energy_per_kwh": "13.5"}},
    ],
}


class OperatedTariff(BaseModel):
    """A version of a tariff plan."""

    model_config = ConfigDict(from_attributes=True)

    plan: str
    version: Annotated[int, Field(validation_alias="number")]
    valid_from: Annotated[datetime | None, Field(description="Null: a draft")]
    created_at: datetime
    actor: str
    document: Mapping[str, Any]


class TariffWarning(BaseModel):
    """What an operator should look at once more."""

    model_config = ConfigDict(from_attributes=True)

    code: str
    where: str
    detail: str


class NewTariff(BaseModel):
    """A tariff's document, as `evpower tariff` reads it (docs/tariffs.md)."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"document": dict(_DOCUMENT), "valid_from": None, "reason": "winter prices"}
        },
    )

    document: Annotated[dict[str, Any], Field(max_length=50)]
    reason: ActReason
    valid_from: Annotated[
        UtcTime | None, Field(description="In the future; null: it stays a draft")
    ] = None


class SavedVersion(BaseModel):
    """A stored version, and what its operator should look at once more."""

    tariff: OperatedTariff
    is_new: Annotated[bool, Field(description="False: the newest version says the same already")]
    warnings: list[TariffWarning]


class ActivatedTariff(BaseModel):
    """From when a draft is in force."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"valid_from": "2027-01-01T00:00:00+06:00", "reason": "winter prices"}
        },
    )

    valid_from: UtcTime
    reason: ActReason


class NewAssignment(BaseModel):
    """Which plan prices what, and from when."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "scope": "station",
                "scope_id": "EVP-0042",
                "plan": "city",
                "valid_from": "2027-01-01T00:00:00+06:00",
                "reason": "moved to the mall",
            }
        },
    )

    scope: Literal["everything", "location", "station", "connector"]
    scope_id: Annotated[
        str,
        Field(
            max_length=128,
            description='"" for everything; a location\'s id or name, any name of a station, '
            "`<station>/<number>` of a connector",
        ),
    ] = ""
    plan: Annotated[
        str | None, Field(max_length=64, description="Null: the next wider scope prices it")
    ]
    valid_from: UtcTime
    reason: ActReason


class OperatedAssignment(BaseModel):
    """Which plan prices what, and from when."""

    model_config = ConfigDict(from_attributes=True)

    scope: str
    scope_id: str
    plan: str | None
    valid_from: datetime
    created_at: datetime
    actor: str


class TariffExample(BaseModel):
    """A session to price."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "started_at": "2026-12-01T22:00:00+06:00",
                "energy_kwh": "24",
                "minutes": 120,
                "version": None,
            }
        },
    )

    started_at: UtcTime
    energy_kwh: Annotated[str, Field(pattern=r"^[0-9]{1,4}(\.[0-9]{1,3})?$")]
    minutes: Annotated[int, Field(ge=0, le=10_080)]
    version: Annotated[
        int | None, Field(ge=1, le=2**31 - 1, description="Null: what is in force then")
    ] = None


class QuotedCost(BaseModel):
    """What such a session would cost."""

    plan: str
    version: int
    total: str
    before_tax: str
    currency: str
    energy_kwh: str
    parts: list[dict[str, Any]]
    periods: list[dict[str, Any]]


class OperatedClientTariff(BaseModel):
    """What one client pays in place of what all pay."""

    id: int
    client_id: UUID
    plan: Annotated[str | None, Field(description="Null: the tariff of the place")]
    discount_percent: Annotated[
        str | None, Field(description="Of the price of what `discount_on` names; null: none")
    ]
    discount_on: list[str]
    valid_from: datetime
    valid_until: Annotated[datetime | None, Field(description="Null: until it is ended")]
    created_at: datetime
    actor: str


class NewTariffOfClient(BaseModel):
    """A discount, a plan of its own, or both."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {
                "client_id": "0c1f3a58-5a0b-4b1c-8a64-6a3f0d9b7e21",
                "discount_percent": "10",
                "valid_from": "2027-01-01T00:00:00+06:00",
                "reason": "taxi company",
            }
        },
    )

    client_id: UUID
    valid_from: UtcTime
    reason: ActReason
    valid_until: UtcTime | None = None
    plan: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    discount_percent: Annotated[
        str | None,
        Field(
            pattern=r"^[0-9]{1,3}(\.[0-9]{1,4})?$",
            max_length=8,
            description="Of the price of what `discount_on` names",
        ),
    ] = None
    discount_on: Annotated[
        list[Literal["energy", "time", "parking", "flat"]], Field(min_length=1, max_length=4)
    ] = ["energy", "time"]


class EndedTariffOfClient(BaseModel):
    """When a client's tariff ends."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"valid_until": "2027-02-01T00:00:00+06:00", "reason": "contract ended"}
        },
    )

    valid_until: UtcTime
    reason: ActReason


def client_tariff_shown(stored: ClientTariff) -> OperatedClientTariff:
    """Returns a client's tariff as it is shown."""
    ppm = stored.discount_ppm
    return OperatedClientTariff(
        id=stored.id,
        client_id=stored.client_id,
        plan=stored.plan,
        discount_percent=None if ppm is None else decimal_text(ppm, RATE_DIGITS),
        discount_on=sorted(stored.discount_on),
        valid_from=stored.valid_from,
        valid_until=stored.valid_until,
        created_at=stored.created_at,
        actor=stored.actor,
    )
