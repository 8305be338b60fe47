"""`evpower location`: list the places with stations, and change what drivers see of them."""

import getpass
import json
from decimal import Decimal, InvalidOperation

import typer

from evpower import stations
from evpower.cli.notify import notify_station
from evpower.cli.out import console, fail
from evpower.cli.settings import with_database
from evpower.foundation.db import Database

location = typer.Typer(help="Places with stations.", no_args_is_help=True)
_JSON = typer.Option(False, "--json", help="Print JSON.")
_NAMED = typer.Argument(help="Its id, or its name if no other has it.")
_LATITUDE = typer.Option("", "--latitude", help="In degrees, together with the longitude.")
_TIME_ZONE = typer.Option("", "--time-zone", help="As Asia/Bishkek.")


@location.command("list")
def list_all(as_json: bool = _JSON) -> None:
    """List all locations by id, also those without stations."""

    async def work(database: Database) -> list[stations.Location]:
        async with database.connection() as connection:
            return await stations.all_locations(connection)

    rows = with_database(work)
    if as_json:
        typer.echo(json.dumps([_row(row) for row in rows]))
        return
    for row in rows:
        console.print(_line(row))
    if not rows:
        console.print("no location: evpower station add ID --location NAME --power-kw 22 makes one")


@location.command()
def change(  # noqa: PLR0913, PLR0917 - a command's options
    named: str = _NAMED,
    name: str = typer.Option(None, "--name", help="What drivers see."),
    address: str = typer.Option(None, "--address", help='"": none.'),
    city: str = typer.Option(None, "--city", help='"": none.'),
    country: str = typer.Option(None, "--country", help="Three letters, as KGZ."),
    latitude: str = _LATITUDE,
    longitude: str = typer.Option("", "--longitude", help="In degrees."),
    time_zone: str = _TIME_ZONE,
    reason: str = typer.Option("", "--reason", help="Why, for the audit."),
    operator: str = typer.Option(
        "", "--operator", help="Who does this; the login name by default."
    ),
    as_json: bool = _JSON,
) -> None:
    """Change a location; what is not given stays as it is, its id always."""
    wanted = stations.LocationChange(
        name, address, city, country, _degrees(latitude), _degrees(longitude), time_zone or None
    )
    if wanted == stations.LocationChange():
        fail("nothing to change", "give --name, --address, --latitude and --longitude, ...")

    async def work(database: Database) -> stations.LocationChanged:
        async with database.transaction() as connection:
            return await stations.change_location(
                connection,
                location=named,
                change=wanted,
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )

    changed = with_database(work)
    notify_station(*changed.station_ids)
    row = changed.location
    if as_json:
        typer.echo(json.dumps(_row(row)))
        return
    console.print(_line(row))


def _degrees(text: str) -> Decimal | None:
    if not text:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        fail(f"{text!r} is no number", "degrees, as 42.876543")


def _row(row: stations.Location) -> dict[str, object]:
    return {
        "id": row.id,
        "name": row.name,
        "address": row.address,
        "city": row.city,
        "country": row.country,
        "latitude": None if row.latitude is None else str(row.latitude),
        "longitude": None if row.longitude is None else str(row.longitude),
        "time_zone": row.time_zone,
    }


def _line(row: stations.Location) -> str:
    address = ", ".join(part for part in (row.address, row.city, row.country) if part)
    place = "no coordinates" if row.latitude is None else f"{row.latitude} {row.longitude}"
    return f"{row.id}  {row.name}  {address}  {place}  {row.time_zone}"
