"""How long a connector was available: online, and neither faulted nor unavailable."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from evpower.reports.model import OnlineRow, StatusRow


@dataclass(frozen=True, slots=True)
class Window:
    """From `begins_at` until before `ends_at`."""

    begins_at: datetime
    ends_at: datetime

    @property
    def seconds(self) -> float:
        """Returns its length; 0: it is empty."""
        return max(0.0, (self.ends_at - self.begins_at).total_seconds())


def available_s(
    window: Window,
    online: Sequence[OnlineRow],
    own: Sequence[StatusRow],
    whole: Sequence[StatusRow],
) -> float:
    """Returns the seconds of the window in which a connector was available.

    `own`: its statuses, `whole`: those of its station, both with the last one before the window.
    Before the first one nothing is wrong.
    """
    # Each event: when, and what is open, down by its own status, down as a whole from then on.
    events: list[tuple[datetime, int, bool | None, bool | None]] = [
        *((entry.begins_at, 1, None, None) for entry in online),
        *((entry.ends_at, -1, None, None) for entry in online),
        *((status.at, 0, status.is_down, None) for status in own),
        *((status.at, 0, None, status.is_down) for status in whole),
        (window.ends_at, 0, None, None),
    ]
    events.sort(key=lambda event: event[0])
    open_count, own_down, whole_down = 0, False, False
    total_s, since = 0.0, window.begins_at
    for at, change, own_event, whole_event in events:
        until = min(at, window.ends_at)
        if until > since:
            if open_count > 0 and not own_down and not whole_down:
                total_s += (until - since).total_seconds()
            since = until
        open_count += change
        own_down = own_down if own_event is None else own_event
        whole_down = whole_down if whole_event is None else whole_event
    return total_s
