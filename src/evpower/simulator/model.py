"""Types of a simulated station: its configuration, connectors, cars and transactions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from ocpp.v16.enums import ChargePointStatus, Reason

from evpower.simulator.meter import Meter

SUBPROTOCOL: Final = "ocpp1.6"
UNKNOWN_TRANSACTION: Final = -1  # what stations send when no StartTransaction was answered
MAX_CONNECTORS: Final = 32
VOLTAGE_V: Final = 400


def _no_texts() -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class StationConfig:
    """What a station is. `url` is the CSMS's address for stations; the id is appended to it."""

    id: str
    url: str
    password: str | None = None
    connectors: int = 1
    rated_power_w: int = 60_000  # of each connector
    meter_start_wh: int = 0  # of each connector's register
    clock_offset_s: float = 0.0  # the station's clock minus the real time
    speed: float = 1.0  # multiplies power and rated power, never time
    vendor: str = "EvPower"
    model: str = "Simulator"
    firmware: str = "1"
    boot: Mapping[str, str] = field(default_factory=_no_texts)  # members of BootNotification
    subprotocols: tuple[str, ...] = (SUBPROTOCOL,)
    plugs_itself: bool = False  # a car comes with each remote start, and leaves at its stop
    resumes_after_power_cut: bool = False  # continues transactions; otherwise it stops them
    open_timeout_s: float = 20.0  # until the CSMS has accepted the connection, in real time
    reply_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        if not 1 <= self.connectors <= MAX_CONNECTORS:
            raise ValueError(f"a station has 1 to {MAX_CONNECTORS} connectors")
        if not self.speed > 0:
            raise ValueError("the speed must be above 0")

    @property
    def rated_w(self) -> int:
        """The most power that a connector delivers, in W, at this speed."""
        return round(self.rated_power_w * self.speed)


@dataclass(slots=True)
class Car:
    """A car at a connector. It draws `max_power_w` until its battery is full."""

    battery_wh: int = 60_000
    soc_percent: float = 20.0  # when it is plugged in
    max_power_w: int = 150_000


@dataclass(slots=True)
class SimulatedTransaction:
    """A transaction as the station knows it; registers are the meter's true ones, in Wh."""

    connector: int
    id_tag: str
    started_at: datetime
    meter_start_wh: int
    id: int | None = None  # None until StartTransaction is answered
    start: dict[str, Any] = field(default_factory=dict[str, Any])  # as StartTransaction said it
    meter_stop_wh: int | None = None  # None while it runs
    reason: Reason | None = None
    samples: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    @property
    def delivered_wh(self) -> int | None:
        """The energy that it delivered; None while it runs."""
        return None if self.meter_stop_wh is None else self.meter_stop_wh - self.meter_start_wh


@dataclass(slots=True)
class SimulatedConnector:
    """The state of one connector."""

    number: int
    meter: Meter
    status: ChargePointStatus = ChargePointStatus.available
    is_operative: bool = True
    car: Car | None = None
    plugged_at_uj: int = 0  # the meter when the car was plugged in
    transaction: SimulatedTransaction | None = None
    last_transaction: SimulatedTransaction | None = None
    remote_tag: str | None = None  # accepted by RemoteStartTransaction, waits for a car
    register_base_wh: int = 0  # the meter when the register restarted


@dataclass(frozen=True, slots=True)
class StationEvent:
    """What happened at a station: `connector` is None for what concerns all of it."""

    station: str
    connector: int | None
    name: str
    text: str = ""


OnEvent = Callable[[StationEvent], None]


def ignore_event(_: StationEvent) -> None:
    """Does nothing: for callers that do not follow events."""
