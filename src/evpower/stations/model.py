"""Types of the stations. Power is watts; ids and connectors have the shapes of OCPI 2.2.1."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final, Literal, NamedTuple, get_args
from uuid import UUID, uuid5

from evpower.foundation.bus import Topic

# The key is `station_key`: a command was queued, or a status or the connection changed.
STATION_CHANGED: Final = Topic("station", b"t")
# The same key, published before STATION_CHANGED: a driver waits for the command.
COMMAND_QUEUED: Final = Topic("command", b"q")
_KEYS: Final = UUID("6f0c4c52-33a7-4d0b-9c2e-2f6f4d1f8a11")
# A station is online for apps while a frame or a pong is younger.
ONLINE_FOR: Final = timedelta(seconds=90)

NameKind = Literal["ocpp", "old_id", "serial", "post_code"]
PlaceKind = Literal["location", "station", "connector"]
Availability = Literal["operative", "inoperative"]
ProtocolVersion = Literal["ocpp1.6", "ocpp2.0.1"]
ConnectorFormat = Literal["SOCKET", "CABLE"]
PowerType = Literal["AC_1_PHASE", "AC_2_PHASE", "AC_2_PHASE_SPLIT", "AC_3_PHASE", "DC"]
# How a station that connects is known: by its password, because it needs none, or not at all.
Admission = Literal["authenticated", "open", "wrong_password", "no_password", "retired"]

# Why a handshake was refused, of which an operator can do something. Never "too_many_requests": it
# names no station.
ConnectRefusal = Literal[
    "station_not_found", "station_ambiguous", "station_retired", "no_password", "wrong_password",
    "version_not_served", "version_pinned", "station_not_simulated", "station_connected",
]  # fmt: skip
ConnectorStatus = Literal[
    "available", "preparing", "occupied", "charging", "suspended_ev", "suspended_evse", "finishing",
    "reserved", "unavailable", "faulted",
]  # fmt: skip
DisconnectReason = Literal[
    "station", "lost", "silent", "replaced", "unresponsive", "protocol", "operator", "shutdown",
    "node_lost", "upstream_lost",
]  # fmt: skip
CommandAction = Literal[
    "remote_start", "remote_stop", "reset", "unlock", "change_availability", "get_configuration",
    "change_configuration", "clear_cache", "trigger", "data_transfer", "set_charging_profile",
    "clear_charging_profile",
]  # fmt: skip
# Whether a register of energy goes on for ever, or counts from 0 after a boot, in a transaction.
RegisterKind = Literal["lifetime", "per_boot", "per_transaction"]
RateUnit = Literal["A", "W"]
DEFAULT_PROFILE: Final = "default"
CommandOutcome = Literal["accepted", "refused", "timed_out"]
CommandState = Literal["queued", "sent", "accepted", "refused", "timed_out"]

STATUSES: Final[tuple[str, ...]] = get_args(ConnectorStatus)
ACTIONS: Final[tuple[str, ...]] = get_args(CommandAction)
AVAILABILITIES: Final[tuple[str, ...]] = get_args(Availability)
VERSIONS: Final[tuple[str, ...]] = get_args(ProtocolVersion)
CONNECT_REFUSALS: Final[tuple[ConnectRefusal, ...]] = get_args(ConnectRefusal)
RATE_UNITS: Final[tuple[str, ...]] = get_args(RateUnit)
REGISTER_KINDS: Final[tuple[str, ...]] = get_args(RegisterKind)
FORMATS: Final[tuple[str, ...]] = get_args(ConnectorFormat)
POWER_TYPES: Final[tuple[str, ...]] = get_args(PowerType)
STANDARDS: Final = frozenset({
    "CHADEMO", "DOMESTIC_A", "DOMESTIC_B", "DOMESTIC_C", "DOMESTIC_D", "DOMESTIC_E", "DOMESTIC_F",
    "DOMESTIC_G", "DOMESTIC_H", "DOMESTIC_I", "DOMESTIC_J", "DOMESTIC_K", "DOMESTIC_L", "GBT_AC",
    "GBT_DC", "IEC_60309_2_single_16", "IEC_60309_2_three_16", "IEC_60309_2_three_32",
    "IEC_60309_2_three_64", "IEC_62196_T1", "IEC_62196_T1_COMBO", "IEC_62196_T2",
    "IEC_62196_T2_COMBO", "IEC_62196_T3A", "IEC_62196_T3C", "NEMA_5_20", "NEMA_6_30", "NEMA_6_50",
    "NEMA_10_30", "NEMA_10_50", "NEMA_14_30", "NEMA_14_50", "PANTOGRAPH_BOTTOM_UP",
    "PANTOGRAPH_TOP_DOWN", "TESLA_R", "TESLA_S",
})  # fmt: skip


_IN_USE: Final = frozenset({"charging", "suspended_ev", "suspended_evse", "finishing"})


def station_key(station_id: str) -> UUID:
    """Returns a station's key on the bus."""
    return uuid5(_KEYS, station_id)


@dataclass(frozen=True, slots=True)
class VendorProfile:
    """A make of station. The defaults are what most stations do."""

    name: str = DEFAULT_PROFILE
    ping: bool = True  # WebSocket pings; without them only frames show that it is there
    settle_s: float | None = None  # between its first frame and a call; None: the setting's
    fixed_tag: str | None = None  # it sends this id tag for every remote start
    rate_unit: RateUnit = "A"  # in which it takes a limit of power
    stack_level: int = 0  # of a charging profile
    zero_limit_stops: bool = False  # a limit of 0 ends the transaction, it does not pause it
    measurands: tuple[str, ...] = ("Energy.Active.Import.Register", "Power.Active.Import", "SoC")
    sample_interval_s: int = 30  # between two meter values, as it is set up
    trigger_allowed: bool = True  # it may be asked to send a message (TriggerMessage)
    register_kind: RegisterKind | None = None  # None: it is learned
    local_clock: bool = False  # a time without a zone is the time of its location
    version_pin: ProtocolVersion | None = None  # the only version it may speak
    plug_first: bool = False  # it refuses a remote start before the cable is in
    change_availability_allowed: bool = True
    release_detection: bool = False  # it shows when a car is done and gone: idle time may cost
    accept_data_transfer: bool = False  # a vendor's own message is answered Accepted
    autostart_keys: tuple[str, ...] = ()  # configuration keys by which it starts by itself
    notes: tuple[str, ...] = ()  # what an operator should know of it


USUAL_PROFILE: Final = VendorProfile()


@dataclass(frozen=True, slots=True)
class StationProfile:
    """The vendor profile of a station, and what of it an operator set."""

    profile: VendorProfile = USUAL_PROFILE
    is_chosen: bool = False  # by an operator, not by what the station says
    overrides: Mapping[str, Any] = field(default_factory=dict[str, Any])
    zone: tzinfo = UTC  # of the station's times that name none


@dataclass(frozen=True, slots=True)
class Location:
    """A place with stations."""

    id: str
    name: str
    address: str = ""
    city: str = ""
    country: str = "KGZ"  # ISO 3166-1 alpha-3
    latitude: Decimal | None = None
    longitude: Decimal | None = None
    time_zone: str = "Asia/Bishkek"


@dataclass(frozen=True, slots=True)
class Name:
    """A name by which a station is found."""

    name: str
    kind: NameKind


@dataclass(frozen=True, slots=True)
class ConnectorDraft:
    """A connector as it is built. `number` is what OCPP 1.6, QR codes and apps call it by."""

    number: int
    standard: str
    format: str
    power_type: str
    rated_power_w: int
    evse_number: int  # OCPP 2.0.1's evse id
    evse_connector: int = 1  # OCPP 2.0.1's connector id, within its EVSE
    evse_id: str | None = None  # OCPI's, as printed on the post


@dataclass(frozen=True, slots=True)
class StationDraft:
    """A station as an operator describes it, by hand or in a file."""

    id: str
    location: Location
    connectors: tuple[ConnectorDraft, ...]
    names: tuple[Name, ...] = ()  # beside its id and post code
    post_code: str | None = None  # None: a new one is made
    owner: str | None = None
    availability: str = "operative"
    no_auth: bool = False
    paid_only: bool = True
    cards_without_auth: bool = False
    is_simulated: bool = False
    pinned_version: str | None = None
    is_retired: bool = False
    profile: str | None = None  # None: by what the station says of itself
    profile_members: tuple[tuple[str, str], ...] = ()  # its own, as texts, by name


@dataclass(frozen=True, slots=True)
class Station:
    """A station. What the operator wants and what the station reports stand beside each other."""

    id: str
    post_code: str
    location_id: str
    owner: str | None
    wanted_availability: Availability
    reported_availability: Availability | None
    vendor: str | None
    model: str | None
    firmware: str | None
    booted_at: datetime | None
    no_auth: bool
    paid_only: bool
    cards_without_auth: bool
    is_simulated: bool
    pinned_version: ProtocolVersion | None
    forward_url: str | None  # of the CSMS that answers its frames; None: EvPower does
    retired_at: datetime | None
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Connector:
    """A connector with what its station last reported of it."""

    station_id: str
    number: int
    evse_number: int
    evse_connector: int
    evse_id: str | None
    standard: str
    format: ConnectorFormat
    power_type: PowerType
    rated_power_w: int
    wanted_availability: Availability
    reported_status: str | None
    reported_error: str | None
    reported_at: datetime | None


@dataclass(frozen=True, slots=True)
class StationView:
    """A station with everything that belongs to it."""

    station: Station
    location: Location
    names: tuple[Name, ...]
    connectors: tuple[Connector, ...]
    has_password: bool
    password_waits: bool  # a new one was made, and the station has not used it yet
    is_connected: bool
    last_frame_at: datetime | None  # None: it never connected
    deviations: Mapping[str, int] = field(default_factory=dict[str, int])
    profile: StationProfile = field(default_factory=StationProfile)

    @property
    def in_service(self) -> bool:
        """Whether EvPower serves it: the operator wants it, and no other CSMS answers it."""
        return self.station.wanted_availability == "operative" and self.station.forward_url is None

    def is_online(self, now: datetime) -> bool:
        """Returns whether it sent a frame or a pong in the last 90 s, and is not retired."""
        is_fresh = self.last_frame_at is not None and self.last_frame_at > now - ONLINE_FOR
        return is_fresh and self.station.retired_at is None

    def status_of(self, connector: Connector, now: datetime) -> str:
        """Returns what a connector is to an app: offline, unavailable, unknown, or its status.

        One that charges stays so, whatever the operator wants of it.
        """
        if not self.is_online(now):
            return "offline"
        if self.station.forward_url is not None:
            return "unavailable"  # what it reports, it reports to the other CSMS
        if connector.reported_status in _IN_USE:
            return connector.reported_status or "unknown"
        wanted = self.station.wanted_availability, connector.wanted_availability
        if "inoperative" in {*wanted, self.station.reported_availability}:
            return "unavailable"
        return connector.reported_status or "unknown"


@dataclass(frozen=True, slots=True)
class LocationView:
    """A location with its stations."""

    location: Location
    stations: tuple[StationView, ...]


@dataclass(frozen=True, slots=True)
class AddedStation:
    """A station that was added; its password is only here."""

    id: str
    post_code: str
    location: Location
    password: str | None  # None: it connects without one


@dataclass(frozen=True, slots=True)
class UnknownStation:
    """A name whose last attempt to connect was refused: no station has it, or its station may not.

    `reason` is the code of the refusal; "station_not_found": no station has the name.
    """

    name: str
    address: str  # of the last attempt
    attempts: int
    first_seen_at: datetime
    last_seen_at: datetime
    reason: ConnectRefusal = "station_not_found"


@dataclass(frozen=True, slots=True)
class Command:
    """What a station is asked to do. `payload` knows no version of the protocol."""

    id: int
    station_id: str
    connector: int | None
    action: CommandAction
    payload: Mapping[str, object]
    state: CommandState
    actor: str
    created_at: datetime
    expires_at: datetime  # it is not sent from then on
    sent_at: datetime | None
    epoch: int | None  # of the socket it was sent on
    ended_at: datetime | None
    response: Mapping[str, object] | None
    bulk_id: UUID | None = None  # of the commands that were given to many stations at once


class ClaimedCommand(NamedTuple):
    """A command that is to be sent now, and the profile of its station."""

    command: Command
    profile: VendorProfile


class Opened(NamedTuple):
    """A socket that is now the newest of its station."""

    epoch: int
    replaced: int | None  # the epoch of the one that was open
    timed_out: tuple[Command, ...]  # in flight on the one before


class Touch(NamedTuple):
    """When a socket last received a frame or a pong."""

    station_id: str
    epoch: int
    last_frame_at: datetime


@dataclass(frozen=True, slots=True)
class StationConnection:
    """A connection of a station, open or closed."""

    id: int  # the socket's epoch
    address: str
    version: ProtocolVersion
    is_authenticated: bool
    opened_at: datetime
    closed_at: datetime | None
    close_reason: DisconnectReason | None


@dataclass(frozen=True, slots=True)
class StatusReport:
    """The status of a connector, or of the station as a whole (connector 0)."""

    station_id: str
    connector: int
    status: str  # a ConnectorStatus, or a raw word that no protocol has
    error: str | None
    info: str | None
    station_at: datetime | None  # the station's stamp, UTC; None: absent or unusable
    station_time: str | None  # the stamp as it was sent
    received_at: datetime


@dataclass(frozen=True, slots=True)
class StatusEntry:
    """A status as the log has it."""

    connector: int
    status: str
    error: str | None
    info: str | None
    station_time: str | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class Deviation:
    """How often a station did something off the protocol, with an example."""

    station_id: str
    kind: str
    count: int
    sample: str | None
    at: datetime
