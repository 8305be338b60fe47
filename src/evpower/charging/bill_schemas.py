"""Bills and better figures as the operator API shows and takes them."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from evpower.charging.bill_effect import BillEffect
from evpower.charging.operate import OperatorBill
from evpower.charging.store_operator import BillRow
from evpower.foundation.money import to_som
from evpower.foundation.request_time import UtcTime
from evpower.identity import ActReason

_WH_PER_KWH: Final = 1000
_Kwh = Annotated[float, Field(description="kWh")]


class OperatedBill(BaseModel):
    """One bill of a session; a later one replaces the figure, and the earlier stay."""

    number: int
    total: Annotated[float, Field(description="som: what the session costs by this bill")]
    due: Annotated[float, Field(description="som: what that adds to the bills before it")]
    energy_kwh: _Kwh
    ended_at: datetime
    created_at: datetime
    actor: str | None
    reason: str | None
    record_id: Annotated[UUID | None, Field(description="Of its charge detail record")]
    is_estimated: bool | None
    station_owner: str | None
    tariff_owner: str | None
    parts: list[dict[str, Any]]
    periods: list[dict[str, Any]]


class BetterFigure(BaseModel):
    """What a session should cost by the operator's figures; a member left out stays as billed."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "example": {"energy_kwh": 12.5, "reason": "read on the meter with the technician"}
        },
    )

    reason: ActReason
    energy_kwh: Annotated[
        Decimal | None, Field(ge=0, le=100_000, max_digits=9, decimal_places=3)
    ] = None
    ended_at: UtcTime | None = None
    force: Annotated[
        bool,
        Field(description="Also beyond what the connector can deliver, or ended after its bill"),
    ] = False

    def bill(self, session_id: UUID, actor: str, *, is_decision: bool) -> OperatorBill:
        """Returns the figure as it is billed."""
        energy = self.energy_kwh
        return OperatorBill(
            session_id=session_id,
            energy_wh=None if energy is None else int(energy * _WH_PER_KWH),
            ended_at=self.ended_at,
            actor=actor,
            reason=self.reason.strip(),
            is_decision=is_decision,
            is_forced=self.force,
        )


class BillMoved(BaseModel):
    """What a better figure moves: before, after, and the driver's money."""

    session: UUID
    is_new_bill: Annotated[bool, Field(description="False: these figures were billed already")]
    energy_kwh_before: float
    energy_kwh: float
    cost_before: float
    cost: float
    charged: Annotated[float, Field(description="som taken from the balance")]
    refunded: Annotated[float, Field(description="som given back to it")]
    debt_added: Annotated[float, Field(description="som that the balance could not pay")]
    debt_forgiven: float
    bill: OperatedBill


def bill_shown(row: BillRow) -> OperatedBill:
    """Returns a bill as it is shown."""
    return OperatedBill(
        number=row.bill_number,
        total=to_som(row.total_minor),
        due=to_som(row.due_minor),
        energy_kwh=row.energy_wh / _WH_PER_KWH,
        ended_at=row.ended_at,
        created_at=row.created_at,
        actor=row.actor,
        reason=row.reason,
        record_id=row.record_id,
        is_estimated=row.is_estimated,
        station_owner=row.station_owner,
        tariff_owner=row.tariff_owner,
        parts=list(row.parts or ()),
        periods=list(row.periods or ()),
    )


def moved_shown(effect: BillEffect) -> BillMoved:
    """Returns what a better figure moves as it is shown."""
    return BillMoved(
        session=effect.after.id,
        is_new_bill=effect.is_new_bill,
        energy_kwh_before=effect.before.energy_wh / _WH_PER_KWH,
        energy_kwh=effect.after.energy_wh / _WH_PER_KWH,
        cost_before=to_som(effect.before.cost_minor),
        cost=to_som(effect.after.cost_minor),
        charged=to_som(effect.charged_minor),
        refunded=to_som(effect.refunded_minor),
        debt_added=to_som(effect.debt_added_minor),
        debt_forgiven=to_som(effect.debt_forgiven_minor),
        bill=bill_shown(effect.bill),
    )
