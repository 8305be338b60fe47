"""What of the values and statuses that passed counts for the price of a forwarded charge."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from evpower.ocpp.forwarded_course import Clocks, PassedCall, samples_of
from evpower.ocpp.store_forwards import ForwardedCharge
from evpower.tariffs import Sample

BEGUN = datetime(2026, 3, 8, 6, tzinfo=UTC)
ENDED = BEGUN + timedelta(hours=2)
CHARGE = ForwardedCharge(
    id=1, station_id="S1", connector=1, id_tag="CARD", their_id="7", meter_start_wh=Decimal(1_000),
    started_at=BEGUN, meter_stop_wh=None, ended_at=None, energy_wh=None, cost_minor=None,
    currency=None, plan=None, version=None,
)  # fmt: skip


def after(minutes: float) -> datetime:
    return BEGUN + timedelta(minutes=minutes)


def value(
    minutes: float, wh: int, *, context: str = "Sample.Periodic", power_w: int | None = None
) -> PassedCall:
    sampled = [{"value": str(1_000 + wh), "context": context}]
    if power_w is not None:
        sampled.append({"value": str(power_w), "measurand": "Power.Active.Import", "unit": "W"})
    entry = {"timestamp": after(minutes).isoformat(), "sampledValue": sampled}
    payload: dict[str, Any] = {"connectorId": 1, "transactionId": 7, "meterValue": [entry]}
    return PassedCall(after(max(minutes, 0)), "MeterValues", payload)


def done(minutes: float) -> PassedCall:
    payload: dict[str, Any] = {
        "connectorId": 1, "status": "SuspendedEV", "timestamp": after(minutes).isoformat(),
    }  # fmt: skip
    return PassedCall(after(minutes), "StatusNotification", payload)


def course(*calls: PassedCall) -> list[tuple[float, int, bool]]:
    """Minutes, energy and whether the car took nothing, of each sample."""
    clocks = Clocks(BEGUN - timedelta(days=1), UTC)
    samples = samples_of(CHARGE, calls, Sample(ENDED, 9_000), clocks)
    return [((each.at - BEGUN) / timedelta(minutes=1), each.energy_wh, each.is_parked)
            for each in samples]  # fmt: skip


@pytest.mark.parametrize(
    ("wh", "power_w", "is_idle"),
    [(5_050, None, True), (5_051, None, False), (5_000, 100, True), (5_000, 101, False)],
)
def test_a_car_that_is_done_takes_100_w_at_most(
    wh: int, power_w: int | None, *, is_idle: bool
) -> None:
    """50 Wh in half an hour are 100 W."""
    assert course(
        value(10, 4_000), done(20), value(30, 5_000), value(60, wh, power_w=power_w)
    ) == [
        (10, 4_000, False), (20, 4_000, False), (30, 5_000, True), (60, wh, is_idle),
        (120, 9_000, is_idle),
    ]  # fmt: skip


@pytest.mark.parametrize(("power_w", "is_idle"), [(100, True), (101, False)])
def test_the_first_value_after_it_was_done_may_have_the_energy_of_before(
    power_w: int, *, is_idle: bool
) -> None:
    assert course(value(10, 4_000), done(20), value(30, 8_000, power_w=power_w)) == [
        (10, 4_000, False), (20, 4_000, False), (30, 8_000, is_idle), (120, 9_000, is_idle),
    ]  # fmt: skip


def test_a_value_at_the_begin_is_no_sample() -> None:
    assert course(value(5, 0, context="Transaction.Begin"), value(10, 4_000)) == [
        (10, 4_000, False), (120, 9_000, False),
    ]  # fmt: skip


def test_values_from_before_it_began_or_after_it_ended_are_left_out() -> None:
    calls = value(-1, 10), value(0, 20), value(120, 8_000), value(121, 8_500)
    assert course(*calls) == [(0, 20, False), (120, 8_000, False), (120, 9_000, False)]


@pytest.mark.parametrize("wh", [-1, 3_999, 9_001])
def test_a_register_that_can_not_be_is_left_out(wh: int) -> None:
    at_start = () if wh < 0 else (value(10, 4_000),)
    assert course(*at_start, value(20, wh), value(30, 5_000))[len(at_start) :] == [
        (30, 5_000, False), (120, 9_000, False),
    ]  # fmt: skip
