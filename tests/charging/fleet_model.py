"""A station as it really is: what it delivers, what it knows, and what it could not send yet."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime

Send = Callable[[], Awaitable[None]]


@dataclass
class Charge:
    """One charge at a connector."""

    tag: str
    start_wh: int
    started_at: datetime
    shown_wh: int  # the register that the station shows at its start
    number: int | None = None  # our number for it, once the station has its answer
    end_wh: int | None = None
    shown_end_wh: int = 0
    ended_at: datetime | None = None
    done_s: float = 0  # how long the car took nothing, by its status
    was_reset: bool = False  # the register began at 0 in its midst
    is_late: bool = False  # its start waited until the station was online
    seen_wh: int = 0  # what it had delivered by a sample that came while it ran
    has_stop: bool = False  # its stop came


@dataclass
class Socket:
    """A connector with its register, which counts for life."""

    number: int
    register_wh: int = 5_000
    base_wh: int = 0  # where the register is that the station shows as 0
    charge: Charge | None = None
    is_done: bool = False  # the car takes nothing
    is_limited: bool = False  # to 0
    over: list[Charge] = field(default_factory=list[Charge])

    @property
    def shown_wh(self) -> int:
        """The register as the station shows it."""
        return self.register_wh - self.base_wh

    def reset(self) -> None:
        """Lets the register that is shown begin at 0."""
        self.base_wh = self.register_wh
        if self.charge is not None:
            self.charge.was_reset = True

    @property
    def all_charges(self) -> list[Charge]:
        return self.over + ([self.charge] if self.charge else [])

    def done_s(self, number: int) -> float:
        """How long the car took nothing in a transaction."""
        return sum(charge.done_s for charge in self.all_charges if charge.number == number)

    def delivered_wh(self, number: int) -> int:
        """What was delivered in a transaction, whatever was reported."""
        return sum(
            (charge.end_wh or self.register_wh) - charge.start_wh
            for charge in self.all_charges
            if charge.number == number
        )


@dataclass
class Station:
    """Its connectors, and the frames that wait until it is online."""

    sockets: tuple[Socket, ...] = field(default_factory=lambda: (Socket(1), Socket(2, 900_000)))
    is_online: bool = True
    queue: list[Send] = field(default_factory=list[Send])
    power_w: int = 15_000

    def deliver(self, seconds: float) -> None:
        """Lets energy flow for a while."""
        for socket in self.sockets:
            if socket.charge is not None and socket.is_done:
                socket.charge.done_s += seconds
            elif socket.charge is not None and not socket.is_limited:
                socket.register_wh += int(self.power_w * seconds / 3600)

    def begin(self, connector: int, tag: str, at: datetime) -> Charge | None:
        """Begins a charge; None: the connector is in use."""
        socket = self.sockets[connector - 1]
        if socket.charge is not None:
            return None
        socket.charge = Charge(tag, socket.register_wh, at, socket.shown_wh)
        socket.is_done = False
        return socket.charge

    def end(self, connector: int, at: datetime) -> Charge | None:
        """Ends the charge of a connector; None: there is none."""
        socket = self.sockets[connector - 1]
        charge, socket.charge = socket.charge, None
        socket.is_limited = False
        if charge is not None:
            charge.end_wh, charge.ended_at = socket.register_wh, at
            charge.shown_end_wh = socket.shown_wh
            socket.over.append(charge)
        return charge

    def has_tag(self, tag: str) -> bool:
        """Returns whether a charge of a tag is running."""
        return any(
            socket.charge is not None and socket.charge.tag == tag for socket in self.sockets
        )

    def find(self, number: int) -> int | None:
        """The connector of a running charge by our number."""
        for socket in self.sockets:
            if socket.charge is not None and socket.charge.number == number:
                return socket.number
        return None
