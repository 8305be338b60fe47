"""The states of a session and the ways between them; the database has the same table."""

from typing import Final

from evpower.charging.model import SessionState

# Before the car charges, while the station is asked to start.
WAITING: Final[frozenset[SessionState]] = frozenset({"requested", "starting"})
RUNNING: Final[frozenset[SessionState]] = frozenset({"charging", "stopping"})
OPEN: Final = WAITING | RUNNING
# Over before anything was charged. A start that comes late makes a session charge all the same.
UNSTARTED: Final[frozenset[SessionState]] = frozenset({"expired", "refused", "cancelled", "failed"})
ENDED: Final[frozenset[SessionState]] = frozenset({"finished", "settled"})

_NONE: Final[frozenset[SessionState]] = frozenset()
_STARTING: Final[frozenset[SessionState]] = frozenset({"starting"})
_LATE: Final[frozenset[SessionState]] = frozenset({"charging"})

TRANSITIONS: Final[dict[SessionState, frozenset[SessionState]]] = {
    "requested": UNSTARTED | _STARTING | _LATE,
    "starting": UNSTARTED | _LATE,
    "expired": _LATE,
    "refused": _LATE,
    "cancelled": _LATE,
    "failed": _LATE,
    "charging": frozenset({"stopping", "finished"}),
    "stopping": frozenset({"finished"}),
    "finished": frozenset({"settled"}),
    "settled": _NONE,
}  # of a session that EvPower runs
# Another system may report that a session failed while it charged, or goes on after a stop, but
# starts nothing late.
IMPORTED_TRANSITIONS: Final[dict[SessionState, frozenset[SessionState]]] = {
    **TRANSITIONS,
    "expired": _NONE,
    "refused": _NONE,
    "cancelled": _NONE,
    "failed": _NONE,
    "charging": frozenset({"stopping", "finished", "failed"}),
    "stopping": frozenset({"charging", "finished", "failed"}),
}
