"""`evpower station free`: any tag charges at a station for a time, when the app is down."""

import getpass
import json
from typing import TYPE_CHECKING

import typer

from evpower import charging
from evpower.cli.notify import notify_station
from evpower.cli.out import console, fail
from evpower.cli.settings import with_database
from evpower.cli.stations import JSON, OPERATOR
from evpower.cli.stations_report import free_line, free_row
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database

if TYPE_CHECKING:
    from evpower.charging import FreePeriod


def register(app: typer.Typer) -> None:
    """Adds the command to `evpower station`."""
    app.command("free")(free)


def free(
    name: str = typer.Argument(help="Its id, another name of it, or its post code."),
    minutes: int = typer.Option(0, "--minutes", min=0, max=10_080, help="For so long, from now."),
    end: bool = typer.Option(False, "--end", help="End it now."),
    reason: str = typer.Option("", "--reason", help="Why, for the audit."),
    operator: str = OPERATOR,
    as_json: bool = JSON,
) -> None:
    """Let every card charge at a station without a bill, for a time. It ends by itself."""
    if end == bool(minutes):
        fail("nothing to do", "--minutes N --reason TEXT, or --end")
    if minutes and not reason.strip():
        fail("a reason is needed", '--reason "the app is down"')
    actor = operator or getpass.getuser()

    async def work(database: Database) -> "list[FreePeriod]":
        async with database.transaction() as connection:
            if end:
                await charging.end_free(
                    connection, station=name, actor=actor, reason=reason or None, now=utc_now()
                )
            else:
                await charging.free_station(
                    connection,
                    station=name,
                    minutes=minutes,
                    actor=actor,
                    reason=reason,
                    now=utc_now(),
                )
            return await charging.list_free_periods(connection, name, limit=1)

    [period] = with_database(work)
    notify_station(period.station_id)
    if as_json:
        typer.echo(json.dumps(free_row(period)))
    else:
        console.print(free_line(period))
