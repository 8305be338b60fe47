"""Locations, stations, EVSEs and connectors: what they are, their names, passwords and commands."""

from evpower.stations.accept import accept_station, record_attempt
from evpower.stations.add import add_station
from evpower.stations.check import usual_connector
from evpower.stations.credentials import admit, as_hex
from evpower.stations.export_stations import export_stations
from evpower.stations.file import (
    InvalidStationFile,
    read_stations,
    write_csv,
    write_json,
)
from evpower.stations.find import (
    get_station,
    list_stations,
    list_unknown,
    lock_station,
    resolve_station,
)
from evpower.stations.import_stations import ImportedStations, import_stations
from evpower.stations.model import (
    VERSIONS,
    AddedStation,
    Connector,
    Location,
    NameKind,
    ProtocolVersion,
    Station,
    StationDraft,
    StationView,
    UnknownStation,
)
from evpower.stations.module import module
from evpower.stations.pin import pin_station
from evpower.stations.rename import rename_station
from evpower.stations.retire import retire_station
from evpower.stations.rows import read_power_w
from evpower.stations.secure import secure_station

# What other slices may read of this one in SQL.
PUBLIC_VIEWS = (
    "stations.locations_public",
    "stations.stations_public",
    "stations.connectors_public",
)

__all__ = [
    "PUBLIC_VIEWS",
    "VERSIONS",
    "AddedStation",
    "Connector",
    "ImportedStations",
    "InvalidStationFile",
    "Location",
    "NameKind",
    "ProtocolVersion",
    "Station",
    "StationDraft",
    "StationView",
    "UnknownStation",
    "accept_station",
    "add_station",
    "admit",
    "as_hex",
    "export_stations",
    "get_station",
    "import_stations",
    "list_stations",
    "list_unknown",
    "lock_station",
    "module",
    "pin_station",
    "read_power_w",
    "read_stations",
    "record_attempt",
    "rename_station",
    "resolve_station",
    "retire_station",
    "secure_station",
    "usual_connector",
    "write_csv",
    "write_json",
]
