"""Which energy a charge has to be billed, and when it was, by what its meter delivered."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

from tests.charging.fleet_model import Charge
from tests.charging.persona_model import FrameFacts

_TOLERANCE_WH: Final = 20  # as the register's; or the step of its samples, where that is more
_SECOND: Final = timedelta(seconds=1)


def differences(
    facts: FrameFacts, charge: Charge, row: Mapping[str, Any], *, is_known: bool
) -> Iterator[str]:
    """Yields what is wrong in the settled session of a charge.

    `is_known`: no other charge has its tag, so its stop is known by that.
    """
    if charge.is_late and not facts.has_right_clock:
        return  # when it began can't be known, so nor what was possible since
    if facts.has_right_clock and not _is_near(row["started_at"], charge.started_at):
        yield "it began at another time"
    if row["ended_at"] < row["started_at"]:
        yield "it ended before it began"
    if charge.was_reset:
        return
    least_wh = charge.seen_wh - max(_TOLERANCE_WH, facts.step_wh)
    if row["energy_wh"] < least_wh:
        yield f"at least {least_wh} Wh were seen"
    if charge.has_stop and is_known:
        exact_wh = max(facts.stop_wh(charge) - charge.shown_wh, 0)
        if row["end_kind"] != "stop":
            yield "its stop was not taken"
        elif row["energy_wh"] != exact_wh or row["is_estimated"]:
            yield f"its stop says {exact_wh} Wh"
        elif facts.has_right_clock and not _is_near(row["ended_at"], charge.ended_at):
            yield "it ended at another time"


def _is_near(at: datetime, real: datetime | None) -> bool:
    return real is not None and abs(at - real) <= _SECOND
