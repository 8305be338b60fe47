"""What sends commands to the stations whose sockets this process holds."""

from typing import Protocol

from evpower.stations.model import ClaimedCommand


class Carrier(Protocol):
    """Takes a command that was claimed in the transaction that queued it: no other need look."""

    def epoch_for(self, station_id: str) -> int | None:
        """Returns the epoch of the station's socket if it may be called now; None: it may not."""
        ...

    def carry(self, claimed: ClaimedCommand) -> None:
        """Sends a command soon; called right after the commit of its claim."""
        ...
