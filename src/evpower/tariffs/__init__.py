"""What charging costs: the price function, tariff plans with versions, where they apply."""

from evpower.tariffs.assign import assign, place_id
from evpower.tariffs.check import check
from evpower.tariffs.client_tariffs import (
    NewClientTariff,
    add_client_tariff,
    discount_text,
    end_client_tariff,
    get_client_tariff,
    list_client_tariffs,
    read_discount,
)
from evpower.tariffs.document import write_tariff
from evpower.tariffs.errors import InvalidTariff
from evpower.tariffs.find import (
    find_tariff,
    find_tariffs,
    freeze_tariff,
    frozen_of,
    get_plan,
    list_assignments,
    list_plans,
    list_versions,
    snapshot_of,
    without_parking,
)
from evpower.tariffs.forecast import FlowingUse, forecast, forecasts
from evpower.tariffs.model import (
    Assignment,
    ClientTariff,
    Conditions,
    Dimension,
    Flaw,
    Place,
    PricedSession,
    Sample,
    Scope,
    Snapshot,
    Tally,
    Tariff,
    TariffVersion,
)
from evpower.tariffs.module import module
from evpower.tariffs.pricing import Pricer, begin, next_period, price
from evpower.tariffs.quote import (
    cost_document,
    cost_parts,
    local_time,
    quote_even,
    quote_samples,
    read_energy_wh,
)
from evpower.tariffs.rates import RateCard, Rates, frozen_terms, highest
from evpower.tariffs.reader import read_tariff
from evpower.tariffs.save import SavedTariff, activate, save
from evpower.tariffs.snapshot import read_snapshot, read_tally, write_snapshot, write_tally
from evpower.tariffs.timetable import from_date, only, prices_by_time

__all__ = [
    "Assignment",
    "ClientTariff",
    "Conditions",
    "Dimension",
    "Flaw",
    "FlowingUse",
    "InvalidTariff",
    "NewClientTariff",
    "Place",
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
    "add_client_tariff",
    "assign",
    "begin",
    "check",
    "cost_document",
    "cost_parts",
    "discount_text",
    "end_client_tariff",
    "find_tariff",
    "find_tariffs",
    "forecast",
    "forecasts",
    "freeze_tariff",
    "from_date",
    "frozen_of",
    "frozen_terms",
    "get_client_tariff",
    "get_plan",
    "highest",
    "list_assignments",
    "list_client_tariffs",
    "list_plans",
    "list_versions",
    "local_time",
    "module",
    "next_period",
    "only",
    "place_id",
    "price",
    "prices_by_time",
    "quote_even",
    "quote_samples",
    "read_discount",
    "read_energy_wh",
    "read_snapshot",
    "read_tally",
    "read_tariff",
    "save",
    "snapshot_of",
    "without_parking",
    "write_snapshot",
    "write_tally",
    "write_tariff",
]
