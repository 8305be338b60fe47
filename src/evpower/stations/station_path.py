"""The station in a path of the operator API."""

from typing import Annotated, Final

from fastapi import Path

from evpower.foundation.openapi import Responses, problem
from evpower.identity import OPERATOR_REFUSALS

STATION_NAME_MAX: Final = 255
STATION_REFUSALS: Final[Responses] = {**OPERATOR_REFUSALS, 404: problem("`station_not_found`")}
StationName = Annotated[
    str,
    Path(
        min_length=1, max_length=STATION_NAME_MAX,
        description="Any of its names: OCPP id, old id, serial number, post code",
    ),
]  # fmt: skip
