"""`evpower station forward`: another CSMS answers a station, EvPower looks on."""

import getpass
import json
from typing import TYPE_CHECKING, Final

import typer

from evpower.cli.notify import notify_station
from evpower.cli.out import console
from evpower.cli.settings import with_database
from evpower.foundation.clock import to_z, utc_now
from evpower.foundation.db import Database
from evpower.foundation.money import to_text

if TYPE_CHECKING:
    from evpower.ocpp import ForwardedCharge
    from evpower.stations import StationView

_OFF: Final = "off"


def register(group: typer.Typer) -> None:
    """Adds the command to `evpower station`."""
    group.command()(forward)


def forward(
    name: str = typer.Argument(help="Its id, another name of it, or its post code."),
    url: str = typer.Argument(
        "", help="The other CSMS, wss://host/path without the station's id; off: EvPower answers."
    ),
    limit: int = typer.Option(20, "--limit", min=1, max=1_000, help="Charges that are listed."),
    reason: str = typer.Option("", "--reason", help="Why, for the audit."),
    operator: str = typer.Option("", "--operator", help="Who does this; the login name else."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Pass a station's frames to another CSMS and back, or show what it charged meanwhile."""
    from evpower import ocpp, stations

    async def work(database: Database) -> "tuple[StationView, list[ForwardedCharge]]":
        async with database.transaction() as connection:
            if url:
                await ocpp.forward_station(
                    connection,
                    station=name,
                    url=None if url == _OFF else url,
                    now=utc_now(),
                    actor=operator or getpass.getuser(),
                    reason=reason or None,
                )
            view = await stations.get_station(connection, name)
            charges = await ocpp.list_forwarded_charges(connection, name, limit=limit)
            return view, charges

    view, charges = with_database(work)
    target = view.station.forward_url
    if url:
        notify_station(view.station.id)
    if as_json:
        rows = [_row(charge) for charge in charges]
        typer.echo(json.dumps({"id": view.station.id, "forward_url": target, "charges": rows}))
        return
    state = "answered by EvPower" if target is None else f"forwarded to {target}"
    console.print(f"{view.station.id}  {state}")
    for charge in charges:
        console.print(f"  {_line(charge)}")


def _row(charge: "ForwardedCharge") -> dict[str, object]:
    return {
        "connector": charge.connector,
        "transaction": charge.their_id,
        "id_tag": charge.id_tag,
        "started_at": to_z(charge.started_at),
        "ended_at": to_z(charge.ended_at) if charge.ended_at else None,
        "energy_wh": charge.energy_wh,
        "cost_minor": charge.cost_minor,
        "currency": charge.currency,
        "tariff": charge.plan and f"{charge.plan}/{charge.version}",
    }


def _line(charge: "ForwardedCharge") -> str:
    head = f"{to_z(charge.started_at)} connector {charge.connector}, {charge.their_id or 'no id'}"
    if charge.ended_at is None:
        return f"{head}: charging"
    if charge.energy_wh is None:
        return f"{head}: energy unknown"
    if charge.cost_minor is None or charge.currency is None:
        return f"{head}: {charge.energy_wh} Wh, no tariff"
    cost = to_text(charge.cost_minor, charge.currency)
    return f"{head}: {charge.energy_wh} Wh, here {cost} {charge.currency}"
