import pytest

from evpower.foundation.db import Database
from tests.stations.scenario import Operator


@pytest.fixture
def operator(db: Database) -> Operator:
    return Operator(db)
