"""The lines of a bill in the OpenAPI document."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field


class CostPartRow(BaseModel):
    """A line of a bill or of a running cost. All lines add up to the cost."""

    kind: Annotated[
        Literal[
            "flat", "energy", "time", "parking", "reservation_flat", "reservation", "expiry_flat",
            "expiry", "discount", "parking_maximum", "minimum", "maximum", "free", "not_billed",
        ],
        Field(
            description="`not_billed`: beyond the amount that the driver chose. `free`: the"
            " station's own fault ended it"
        ),
    ]  # fmt: skip
    amount: Annotated[float, Field(description="som, at most 2 decimals; below 0 it is taken off")]
    element: Annotated[int, Field(ge=1, description="Of the tariff, from 1")] = 1
    price: Annotated[float, Field(description="som of a kWh, of an hour, or once")] = 0
    energy_kwh: Annotated[float, Field(description="Of `energy`")] = 0
    duration_s: Annotated[int, Field(description="Of `time` and `parking`, seconds")] = 0
