"""The energy of a session from registers that jump, wrap, reset and lie."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evpower.charging.events import Reading, StationTime
from evpower.charging.register import (
    MeterPoint,
    MeterRegister,
    at_begin,
    at_end,
    begin,
    finish,
    for_progress,
    observe,
    point,
    was_seen,
)
from evpower.charging.stored_register import read_register, write_register

NOON = datetime(2026, 3, 8, 12, tzinfo=UTC)
POWER_W = 60_000  # 1,000 Wh a minute, so that 1,100 pass and one step


def at(
    minute: float, wh: float | str, *, station: float | None = None, step: int = 1
) -> MeterPoint:
    stamp = NOON + timedelta(minutes=minute if station is None else station)
    return MeterPoint(Decimal(wh), NOON + timedelta(minutes=minute), stamp, Decimal(step))


def after(*points: MeterPoint) -> MeterRegister:
    register = begin(points[0], NOON)
    for value in points[1:]:
        register = observe(register, value, POWER_W).register
    return register


def outcomes(*points: MeterPoint) -> list[str]:
    register = begin(points[0], NOON)
    seen: list[str] = []
    for value in points[1:]:
        register, outcome = observe(register, value, POWER_W)
        seen.append(outcome)
    return seen


def reading(context: str, wh: int | None, raw: str = "t", **facts: int) -> Reading:
    empty = Reading(
        StationTime(NOON, raw), context, None if wh is None else Decimal(wh), Decimal(1),
        None, None, None, None, None, None, (None, None, None),
    )  # fmt: skip
    return empty.replace(**facts)


def test_energy_is_what_the_register_grew_by() -> None:
    assert after(at(0, 5_000), at(1, 5_500), at(2, 6_100)).energy_wh == 1_100


def test_energy_is_rounded_down_to_whole_wh_once() -> None:
    assert after(at(0, "0.4"), at(1, "0.9"), at(2, "1.3")).energy_wh == 0
    assert after(at(0, "0.4"), at(2, "1.5")).energy_wh == 1


class TestSingleOutliers:
    """Edge case 9: a register jumps to 0, or far up, for one sample."""

    def test_edge_9_a_single_zero_doubles_nothing(self) -> None:
        register = after(at(0, 5_000), at(1, 5_500), at(2, 0), at(3, 6_500))
        assert register.energy_wh == 1_500
        assert register.suspects == ()

    def test_edge_9_a_single_value_above_the_power_is_dropped(self) -> None:
        assert after(at(0, 0), at(1, 900), at(2, 90_000), at(3, 2_900)).energy_wh == 2_900

    def test_edge_9_outliers_on_both_sides_never_agree(self) -> None:
        points = at(0, 5_000), at(1, 0), at(2, 90_000), at(3, 1), at(4, 90_001), at(5, 5_100)
        assert outcomes(*points) == ["suspect"] * 4 + ["trusted"]


class TestNewSegments:
    def test_edge_9_a_reset_begins_a_segment_at_the_first_of_two_lower_values(self) -> None:
        points = at(0, 5_000), at(1, 5_800), at(2, 100), at(3, 700)
        assert outcomes(*points) == ["trusted", "suspect", "segment"]
        assert after(*points).energy_wh == 800 + 600

    def test_two_lower_values_that_disagree_begin_nothing(self) -> None:
        assert after(at(0, 50_000), at(1, 100), at(2, 30_000)).energy_wh == 0

    def test_edge_10_a_lifetime_register_after_a_start_of_zero_bills_no_lifetime(self) -> None:
        points = at(0, 0), at(1, 7_783_000), at(2, 7_783_500), at(3, 7_784_000)
        assert outcomes(*points) == ["suspect", "suspect", "jump"]
        assert after(*points).energy_wh == 1_000

    def test_two_values_above_the_power_are_not_enough(self) -> None:
        assert after(at(0, 0), at(1, 70_000), at(2, 70_500)).energy_wh == 0

    def test_what_lies_between_segments_is_not_billed(self) -> None:
        points = at(0, 0), at(1, 500), at(2, 90_000), at(3, 90_000), at(4, 90_000), at(5, 90_200)
        assert after(*points).energy_wh == 500 + 200


class TestALowerSegmentWithoutEnergy:
    """Q33: by a per-transaction register the station bills stop - start, however it was read."""

    LOWER = at(0, 0), at(5, 2_000), at(6, 0), at(7, 0)

    def test_it_is_taken_back_by_a_value_that_goes_on_before_it(self) -> None:
        register = after(*self.LOWER, at(8, 2_100))
        assert (register.energy_wh, register.before) == (2_100, None)
        assert finish(register, at(9, 3_000), None, POWER_W).energy_wh == 3_000

    def test_it_is_taken_back_by_the_stop(self) -> None:
        final = finish(after(*self.LOWER), at(8, 3_000), None, POWER_W)
        assert (final.energy_wh, final.is_estimated, final.flaw) == (3_000, False, None)

    def test_it_is_taken_back_after_more_of_the_same_and_a_still_lower_one(self) -> None:
        lower = at(0, 50), at(5, 2_050), at(6, 50), at(7, 50), at(8, 50), at(9, 0), at(10, 0)
        assert after(*lower, at(11, 2_150)).energy_wh == 2_100

    def test_it_stays_once_energy_flowed(self) -> None:
        register = after(*self.LOWER, at(8, 900), at(9, 1_800), at(10, 2_700))
        assert register.energy_wh == 4_700

    def test_it_stays_until_the_connector_can_have_got_there(self) -> None:
        assert outcomes(*self.LOWER, at(8, 9_000)) == ["trusted", "suspect", "segment", "suspect"]

    def test_it_is_taken_back_within_the_bounds_that_hold_by_now(self) -> None:
        """The start came late: each frame of its queue moves the bounds of the present register."""
        register = after(*self.LOWER)
        assert register.before is not None
        late = register.before.replace(since=at(7, 0).at)
        register = register.replace(before=late)
        assert observe(register, at(8, 2_100), POWER_W).register.energy_wh == 2_100

    def test_it_is_stored(self) -> None:
        register = after(*self.LOWER)
        assert register.before is not None
        stored = orjson.loads(orjson.dumps(write_register(register)))
        assert read_register(stored) == register


class TestTolerance:
    """Quirk Q36: a register of 10 Wh steps beside one of 1 Wh."""

    def test_up_to_20_wh_below_is_the_same_register(self) -> None:
        assert outcomes(at(0, 500), at(1, 480)) == ["trusted"]
        assert outcomes(at(0, 500), at(1, 479)) == ["suspect"]

    def test_a_coarse_step_is_tolerated(self) -> None:
        assert outcomes(at(0, 5_000), at(1, 4_900, step=100)) == ["trusted"]

    def test_progress_never_falls(self) -> None:
        assert after(at(0, 500), at(1, 900), at(2, 885)).energy_wh == 400
        assert after(at(0, 500), at(1, 485)).energy_wh == 0


class TestPowerBound:
    def test_the_bound_is_power_times_time_and_a_tenth_and_a_step(self) -> None:
        assert outcomes(at(0, 0), at(1, 1_101)) == ["trusted"]
        assert outcomes(at(0, 0), at(1, "1101.1")) == ["suspect"]
        assert outcomes(at(0, 0), at(1, 1_110, step=10)) == ["trusted"]

    def test_edge_8_a_replayed_queue_is_bounded_by_the_stations_clock(self) -> None:
        points = at(0, 0), at(60, 500, station=1), at(60.01, 55_000, station=60)
        assert outcomes(*points) == ["trusted", "trusted"]

    def test_edge_13_a_clock_that_stands_still_is_bounded_by_ours(self) -> None:
        assert outcomes(at(0, 0), at(60, 55_000, station=0)) == ["trusted"]

    def test_edge_13_a_stamp_of_1970_counts_for_nothing(self) -> None:
        epoch = StationTime(datetime(1970, 1, 1, tzinfo=UTC), "1970-01-01T00:00:00Z")
        assert point(Decimal(1), epoch, NOON, Decimal(1)).station_at is None

    def test_a_stamp_ahead_of_its_receipt_counts_as_the_receipt(self) -> None:
        ahead = StationTime(NOON + timedelta(days=7), "")
        assert point(Decimal(1), ahead, NOON, Decimal(1)).station_at == NOON

    def test_a_clock_that_is_set_right_allows_nothing_at_once(self) -> None:
        points = at(0, 0, station=-360), at(1, 20, station=-359), at(1.1, 300_000, station=0)
        assert outcomes(*points) == ["trusted", "suspect"]


def test_a_late_older_value_of_the_segment_is_history() -> None:
    points = at(0, 0), at(10, 5_000), at(11, 1_000, station=2), at(11, 2_000, station=4)
    assert outcomes(*points) == ["trusted", "history", "history"]
    assert after(*points).energy_wh == 5_000


def test_a_clock_that_was_set_back_stops_no_progress() -> None:
    assert after(at(0, 0), at(10, 5_000), at(11, 5_800, station=-50)).energy_wh == 5_800


def test_edge_10_without_a_start_the_first_value_is_the_start() -> None:
    register = begin(None, NOON)
    register = observe(register, at(1, 7_783_000), POWER_W).register
    assert register.energy_wh == 0
    assert observe(register, at(2, 7_783_400), POWER_W).register.energy_wh == 400


class TestFinish:
    def finished(
        self, *points: MeterPoint, stop: MeterPoint | None, end: MeterPoint | None = None
    ) -> tuple[int, bool, str | None]:
        result = finish(after(*points), stop, end, POWER_W)
        return result.energy_wh, result.is_estimated, result.flaw

    def test_the_stop_is_the_bill(self) -> None:
        assert self.finished(at(0, 0), at(5, 4_000), stop=at(6, 4_500)) == (4_500, False, None)

    def test_q36_a_stop_1_wh_below_the_start_is_nothing(self) -> None:
        points = at(0, 269_456), at(1, 269_460, step=10)
        assert self.finished(*points, stop=at(2, 269_455)) == (0, False, None)

    def test_a_stop_a_little_below_the_last_value_is_itself_the_bill(self) -> None:
        assert self.finished(at(0, 0), at(5, 4_000), stop=at(6, 3_985)) == (3_985, False, None)

    def test_a_stop_below_gives_way_to_the_closing_value(self) -> None:
        points, end = (at(0, 0), at(5, 4_000)), at(6, 4_200)
        assert self.finished(*points, stop=at(6, 300), end=end) == (4_200, False, None)

    def test_a_stop_below_without_a_closing_value_is_estimated(self) -> None:
        assert self.finished(at(0, 0), at(5, 4_000), stop=at(6, 300)) == (4_000, True, None)

    def test_no_stop_takes_the_closing_value(self) -> None:
        assert self.finished(at(0, 0), stop=None, end=at(6, 4_200)) == (4_200, False, None)

    def test_no_stop_and_no_closing_value_is_estimated(self) -> None:
        assert self.finished(at(0, 0), at(5, 4_000), stop=None) == (4_000, True, None)

    def test_edge_10_a_stop_above_the_power_bills_what_is_plausible(self) -> None:
        expected = (4_000, True, "implausible_energy")
        assert self.finished(at(0, 0), at(5, 4_000), stop=at(6, 7_783_000)) == expected

    def test_a_stop_below_the_start_is_negative(self) -> None:
        assert self.finished(at(0, 5_000), stop=at(6, 4_000)) == (0, True, "negative_energy")

    def test_a_reset_that_the_stop_confirms_counts_both_segments(self) -> None:
        points = at(0, 5_000), at(1, 5_800), at(2, 100)
        assert self.finished(*points, stop=at(3, 700)) == (1_400, False, None)

    def test_a_stop_after_a_reset_adds_to_what_came_before_it(self) -> None:
        points = at(0, 5_000), at(1, 5_800), at(2, 100), at(3, 700)
        assert self.finished(*points, stop=at(4, 1_300)) == (2_000, False, None)

    def test_q46_no_register_at_all_is_nothing_for_an_operator_to_look_at(self) -> None:
        assert finish(begin(None, NOON), None, None, POWER_W).flaw == "no_register"
        assert self.finished(at(0, 0), stop=None) == (0, True, "no_register")

    def test_edge_10_a_stop_without_a_start_bills_no_lifetime(self) -> None:
        result = finish(begin(None, NOON), at(60, 7_783_000), None, POWER_W)
        assert (result.energy_wh, result.flaw) == (0, "no_register")


class TestContexts:
    def test_q34_the_begin_beside_a_sample_is_no_progress(self) -> None:
        both = [reading("Sample.Periodic", 2), reading("Transaction.Begin", 0)]
        assert [chosen.energy_wh for chosen in for_progress(both)] == [2]
        begun = at_begin(both)
        assert begun is not None
        assert begun.energy_wh == 0

    @pytest.mark.parametrize(
        ("better", "worse"),
        [
            ("Sample.Periodic", "Sample.Clock"),
            ("", "Trigger"),
            ("Sample.Clock", "Trigger"),
            ("Trigger", "Interruption.Begin"),
            ("Interruption.End", "Transaction.End"),
            ("Transaction.End", "CurrentMax"),
        ],
    )
    def test_the_better_context_counts_wherever_it_stands(self, better: str, worse: str) -> None:
        for parts in (
            [reading(better, 7), reading(worse, 9)],
            [reading(worse, 9), reading(better, 7)],
        ):
            assert [chosen.energy_wh for chosen in for_progress(parts)] == [7]

    def test_q43_one_measurand_an_entry_is_merged(self) -> None:
        parts = [reading("", 7), reading("", None, power_w=5), reading("", None, soc_percent=80)]
        [merged] = for_progress(parts)
        assert (merged.energy_wh, merged.power_w, merged.soc_percent) == (7, 5, 80)

    def test_entries_are_read_the_oldest_first(self) -> None:
        late = reading("", 9, "b").replace(time=StationTime(NOON + timedelta(minutes=1), "b"))
        assert [chosen.energy_wh for chosen in for_progress([late, reading("", 7)])] == [7, 9]

    def test_the_closing_value_is_the_last_one(self) -> None:
        closing = at_end([reading("Transaction.End", 7), reading("Transaction.End", 9)])
        assert closing is not None
        assert closing.energy_wh == 9
        assert at_end([reading("", 7)]) is None


VALUES = st.lists(
    st.tuples(
        st.integers(0, 90),
        st.integers(-(10**6), 10**8) | st.integers(0, 3_000),
        st.none() | st.integers(-90, 90),
        st.sampled_from([1, 10, 100]),
    ),
    max_size=30,
)


@given(st.none() | st.integers(0, 10**7), VALUES, st.none() | st.integers(-5, 10**8))
def test_energy_never_falls_and_never_exceeds_the_power(
    start: int | None, values: list[tuple[int, int, int | None, int]], stop: int | None
) -> None:
    """Any values of any age, order and clock."""
    register = begin(None if start is None else at(0, start), NOON)
    now, stamps, shown = 0, [0], 0
    for minutes, wh, station, step in values:
        now += minutes
        value = at(now, wh, step=step).replace(
            station_at=None if station is None else NOON + timedelta(minutes=station)
        )
        stamps.append(now if station is None else station)
        register = observe(register, value, POWER_W).register
        assert register.energy_wh >= shown
        shown = register.energy_wh
    final = finish(register, None if stop is None else at(now, stop), None, POWER_W)
    longest = max(now, max(stamps) - min(stamps))
    steps = 100 * (len(values) + 1)
    assert 0 <= final.energy_wh <= longest * 1_100 + steps


@pytest.mark.parametrize(
    ("value", "is_seen"),
    [
        (at(9, 6_000, station=2), True),
        (at(9, 5_500, station=1), True),
        (at(9, 0, station=3), True),
        (at(9, 6_500, station=2.1), False),
        (at(9, 10, station=3), False),
        (at(9, 0, station=3.1), False),
        (at(9, 6_000).replace(station_at=None), False),
    ],
    ids=["the-last-one", "an-earlier", "a-suspect", "later", "another-register", "another-time",
         "no-clock"],
)  # fmt: skip
def test_a_repeated_value_is_one_that_came_before(value: MeterPoint, is_seen: bool) -> None:  # noqa: FBT001
    """By the station's clock: the last one that counts was at minute 2, a suspect of 0 at 3."""
    register = after(at(0, 5_000), at(1, 5_500), at(2, 6_000), at(3, 0))
    assert [suspect.wh for suspect in register.suspects] == [0]
    assert was_seen(value, register) == is_seen
