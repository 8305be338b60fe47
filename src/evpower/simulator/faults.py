"""The faults a station can make: each is one switch, off by default, and may be changed any time.

Personas (`evpower.simulator.personas`) are stations in the field, made of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Payload = dict[str, Any]
Bend = Callable[[Payload], Payload]
Register = Literal["lifetime", "boot", "transaction"]
Malformed = Literal["empty_member", "unclosed", "backslash"]


def _counts() -> dict[str, int]:
    return {}


def _words() -> set[str]:
    return set()


def _malformed() -> dict[str, Malformed]:
    return {}


def _bends() -> dict[str, Bend]:
    return {}


def _messages() -> list[tuple[str, Payload]]:
    return []


@dataclass(slots=True)
class Faults:
    """The switches. Actions and measurands are named as in OCPP 1.6."""

    # Messages
    lose_replies: dict[str, int] = field(default_factory=_counts)
    """The next n replies of the CSMS to this action never arrive: the station sends it again."""
    repeat: dict[str, int] = field(default_factory=_counts)
    """Every message of this action is sent n times more after its reply."""
    new_id_on_repeat: bool = False
    """A message that is sent again has a new message id; otherwise the same."""
    new_stamp_on_repeat: bool = False
    """A message that is sent again has the present time as its stamp."""
    skip: set[str] = field(default_factory=_words)
    """Messages of these actions are never sent."""
    malformed: dict[str, Malformed] = field(default_factory=_malformed)
    """Frames of this action are no JSON: a member without value, unclosed, or a bad escape."""
    bend: dict[str, Bend] = field(default_factory=_bends)
    """What is done to the payload of each message of this action before it is sent."""
    greetings: list[tuple[str, Payload]] = field(default_factory=_messages)
    """Messages, with their actions, that come before the boot on each new connection."""
    shuffle_queue: bool = False
    """The messages stored while offline are sent in random order."""
    status_before_stop: bool = False
    """`Available` is sent before the last MeterValues and StopTransaction."""
    replay_on_reconnect: bool = False
    """The last MeterValues are sent again, with the same message id, on each new connection."""
    endless_attempts: bool = False
    """A message that gets no good reply is sent again for ever, and blocks the queue."""
    # Sockets
    never_redials: bool = False
    """After a close frame of the CSMS the station stays away; after a lost connection it does not.
    """
    probe_socket: bool = False
    """A short-lived socket without any message precedes each connection."""
    reconnects_every_s: float | None = None
    """After so long a connection is dropped, and another one opened."""
    boot_loop: bool = False
    """A command that comes before BootNotification was answered makes the station reboot."""
    # Clock
    clock_skew_s: float = 0.0
    """Added to all stamps, beside the station's `clock_offset_s`."""
    clock_text: str | None = None
    """All stamps are this text, such as `1970-01-01T00:00:00Z`."""
    clock_without_zone: bool = False
    """Stamps have no zone."""
    # Commands
    ignore_commands: set[str] = field(default_factory=_words)
    """These commands get no reply."""
    refuse_commands: set[str] = field(default_factory=_words)
    """These commands are answered `Rejected` (or what their schema has for it)."""
    without_effect: set[str] = field(default_factory=_words)
    """These commands are answered `Accepted`, and nothing is done: the station ignores the stop."""
    configuration_boot_loop: bool = False
    """GetConfiguration makes the station reboot once MeterValuesSampledData is long."""
    # Transactions
    transaction_id: int | None = None
    """Sent in place of the CSMS's transaction id."""
    start_on_reconnect: bool = False
    """On each new connection what runs is started again: the same stamp, and a register of 0."""
    stops_full_car: bool = False
    """At a full car the stop follows the start at once: an equal register, and an earlier stamp."""
    preparing_limit_s: float | None = None
    """A car that is not started within this time has to be plugged in anew."""
    values_after_stop: bool = False
    """The closing meter values come after StopTransaction, without a context that says so."""
    stale_transaction: bool = False
    """MeterValues with the old transaction id go on after StopTransaction, until the car leaves."""
    id_tag_tail: str = ""
    """Appended to the id tag in StopTransaction."""
    stop_offset_wh: int = 0
    """Added to meterStop."""
    # Meter values
    register: Register = "lifetime"
    """When the register restarts at 0: never, at each boot, at each transaction."""
    zero_samples: int = 0
    """The next n samples have an energy register of 0."""
    missing: set[str] = field(default_factory=_words)
    """Measurands that are not sent."""
    blank: set[str] = field(default_factory=_words)
    """Measurands whose value is the empty text."""
    kwh_samples: bool = False
    """Samples have the energy in kWh; meterStart and meterStop stay in Wh."""
    kwh_decimals: int = 3
    """Digits after the point of a sample in kWh."""
    without_unit: bool = False
    """The energy's sample has no unit and no measurand."""
    two_registers: bool = False
    """Each sample has a second register of 0, with the context Transaction.Begin."""
    current_max: bool = False
    """Each sample has a current of context CurrentMax without measurand."""
    values_as_object: bool = False
    """`meterValue` is an object in place of a list."""
    values_as_numbers: bool = False
    """Values are numbers in place of texts."""


ENERGY: Final = "Energy.Active.Import.Register"
