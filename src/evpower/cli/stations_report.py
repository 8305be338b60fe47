"""How `evpower station` shows a station."""

from urllib.parse import quote, urlsplit

from evpower import stations
from evpower.cli.settings import load
from evpower.foundation.clock import to_z
from evpower.stations import Connector, StationView, UnknownStation

_W_PER_KW = 1000


def address_of(station_id: str) -> str:
    """Returns the whole address under which a station connects."""
    settings = load()
    public = urlsplit(settings.public_url or f"http://{settings.host}:{settings.port}")
    scheme = "wss" if public.scheme == "https" else "ws"
    path = public.path.rstrip("/")
    return f"{scheme}://{public.netloc}{path}/ocpp/{quote(station_id, safe='')}"


def password_lines(password: str) -> list[str]:
    """Returns the password in both forms in which stations take it."""
    return [f"password  {password}", f"as hex    {stations.as_hex(password)}"]


def station_row(view: StationView) -> dict[str, object]:
    """Returns a station for `--json`."""
    station = view.station
    return {
        "id": station.id,
        "post_code": station.post_code,
        "address": address_of(station.id),
        "names": [{"name": name.name, "kind": name.kind} for name in view.names],
        "location": {"id": view.location.id, "name": view.location.name},
        "owner": station.owner,
        "wanted_availability": station.wanted_availability,
        "reported_availability": station.reported_availability,
        "vendor": station.vendor,
        "model": station.model,
        "firmware": station.firmware,
        "booted_at": to_z(station.booted_at) if station.booted_at else None,
        "is_connected": view.is_connected,
        "no_auth": station.no_auth,
        "has_password": view.has_password,
        "password_waits": view.password_waits,
        "paid_only": station.paid_only,
        "cards_without_auth": station.cards_without_auth,
        "simulated": station.is_simulated,
        "pinned_version": station.pinned_version,
        "forward_url": station.forward_url,
        "retired_at": to_z(station.retired_at) if station.retired_at else None,
        "connectors": [_connector_row(connector) for connector in view.connectors],
        "deviations": dict(view.deviations),
    }


def station_lines(view: StationView) -> list[str]:
    """Returns a station as lines; the first alone is its line in a list."""
    station = view.station
    state = "retired" if station.retired_at else "online" if view.is_connected else "offline"
    head = (
        f"{station.id}  {station.post_code}  {state}  {view.location.name}"
        f"  {len(view.connectors)} connectors  {_auth(view)}"
    )
    lines = [head, f"  address   {address_of(station.id)}"]
    lines += [f"  name      {name.name} ({name.kind})" for name in view.names]
    reported = station.reported_availability or "nothing reported"
    lines.append(f"  available {station.wanted_availability} wanted, {reported}")
    profile = [part for part in (station.vendor, station.model, station.firmware) if part]
    if profile:
        lines.append(f"  device    {', '.join(profile)}")
    if station.owner:
        lines.append(f"  owner     {station.owner}")
    if station.forward_url:
        lines.append(f"  forwarded to {station.forward_url}: EvPower answers nothing")
    if station.pinned_version:
        lines.append(f"  version   {station.pinned_version} only")
    lines += [
        f"  connector {connector.number}: {connector.standard} {connector.format}"
        f" {connector.power_type} {connector.rated_power_w / _W_PER_KW:g} kW,"
        f" {connector.reported_status or 'no status yet'}"
        for connector in view.connectors
    ]
    lines += [f"  deviation {kind}: {count} times" for kind, count in view.deviations.items()]
    return lines


def unknown_row(unknown: UnknownStation) -> dict[str, object]:
    """Returns a name that no station has, for `--json`."""
    return {
        "name": unknown.name,
        "address": unknown.address,
        "attempts": unknown.attempts,
        "first_seen_at": to_z(unknown.first_seen_at),
        "last_seen_at": to_z(unknown.last_seen_at),
    }


def _connector_row(connector: Connector) -> dict[str, object]:
    return {
        "number": connector.number,
        "evse": connector.evse_number,
        "evse_connector": connector.evse_connector,
        "evse_id": connector.evse_id,
        "standard": connector.standard,
        "format": connector.format,
        "power_type": connector.power_type,
        "rated_power_w": connector.rated_power_w,
        "wanted_availability": connector.wanted_availability,
        "reported_status": connector.reported_status,
        "reported_error": connector.reported_error,
        "reported_at": to_z(connector.reported_at) if connector.reported_at else None,
    }


def _auth(view: StationView) -> str:
    if view.station.no_auth:
        return "no password until the new one is used" if view.password_waits else "no password"
    if not view.has_password and not view.password_waits:
        return "closed: evpower station secure"
    return "password"
