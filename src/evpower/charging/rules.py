"""How long charging waits and how much it reserves. The settings EVPOWER_CHARGING_* change it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final


@dataclass(frozen=True, slots=True)
class Rules:
    """The waits and amounts of charging. Money is minor units (tyiyn)."""

    close_after_available: timedelta = timedelta(seconds=90)
    close_after_boot: timedelta = timedelta(seconds=300)
    close_after_stop: timedelta = timedelta(seconds=300)  # that the station does not carry out
    close_after_no_frame: timedelta = timedelta(seconds=43_200)
    notify_lost_after: timedelta = timedelta(seconds=1_800)
    start_window: timedelta = timedelta(seconds=120)  # OCPP's ConnectionTimeOut, until it is read
    start_window_extra: timedelta = timedelta(seconds=30)
    hold_minor: int = 20_000  # of a session without a limit of money or energy
    hold_step_minor: int = 10_000
    minimum_minor: int = 1_000  # free money that a session without a limit needs to start


DEFAULT_RULES: Final = Rules()
# A remote start that was not delivered by then is never sent.
REMOTE_START_EXPIRES_IN: Final = timedelta(seconds=60)
