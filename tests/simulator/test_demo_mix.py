"""Which stations the demo has: each with its own trouble, nearly all of them stations in the field.

The demo itself runs in `tests/flows/test_dev.py`, with fewer drivers; here only its plan is read.
"""

import inspect
from pathlib import Path
from typing import get_args

from evpower.cli import dev
from evpower.devstack.demo import chargers
from evpower.simulator import PERSONAS
from evpower.simulator.personas.meters import METERS
from evpower.simulator.personas.sockets import SOCKETS
from evpower.simulator.personas.transactions import TRANSACTIONS

DOCS = Path(__file__).parents[2] / "docs" / "simulator.md"
DRIVERS: int = inspect.signature(dev.demo).parameters["drivers"].default.default
COUNT = DRIVERS // chargers.CONNECTORS
STATIONS = range(COUNT)
OF_THE_FIELD = [chargers.persona_of(number) for number in STATIONS]


def test_each_of_ten_stations_has_its_own_trouble() -> None:
    assert COUNT == 10
    assert sorted(map(chargers.plan_of, STATIONS)) == sorted(get_args(chargers.Plan))


def test_nine_of_ten_are_stations_of_the_field_and_no_two_alike() -> None:
    assert len(set(OF_THE_FIELD)) == COUNT
    assert OF_THE_FIELD.count("plain") == 1


def test_every_kind_of_persona_is_among_them() -> None:
    for kind in (SOCKETS, TRANSACTIONS, METERS):
        assert len({persona.name for persona in kind} & set(OF_THE_FIELD)) >= 2


def test_a_larger_demo_has_every_persona_of_its_plans() -> None:
    most = max(map(len, chargers.PERSONAS.values()))
    reached = {chargers.persona_of(number) for number in range(most * len(chargers.PLANS))}
    named = {name for names in chargers.PERSONAS.values() for name in names}
    assert reached == named
    assert named <= set(PERSONAS)


def test_the_page_names_the_stations_of_the_demo() -> None:
    [paragraph] = [part for part in DOCS.read_text().split("\n\n") if "`evpower demo`" in part]
    assert all(f"`{name}`" in paragraph for name in OF_THE_FIELD)


def test_a_station_is_made_with_its_persona_and_its_fault() -> None:
    """A plan adds its fault to those of the persona."""
    made = [chargers.make_charger(number, "ws://127.0.0.1:1", None) for number in STATIONS]
    assert [charger.persona for charger in made] == OF_THE_FIELD
    by_plan = {charger.plan: charger.station.faults for charger in made}
    assert by_plan["lost_replies"].lose_replies
    assert by_plan["lost_replies"].replay_on_reconnect
    assert by_plan["impossible_register"].stop_offset_wh > 1_000_000
    assert by_plan["impossible_register"].transaction_id == 2**63 - 1
    assert by_plan["broken_frames"].two_registers
