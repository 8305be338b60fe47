"""How `evpower tariff` shows versions, assignments and bills."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from evpower import tariffs
from evpower.cli.out import console
from evpower.foundation.clock import to_z
from evpower.foundation.db import Connection
from evpower.tariffs import Flaw, PricedSession, Tariff, TariffVersion


def version_row(version: TariffVersion, now: datetime) -> dict[str, object]:
    """Returns a version of a plan as JSON."""
    return {
        "plan": version.plan,
        "name": version.document["name"],
        "version": version.number,
        "state": version_state(version, now),
        "valid_from": None if version.valid_from is None else to_z(version.valid_from),
        "created_at": to_z(version.created_at),
        "actor": version.actor,
    }


def version_state(version: TariffVersion, now: datetime) -> str:
    """Returns whether a version is a draft, planned or in force."""
    if version.valid_from is None:
        return "draft"
    return "planned" if version.valid_from > now else "valid"


def version_line(version: TariffVersion, now: datetime) -> str:
    """Returns a version of a plan in one line."""
    state = version_state(version, now)
    begins = f" from {to_z(version.valid_from)}" if version.valid_from else ""
    return f"{version.plan}  version {version.number}  {state}{begins}  {version.document['name']}"


def assignment_row(assignment: tariffs.Assignment) -> dict[str, object]:
    """Returns an assignment as JSON."""
    return {
        "scope": assignment.scope,
        "scope_id": assignment.scope_id,
        "plan": assignment.plan,
        "valid_from": to_z(assignment.valid_from),
    }


def assignment_line(row: Mapping[str, object]) -> str:
    """Returns an assignment in one line."""
    place = f"{row['scope']} {row['scope_id']}".strip()
    line = f"{place}: {row['plan'] or 'no plan of its own'} from {row['valid_from']}"
    return line if row.get("has_place", True) else f"{line}, but there is no such {row['scope']}"


async def assigned_nowhere(
    connection: Connection, assigned: Sequence[tariffs.Assignment]
) -> list[tariffs.Assignment]:
    """Returns the assignments of a plan that price nothing: no place has their id."""
    from evpower import stations

    ids = await stations.place_ids(connection)
    return [
        row
        for row in assigned
        if row.plan and row.scope != "everything" and row.scope_id not in ids[row.scope]
    ]


def flaw_line(flaw: Flaw) -> str:
    """Returns an error or warning in one line."""
    return f"{flaw.where}: {flaw.detail} ({flaw.code})"


def used_text(part: Mapping[str, Any]) -> str:
    """Returns what a line of a bill is for: energy or time, at which price."""
    if "energy_kwh" in part:
        return f"{part['energy_kwh']} kWh at {part['price']}"
    if "duration_s" in part:
        return f"{timedelta(seconds=part['duration_s'])} at {part['price']} an hour"
    return ""


def print_cost(read: Tariff, session: PricedSession, cost: Mapping[str, Any]) -> None:
    """Prints the lines of a bill, where its prices changed, and its total."""
    for part in cost["parts"]:
        element = f"element {part['element']}" if "element" in part else ""
        kind = str(part["kind"]).replace("_", " ")
        line = f"{kind:10} {element:11} {used_text(part):32} {part['amount']:>12}"
        console.print(line.rstrip())
    zone = ZoneInfo(read.time_zone)
    for period in session.periods:
        begins, ends = (
            f"{datetime.fromtimestamp(second, zone):%Y-%m-%d %H:%M:%S}"
            for second in (period.start_s, period.end_s)
        )
        prices = ", ".join(f"{name} by element {index + 1}" for name, index in period.elements)
        console.print(f"  {begins} to {ends}: {prices or 'free'}")
    console.print(f"total {cost['total']} {cost['currency']}, before tax {cost['before_tax']}")
