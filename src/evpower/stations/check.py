"""Says what is wrong with a station as an operator describes it, before anything is stored."""

import re
from collections.abc import Iterator
from typing import Final

from evpower.foundation.errors import Invalid
from evpower.foundation.names import name_flaw, trim_name
from evpower.foundation.text import flaw
from evpower.foundation.time_zones import read_time_zone
from evpower.stations.model import (
    AVAILABILITIES,
    FORMATS,
    POWER_TYPES,
    STANDARDS,
    VERSIONS,
    ConnectorDraft,
    Location,
    Name,
    StationDraft,
)
from evpower.stations.names import checked_name
from evpower.stations.profile_files import InvalidProfile, check_choice

_EVSE_ID: Final = re.compile(r"[A-Z]{2}\*?[A-Z0-9]{3}\*?E[A-Z0-9*]{1,31}")
_POST_CODE: Final = re.compile(r"[0-9a-z]{4,12}")
_COUNTRY: Final = re.compile(r"[A-Z]{3}")
_MAX_CONNECTORS: Final = 100
_MAX_NUMBER: Final = 1000
_MAX_EVSE_CONNECTOR: Final = 100
_MAX_POWER_W: Final = 10_000_000
_MAX_LATITUDE: Final = 90
_MAX_LONGITUDE: Final = 180
_DEGREE_DIGITS: Final = 6
# Above this a station charges with direct current, up to the next one a single phase carries it.
_MOST_AC_W: Final = 43_000
_MOST_ONE_PHASE_W: Final = 7_400


def check_draft(draft: StationDraft) -> None:
    """Raises Invalid("station_invalid") with everything that is wrong."""
    wrong = list(_flaws(draft))
    if wrong:
        raise Invalid("station_invalid", "; ".join(wrong))


def usual_connector(
    number: int, rated_power_w: int, *, standard: str = "", format_: str = "", power_type: str = ""
) -> ConnectorDraft:
    """Returns a connector; what is not said is as usual for its power, each on its own EVSE."""
    is_dc = rated_power_w > _MOST_AC_W or standard in {"CHADEMO", "GBT_DC", "IEC_62196_T2_COMBO"}
    if not power_type:
        one_phase = "AC_1_PHASE" if rated_power_w <= _MOST_ONE_PHASE_W else "AC_3_PHASE"
        power_type = "DC" if is_dc else one_phase
    if not standard:
        standard = "IEC_62196_T2_COMBO" if power_type == "DC" else "IEC_62196_T2"
    if not format_:
        format_ = "CABLE" if power_type == "DC" else "SOCKET"
    return ConnectorDraft(number, standard, format_, power_type, rated_power_w, evse_number=number)


def _flaws(draft: StationDraft) -> Iterator[str]:
    for name in (Name(draft.id, "ocpp"), *draft.names):
        if name.kind == "post_code":
            yield "a post code is no further name"
            continue
        try:
            checked_name(name.name, name.kind)
        except Invalid as error:
            yield error.detail
    if draft.post_code is not None and not _POST_CODE.fullmatch(draft.post_code):
        yield "a post code has 4 to 12 letters a-z and digits"
    if draft.owner is not None and name_flaw(draft.owner, most=200):
        yield "the owner must have 1 to 200 characters"
    if draft.availability not in AVAILABILITIES:
        yield f"availability must be one of {', '.join(AVAILABILITIES)}"
    if draft.pinned_version is not None and draft.pinned_version not in VERSIONS:
        yield f"the version must be one of {', '.join(VERSIONS)}"
    if draft.cards_without_auth and not draft.no_auth:
        yield "cards_without_auth is for stations with no_auth"
    try:
        check_choice(draft.profile, draft.profile_members)
    except InvalidProfile as error:
        yield str(error)
    yield from location_flaws(draft.location)
    yield from _connector_flaws(draft.connectors)


def location_flaws(location: Location, stored: Location | None = None) -> Iterator[str]:
    """Yields what is wrong with a location. A name or time zone stored as it is may stay."""
    for label, text, most in (
        ("location id", location.id, 64),
        ("address", location.address, 200),
        ("city", location.city, 100),
    ):
        if wrong := flaw(text, most=most):
            yield f"the {label} {wrong}"
        elif text != text.strip():
            yield f"the {label} begins or ends with white space"
    if stored is None or location.name != stored.name:
        yield from _name_flaws(location.name)
    if not _COUNTRY.fullmatch(location.country):
        yield "the country must be three letters, as KGZ"
    yield from _coordinate_flaws(location)
    if stored is not None and location.time_zone == stored.time_zone:
        return
    try:
        read_time_zone(location.time_zone)
    except ValueError as error:
        yield str(error)


def _name_flaws(name: str) -> Iterator[str]:
    if not name:
        yield "the location has no name"
    elif wrong := name_flaw(name, most=200):
        yield f"the location name {wrong}"
    elif name != trim_name(name):
        yield "the location name begins or ends with white space or what can't be seen"


def _coordinate_flaws(location: Location) -> Iterator[str]:
    if (location.latitude is None) != (location.longitude is None):
        yield "latitude and longitude go together"
    for label, degrees, most in (
        ("latitude", location.latitude, _MAX_LATITUDE),
        ("longitude", location.longitude, _MAX_LONGITUDE),
    ):
        if degrees is not None and (
            not degrees.is_finite()
            or abs(degrees) > most
            or degrees != round(degrees, _DEGREE_DIGITS)
        ):
            yield f"{label} must be a number up to {most} with at most {_DEGREE_DIGITS} decimals"


def _connector_flaws(connectors: tuple[ConnectorDraft, ...]) -> Iterator[str]:
    if not 1 <= len(connectors) <= _MAX_CONNECTORS:
        yield f"a station has 1 to {_MAX_CONNECTORS} connectors"
    numbers = [connector.number for connector in connectors]
    if len(set(numbers)) != len(numbers):
        yield "two connectors have one number"
    places = [(connector.evse_number, connector.evse_connector) for connector in connectors]
    if len(set(places)) != len(places):
        yield "two connectors are one connector of an EVSE"
    evse_ids = {(connector.evse_number, connector.evse_id) for connector in connectors}
    named = [evse_id for _, evse_id in evse_ids if evse_id is not None]
    if len(evse_ids) != len({number for number, _ in evse_ids}) or len(named) != len(set(named)):
        yield "an EVSE has one EVSE id, and no other EVSE has it"
    for connector in connectors:
        for wrong in _flaws_of_one(connector):
            yield f"connector {connector.number}: {wrong}"


def _flaws_of_one(connector: ConnectorDraft) -> Iterator[str]:
    if not 1 <= connector.number <= _MAX_NUMBER or not 1 <= connector.evse_number <= _MAX_NUMBER:
        yield f"its number and its EVSE's must be 1 to {_MAX_NUMBER}"
    if not 1 <= connector.evse_connector <= _MAX_EVSE_CONNECTOR:
        yield f"its number in the EVSE must be 1 to {_MAX_EVSE_CONNECTOR}"
    if connector.evse_id is not None and not _EVSE_ID.fullmatch(connector.evse_id):
        yield "an EVSE id reads as KG*EVP*E001*1"
    if connector.standard not in STANDARDS:
        yield f"there is no standard {connector.standard!a:.40} in OCPI"
    if connector.format not in FORMATS:
        yield f"the format must be one of {', '.join(FORMATS)}"
    if connector.power_type not in POWER_TYPES:
        yield f"the power type must be one of {', '.join(POWER_TYPES)}"
    if not 1 <= connector.rated_power_w <= _MAX_POWER_W:
        yield "its power must be above 0 and at most 10000 kW"
