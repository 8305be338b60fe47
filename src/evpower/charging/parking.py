"""Whether a car that had enough still takes nothing: what idle time rests on beside the status."""

from typing import Final

from evpower.charging.events import Reading
from evpower.charging.register import MeterRegister

# What a car that is done takes at most, on average: a meter shows a little while none flows.
PARKED_BELOW_W: Final = 100
_HOUR_S: Final = 3_600


def is_idle(
    earlier: MeterRegister,
    register: MeterRegister,
    reading: Reading,
    span_s: int,
    *,
    is_first: bool,
) -> bool:
    """Returns whether a value shows that the car still takes nothing.

    `is_first`: since the car took nothing. It may have the energy of the time before.
    """
    if (reading.power_w or 0) > PARKED_BELOW_W:
        return False
    if is_first:
        return True
    return (register.exact_wh - earlier.exact_wh) * _HOUR_S <= PARKED_BELOW_W * span_s
