"""Types of the tariffs. Everything is an integer: money, energy, time and power in small units.

Prices are millionths of the currency's unit (`price_micro`), energy is thousandths of a Wh
(`_mwh`), time is seconds (`_s`), power watts, current thousandths of an ampere (sum of phases),
rates parts per million (`_ppm`). Amounts of money are minor units (tyiyn).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from uuid import UUID

import msgspec

from evpower.foundation.value import Value

MWH_PER_WH: Final = 1_000
PPM: Final = 1_000_000  # a whole

Dimension = Literal[
    "energy",  # per kWh
    "time",  # per hour while charging; a pause made by the station is charging
    "parking",  # per hour plugged in while the car takes nothing
    "flat",  # once a session
    "reservation",  # per reserved hour
    "reservation_flat",  # once a reservation
    "expiry",  # per reserved hour of a reservation that expired, in place of "reservation"
    "expiry_flat",  # once a reservation that expired
]
UseKind = Literal["charging", "parked", "reserved", "expired"]
# Whose volume is rounded up by one step; of time and parking only what came last.
RoundedGroup = Literal["energy", "time", "reservation"]
VolumeKey: TypeAlias = tuple[Dimension, int]  # and the element that prices it
CostKind: TypeAlias = Dimension | Literal["discount", "parking_maximum", "minimum", "maximum"]
Scope = Literal["everything", "location", "station", "connector"]

# In the order in which costs are shown.
DIMENSIONS: Final[tuple[Dimension, ...]] = (
    "flat", "energy", "time", "parking", "reservation_flat", "reservation", "expiry_flat", "expiry",
)  # fmt: skip
FLAT: Final[frozenset[Dimension]] = frozenset({"flat", "reservation_flat", "expiry_flat"})


class Bounds(NamedTuple):
    """A range of numbers: the lower end belongs to it, the upper does not; None is open."""

    lower: int | None = None
    upper: int | None = None

    def has(self, value: int | None) -> bool | None:
        """Returns whether the value lies in it; None when that is unknown."""
        if self.lower is None and self.upper is None:
            return True
        if value is None:
            return None
        return (self.lower is None or value >= self.lower) and (
            self.upper is None or value < self.upper
        )


class ClockBounds(NamedTuple):
    """Seconds of the local day; an upper end that is not above the lower one is past midnight."""

    lower: int
    upper: int  # 86,400 is the day's end

    def has(self, value: int) -> bool:
        """Returns whether the second of the day lies in it."""
        if self.lower < self.upper:
            return self.lower <= value < self.upper
        return value >= self.lower or value < self.upper


OPEN: Final = Bounds()


@dataclass(frozen=True, slots=True)
class Conditions:
    """When an element applies: all of them together, at one moment of the session."""

    clock: ClockBounds | None = None
    days: frozenset[int] = frozenset()  # ISO, 1 is Monday; empty: every day
    dates: Bounds = OPEN  # local dates as ordinals
    elapsed_s: Bounds = OPEN  # since the session's start
    energy_mwh: Bounds = OPEN  # of the session so far
    power_w: Bounds = OPEN
    current_ma: Bounds = OPEN


@dataclass(frozen=True, slots=True)
class Tax:
    """A tax and its rate; several rates of one price add up."""

    name: str
    rate_ppm: int


@dataclass(frozen=True, slots=True)
class PriceComponent:
    """The price of one dimension: per kWh, per hour or once."""

    price_micro: int
    step: int = 1  # Wh or seconds: the session's total is rounded up to a multiple of it
    taxes: tuple[Tax, ...] | None = None  # None: those of the tariff


@dataclass(frozen=True, slots=True)
class Element:
    """Prices of some dimensions, and when they apply."""

    prices: tuple[tuple[Dimension, PriceComponent], ...]
    conditions: Conditions = Conditions()


@dataclass(frozen=True, slots=True)
class CostLimit:
    """The least or the most that a whole session costs."""

    before_tax_minor: int
    total_minor: int


@dataclass(frozen=True, slots=True)
class Discount:
    """The part of the price of some dimensions that is not billed."""

    rate_ppm: int
    dimensions: frozenset[Dimension]


@dataclass(frozen=True, slots=True)
class Tariff:
    """What a session costs: for each dimension the first element that applies is its price."""

    elements: tuple[Element, ...]
    currency: str = "KGS"
    time_zone: str = "Asia/Bishkek"
    prices_include_tax: bool = True
    taxes: tuple[Tax, ...] = ()
    minimum: CostLimit | None = None
    maximum: CostLimit | None = None
    parking_grace_s: int = 0  # of each time that the car takes nothing
    parking_maximum: CostLimit | None = None  # of a session's parking
    discount: Discount | None = None  # of a session alone
    bills_parking: bool = True  # of a session alone: whether its station knows when a car is done
    name: str = ""
    owner: str | None = None

    @property
    def prices_parking(self) -> bool:
        """Whether a car that takes nothing may cost."""
        return any(
            dimension == "parking" and component.price_micro
            for element in self.elements
            for dimension, component in element.prices
        )

    def tax_ppm(self, component: PriceComponent) -> int:
        """Returns the sum of a price's tax rates."""
        taxes = self.taxes if component.taxes is None else component.taxes
        return sum(tax.rate_ppm for tax in taxes)


class Sample(NamedTuple):
    """What a station reported: the session's energy up to a moment, and how it got there.

    Power, current and `is_parked` are of the interval that ends with the sample.
    """

    at: datetime
    energy_wh: int  # since the session's start, rounded down
    power_w: int | None = None  # None: the interval's average
    current_ma: int | None = None
    is_parked: bool = False
    is_timed: bool = True  # False: when it was taken is unknown


class MeteredPeriod(NamedTuple):
    """A part of a session in which energy flowed evenly."""

    start_s: int  # seconds of the Unix epoch
    duration_s: int
    energy_mwh: int = 0
    kind: UseKind = "charging"
    power_w: int | None = None  # None: the average, if it took time
    current_ma: int | None = None
    is_timed: bool = True


class PricedPeriod(NamedTuple):
    """A part of a session with the same prices from its start to its end."""

    start_s: int
    end_s: int
    energy_mwh: int
    kind: UseKind
    elements: tuple[tuple[Dimension, int], ...]  # which element prices a dimension


class Tally(Value, frozen=True):
    """What a session used so far, by the element that prices it; a running cost needs no more.

    `volumes`: thousandths of a Wh, seconds, or 1 for what is charged once. `last`: of each kind of
    volume that is rounded up by a step, where it was used last.
    """

    started_s: int
    at_s: int | None = None  # how far; None: nothing was metered
    energy_mwh: int = 0
    is_started: bool = False  # False: at most reserved
    parked_s: int = 0  # how long the car has taken nothing; counted where there is a grace
    volumes: Mapping[VolumeKey, int] = msgspec.field(default_factory=dict[VolumeKey, int])
    last: Mapping[RoundedGroup, VolumeKey] = msgspec.field(
        default_factory=dict[RoundedGroup, VolumeKey]
    )


@dataclass(frozen=True, slots=True)
class CostPart:
    """A line of a bill. The amounts of all lines add up to the total."""

    kind: CostKind
    amount_minor: int  # with tax; below 0 only of a discount or a maximum
    element: int | None = None
    price_micro: int | None = None
    quantity: int | None = None  # as billed: thousandths of a Wh, seconds, or 1


@dataclass(frozen=True, slots=True)
class Cost:
    """What a session costs."""

    total_minor: int  # with tax
    before_tax_minor: int
    parts: tuple[CostPart, ...]


@dataclass(frozen=True, slots=True)
class PricedSession:
    """A whole session with its cost."""

    cost: Cost
    tally: Tally
    periods: tuple[PricedPeriod, ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The tariff a session is billed by, and which version of which plan it is."""

    plan: str
    version: int
    tariff: Tariff
    client_tariff: int | None = None  # the number of the client's own that it rests on


class Flaw(NamedTuple):
    """What is wrong, or perhaps unintended, in a tariff: a code with texts, and where it is."""

    code: str
    where: str
    detail: str


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session runs; each level may have a tariff of its own, the narrowest counts."""

    connector: str | None = None  # "<station>/<connector number>"
    station: str | None = None
    location: str | None = None


@dataclass(frozen=True, slots=True)
class TariffVersion:
    """One text of a plan. It never changes; a draft (`valid_from` None) prices nothing."""

    id: int
    plan: str
    number: int
    format: int  # of the document
    document: Mapping[str, Any]
    valid_from: datetime | None
    created_at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """From when a plan prices a scope; without a plan, the next wider scope does again."""

    scope: Scope
    scope_id: str  # "" of everything
    plan: str | None
    valid_from: datetime
    created_at: datetime
    actor: str


@dataclass(frozen=True, slots=True)
class ClientTariff:
    """What one client pays in place of what all pay; `valid_until` None: until it is ended."""

    id: int
    client_id: UUID
    plan: str | None  # None: the tariff of the place
    discount_ppm: int | None
    discount_on: frozenset[Dimension]
    valid_from: datetime
    valid_until: datetime | None
    created_at: datetime
    actor: str
