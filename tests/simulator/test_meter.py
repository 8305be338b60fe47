"""The meter is exact, and profiles choose the power."""

from datetime import UTC, datetime, timedelta
from typing import Any

from evpower.simulator.meter import UJ_PER_WH, Meter
from evpower.simulator.profiles import Profiles

BEGUN = datetime(2026, 1, 5, 10, tzinfo=UTC)


def profile(purpose: str, watts: float, *, level: int = 0, **schedule: Any) -> dict[str, Any]:
    periods = [{"startPeriod": 0, "limit": watts}]
    return {
        "chargingProfileId": level + len(purpose),
        "stackLevel": level,
        "chargingProfilePurpose": purpose,
        "chargingSchedule": {"chargingRateUnit": "W", "chargingSchedulePeriod": periods} | schedule,
    }


def test_many_small_steps_sum_to_the_whole() -> None:
    meter = Meter(10, BEGUN)
    meter.power_w = 7_001
    for step in range(1, 3601):
        meter.advance(BEGUN + timedelta(seconds=step))
    assert meter.total_uj == 7_011 * UJ_PER_WH
    assert (meter.register_wh, meter.delivered_wh) == (7_011, 7_001)


def test_a_clock_that_goes_back_takes_nothing_away() -> None:
    meter = Meter(0, BEGUN)
    meter.power_w = 3_600
    meter.advance(BEGUN + timedelta(seconds=10))
    meter.advance(BEGUN)
    meter.advance(BEGUN + timedelta(seconds=10))
    assert meter.register_wh == 10


def test_energy_is_limited() -> None:
    meter = Meter(0, BEGUN)
    meter.power_w = 1_000
    meter.advance(BEGUN + timedelta(hours=1), 10 * UJ_PER_WH)
    assert meter.register_wh == 10


def test_the_highest_level_that_applies_now_counts() -> None:
    profiles = Profiles()
    profiles.set(1, profile("TxProfile", 9_000))
    profiles.set(1, profile("TxProfile", 2_000, level=5, duration=60))
    assert profiles.limit_w(1, BEGUN, BEGUN) == 2_000
    assert profiles.limit_w(1, BEGUN, BEGUN + timedelta(seconds=61)) == 9_000
    assert profiles.limit_w(2, BEGUN, BEGUN) is None


def test_a_transaction_s_profile_precedes_the_default_below_the_station_s_maximum() -> None:
    profiles = Profiles()
    profiles.set(0, profile("TxDefaultProfile", 1_000))
    profiles.set(1, profile("TxProfile", 9_000))
    assert profiles.limit_w(1, BEGUN, BEGUN) == 9_000
    profiles.set(0, profile("ChargePointMaxProfile", 5_000))
    assert profiles.limit_w(1, BEGUN, BEGUN) == 5_000
    profiles.end_transaction(1)
    assert profiles.limit_w(1, BEGUN, BEGUN) == 1_000


def test_later_periods_begin_at_their_time() -> None:
    profiles = Profiles()
    periods = [{"startPeriod": 0, "limit": 16}, {"startPeriod": 300, "limit": 0}]
    fields = profile("TxProfile", 0, chargingRateUnit="A", chargingSchedulePeriod=periods)
    profiles.set(1, fields)
    assert profiles.limit_w(1, BEGUN, BEGUN) == 6_400
    assert profiles.limit_w(1, BEGUN, BEGUN + timedelta(seconds=300)) == 0
