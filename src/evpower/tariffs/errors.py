"""What is wrong with a tariff. Every code here has a text in each language (`api/messages`)."""

from collections.abc import Sequence
from typing import Final

from evpower.foundation.errors import Invalid
from evpower.tariffs.model import Flaw

# A tariff with one of these is not saved.
ERRORS: Final = frozenset({
    "tariff_field_missing", "tariff_field_unknown", "tariff_field_invalid",
    "tariff_price_invalid", "tariff_time_invalid", "tariff_time_zone_unknown",
    "tariff_range_empty", "tariff_currency_unsupported", "tariff_limits_contradict",
    "tariff_hole", "tariff_too_complex", "tariff_dimension_unsupported", "tariff_flat_condition",
})  # fmt: skip
# A tariff with one of these is saved; its operator should look once more.
WARNINGS: Final = frozenset({
    "tariff_element_unreachable", "tariff_night_ends_at_midnight", "tariff_step_rounds_up",
    "tariff_energy_free", "tariff_price_unusual", "tariff_time_is_per_hour",
    "tariff_parking_at_once", "tariff_parking_unlimited", "tariff_parking_free",
})  # fmt: skip
_SHOWN: Final = 20


class InvalidTariff(Invalid):
    """A tariff that can't be saved, with everything that is wrong; the code is of the first."""

    def __init__(self, flaws: Sequence[Flaw]) -> None:
        first = flaws[0]
        shown = "; ".join(f"{flaw.where}: {flaw.detail}" for flaw in flaws[:_SHOWN])
        super().__init__(first.code, shown, params={"where": first.where})
        self.flaws = tuple(flaws)
