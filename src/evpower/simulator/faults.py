"""The faults a station can make: each is one switch, off by default, and may be changed any time.

Personas are named sets of switches, after stations in the field.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

Register = Literal["lifetime", "boot", "transaction"]
Malformed = Literal["empty_member", "unclosed", "backslash"]


def _counts() -> dict[str, int]:
    return {}


def _words() -> set[str]:
    return set()


def _malformed() -> dict[str, Malformed]:
    return {}


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
_ALL: Final = (ENERGY, "Power.Active.Import", "SoC", "Current.Import", "Voltage")

_PERSONAS: Final[Mapping[str, Callable[[], Faults]]] = {
    "plain": Faults,
    "growatt-two-registers": lambda: Faults(two_registers=True),
    "huawei-object": lambda: Faults(values_as_object=True, kwh_samples=True),
    "huawei-minus-1": lambda: Faults(kwh_samples=True, kwh_decimals=2, stop_offset_wh=-1),
    "aefa-bad-json": lambda: Faults(
        malformed={"MeterValues": "empty_member"}, clock_without_zone=True
    ),
    "alfen-currentmax": lambda: Faults(current_max=True),
    "alfen-2e63": lambda: Faults(transaction_id=2**63 - 1),
    "en-plus-stale-tx": lambda: Faults(stale_transaction=True),
    "ocular-21-char-tag": lambda: Faults(id_tag_tail="-"),
    "sigen-repeat-stop": lambda: Faults(id_tag_tail="-", endless_attempts=True),
    "go-e-minus-1": lambda: Faults(transaction_id=-1),
    "grizzle-no-register": lambda: Faults(missing={ENERGY}),
    "abb-boot-loop": lambda: Faults(configuration_boot_loop=True),
    "jigu-no-redial": lambda: Faults(never_redials=True),
    "wallbox-boot-loop": lambda: Faults(boot_loop=True),
    "foxess-probe": lambda: Faults(probe_socket=True),
    "teison-10wh": lambda: Faults(kwh_samples=True, kwh_decimals=2, status_before_stop=True),
    "webasto-replay": lambda: Faults(replay_on_reconnect=True),
    "heidelberg-blank": lambda: Faults(blank=set(_ALL), transaction_id=0),
}
PERSONAS: Final = tuple(_PERSONAS)


def persona_faults(name: str) -> Faults:
    """Returns new switches of a persona. Raises KeyError for an unknown name."""
    return _PERSONAS[name]()
