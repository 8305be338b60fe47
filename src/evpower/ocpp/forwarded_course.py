"""How a forwarded station's charge went: by the meter values and statuses that passed.

What does not fit its start and its stop, or runs back, is left out: energy flows evenly there.
"""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, tzinfo
from decimal import Decimal
from typing import Final, NamedTuple

from evpower.charging import Reading
from evpower.ocpp.model import OcppPayload
from evpower.ocpp.readings import read_meter_values
from evpower.ocpp.store_forwards import ForwardedCharge
from evpower.ocpp.times import read_station_time
from evpower.ocpp.values import integer, text, transaction_id
from evpower.tariffs import Sample

VALUES: Final = "MeterValues"
STATUS: Final = "StatusNotification"
_PARKED: Final = "suspendedev"  # a pause that the station makes is charging time
_FLOWS: Final = frozenset({"charging", "suspendedevse", "faulted"})
_PARKED_BELOW_W: Final = 100  # a meter shows a little while a car takes nothing
_HOUR_S: Final = 3_600
_BEGIN: Final = "Transaction.Begin"


class PassedCall(NamedTuple):
    """A request of the station that passed."""

    at: datetime
    action: str
    payload: OcppPayload


class Clocks(NamedTuple):
    """How the station's times are read: those before `since` say nothing."""

    since: datetime
    zone: tzinfo  # of its times that name none


class _Sign(NamedTuple):
    at: datetime
    is_timed: bool
    reading: Reading | None = None  # None: a status
    is_parked: bool = False


def samples_of(
    charge: ForwardedCharge, calls: Iterable[PassedCall], end: Sample, clocks: Clocks
) -> list[Sample]:
    """Returns what counts for the price of a charge, which ended with `end`."""
    signs = [
        sign
        for call in calls
        for sign in _signs(charge, call, clocks)
        if charge.started_at <= sign.at <= end.at
    ]
    signs.sort(key=lambda sign: sign.at)
    samples: list[Sample] = []
    last = value = Sample(charge.started_at, 0)
    parked_since: datetime | None = None
    for sign in signs:
        sample: Sample | None = last._replace(at=sign.at, is_timed=sign.is_timed)
        if sign.reading is None:
            is_parked = parked_since is not None
            sample = sample._replace(power_w=None, current_ma=None, is_parked=is_parked)
            parked_since = (parked_since or sign.at) if sign.is_parked else None
        else:
            sample = _sample(charge, sign, sign.reading, last, end)
            if sample is not None and parked_since is not None:
                is_parked = _is_idle(value, sample, is_first=value.at <= parked_since)
                sample = sample._replace(is_parked=is_parked)
                parked_since = parked_since if is_parked else None
            value = sample or value
        if sample is not None:
            samples.append(sample)
            last = sample
    return [*samples, end._replace(is_parked=parked_since is not None)]


def _sample(
    charge: ForwardedCharge, sign: _Sign, reading: Reading, last: Sample, end: Sample
) -> Sample | None:
    if reading.energy_wh is None:
        return None
    energy_wh = int(reading.energy_wh - (charge.meter_start_wh or Decimal(0)))
    if not last.energy_wh <= energy_wh <= end.energy_wh:
        return None
    return Sample(sign.at, energy_wh, reading.power_w, reading.current_ma, is_timed=sign.is_timed)


def _is_idle(last: Sample, sample: Sample, *, is_first: bool) -> bool:
    """Returns whether a car that was done still takes nothing.

    `is_first`: since it was. The value may have the energy of the time before.
    """
    if (sample.power_w or 0) > _PARKED_BELOW_W:
        return False
    span_s = int((sample.at - last.at).total_seconds())
    grown_wh = sample.energy_wh - last.energy_wh
    return is_first or grown_wh * _HOUR_S <= _PARKED_BELOW_W * span_s


def _signs(charge: ForwardedCharge, call: PassedCall, clocks: Clocks) -> Iterator[_Sign]:
    notes = set[str]()
    payload = call.payload
    if call.action == VALUES:
        if _is_of(charge, payload):
            yield from _read(payload.get("meterValue"), call.at, clocks)
    elif integer(payload.get("connectorId"), notes, "form") == charge.connector:
        status = text(payload.get("status"), notes, most=64) or ""
        status = status.replace("_", "").lower()
        if status == _PARKED or status in _FLOWS:
            time = read_station_time(
                payload.get("timestamp"), since=clocks.since, now=call.at, notes=notes,
                zone=clocks.zone,
            )  # fmt: skip
            at = min(time.at or call.at, call.at)
            yield _Sign(at, is_timed=True, is_parked=status == _PARKED)


def _is_of(charge: ForwardedCharge, payload: OcppPayload) -> bool:
    """Returns whether meter values are of a charge: by its id, without one by the connector."""
    notes = set[str]()
    number, name = transaction_id(payload.get("transactionId"), notes)
    their_id = name if number is None else str(number)
    if their_id is not None and charge.their_id is not None:
        return their_id == charge.their_id
    return integer(payload.get("connectorId"), notes, "form") == charge.connector


def _read(values: object, at: datetime, clocks: Clocks) -> Iterator[_Sign]:
    readings: Sequence[Reading] = read_meter_values(
        values, since=clocks.since, now=at, notes=set(), zone=clocks.zone
    ).readings
    for reading in readings:
        if reading.context != _BEGIN:
            is_timed = reading.time.at is not None
            yield _Sign(min(reading.time.at or at, at), is_timed, reading)
