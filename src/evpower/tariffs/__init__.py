"""What charging costs: the price function, tariff plans with versions, where they apply."""

from evpower.tariffs.assign import assign
from evpower.tariffs.check import check
from evpower.tariffs.document import write_tariff
from evpower.tariffs.errors import InvalidTariff
from evpower.tariffs.find import (
    find_tariff,
    find_tariffs,
    get_plan,
    list_assignments,
    list_plans,
    list_versions,
    snapshot_of,
)
from evpower.tariffs.forecast import forecast
from evpower.tariffs.model import (
    Assignment,
    Cost,
    Flaw,
    MeteredPeriod,
    Place,
    PricedPeriod,
    PricedSession,
    Sample,
    Scope,
    Snapshot,
    Tally,
    Tariff,
    TariffVersion,
)
from evpower.tariffs.module import module
from evpower.tariffs.pricing import Pricer, begin, next_period, periods_of, price
from evpower.tariffs.quote import (
    cost_document,
    local_time,
    quote_even,
    quote_samples,
    read_energy_wh,
)
from evpower.tariffs.rates import RateCard, Rates
from evpower.tariffs.reader import read_tariff
from evpower.tariffs.save import SavedTariff, activate, save
from evpower.tariffs.snapshot import read_snapshot, read_tally, write_snapshot, write_tally

__all__ = [
    "Assignment",
    "Cost",
    "Flaw",
    "InvalidTariff",
    "MeteredPeriod",
    "Place",
    "PricedPeriod",
    "PricedSession",
    "Pricer",
    "RateCard",
    "Rates",
    "Sample",
    "SavedTariff",
    "Scope",
    "Snapshot",
    "Tally",
    "Tariff",
    "TariffVersion",
    "activate",
    "assign",
    "begin",
    "check",
    "cost_document",
    "find_tariff",
    "find_tariffs",
    "forecast",
    "get_plan",
    "list_assignments",
    "list_plans",
    "list_versions",
    "local_time",
    "module",
    "next_period",
    "periods_of",
    "price",
    "quote_even",
    "quote_samples",
    "read_energy_wh",
    "read_snapshot",
    "read_tally",
    "read_tariff",
    "save",
    "snapshot_of",
    "write_snapshot",
    "write_tally",
    "write_tariff",
]
