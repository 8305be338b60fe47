"""How long charging waits and how much it reserves. The settings EVPOWER_CHARGING_* change it."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from evpower.config import Settings
from evpower.foundation.money import to_minor


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


def configured_rules(settings: Settings) -> Rules:
    """Returns the rules of the settings."""
    return Rules(
        close_after_available=timedelta(seconds=settings.charging_close_after_available_s),
        close_after_boot=timedelta(seconds=settings.charging_close_after_boot_s),
        close_after_stop=timedelta(seconds=settings.charging_close_after_stop_s),
        close_after_no_frame=timedelta(seconds=settings.charging_close_after_no_frame_s),
        notify_lost_after=timedelta(seconds=settings.charging_notify_lost_after_s),
        start_window=timedelta(seconds=settings.charging_start_window_s),
        start_window_extra=timedelta(seconds=settings.charging_start_window_extra_s),
        hold_minor=to_minor(settings.charging_hold_som),
        hold_step_minor=to_minor(settings.charging_hold_step_som),
        minimum_minor=to_minor(settings.charging_minimum_som),
    )
