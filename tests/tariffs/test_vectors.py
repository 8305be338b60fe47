"""The price function says what OCPI says."""

import pytest

from evpower.tariffs import Pricer, Tally
from tests.tariffs.vectors import VECTORS, periods_of, tariff_of, totals


@pytest.mark.parametrize("name", VECTORS)
def test_a_published_vector_costs_what_is_published(name: str) -> None:
    vector = VECTORS[name]
    pricer = Pricer(tariff_of(vector))
    started_s, periods = periods_of(vector)
    cost = pricer.cost(pricer.advance(Tally(started_s), periods)[0])
    assert (cost.before_tax_minor, cost.total_minor) == totals(vector)
    assert sum(part.amount_minor for part in cost.parts) == cost.total_minor
