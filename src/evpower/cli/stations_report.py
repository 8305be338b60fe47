"""How `evpower station` shows a station."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final, NamedTuple, cast
from urllib.parse import quote, urlsplit

from evpower import stations
from evpower.cli.settings import load
from evpower.foundation.clock import to_z
from evpower.stations import (
    USUAL_PROFILE,
    Command,
    Connector,
    StationConnection,
    StationView,
    StatusEntry,
    UnknownStation,
)

if TYPE_CHECKING:
    from evpower.charging import FreePeriod, LearnedMeter, StationFacts

SHOWN: Final = 10  # the latest entries of each log
_W_PER_KW = 1000
_REGISTERS: Final = {
    "lifetime": "register goes on for ever",
    "per_boot": "register begins anew at a boot",
    "per_transaction": "register begins anew in each transaction",
}


class StationLog(NamedTuple):
    """The latest that happened at a station, the newest first."""

    connections: Sequence[StationConnection]
    statuses: Sequence[StatusEntry]
    commands: Sequence[Command]
    meters: "Sequence[LearnedMeter]"
    facts: "StationFacts"
    free_periods: Sequence["FreePeriod"]


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


def station_row(view: StationView, now: datetime) -> dict[str, object]:
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
        "booted_at": _z(station.booted_at),
        "profile": profile_row(view),
        "is_connected": view.is_connected,
        "is_online": view.is_online(now),
        "last_frame_at": _z(view.last_frame_at),
        "no_auth": station.no_auth,
        "has_password": view.has_password,
        "password_waits": view.password_waits,
        "paid_only": station.paid_only,
        "cards_without_auth": station.cards_without_auth,
        "simulated": station.is_simulated,
        "pinned_version": station.pinned_version,
        "forward_url": station.forward_url,
        "retired_at": _z(station.retired_at),
        "connectors": [_connector_row(connector) for connector in view.connectors],
        "deviations": dict(view.deviations),
    }


def station_lines(view: StationView, now: datetime) -> list[str]:
    """Returns a station as lines; the first alone is its line in a list."""
    station = view.station
    state = "online" if view.is_online(now) else "retired" if station.retired_at else "offline"
    if station.forward_url:
        state += ", forwarded"
    head = (
        f"{station.id}  {station.post_code}  {state}  {view.location.name}"
        f"  {len(view.connectors)} connectors  {_auth(view)}"
    )
    lines = [head, f"  address   {address_of(station.id)}"]
    lines += [f"  name      {name.name} ({name.kind})" for name in view.names]
    if view.last_frame_at is not None:
        socket = "connected" if view.is_connected else "not connected"
        lines.append(f"  socket    {socket}, last frame {to_z(view.last_frame_at)}")
    reported = station.reported_availability or "nothing reported"
    lines.append(f"  available {station.wanted_availability} wanted, {reported}")
    device = [part for part in (station.vendor, station.model, station.firmware) if part]
    if device:
        lines.append(f"  device    {', '.join(device)}")
    lines += profile_lines(view)
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


def profile_row(view: StationView) -> dict[str, object]:
    """Returns a station's vendor profile for `--json`."""
    known = view.profile
    members = {member: getattr(known.profile, member) for member in stations.MEMBERS}
    return {
        "name": known.profile.name,
        "is_chosen": known.is_chosen,
        "overrides": dict(known.overrides),
        **members,
        "notes": known.profile.notes,
    }


def profile_lines(view: StationView) -> list[str]:
    """Returns a station's vendor profile as lines: what differs from the usual, and its notes."""
    known, usual = view.profile, USUAL_PROFILE
    chosen = " (chosen)" if known.is_chosen else ""
    lines = [f"  profile   {known.profile.name}{chosen}"]
    for member in stations.MEMBERS:
        value = getattr(known.profile, member)
        if value != getattr(usual, member) or member in known.overrides:
            own = ", the station's own" if member in known.overrides else ""
            lines.append(f"    {member} = {_shown(value)}{own}")
    lines += [f"    note: {note}" for note in known.profile.notes]
    return lines


def log_rows(log: StationLog) -> dict[str, object]:
    """Returns the logs for `--json`."""
    return {
        "connections": [
            {
                "epoch": entry.id,
                "address": entry.address,
                "version": entry.version,
                "is_authenticated": entry.is_authenticated,
                "opened_at": to_z(entry.opened_at),
                "closed_at": _z(entry.closed_at),
                "close_reason": entry.close_reason,
            }
            for entry in log.connections
        ],
        "statuses": [
            {
                "connector": entry.connector,
                "status": entry.status,
                "error": entry.error,
                "info": entry.info,
                "station_time": entry.station_time,
                "received_at": to_z(entry.received_at),
            }
            for entry in log.statuses
        ],
        "commands": [command_row(command) for command in log.commands],
        "learned": {
            "clock_skew_s": log.facts.skew_s,
            "unbilled_tail_wh": float(log.facts.tail_wh),
            "outside_charges": log.facts.outside_charges,
            "outside_wh": log.facts.outside_wh,
            "meters": [
                {
                    "connector": meter.connector,
                    "register_kind": meter.register_kind,
                    "sample_interval_s": meter.interval_s,
                }
                for meter in log.meters
            ],
        },
        "free_periods": [free_row(period) for period in log.free_periods],
    }


def log_lines(log: StationLog) -> list[str]:
    """Returns what was learned, and the logs, as lines."""
    lines = learned_lines(log)
    lines += [free_line(period) for period in log.free_periods]
    lines += [
        f"  connected {to_z(entry.opened_at)} from {entry.address}, {entry.version},"
        f" {'password' if entry.is_authenticated else 'no password'},"
        f" {f'closed {to_z(entry.closed_at)}: {entry.close_reason}' if entry.closed_at else 'open'}"
        for entry in log.connections
    ]
    lines += [
        f"  status    {to_z(entry.received_at)} connector {entry.connector}: {entry.status}"
        + (f", {entry.error}" if entry.error else "")
        for entry in log.statuses
    ]
    lines += [
        f"  command   {to_z(command.created_at)} {command.id} {command.action} by {command.actor}:"
        f" {command.state}"
        for command in log.commands
    ]
    return lines


def learned_lines(log: StationLog) -> list[str]:
    """Returns what was learned of a station's clock and meters as lines."""
    lines = [
        f"  meter     connector {meter.connector}:"
        f" {_REGISTERS[meter.register_kind] if meter.register_kind else 'register not known yet'}"
        + (f", a value each {meter.interval_s} s" if meter.interval_s else "")
        for meter in log.meters
    ]
    if log.facts.skew_s:
        lines.append(f"  clock     {-log.facts.skew_s:+} s off")
    if log.facts.tail_wh:
        lines.append(f"  tail      {log.facts.tail_wh:f} Wh after its stops, not billed")
    if log.facts.outside_charges:
        kwh = log.facts.outside_wh / _W_PER_KW
        lines.append(f"  outside   {log.facts.outside_charges} charges of no client, {kwh:g} kWh")
    return lines


def command_row(command: Command) -> dict[str, object]:
    """Returns a command for `--json`."""
    return {
        "id": command.id,
        "station": command.station_id,
        "action": command.action,
        "payload": command.payload,
        "state": command.state,
        "actor": command.actor,
        "created_at": to_z(command.created_at),
        "expires_at": to_z(command.expires_at),
        "sent_at": _z(command.sent_at),
        "ended_at": _z(command.ended_at),
        "response": command.response,
    }


def unknown_row(unknown: UnknownStation) -> dict[str, object]:
    """Returns a name that was refused, for `--json`."""
    return {
        "name": unknown.name,
        "address": unknown.address,
        "attempts": unknown.attempts,
        "reason": unknown.reason,
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
        "reported_at": _z(connector.reported_at),
    }


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(cast("tuple[str, ...]", value)) if isinstance(value, tuple) else str(value)


def _auth(view: StationView) -> str:
    if view.station.no_auth:
        return "no password until the new one is used" if view.password_waits else "no password"
    if not view.has_password and not view.password_waits:
        return "closed: evpower station secure"
    return "password"


def _z(at: datetime | None) -> str | None:
    return None if at is None else to_z(at)


def free_row(period: "FreePeriod") -> dict[str, object]:
    """Returns a free time for `--json`."""
    return {
        "station": period.station_id,
        "begins_at": to_z(period.begins_at),
        "ends_at": to_z(period.ends_at),
        "reason": period.reason,
        "actor": period.actor,
        "ended_at": None if period.ended_at is None else to_z(period.ended_at),
        "ended_by": period.ended_by,
    }


def free_line(period: "FreePeriod") -> str:
    """Returns a free time in one line."""
    if period.ended_at is not None:
        return f"  free      was until {to_z(period.ended_at)}, ended by {period.ended_by}"
    return (
        f"  free      every card until {to_z(period.ends_at)}, by {period.actor}: {period.reason}"
    )
