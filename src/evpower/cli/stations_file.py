"""`evpower station import` and `export`: stations as CSV or JSON."""

import getpass
import json
import sys
from pathlib import Path

import typer

from evpower import stations
from evpower.cli.out import console, errors, fail
from evpower.cli.settings import with_database
from evpower.cli.stations import JSON, OPERATOR, REASON, station
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.stations import ImportedStations, InvalidStationFile, StationDraft

_SHOWN = 20


@station.command("import")
def import_file(
    file: Path = typer.Argument(help="CSV, or JSON if it ends in .json; see docs/stations.md."),
    reason: str = REASON,
    operator: str = OPERATOR,
    as_json: bool = JSON,
) -> None:
    """Add the stations of a file: all, or none where a line is wrong."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        fail(f"{file} can't be read: {error}")

    async def work(database: Database) -> ImportedStations | InvalidStationFile:
        try:
            read = stations.read_stations(raw, is_json=file.suffix.lower() == ".json")
            async with database.transaction() as connection:
                return await stations.import_stations(
                    connection,
                    read,
                    now=utc_now(),
                    actor=operator or getpass.getuser(),
                    reason=reason or None,
                )
        except InvalidStationFile as error:
            return error

    done = with_database(work)
    if isinstance(done, InvalidStationFile):
        _refuse(done, as_json=as_json)
        return
    if as_json:
        lists = {
            "added": done.added,
            "unchanged": done.unchanged,
            "without_password": done.without_password,
        }
        typer.echo(json.dumps(lists))
        return
    console.print(f"{len(done.added)} added, {len(done.unchanged)} there already")
    if done.without_password:
        named = ", ".join(done.without_password[:_SHOWN])
        errors.print(f"without a password these can't connect: {named}")
        errors.print("  evpower station secure ID")


@station.command()
def export(
    file: Path | None = typer.Argument(None, help="Printed without one; .json makes it JSON."),
    as_json: bool = typer.Option(False, "--json", help="JSON, whatever the file's name."),
) -> None:
    """Write every station, retired ones too, as `import` reads it. Passwords are in no file."""

    async def work(database: Database) -> list[StationDraft]:
        async with database.connection() as connection:
            return await stations.export_stations(connection)

    drafts = with_database(work)
    is_json = as_json or (file is not None and file.suffix.lower() == ".json")
    text = stations.write_json(drafts) if is_json else stations.write_csv(drafts)
    if file is None:
        typer.echo(text, nl=False)
        return
    try:
        file.write_bytes(text.encode())
    except OSError as error:
        fail(f"{file} can't be written: {error}")
    console.print(f"{len(drafts)} stations in {file}")


def _refuse(error: InvalidStationFile, *, as_json: bool) -> None:
    if as_json:
        rows = [{"where": where, "detail": detail} for where, detail in error.flaws]
        typer.echo(json.dumps({"errors": rows}))
        sys.exit(1)
    fail(
        "nothing was imported:\n  "
        + "\n  ".join(f"{where}: {detail}" for where, detail in error.flaws)
    )
