"""Locations, stations, EVSEs and connectors: what they are, their names, passwords and commands."""

from evpower.stations.accept import MOST_UNKNOWN, accept_station, record_attempts
from evpower.stations.add import add_station
from evpower.stations.ask_values import ask_for_values
from evpower.stations.carrier import Carrier
from evpower.stations.change import StationChange, change_station, restore_availability
from evpower.stations.change_location import LocationChange, LocationChanged, change_location
from evpower.stations.check import usual_connector
from evpower.stations.commands import (
    claim_command,
    drop_command,
    end_command,
    find_setting,
    get_command,
    list_commands,
    list_waiting,
    queue_command,
)
from evpower.stations.connections import (
    close_connection,
    count_online,
    is_online,
    list_connections,
    list_ended,
    open_connection,
    touch,
)
from evpower.stations.credentials import admit, as_hex
from evpower.stations.directory import Directory, KnownStation, read_directory
from evpower.stations.export_stations import export_stations
from evpower.stations.file import (
    InvalidStationFile,
    read_stations,
    write_csv,
    write_json,
)
from evpower.stations.find import (
    find_place,
    get_location,
    get_station,
    list_locations,
    list_stations,
    list_unknown,
    lock_free_stations,
    lock_station,
    name_of,
    place_ids,
    resolve_station,
    stations_named,
)
from evpower.stations.forward import forward_station, forward_targets
from evpower.stations.import_stations import ImportedStations, import_stations
from evpower.stations.jobs import CommandsEnded
from evpower.stations.labels import connector_label, shown_serial
from evpower.stations.model import (
    COMMAND_QUEUED,
    CONNECT_REFUSALS,
    ONLINE_FOR,
    STATION_CHANGED,
    USUAL_PROFILE,
    VERSIONS,
    AddedStation,
    Availability,
    ClaimedCommand,
    Command,
    CommandAction,
    Connector,
    ConnectRefusal,
    Deviation,
    DisconnectReason,
    Location,
    LocationView,
    NameKind,
    ProtocolVersion,
    RegisterKind,
    Station,
    StationConnection,
    StationDraft,
    StationProfile,
    StationView,
    StatusEntry,
    StatusReport,
    Touch,
    UnknownStation,
    VendorProfile,
    station_key,
)
from evpower.stations.module import module
from evpower.stations.names import key_of
from evpower.stations.pin import pin_station
from evpower.stations.profile_files import MEMBERS
from evpower.stations.profiles import changed_profiles, station_profile, vendor_profile
from evpower.stations.rename import rename_station
from evpower.stations.report import (
    count_deviations,
    list_statuses,
    report_boot,
    report_status,
    was_stamp_reported,
)
from evpower.stations.request import PARAMETERS, request_command
from evpower.stations.retire import retire_station
from evpower.stations.rows import read_power_w
from evpower.stations.search import all_locations
from evpower.stations.secure import secure_station
from evpower.stations.setup import latest_setup, request_setup
from evpower.stations.setup_model import SetupKey, StationSetup
from evpower.stations.start_facts import (
    CLAIMED,
    CONNECTION_TIME_OUT,
    LOCKED_STATION,
    StartFacts,
    claimed_command,
    facts_of,
    locked_station,
)
from evpower.stations.store_changes import without_password as list_without_password

# What other slices may read of this one in SQL.
PUBLIC_VIEWS = (
    "stations.locations_public",
    "stations.stations_public",
    "stations.connectors_public",
    "stations.evses_public",
    "stations.sockets_public",
    "stations.connections_public",
    "stations.status_log_public",
    "stations.commands_public",
)

__all__ = [
    "CLAIMED",
    "COMMAND_QUEUED",
    "CONNECTION_TIME_OUT",
    "CONNECT_REFUSALS",
    "LOCKED_STATION",
    "MEMBERS",
    "MOST_UNKNOWN",
    "ONLINE_FOR",
    "PARAMETERS",
    "PUBLIC_VIEWS",
    "STATION_CHANGED",
    "USUAL_PROFILE",
    "VERSIONS",
    "AddedStation",
    "Availability",
    "Carrier",
    "ClaimedCommand",
    "Command",
    "CommandAction",
    "CommandsEnded",
    "ConnectRefusal",
    "Connector",
    "Deviation",
    "Directory",
    "DisconnectReason",
    "ImportedStations",
    "InvalidStationFile",
    "KnownStation",
    "Location",
    "LocationChange",
    "LocationChanged",
    "LocationView",
    "NameKind",
    "ProtocolVersion",
    "RegisterKind",
    "SetupKey",
    "StartFacts",
    "Station",
    "StationChange",
    "StationConnection",
    "StationDraft",
    "StationProfile",
    "StationSetup",
    "StationView",
    "StatusEntry",
    "StatusReport",
    "Touch",
    "UnknownStation",
    "VendorProfile",
    "accept_station",
    "add_station",
    "admit",
    "all_locations",
    "as_hex",
    "ask_for_values",
    "change_location",
    "change_station",
    "changed_profiles",
    "claim_command",
    "claimed_command",
    "close_connection",
    "connector_label",
    "count_deviations",
    "count_online",
    "drop_command",
    "end_command",
    "export_stations",
    "facts_of",
    "find_place",
    "find_setting",
    "forward_station",
    "forward_targets",
    "get_command",
    "get_location",
    "get_station",
    "import_stations",
    "is_online",
    "key_of",
    "latest_setup",
    "list_commands",
    "list_connections",
    "list_ended",
    "list_locations",
    "list_stations",
    "list_statuses",
    "list_unknown",
    "list_waiting",
    "list_without_password",
    "lock_free_stations",
    "lock_station",
    "locked_station",
    "module",
    "name_of",
    "open_connection",
    "pin_station",
    "place_ids",
    "queue_command",
    "read_directory",
    "read_power_w",
    "read_stations",
    "record_attempts",
    "rename_station",
    "report_boot",
    "report_status",
    "request_command",
    "request_setup",
    "resolve_station",
    "restore_availability",
    "retire_station",
    "secure_station",
    "shown_serial",
    "station_key",
    "station_profile",
    "stations_named",
    "touch",
    "usual_connector",
    "vendor_profile",
    "was_stamp_reported",
    "write_csv",
    "write_json",
]
