"""The words by which drivers know connectors, and in which serial numbers are shown."""

from typing import Final

from evpower.stations.model import StationView

_LABELS: Final = {
    "CHADEMO": "CHAdeMO",
    "GBT_AC": "GB/T AC",
    "GBT_DC": "GB/T DC",
    "IEC_62196_T1": "Type 1",
    "IEC_62196_T1_COMBO": "CCS1",
    "IEC_62196_T2": "Type 2",
    "IEC_62196_T2_COMBO": "CCS2",
    "TESLA_R": "Tesla",
    "TESLA_S": "Tesla",
}


def connector_label(standard: str) -> str:
    """Returns the usual word for a connector's standard; a rare one keeps OCPI's."""
    return _LABELS.get(standard, standard)


def shown_serial(view: StationView) -> str:
    """Returns the station's serial number, or its id where it has none; both find it."""
    serials = [name.name for name in view.names if name.kind == "serial"]
    return serials[0] if serials else view.station.id
