"""Sessions, bills and decisions as the operator API shows and takes them."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from evpower.charging.bill_schemas import OperatedBill, bill_shown
from evpower.charging.model import SessionState
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


class UnmatchedStopShown(SentStop):
    """A StopTransaction that fitted no transaction of its station."""

    id: int
    station: Annotated[str, Field(validation_alias="station_id")]
    id_tag: str | None


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
        str | None,
        Field(description="`trusted`, `suspect`, `history`, `segment`, `jump`, `return`"),
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


def decided_of(session: SessionRow, bills: Sequence[BillRow]) -> tuple[object, ...]:
    """Returns what a decision about a session rests on: a change of it is a new version."""
    in_quarantine = session.quarantined_at is not None
    return (session.id, session.state, in_quarantine, tuple(bill.id for bill in bills))


def _per(value: int | None, unit: int) -> float | None:
    return None if value is None else value / unit


def _number(value: Decimal | None) -> float | None:
    return None if value is None else float(value)
