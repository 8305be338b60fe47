"""Sessions, bills and decisions as the operator API shows and takes them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from evpower.charging.bill_effect import BillEffect
from evpower.charging.free_period import MOST_MINUTES
from evpower.charging.model import SessionState
from evpower.charging.operate import OperatorBill
from evpower.charging.search import SessionDossier
from evpower.charging.session_filter import SessionFilter
from evpower.charging.store_evidence import MeterValueRow
from evpower.charging.store_operator import OPEN, BillRow, SessionRow, UnattributedRow
from evpower.foundation.money import to_som
from evpower.foundation.paging import LIMIT_DEFAULT
from evpower.foundation.request_time import UtcTime
from evpower.identity import ActReason, RowCursor, RowLimit

_WH_PER_KWH: Final = 1000
_MILLI: Final = 1000
_Kwh = Annotated[float, Field(description="kWh")]
_Code = Annotated[str | None, Field(pattern="^[a-z][a-z0-9_]{0,63}$")]
_Som = Annotated[float, Field(description="som")]


class SessionQuery(BaseModel):
    """Which sessions a page is of; all that is given must hold."""

    live: Annotated[bool, Field(description="Only those that wait, charge or stop")] = False
    state: Annotated[list[SessionState], Field(max_length=10)] = []
    end_reason: _Code = None
    start_failure: _Code = None
    client: Annotated[UUID | None, Field(description="Its id")] = None
    station: Annotated[str | None, Field(min_length=1, max_length=255)] = None
    quarantined: bool = False
    made_from: Annotated[
        UtcTime | None, Field(alias="from", description="Made at this time or later")
    ] = None
    made_before: Annotated[
        UtcTime | None, Field(alias="to", description="Made before this time")
    ] = None
    limit: RowLimit = LIMIT_DEFAULT
    cursor: RowCursor = None

    def filter(self, station_id: str | None) -> SessionFilter | None:
        """Returns the filter, of the station's own id; None: nothing can be found by it."""
        states: Sequence[SessionState] = self.state or (OPEN if self.live else ())
        if self.live:
            states = [state for state in states if state in OPEN]
            if not states:
                return None
        return SessionFilter(
            states=states,
            end_reason=self.end_reason,
            start_failure=self.start_failure,
            client_id=self.client,
            station_id=station_id,
            in_quarantine=self.quarantined,
            made_from=self.made_from,
            made_before=self.made_before,
        )


class OperatedSession(BaseModel):
    """A session that EvPower ran or runs; energy and cost are those so far, or as billed."""

    id: UUID
    client_id: UUID
    station: str
    connector: int
    state: SessionState
    started_by: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    energy_kwh: _Kwh
    cost: _Som
    start_failure: str | None
    stop_requested_at: datetime | None
    stop_requested_by: str | None
    stop_reason: str | None
    end_reason: str | None
    is_estimated: bool
    quarantined_at: datetime | None
    quarantine_reason: str | None
    free_reason: str | None
    limit_energy_kwh: float | None
    limit_amount: float | None
    limit_soc_percent: int | None
    power_kw: float | None
    soc_percent: int | None
    last_value_at: datetime | None


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


class MeterEvidence(BaseModel):
    """What a session's energy rests on. Registers in Wh."""

    transaction_id: Annotated[int | None, Field(description="Shown only: no call takes it")]
    ended_by: Annotated[str | None, Field(description="`stop` of the station, or `estimated`")]
    meter_start_wh: float | None
    meter_stop_wh: float | None
    trusted_register_wh: float | None
    unbilled_tail_wh: Annotated[float, Field(description="After the station's own stop")]
    stop_due_at: datetime | None
    close_due_at: datetime | None
    close_reason: str | None
    stops: list["SentStop"]


class SentStop(BaseModel):
    """A StopTransaction as it was sent."""

    model_config = ConfigDict(from_attributes=True)

    id_as_sent: str
    meter_stop_wh: float | None
    station_time: str | None
    reason: str | None
    received_at: datetime


class OperatedEvent(BaseModel):
    """Something that happened to a session."""

    model_config = ConfigDict(from_attributes=True)

    at: datetime
    kind: str
    detail: Mapping[str, Any]


class WholeSession(BaseModel):
    """A session with its bills, its evidence and what happened, the oldest first."""

    session: OperatedSession
    bills: list[OperatedBill]
    evidence: MeterEvidence
    events: list[OperatedEvent]


class OperatedMeterValue(BaseModel):
    """A meter value: as it was read, and what it counts for."""

    received_at: datetime
    at: datetime | None
    station_time: str | None
    context: str
    register_wh: float | None
    session_kwh: Annotated[float | None, Field(description="Null: it does not count")]
    outcome: Annotated[
        str | None, Field(description="`trusted`, `suspect`, `history`, `segment`, `jump`")
    ]
    power_kw: float | None
    current_a: float | None
    voltage_v: float | None
    soc_percent: int | None


class UnattributedCharge(BaseModel):
    """Energy that was delivered to no client, and billed to none."""

    transaction_id: int
    station: str
    connector: int
    id_tag: str
    started_at: datetime
    ended_at: datetime | None
    meter_start_wh: float | None
    meter_stop_wh: float | None
    energy_kwh: _Kwh


class StoppedByOperator(BaseModel):
    """Why a session is stopped."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "driver asked by phone"}}
    )

    reason: ActReason
    force: Annotated[
        bool,
        Field(
            description="End it now by its last register: only where the station is away, or was "
            "asked a minute ago and charges on"
        ),
    ] = False


class StopAsked(BaseModel):
    """What became of it: a session that waits is cancelled, one that charges is stopping."""

    session: UUID
    station: str
    connector: int
    state: SessionState
    is_repeated: Annotated[bool, Field(description="It was over, or its stop was asked for before")]


class FreedStation(BaseModel):
    """Lets any tag charge at a station for a while: without a session, a bill or a wallet."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"example": {"minutes": 120, "reason": "the app is down"}},
    )

    minutes: Annotated[int, Field(ge=1, le=MOST_MINUTES)]
    reason: ActReason


class EndedFreeTime(BaseModel):
    """Why a free time ends."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "the app is back"}}
    )

    reason: ActReason


class FreeTime(BaseModel):
    """A time in which a station charges any tag."""

    model_config = ConfigDict(from_attributes=True)

    station: Annotated[str, Field(validation_alias="station_id")]
    begins_at: datetime
    ends_at: Annotated[datetime, Field(description="By itself")]
    reason: str
    actor: str
    ended_at: datetime | None
    ended_by: str | None


class RetiredStation(BaseModel):
    """Retires a station, or brings it back."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"example": {"reason": "taken down in November"}}
    )

    reason: ActReason
    undo: bool = False


class StationRetired(BaseModel):
    """Whether a station is retired now, and whether that is new."""

    station: str
    is_retired: bool
    is_changed: bool


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


def session_shown(row: SessionRow) -> OperatedSession:
    """Returns a session as it is shown."""
    return OperatedSession(
        id=row.id,
        client_id=row.client_id,
        station=row.station_id,
        connector=row.connector,
        state=row.state,
        started_by=row.started_by,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
        energy_kwh=row.energy_wh / _WH_PER_KWH,
        cost=to_som(row.cost_minor),
        start_failure=row.start_failure,
        stop_requested_at=row.stop_requested_at,
        stop_requested_by=row.stop_requested_by,
        stop_reason=row.stop_reason,
        end_reason=row.end_reason,
        is_estimated=row.is_estimated,
        quarantined_at=row.quarantined_at,
        quarantine_reason=row.quarantine_reason,
        free_reason=row.free_reason,
        limit_energy_kwh=_per(row.limit_energy_wh, _WH_PER_KWH),
        limit_amount=None if row.limit_amount_minor is None else to_som(row.limit_amount_minor),
        limit_soc_percent=row.limit_soc_percent,
        power_kw=_per(row.power_w, _MILLI),
        soc_percent=row.soc_percent,
        last_value_at=row.last_value_at,
    )


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


def whole_shown(dossier: SessionDossier) -> WholeSession:
    """Returns everything about a session as it is shown."""
    row = dossier.session
    return WholeSession(
        session=session_shown(row),
        bills=[bill_shown(bill) for bill in dossier.bills],
        evidence=MeterEvidence(
            transaction_id=row.transaction_id,
            ended_by=row.end_kind,
            meter_start_wh=_number(row.meter_start_wh),
            meter_stop_wh=_number(row.meter_stop_wh),
            trusted_register_wh=_number(row.register_wh),
            unbilled_tail_wh=float(row.tail_wh),
            stop_due_at=row.stop_due_at,
            close_due_at=row.close_due_at,
            close_reason=row.close_reason,
            stops=[SentStop.model_validate(stop) for stop in dossier.stops],
        ),
        events=[OperatedEvent.model_validate(event) for event in dossier.events],
    )


def value_shown(row: MeterValueRow) -> OperatedMeterValue:
    """Returns a meter value as it is shown."""
    return OperatedMeterValue(
        received_at=row.received_at,
        at=row.at,
        station_time=row.station_time,
        context=row.context,
        register_wh=_number(row.energy_wh),
        session_kwh=_per(row.session_wh, _WH_PER_KWH),
        outcome=row.outcome,
        power_kw=_per(row.power_w, _MILLI),
        current_a=_per(row.current_ma, _MILLI),
        voltage_v=_per(row.voltage_mv, _MILLI),
        soc_percent=row.soc_percent,
    )


def unattributed_shown(row: UnattributedRow) -> UnattributedCharge:
    """Returns a charge of no client as it is shown."""
    return UnattributedCharge(
        transaction_id=row.transaction_id,
        station=row.station_id,
        connector=row.connector,
        id_tag=row.id_tag,
        started_at=row.started_at,
        ended_at=row.ended_at,
        meter_start_wh=_number(row.meter_start_wh),
        meter_stop_wh=_number(row.meter_stop_wh),
        energy_kwh=row.energy_wh / _WH_PER_KWH,
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


def decided_of(session: SessionRow, bills: Sequence[BillRow]) -> tuple[object, ...]:
    """Returns what a decision about a session rests on: a change of it is a new version."""
    in_quarantine = session.quarantined_at is not None
    return (session.id, session.state, in_quarantine, tuple(bill.id for bill in bills))


def _per(value: int | None, unit: int) -> float | None:
    return None if value is None else value / unit


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
