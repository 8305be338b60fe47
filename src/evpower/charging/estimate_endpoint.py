"""POST /api/v1/tariffs/estimate: what a charge would cost, by the function that makes the bill."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Depends, Response
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictInt
from pydantic.json_schema import WithJsonSchema

from evpower import tariffs
from evpower.charging.cost_schemas import CostPartRow
from evpower.charging.estimate import Estimate, EstimateRequest, estimate_cost
from evpower.charging.facts import MAX_ENERGY_KWH
from evpower.charging.limits import parts_as_billed
from evpower.foundation.clock import Clock, read_time, to_z, utc_now
from evpower.foundation.db import Database
from evpower.foundation.errors import Invalid
from evpower.foundation.json_numbers import whole
from evpower.foundation.money import amount_from_json, to_som
from evpower.foundation.openapi import Responses, json_response, problem
from evpower.foundation.segments import SegmentRoute
from evpower.identity import Access, Principal
from evpower.tariffs import RateCard

_KILO: Final = 1000
_MINUTE_S: Final = 60
_MAX_MINUTES: Final = 7 * 24 * 60
_MAX_NUMBER: Final = 10**9


def _number(description: str, most: int) -> WithJsonSchema:
    number = {"type": "number", "exclusiveMinimum": 0, "maximum": most}
    return WithJsonSchema({"anyOf": [number, {"type": "null"}], "description": description})


def _printable(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise ValueError("control characters or nothing to read")
    return text.strip()


_Minutes = Annotated[StrictInt, BeforeValidator(whole)]


class EstimateBody(BaseModel):
    """A charge that a driver has in mind."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {"station_id": "EVP-001-01", "connector_id": 1, "energy_kwh": 30}
        }
    )

    station_id: Annotated[
        str,
        Field(min_length=1, max_length=255, description="Any of the station's names"),
        AfterValidator(_printable),
    ]
    connector_id: Annotated[StrictInt, BeforeValidator(whole), Field(ge=1, le=1000)]
    energy_kwh: Annotated[object, _number("At most 3 decimals", MAX_ENERGY_KWH)] = None
    amount_som: Annotated[
        object, _number("The cost at which it stops; at most 2 decimals", _MAX_NUMBER)
    ] = None
    minutes: Annotated[_Minutes | None, Field(ge=1, le=_MAX_MINUTES)] = None
    parked_minutes: Annotated[
        _Minutes, Field(ge=0, le=_MAX_MINUTES, description="How long the car stays when it is done")
    ] = 0
    power_kw: Annotated[
        object, _number("What the car takes; by default what the connector delivers", _KILO)
    ] = None
    start_time: Annotated[
        object,
        WithJsonSchema(
            {
                "anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}],
                "description": "With its zone, within a year; now by default",
            }
        ),
    ] = None

    def request(self, caller: Principal) -> EstimateRequest:
        """Returns the request in our units. Raises Invalid."""
        return EstimateRequest(
            station=self.station_id,
            connector=self.connector_id,
            client_id=caller.client_id,
            energy_wh=_scaled(self.energy_kwh, 3, "energy_kwh", "invalid_energy"),
            amount_minor=_amount(self.amount_som),
            duration_s=None if self.minutes is None else self.minutes * _MINUTE_S,
            parked_s=self.parked_minutes * _MINUTE_S,
            power_w=_scaled(self.power_kw, 3, "power_kw", "invalid_power"),
            starts_at=_moment(self.start_time),
        )


class EstimateAnswer(BaseModel):
    """What the charge would cost; the energy is taken to flow evenly."""

    success: Literal[True]
    station_id: str
    connector_id: int
    start_time: Annotated[datetime, Field(description="UTC, ending in Z")]
    energy_kwh: float
    duration_minutes: Annotated[int, Field(description="While energy flows, rounded up")]
    parked_minutes: int
    power_kw: float
    limited_by: Annotated[
        Literal["energy", "amount", "time"], Field(description="What ends the charge")
    ]
    total: Annotated[
        float,
        Field(description="som, taxes included; at most `amount_som` where that is the limit"),
    ]
    before_tax: Annotated[float, Field(description="som")]
    currency: str
    cost_parts: Annotated[list[CostPartRow], Field(description="They add up to the total")]
    tariff_plan_id: Annotated[str, Field(description="The plan's code")]
    tariff_version: int
    tariff_name: str
    rate_per_kwh: Annotated[float, Field(description="som, at the start")]
    rate_per_minute: float
    parking_fee_per_minute: float
    session_fee: float
    discount_percent: Annotated[
        float,
        Field(description="The client's own, off `energy` and `time` unless it names other parts"),
    ] = 0
    parking_grace_minutes: int = 0
    parking_maximum: float = 0


_RESPONSES: Final[Responses] = {
    200: json_response("The cost, by the function that makes the bill", EstimateAnswer),
    401: problem("`missing_token`, `invalid_token`, `token_expired`"),
    404: problem("`station_not_found`, `connector_not_found`"),
    409: problem("`tariff_missing`"),
    422: problem(
        "`invalid_request`, `estimate_limit_missing`, `invalid_energy`, `invalid_amount`, "
        "`invalid_duration`, `invalid_power`, `invalid_time`"
    ),
}


def estimate_router(access: Access, db: Database, *, clock: Clock = utc_now) -> APIRouter:
    """Returns the route."""
    routes = APIRouter(prefix="/api/v1/tariffs", tags=["tariffs"], route_class=SegmentRoute)

    @routes.post(
        "/estimate",
        summary="What a charge would cost",
        responses=_RESPONSES,
        response_class=Response,
    )
    async def tariff_estimate(  # pyright: ignore[reportUnusedFunction]
        caller: Annotated[Principal, Depends(access.principal)], body: EstimateBody
    ) -> Response:
        """A driver's own tariff counts. With several limits the first that is reached ends it."""
        request = body.request(caller)
        async with db.connection() as connection:
            estimate = await estimate_cost(connection, request, now=clock())
        return Response(orjson.dumps(_answer(estimate)), media_type="application/json")

    return routes


def _answer(estimate: Estimate) -> dict[str, Any]:
    snapshot, cost = estimate.snapshot, estimate.priced.session.cost
    tariff = snapshot.tariff
    card = RateCard(tariff)
    rates = card.at(estimate.starts_at, power_w=estimate.power_w)
    parked = card.at(estimate.starts_at, power_w=0)  # the car takes nothing then
    # What is due at once may be more than the amount, which caps the bill.
    unbilled_minor = cost.total_minor - estimate.priced.cost_minor
    parts = parts_as_billed(tariffs.cost_parts(tariff, cost), unbilled_minor)
    return {
        "success": True,
        "station_id": estimate.station_id,
        "connector_id": estimate.connector,
        "start_time": to_z(estimate.starts_at),
        "energy_kwh": estimate.energy_wh / _KILO,
        "duration_minutes": -(-estimate.duration_s // _MINUTE_S),
        "parked_minutes": estimate.parked_s // _MINUTE_S,
        "power_kw": estimate.power_w / _KILO,
        "limited_by": estimate.limited_by,
        "total": to_som(estimate.priced.cost_minor),
        "before_tax": to_som(min(cost.before_tax_minor, estimate.priced.cost_minor)),
        "currency": tariff.currency,
        "cost_parts": parts,
        "tariff_plan_id": snapshot.plan,
        "tariff_version": snapshot.version,
        "tariff_name": tariff.name,
        "rate_per_kwh": rates.per_kwh,
        "rate_per_minute": rates.per_minute,
        "parking_fee_per_minute": parked.parking_per_minute,
        "session_fee": rates.session_fee,
        **tariffs.frozen_terms(tariff),
    }


def _amount(raw: object) -> int | None:
    """Returns a JSON number of som in tyiyn; null is none. Raises Invalid("invalid_amount")."""
    if raw is None:
        return None
    minor = 0 if isinstance(raw, str) else amount_from_json(raw)
    if minor <= 0:
        raise Invalid("invalid_amount", "amount_som must be a number above 0")
    return minor


def _scaled(raw: object, digits: int, name: str, code: str) -> int | None:
    """Returns a JSON number in units of its last decimal; null is none. Raises Invalid(code)."""
    if raw is None:
        return None
    if isinstance(raw, bool) or not isinstance(raw, int | float) or not 0 < raw <= _MAX_NUMBER:
        raise Invalid(code, f"{name} must be a number above 0")
    exact = Decimal(repr(raw)).scaleb(digits)
    if exact != int(exact):
        raise Invalid(code, f"{name} has more than {digits} decimals")
    return int(exact)


def _moment(raw: object) -> datetime | None:
    if raw is None:
        return None
    try:
        return read_time(raw if isinstance(raw, str) else "")
    except ValueError as error:
        raise Invalid("invalid_time", f"start_time {error}") from error
