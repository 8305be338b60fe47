"""Meter values in the forms that stations send: each is read as the energy it means."""

# pyright: reportUnknownArgumentType=false

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from evpower.charging import Reading
from evpower.ocpp.readings import Readings, read_each, read_meter_values
from evpower.ocpp.samples import BEGIN
from evpower.ocpp.schemas import violation

NOW = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
STAMP = "2026-11-29T11:59:30Z"
Notes = set[str]


def entry(*samples: dict[str, Any], at: str = STAMP) -> dict[str, Any]:
    return {"timestamp": at, "sampledValue": list(samples)}


def read(value: object) -> tuple[Readings, Notes]:
    notes: Notes = set()
    return read_meter_values(value, since=NOW - timedelta(days=30), now=NOW, notes=notes), notes


def only(value: object) -> Reading:
    readings, _ = read(value)
    [reading] = readings.readings
    return reading


REGISTER = "Energy.Active.Import.Register"
KWH = {"energy_in_kwh", "register_coarse"}


@pytest.mark.parametrize(
    ("samples", "energy", "step", "kinds"),
    [
        pytest.param([{"value": "1500"}], "1500", "1", set(), id="by-the-book"),
        pytest.param([{"value": "1500", "unit": "Wh"}], "1500", "1", set(), id="wh"),
        pytest.param([{"value": "1.5", "unit": "kWh"}], "1500.0", "100", KWH, id="edge-11-kwh"),
        pytest.param(
            [{"value": "269.46", "unit": "kWh"}], "269460", "10", KWH, id="Q36-10-wh-steps"
        ),
        pytest.param(
            [{"value": "1.5", "unit": "KWH"}], "1500", "100", KWH | {"unit_unknown"}, id="Q40"
        ),
        pytest.param([{"value": "1500", "unit": "wh"}], "1500", "1", {"unit_unknown"}, id="Q40-wh"),
        pytest.param([{"value": "1500", "unit": ""}], "1500", "1", set(), id="Q40-blank"),
        pytest.param(
            [{"value": 604.213, "unit": "kWh"}], "604213", "1", {"energy_in_kwh", "value_number"},
            id="Q38-number",
        ),
        pytest.param(
            [{"value": " 1500 ", "measurand": REGISTER}], "1500", "1", set(), id="Q38-padded"
        ),
        pytest.param(
            [{"value": "1,5", "unit": "kWh"}], "1500", "100", KWH | {"decimal_comma"}, id="Q38"
        ),
        pytest.param([{"value": ""}], None, "1", {"value_blank"}, id="Q38-blank"),
        pytest.param([{"value": "NaN"}], None, "1", {"value_unreadable"}, id="Q38-nan"),
        pytest.param([{"value": "1e3"}], None, "1", {"value_unreadable"}, id="Q38-exponent"),
        pytest.param([{"value": None}], None, "1", set(), id="null"),
        pytest.param([{"value": True}], None, "1", {"value_unreadable"}, id="bool"),
        pytest.param(
            [
                {"value": "2000", "context": "Sample.Periodic"},
                {"value": "0", "context": "Transaction.Begin"},
            ],
            "2000", "1", {"two_registers"}, id="Q34-two-registers",
        ),
        pytest.param(
            [{"value": "16.000", "context": "CurrentMax", "unit": "A"}],
            None, "1", {"context_unknown", "measurand_by_unit"}, id="Q41-current-max",
        ),
        pytest.param(
            [{"value": "16.0", "measurand": "Current.Offered", "unit": "A"}],
            None, "1", set(), id="Q50-offered-is-not-used",
        ),
        pytest.param(
            [{"value": "7", "measurand": "Energy.Active.Import.Interval"}],
            None, "1", set(), id="an-interval-is-no-register",
        ),
        pytest.param(
            [{"value": "7", "measurand": REGISTER, "unit": "A"}],
            None, "1", {"unit_of_another_measurand"}, id="energy-in-amperes",
        ),
        pytest.param(
            [
                {"value": "1", "phase": "L1", "measurand": REGISTER},
                {"value": "2", "phase": "L2", "measurand": REGISTER},
                {"value": "6", "measurand": REGISTER},
                {"value": "3", "phase": "L3", "measurand": REGISTER},
            ],
            "6", "1", set(), id="Q87-phases-and-total",
        ),
        pytest.param(
            [
                {"value": "1", "phase": "L1", "measurand": REGISTER},
                {"value": "2", "phase": "L2", "measurand": REGISTER},
                {"value": "3", "phase": "L3", "measurand": REGISTER},
            ],
            "6", "1", set(), id="edge-12-phases",
        ),
        pytest.param(
            [
                {"value": "100", "measurand": REGISTER, "location": "Inlet"},
                {"value": "90", "measurand": REGISTER, "location": "Outlet"},
            ],
            "90", "1", set(), id="the-outlet-is-what-the-car-got",
        ),
    ],
)  # fmt: skip
def test_energy_is_believed_in_context(
    samples: list[dict[str, Any]], energy: str | None, step: str, kinds: Notes
) -> None:
    readings, notes = read([entry(*samples)])
    counting = [reading for reading in readings.readings if reading.context != BEGIN]
    energies = [reading.energy_wh for reading in counting]
    if energy is None:
        assert all(value is None for value in energies)
    else:
        assert energies == [Decimal(energy)]
        assert counting[0].resolution_wh == Decimal(step)
    assert notes == kinds


def test_an_object_in_place_of_the_list_is_one_entry() -> None:
    """Q35: Huawei."""
    readings, notes = read(entry({"value": "1", "unit": "kWh"}))
    assert [reading.energy_wh for reading in readings.readings] == [1000]
    assert notes == KWH | {"object_for_list"}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param([], id="Q39-no-entry"),
        pytest.param([entry()], id="Q39-no-sample"),
        pytest.param(None, id="absent"),
        pytest.param("x", id="text"),
        pytest.param([1, None], id="numbers"),
        pytest.param([{"timestamp": STAMP}], id="no-list"),
    ],
)
def test_nothing_inside_is_nothing_read(value: object) -> None:
    assert read(value)[0] == Readings((), (), is_by_the_book=False)


def test_one_measurand_an_entry_becomes_one_reading() -> None:
    """Q43: HKW."""
    reading = only(
        [
            entry({"value": "5000", "measurand": REGISTER, "unit": "Wh"}),
            entry({"value": "7.4", "measurand": "Power.Active.Import", "unit": "kW"}),
            entry({"value": "80", "measurand": "SoC", "unit": "Percent"}),
        ]
    )
    assert (reading.energy_wh, reading.power_w, reading.soc_percent) == (5000, 7400, 80)


def test_an_end_beside_a_sample_is_a_reading_of_its_own() -> None:
    readings, _ = read(
        [
            entry(
                {"value": "2000", "context": "Sample.Periodic"},
                {"value": "2010", "context": "Transaction.End"},
            )
        ]
    )
    assert [(reading.context, reading.energy_wh) for reading in readings.readings] == [
        ("Sample.Periodic", 2000),
        ("Transaction.End", 2010),
    ]


def test_signed_values_are_kept_untouched_and_are_no_numbers() -> None:
    """Q51."""
    signed = '{"data":"OCMF|{\\"RV\\":1.5}|"}'
    readings, notes = read([entry({"value": signed, "format": "SignedData"}, {"value": "10"})])
    assert readings.signed == (signed,)
    assert [reading.energy_wh for reading in readings.readings] == [10]
    assert notes == set()


def test_the_other_measurands_are_read() -> None:
    reading = only(
        [
            entry(
                {"value": "1", "measurand": REGISTER},
                {"value": "3500", "measurand": "Power.Active.Import", "phase": "L1"},
                {"value": "3600", "measurand": "Power.Active.Import", "phase": "L2"},
                {"value": "15.5", "measurand": "Current.Import", "unit": "A", "phase": "L1"},
                {"value": "16.1", "measurand": "Current.Import", "unit": "A", "phase": "L2"},
                {"value": "231", "measurand": "Voltage", "unit": "V", "phase": "L1-N"},
                {"value": "120", "measurand": "Current.Import", "unit": "A", "location": "EV"},
                {"value": "400.5", "measurand": "Voltage", "unit": "V", "location": "EV"},
                {"value": "61", "measurand": "SoC", "unit": "Percent", "location": "EV"},
                {"value": "300", "measurand": "Temperature", "unit": "K", "location": "Body"},
                {"value": "40.4", "measurand": "Temperature", "unit": "Celcius"},
                {"value": "50", "measurand": "Frequency", "unit": "Hz"},
            )
        ]
    )
    assert reading.power_w == 7100
    assert (reading.current_ma, reading.voltage_mv) == (16_100, 231_000)
    assert (reading.ev_current_ma, reading.ev_voltage_mv) == (120_000, 400_500)
    assert reading.soc_percent == 61
    assert reading.temperatures == (27, 40, None)


def _amperes(value: str, **members: str) -> dict[str, Any]:
    return {"value": value, "measurand": "Current.Import", "unit": "A", **members}


@pytest.mark.parametrize(
    ("samples", "current_ma"),
    [
        pytest.param(
            [
                *(_amperes(str(value), phase=f"L{value - 14}") for value in (15, 16, 17)),
                _amperes("20", phase="N"),
            ],
            17_000, id="three-phases-without-the-neutral-conductor",
        ),
        pytest.param([_amperes("7"), _amperes("0")], 7_000, id="without-a-phase"),
        pytest.param(
            [
                _amperes("100", location="Outlet"),
                *(_amperes("70", phase=phase, location="Inlet") for phase in ("L1", "L2", "L3")),
            ],
            100_000, id="the-outlet-is-what-the-car-got",
        ),
        pytest.param(
            [_amperes("16", phase=phase, location="EV") for phase in ("L1", "L2")], None,
            id="of-the-car-alone",
        ),
    ],
)  # fmt: skip
def test_the_current_is_that_of_the_highest_phase(
    samples: list[dict[str, Any]], current_ma: int | None
) -> None:
    assert only([entry(*samples)]).current_ma == current_ma


@pytest.mark.parametrize("order", [1, -1])
def test_the_power_is_that_of_the_outlet(order: int) -> None:
    samples = [
        {"value": value, "measurand": "Power.Active.Import", "unit": "kW", "location": location}
        for value, location in (("50", "Outlet"), ("53", "Inlet"))
    ]
    assert only([entry(*samples[::order])]).power_w == 50_000


def test_blank_values_of_a_heidelberg_are_absent() -> None:
    """Q38: every value blank, SoC in volts."""
    readings, notes = read(
        [
            entry(
                {"value": "", "measurand": REGISTER, "unit": "Wh"},
                {"value": "", "measurand": "SoC", "unit": "V"},
            )
        ]
    )
    assert readings.readings == ()
    assert notes == {"value_blank", "unit_of_another_measurand"}


def test_more_samples_than_any_station_sends_are_cut() -> None:
    _, notes = read([entry(*[{"value": "1"}] * 10_001)])
    assert "too_many_samples" in notes


_WORDS = {
    "value": ["1", "", "x", 1, None],
    "context": ["Sample.Periodic", "Trigger", "CurrentMax", "", None, 1],
    "measurand": [REGISTER, "SoC", "Current.Offered", "Heat", None],
    "unit": ["Wh", "kWh", "KWH", "Percent", None, ["Wh"]],
    "phase": ["L1", "L1-N", "L1-L2", "L9", None],
    "location": ["Outlet", "EV", "Roof", None],
    "format": ["Raw", "SignedData", "Text"],
    "more": ["x"],
}
_SAMPLES = st.fixed_dictionaries(
    {}, optional={name: st.sampled_from(words) for name, words in _WORDS.items()}
)
_ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "timestamp": st.sampled_from([STAMP, "", None, 1]),
        "sampledValue": st.lists(_SAMPLES, max_size=3) | _SAMPLES | st.none(),
        "more": st.just(1),
    },
)


@given(st.lists(_ENTRIES, max_size=3) | _ENTRIES | st.none())
def test_what_is_called_by_the_book_is_valid_by_the_schema(value: Any) -> None:
    """The schema is asked only about the rest."""
    if read(value)[0].is_by_the_book:
        assert violation("MeterValues", {"connectorId": 1, "meterValue": value}) == ""


def test_the_usual_values_need_no_look_at_the_schema() -> None:
    usual = entry({"value": "1", "context": "Sample.Periodic", "unit": "Wh", "measurand": REGISTER})
    assert read([usual])[0].is_by_the_book


MEASURED = [
    ("Energy.Active.Import.Register", "Wh"), ("Energy.Active.Import.Register", "kWh"),
    ("Power.Active.Import", "kW"), ("Power.Active.Import", "W"), ("Current.Import", "A"),
    ("Voltage", "V"), ("SoC", "Percent"), ("Temperature", "Celsius"), ("Temperature", "K"),
    ("Temperature", "Fahrenheit"), ("Power.Offered", "W"), ("Frequency", None), (None, None),
    ("Voltage", "volts"),
]  # fmt: skip


@st.composite
def sampled(draw: st.DrawFn) -> dict[str, Any]:
    measurand, unit = draw(st.sampled_from(MEASURED))
    number = draw(st.integers(-1000, 10**6)) / 10 ** draw(st.integers(0, 3))
    members = {
        "value": draw(st.sampled_from([str(number), str(int(number))])),
        "measurand": measurand, "unit": unit,
        "context": draw(st.sampled_from(["Sample.Periodic"] * 9 + [BEGIN])),
        "phase": draw(st.sampled_from([None] * 9 + ["L1", "N"])),
        "location": draw(st.sampled_from([None] * 4 + ["EV", "Inlet", "Body", "Cable"])),
    }  # fmt: skip
    sample: dict[str, Any] = {name: part for name, part in members.items() if part is not None}
    odd: dict[str, Any] = draw(
        st.sampled_from([
            *[{}] * 20, {"value": 5}, {"value": "1,5"}, {"value": ""}, {"unit": None},
            {"phase": ["L1"]}, {"format": "Raw"}, {"format": "SignedData"}, {"measurand": 1},
        ])
    )  # fmt: skip
    return sample | odd


@example([{"value": "7", "measurand": "Voltage"}, {"value": "5", "measurand": "Voltage"}], STAMP)
@given(
    st.lists(sampled(), max_size=5),
    st.sampled_from([STAMP] * 9 + ["", "yesterday", None, 1_796_000_000]),
)
def test_samples_that_are_read_together_mean_what_each_does(
    samples: list[dict[str, Any]], at: str
) -> None:
    value = [entry(*samples, at=at)]
    notes: Notes = set()
    each = read_each(value, since=NOW - timedelta(days=30), now=NOW, notes=notes)

    assert read(value) == (each, notes)
    assert read(value) == (each, notes)  # by their shape, which is known now
