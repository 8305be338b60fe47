"""The stations of the demo: simulated ones on real sockets, each with its planned fault."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Final, Literal

from evpower.simulator import Car, SimulatedStation, StationConfig, make_station

# How a session ends, or what goes wrong in it. Stations take them in turn.
Plan = Literal[
    "stopped_by_driver", "energy_limit", "amount_limit", "lost_replies", "network_away",
    "power_cut", "second_socket", "broken_frames", "station_fault", "impossible_register",
]  # fmt: skip
PLANS: Final[Sequence[Plan]] = (
    "stopped_by_driver", "energy_limit", "amount_limit", "lost_replies", "network_away",
    "power_cut", "second_socket", "broken_frames", "station_fault", "impossible_register",
)  # fmt: skip
CONNECTORS: Final = 2
SPEED: Final = 20.0  # ten minutes of charging in half a minute
POWER_KW: Final = 60
# Which station in the field each of them is; those with a plan again take the next name.
PERSONAS: Final[Mapping[Plan, Sequence[str]]] = {
    "stopped_by_driver": ("ocular-21-char-tag", "sigen-repeat-stop"),
    "energy_limit": ("go-e-minus-1", "plain"),
    "amount_limit": ("teison-10wh", "plain"),
    "lost_replies": ("webasto-replay", "plain"),
    "network_away": ("abb-boot-loop", "plain"),
    "power_cut": ("jigu-no-redial", "plain"),
    "second_socket": ("foxess-probe", "plain"),
    "broken_frames": (
        "growatt-two-registers", "huawei-object", "aefa-bad-json", "alfen-currentmax",
    ),
    "station_fault": ("plain",),
    "impossible_register": ("alfen-2e63", "plain"),
}  # fmt: skip
_INTERVAL_S: Final = "2"  # between meter values
_REPLY_S: Final = 5.0
_IMPOSSIBLE_WH: Final = 50_000_000

# The waits of docs/charging.md, shortened so that the demo is short.
WAITS: Final[Mapping[str, str]] = {
    "EVPOWER_CHARGING_CLOSE_AFTER_AVAILABLE_S": "10",
    "EVPOWER_CHARGING_CLOSE_AFTER_BOOT_S": "15",
    "EVPOWER_CHARGING_CLOSE_AFTER_STOP_S": "30",
    "EVPOWER_CHARGING_FIRST_FRAME_WAIT_S": "1",
    "EVPOWER_CHARGING_SETTLE_AFTER_CONNECT_S": "0.1",
}


@dataclass
class Charger:
    """A station, and what its drivers will meet."""

    id: str
    plan: Plan
    persona: str
    station: SimulatedStation
    events: Counter[str] = field(default_factory=Counter[str])

    @property
    def is_slow(self) -> bool:
        """Whether it charges at real speed: so little that a fault makes the session free."""
        return self.plan == "station_fault"

    async def misbehave(self) -> None:
        """Does what the plan says, in the middle of a session."""
        station = self.station
        if self.plan == "network_away":
            station.lose_network()
            await asyncio.sleep(5)
            station.restore_network()
        elif self.plan in ("power_cut", "station_fault"):
            station.cut_power()
            await asyncio.sleep(2)
            station.restore_power()
        elif self.plan == "second_socket":
            station.open_second_socket()


def plan_of(number: int) -> Plan:
    """Returns the plan of station `number`, from 0."""
    return PLANS[number % len(PLANS)]


def persona_of(number: int) -> str:
    """Returns which station in the field station `number` is, from 0."""
    names = PERSONAS[plan_of(number)]
    return names[number // len(PLANS) % len(names)]


def station_id(number: int) -> str:
    """Returns the id of station `number`, from 0."""
    return f"DEMO-{number + 1:03d}"


def stations_csv(numbers: Sequence[int]) -> str:
    """Returns the file of `evpower station import` for stations without a password."""
    lines = ["station,location_name,connector,standard,power_kw,no_auth,simulated"]
    for number in numbers:
        power_kw = _power_kw(plan_of(number))
        lines += [
            f"{station_id(number)},Demo,{connector},IEC_62196_T2_COMBO,{power_kw},true,true"
            for connector in range(1, CONNECTORS + 1)
        ]
    return "\n".join(lines) + "\n"


def _power_kw(plan: Plan) -> int:
    return POWER_KW if plan == "station_fault" else round(POWER_KW * SPEED)


def make_charger(number: int, url: str, password: str | None) -> Charger:
    """Returns station `number`, with its faults switched on."""
    plan = plan_of(number)
    config = StationConfig(
        station_id(number), url,
        password=password, connectors=CONNECTORS, rated_power_w=POWER_KW * 1000,
        speed=1.0 if plan == "station_fault" else SPEED, meter_start_wh=1_000_000 * (number + 1),
        reply_timeout_s=_REPLY_S,
    )  # fmt: skip
    persona = persona_of(number)
    station = make_station(config, persona)
    _add_faults(station, plan)
    station.configuration.set("MeterValueSampleInterval", _INTERVAL_S)
    station.configuration.set("TransactionMessageRetryInterval", "1")
    return Charger(config.id, plan, persona, station)


def _add_faults(station: SimulatedStation, plan: Plan) -> None:
    faults = station.faults
    if plan == "lost_replies":
        faults.lose_replies = {"StartTransaction": 1, "MeterValues": 1, "StopTransaction": 1}
        faults.new_id_on_repeat = True
    if plan == "impossible_register":
        faults.stop_offset_wh = _IMPOSSIBLE_WH


@asynccontextmanager
async def running(chargers: Sequence[Charger]) -> AsyncGenerator[None]:
    """Connects the stations, and ends them with the block."""
    async with AsyncExitStack() as stack:
        for charger in chargers:
            await stack.enter_async_context(charger.station.running())
        yield


def new_car() -> Car:
    """Returns a car that is not full before the session ends."""
    return Car(battery_wh=200_000, soc_percent=10.0, max_power_w=10_000_000)
