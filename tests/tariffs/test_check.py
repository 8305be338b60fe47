"""What is refused and what is doubted when a tariff is saved."""

import random
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from evpower.api import messages
from evpower.tariffs import Flaw, InvalidTariff, Tariff, check, read_tariff, write_tariff
from evpower.tariffs.coverage import TooComplex, cover
from evpower.tariffs.errors import ERRORS, WARNINGS
from evpower.tariffs.matching import LocalTime, Moment, candidates_of, cheapest_first
from tests.tariffs.examples import document
from tests.tariffs.strategies import documents, tariffs

NIGHT = {"from": "22:00", "to": "06:00"}


def refused(raw: dict[str, Any]) -> list[Flaw]:
    with pytest.raises(InvalidTariff) as error:
        check(read_tariff(raw))
    assert error.value.code == error.value.flaws[0].code
    return list(error.value.flaws)


def warned(*elements: dict[str, Any], **more: Any) -> list[tuple[str, str]]:
    return [(flaw.code, flaw.where) for flaw in check(read_tariff(document(*elements, **more)))]


class TestReading:
    @pytest.mark.parametrize(
        ("change", "code", "where"),
        [
            ({"name": None}, "tariff_field_missing", "name"),
            ({"name": " "}, "tariff_field_invalid", "name"),
            ({"name": "a\x00"}, "tariff_field_invalid", "name"),
            ({"owner": 5}, "tariff_field_invalid", "owner"),
            ({"prise": 1}, "tariff_field_unknown", "prise"),
            ({"discount": {"percent": 5, "on": ["energy"]}}, "tariff_field_unknown", "discount"),
            ({"currency": "USD"}, "tariff_currency_unsupported", "currency"),
            ({"time_zone": "Asia/Bishkeck"}, "tariff_time_zone_unknown", "time_zone"),
            ({"time_zone": "../etc/passwd"}, "tariff_time_zone_unknown", "time_zone"),
            ({"prices_include_tax": "yes"}, "tariff_field_invalid", "prices_include_tax"),
            ({"taxes": {}}, "tariff_field_invalid", "taxes"),
            ({"taxes": [{"name": "VAT", "percent": 101}]}, "tariff_field_invalid",
             "taxes[1].percent"),
            ({"taxes": [{"name": "", "percent": 1}]}, "tariff_field_invalid", "taxes[1].name"),
            ({"taxes": ["VAT"]}, "tariff_field_invalid", "taxes[1]"),
            ({"elements": []}, "tariff_field_missing", "elements"),
            ({"elements": {}}, "tariff_field_invalid", "elements"),
            ({"elements": [7]}, "tariff_field_invalid", "elements[1]"),
            ({"elements": [{"prices": {}}]}, "tariff_field_missing", "elements[1].prices"),
            ({"minimum": "5.001"}, "tariff_price_invalid", "minimum"),
            ({"minimum": {"before_tax": 9, "total": 8}}, "tariff_price_invalid", "minimum"),
            ({"minimum": 5, "maximum": 4}, "tariff_limits_contradict", "minimum"),
        ],
    )  # fmt: skip
    def test_a_field_that_is_wrong_is_named(
        self, change: dict[str, Any], code: str, where: str
    ) -> None:
        raw = document({"energy_per_kwh": "14"}) | change
        raw = {name: value for name, value in raw.items() if value is not None}
        assert [(flaw.code, flaw.where) for flaw in refused(raw)] == [(code, where)]

    @pytest.mark.parametrize(("member", "text"), [("name", "\u200b"), ("owner", "\u2800")])
    def test_a_name_that_can_not_be_seen_is_named(self, member: str, text: str) -> None:
        raw = document({"energy_per_kwh": "14"}) | {member: text}
        assert [flaw[:2] for flaw in refused(raw)] == [("tariff_field_invalid", member)]

    def test_a_tax_has_a_name_that_can_be_seen(self) -> None:
        raw = document({"energy_per_kwh": "14"}) | {"taxes": [{"name": "\u3164", "percent": 1}]}
        assert [flaw[:2] for flaw in refused(raw)] == [("tariff_field_invalid", "taxes[1].name")]

    def test_a_file_of_the_system_is_no_time_zone(self) -> None:
        raw = document({"energy_per_kwh": "14"}) | {"time_zone": "localtime"}
        assert [flaw[:2] for flaw in refused(raw)] == [("tariff_time_zone_unknown", "time_zone")]

    def test_a_stored_one_goes_on_by_the_clocks_it_began_with(self) -> None:
        raw = document({"energy_per_kwh": "14"}) | {"time_zone": "posix/Asia/Bishkek"}
        assert read_tariff(raw, frozen=True).time_zone == "posix/Asia/Bishkek"

    def test_names_of_a_stored_one_are_read_as_they_are(self) -> None:
        raw = document({"energy_per_kwh": "14"}) | {
            "name": " \u200b", "owner": "\u3164", "taxes": [{"name": "\u2800", "percent": 1}],
        }  # fmt: skip
        read = read_tariff(raw, frozen=True)
        assert (read.name, read.owner, read.taxes[0].name) == (" \u200b", "\u3164", "\u2800")

    def test_names_are_stored_without_what_surrounds_them(self) -> None:
        raw = document({"energy_per_kwh": "14"}) | {"name": " Day \u200b", "owner": "\ufeffEvP "}
        read = read_tariff(raw)
        assert (read.name, read.owner) == ("Day", "EvP")

    @pytest.mark.parametrize(
        "price", ["-1", "1e2", "1,5", "1.00001", "", None, True, [], "1_000", "٣", 1e-7, "1000001"]
    )
    def test_a_price_is_a_plain_number(self, price: object) -> None:
        raw = document({"energy_per_kwh": {"price": price}})
        where = "elements[1].prices.energy_per_kwh"
        assert [flaw[:2] for flaw in refused(raw)] == [("tariff_price_invalid", where)]

    @pytest.mark.parametrize(
        ("price", "micro"), [("13.50", 13_500_000), (13.5, 13_500_000), (0, 0), ("0.0001", 100)]
    )
    def test_numbers_and_texts_mean_the_same(self, price: object, micro: int) -> None:
        read = read_tariff(document({"energy_per_kwh": price}))
        assert read.elements[0].prices[0][1].price_micro == micro

    @pytest.mark.parametrize(
        ("conditions", "code", "where"),
        [
            ({"from": "22:00"}, "tariff_time_invalid", "to"),
            ({"to": "06:00"}, "tariff_time_invalid", "from"),
            ({"from": "8:00", "to": "09:00"}, "tariff_time_invalid", "from"),
            ({"from": "08:00", "to": "24:00"}, "tariff_time_invalid", "to"),
            ({"from": "08:00", "to": "08:00"}, "tariff_time_invalid", "to"),
            ({"from": 8, "to": 9}, "tariff_time_invalid", "from"),
            ({"days": [0]}, "tariff_field_invalid", "days"),
            ({"days": [1, 1]}, "tariff_field_invalid", "days"),
            ({"days": "Mon"}, "tariff_field_invalid", "days"),
            ({"from_date": "2026-02-30"}, "tariff_field_invalid", "from_date"),
            ({"from_date": "20260301"}, "tariff_field_invalid", "from_date"),
            ({"from_date": "2026-03-01", "to_date": "2026-03-01"}, "tariff_range_empty",
             "to_date"),
            ({"from_kwh": 20, "below_kwh": 20}, "tariff_range_empty", "below_kwh"),
            ({"below_kw": 0}, "tariff_range_empty", "below_kw"),
            ({"from_kw": "-5"}, "tariff_field_invalid", "from_kw"),
            ({"from_elapsed_s": "0.5"}, "tariff_field_invalid", "from_elapsed_s"),
            ({"min_kwh": 5}, "tariff_field_unknown", "min_kwh"),
        ],
    )  # fmt: skip
    def test_a_condition_that_is_wrong_is_named(
        self, conditions: dict[str, Any], code: str, where: str
    ) -> None:
        raw = document({"energy_per_kwh": 9, "if": conditions}, {"energy_per_kwh": 14})
        assert [flaw[:2] for flaw in refused(raw)] == [(code, f"elements[1].if.{where}")]

    def test_everything_that_is_wrong_is_named_at_once(self) -> None:
        raw = document({"energy_per_kwh": "x", "if": {"days": [8]}}, {"tea": 1})
        assert [flaw.where for flaw in refused(raw)] == [
            "elements[1].prices.energy_per_kwh", "elements[1].if.days", "elements[2].prices.tea",
        ]  # fmt: skip

    @given(documents())
    def test_what_is_written_reads_as_it_was(self, raw: dict[str, Any]) -> None:
        for name in ("discount", "bills_parking"):
            raw.pop(name, None)
        read = read_tariff(raw)
        written = write_tariff(read)
        assert read_tariff(written) == read
        assert write_tariff(read_tariff(written)) == written

    def test_what_changes_nothing_is_not_written(self) -> None:
        conditions = {"from": "00:00", "to": "00:00", "days": [1, 2, 3, 4, 5, 6, 7], "from_kwh": 0}
        raw = document({"energy_per_kwh": "14.00", "if": conditions})
        assert write_tariff(read_tariff(raw))["elements"] == [
            {"prices": {"energy_per_kwh": {"price": "14", "step": 1}}}
        ]


class TestParking:
    def test_a_price_by_the_minute_is_stored_by_the_hour(self) -> None:
        read = read_tariff(document({"time_per_minute": "1.5", "parking_per_minute": "0.0001"}))
        assert {name: part.price_micro for name, part in read.elements[0].prices} == {
            "time": 90_000_000, "parking": 6_000,
        }  # fmt: skip
        assert write_tariff(read)["elements"][0]["prices"]["time_per_hour"]["price"] == "90"

    def test_one_price_is_given_once(self) -> None:
        raw = document({"time_per_minute": 1, "time_per_hour": 60})
        assert [flaw[:2] for flaw in refused(raw)] == [
            ("tariff_field_invalid", "elements[1].prices.time_per_hour")
        ]

    @pytest.mark.parametrize("minutes", [-1, 1441, 1.5, "10", True, None])
    def test_a_grace_is_whole_minutes_of_a_day(self, minutes: object) -> None:
        raw = document({"parking_per_hour": 60}, parking_grace_minutes=minutes)
        assert [flaw[:2] for flaw in refused(raw)] == [
            ("tariff_field_invalid", "parking_grace_minutes")
        ]

    @pytest.mark.parametrize("most", [-1, "1.005", True, {"total": "5"}])
    def test_its_maximum_is_an_amount(self, most: object) -> None:
        raw = document({"parking_per_hour": 60}, parking_maximum=most)
        assert [flaw[:2] for flaw in refused(raw)] == [("tariff_price_invalid", "parking_maximum")]

    def test_a_session_alone_says_that_parking_is_not_billed(self) -> None:
        raw = document({"parking_per_hour": 60}, bills_parking=False)
        assert [flaw[:2] for flaw in refused(raw)] == [("tariff_field_unknown", "bills_parking")]
        assert not read_tariff(raw, frozen=True).bills_parking

    def test_a_night_without_a_price_of_parking_is_a_hole(self) -> None:
        day = {"from": "06:00", "to": "22:00"}
        raw = document({"energy_per_kwh": 14}, {"parking_per_hour": 60, "if": day})
        assert [flaw[:2] for flaw in refused(raw)] == [("tariff_hole", "parking_per_hour")]


class TestHoles:
    @pytest.mark.parametrize(
        ("conditions", "example"),
        [
            (NIGHT, "06:00-22:00"),
            ({"days": [1, 2, 3, 4, 5, 7]}, "Sat"),
            ({"from_kw": 50}, "below 50 kW"),
            ({"below_kw": "49.5"}, "from 49.5 kW"),
            ({"below_kwh": 20}, "from 20 kWh"),
            ({"below_elapsed_s": 1800}, "from 1800 s"),
            ({"from_a": 16}, "below 16 A"),
            ({"to_date": "2027-01-01"}, "from 2027-01-01"),
            ({"from_date": "2027-01-01"}, "below 2027-01-01"),
            (NIGHT | {"days": [5]}, "Mon"),
        ],
    )
    def test_a_moment_without_a_price_is_named(
        self, conditions: dict[str, Any], example: str
    ) -> None:
        raw = document({"energy_per_kwh": 14, "if": conditions}, {"flat": 5})
        [flaw] = refused(raw)
        assert flaw == ("tariff_hole", "energy_per_kwh", f"has no price for {example}")

    def test_a_hole_of_two_conditions_is_found(self) -> None:
        raw = document(
            {"energy_per_kwh": 10, "if": NIGHT},
            {"energy_per_kwh": 12, "if": {"below_kw": 50}},
            {"energy_per_kwh": 14, "if": {"days": [6, 7]}},
        )
        assert refused(raw)[0].detail == "has no price for 06:00-22:00, from 50 kW, Mon"

    def test_what_is_covered_in_pieces_is_no_hole(self) -> None:
        assert (
            warned(
                {"energy_per_kwh": 10, "if": NIGHT},
                {"energy_per_kwh": 12, "if": {"from": "06:00", "to": "22:00", "below_kw": 50}},
                {"energy_per_kwh": 14, "if": {"from_kw": 50}},
            )
            == []
        )

    def test_a_dimension_that_does_not_occur_is_free(self) -> None:
        assert warned({"energy_per_kwh": 14}) == []

    def test_conditions_without_end_are_refused(self) -> None:
        edges = ("from_kwh", "from_kw", "from_a", "from_elapsed_s")
        elements = [
            {"energy_per_kwh": 14, "if": dict.fromkeys(edges, number)}
            for number in range(60, 0, -1)
        ]
        assert refused(document(*elements))[0].code == "tariff_too_complex"

    @given(tariffs(), st.randoms(use_true_random=False))
    def test_a_hole_is_a_moment_without_an_element(
        self, tariff: Tariff, chance: random.Random
    ) -> None:
        for candidates in candidates_of(tariff).values():
            try:
                coverage = cover(candidates)
            except TooComplex:
                assume(False)
            for _ in range(60):
                moment = Moment(
                    LocalTime(chance.randrange(86_400), chance.randint(1, 7),
                              chance.randint(739_600, 740_000)),
                    chance.randrange(9000), chance.randrange(70_000_000),
                    chance.randrange(130_000), chance.randrange(130_000),
                )  # fmt: skip
                index = cheapest_first(candidates, moment)
                assert index is not None or coverage.hole
                assert index is None or index in coverage.reached


class TestSupport:
    @pytest.mark.parametrize("name", ["reservation_per_hour", "expiry_flat"])
    def test_what_no_session_is_billed_for_is_refused(self, name: str) -> None:
        [flaw] = refused(document({"energy_per_kwh": 14, name: 5}))
        assert flaw[:2] == ("tariff_dimension_unsupported", f"elements[1].prices.{name}")

    def test_a_start_fee_knows_only_the_start(self) -> None:
        raw = document({"flat": 5, "if": {"below_kwh": 1}}, {"flat": 9, "energy_per_kwh": 14})
        assert [flaw[:2] for flaw in refused(raw)] == [
            ("tariff_flat_condition", "elements[1].prices.flat")
        ]


class TestWarnings:
    def test_an_element_behind_one_that_always_applies(self) -> None:
        warnings = warned({"energy_per_kwh": 14}, {"energy_per_kwh": 10, "if": NIGHT})
        assert warnings == [("tariff_element_unreachable", "elements[2].prices.energy_per_kwh")]

    def test_an_element_behind_pieces_that_always_apply(self) -> None:
        warnings = warned(
            {"energy_per_kwh": 14, "if": {"below_kw": 50}},
            {"energy_per_kwh": 16, "if": {"from_kw": 50}},
            {"energy_per_kwh": 10, "flat": 5},
        )
        assert warnings == [("tariff_element_unreachable", "elements[3].prices.energy_per_kwh")]

    def test_a_night_of_a_weekday(self) -> None:
        warnings = warned(
            {"energy_per_kwh": 9, "if": NIGHT | {"days": [5]}}, {"energy_per_kwh": 14}
        )
        assert warnings == [("tariff_night_ends_at_midnight", "elements[1].if")]
        assert warned({"energy_per_kwh": 9, "if": NIGHT}, {"energy_per_kwh": 14}) == []

    @pytest.mark.parametrize(
        ("days", "detail"),
        [
            ([5], "Fri 22:00 to 06:00 ends at midnight: Sat 00:00 to 06:00 is not in it"),
            ([1, 2, 3, 4, 5], "Fri 22:00 to 06:00 ends at midnight: Sat 00:00"),
            ([1, 7], "Mon 22:00 to 06:00 ends at midnight: Tue 00:00 to 06:00 is not in it"),
        ],
    )
    def test_the_hours_that_a_night_lacks_are_named(self, days: list[int], detail: str) -> None:
        raw = document({"energy_per_kwh": 9, "if": NIGHT | {"days": days}}, {"energy_per_kwh": 14})
        [flaw] = check(read_tariff(raw))
        assert flaw.detail.startswith(detail)

    def test_a_step(self) -> None:
        warnings = warned({"energy_per_kwh": {"price": 14, "step": 100}})
        assert warnings == [("tariff_step_rounds_up", "elements[1].prices.energy_per_kwh")]

    @pytest.mark.parametrize("price", ["0.99", "100.01"])
    def test_a_price_of_tyiyn_or_of_another_unit(self, price: str) -> None:
        warnings = warned({"energy_per_kwh": price})
        assert warnings == [("tariff_price_unusual", "elements[1].prices.energy_per_kwh")]
        assert warned({"energy_per_kwh": "1"}, {"flat": "100"}) == []

    def test_free_energy(self) -> None:
        for elements in ([{"flat": 5}], [{"energy_per_kwh": 0, "flat": 5}]):
            assert warned(*elements) == [("tariff_energy_free", "elements")]

    def test_a_price_of_time_that_looks_like_that_of_a_minute(self) -> None:
        warnings = warned({"energy_per_kwh": 14, "time_per_hour": "1.5"})
        assert warnings == [("tariff_time_is_per_hour", "elements[1].prices.time_per_hour")]

    def test_parking_without_grace_or_end(self) -> None:
        priced = {"energy_per_kwh": 14, "parking_per_minute": 3}
        terms: dict[str, Any] = {"parking_grace_minutes": 10, "parking_maximum": "500"}
        assert check(read_tariff(document(priced, **terms))) == []
        at_once = check(read_tariff(document(priced, parking_maximum="500")))
        assert [flaw[:2] for flaw in at_once] == [
            ("tariff_parking_at_once", "parking_grace_minutes")
        ]
        unlimited = check(read_tariff(document(priced, parking_grace_minutes=10)))
        assert [flaw[:2] for flaw in unlimited] == [("tariff_parking_unlimited", "parking_maximum")]
        for free in ({"energy_per_kwh": 14}, {"energy_per_kwh": 14, "parking_per_hour": 0}):
            warnings = check(read_tariff(document(free, **terms)))
            assert [flaw[:2] for flaw in warnings] == [("tariff_parking_free", "elements")]


@pytest.mark.parametrize("code", sorted(ERRORS | WARNINGS))
def test_every_flaw_has_its_texts(code: str) -> None:
    for language, texts in messages.LANGUAGES.items():
        assert (
            messages.text(code, 422, language, {"where": "elements[1]"}) != texts["invalid_request"]
        )
