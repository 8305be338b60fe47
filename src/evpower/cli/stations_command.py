"""`evpower station command` and `change`: what an operator asks of a station, and decides of it."""

import asyncio
import getpass
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final, cast

import typer

from evpower import charging, stations
from evpower.cli.notify import notify_station
from evpower.cli.out import console, errors, fail
from evpower.cli.settings import with_database
from evpower.cli.stations import JSON, OPERATOR, REASON
from evpower.cli.stations_report import command_row, station_lines, station_row
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.stations import Command, CommandAction, StationChange, StationView

_LOOK_S: Final = 0.2
_REPLY_S: Final = 150  # the job that ends a lost command has done so by then
_STATION = typer.Argument(help="Its id, another name of it, or its post code.")
_ENDED: Final = frozenset({"accepted", "refused", "timed_out"})


def register(app: typer.Typer) -> None:
    """Adds the commands to `evpower station`."""
    app.command("command")(command)
    app.command()(change)


def command(  # noqa: PLR0913, PLR0917 - a command's options
    name: str = _STATION,
    action: str = typer.Argument(help=f"One of {', '.join(stations.PARAMETERS)}."),
    arguments: list[str] = typer.Argument(None, help="Its arguments, as NAME=VALUE."),
    expires: int = typer.Option(
        60, "--expires", min=1, max=86_400, help="Seconds after which it is not sent any more."
    ),
    wait: bool = typer.Option(True, "--wait/--no-wait", help="Wait for the station's answer."),
    while_in_use: bool = typer.Option(
        False, "--while-in-use", help="Reset it hard although a session runs there."
    ),
    reason: str = REASON,
    operator: str = OPERATOR,
    as_json: bool = JSON,
) -> None:
    """Ask a station for something, and wait for its answer. Exit 1 unless it accepts.

    A command that timed out may have been carried out: only its answer is missing.
    """
    given = _pairs(arguments or [])

    async def queue(database: Database) -> Command:
        async with database.transaction() as connection:
            return await charging.request_command(
                connection,
                station=name,
                action=cast("CommandAction", action.replace("-", "_")),
                arguments=given,
                expires_in=timedelta(seconds=expires),
                now=utc_now(),
                actor=operator or getpass.getuser(),
                reason=reason or None,
                while_in_use=while_in_use,
            )

    queued = with_database(queue)
    notify_station(queued.station_id)
    if wait:
        if not as_json:
            errors.print(f"command {queued.id} waits for station {queued.station_id}")
        queued = with_database(lambda database: _outcome(database, queued, expires + _REPLY_S))
    _print(queued, as_json=as_json)
    if wait and queued.state != "accepted":
        raise typer.Exit(1)


def change(  # noqa: PLR0913, PLR0917 - a command's options
    name: str = _STATION,
    owner: str | None = typer.Option(None, "--owner", help='Whose it is; "" for none.'),
    paid_only: bool | None = typer.Option(
        None, "--paid-only/--any-card", help="Whether a card that no client has charges nothing."
    ),
    cards: bool | None = typer.Option(
        None,
        "--cards-without-auth/--no-cards-without-auth",
        help="Whether cards count although the station has no password.",
    ),
    availability: str | None = typer.Option(
        None, "--availability", help="operative or inoperative; the station is sent it."
    ),
    connector: int | None = typer.Option(
        None, "--connector", min=1, help="Whose availability; without it the station's."
    ),
    profile: str | None = typer.Option(
        None, "--profile", help='Its vendor profile; "" for the one that fits what it says.'
    ),
    members: list[str] = typer.Option(
        [], "--set", help="A member of its profile, as NAME=VALUE; NAME= for the profile's."
    ),
    reason: str = REASON,
    operator: str = OPERATOR,
    as_json: bool = JSON,
) -> None:
    """Change whose a station is, which cards count there, whether it may be used, its profile."""
    if availability is not None and availability not in {"operative", "inoperative"}:
        fail(f"there is no availability {availability!r}", "operative or inoperative")
    wanted = StationChange(
        owner, paid_only, cards, cast("stations.Availability | None", availability), connector,
        profile, _pairs(members) or None,
    )  # fmt: skip
    if wanted == StationChange(connector=connector):
        options = "--owner, --paid-only, --cards-without-auth, --availability, --profile or --set"
        fail("nothing to change", options)

    async def work(database: Database) -> StationView:
        async with database.transaction() as connection:
            await stations.change_station(
                connection,
                station=name,
                change=wanted,
                now=utc_now(),
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )
            return await stations.get_station(connection, name)

    view = with_database(work)
    notify_station(view.station.id)
    if as_json:
        typer.echo(json.dumps(station_row(view, utc_now())))
        return
    for line in station_lines(view, utc_now()):
        console.print(line)


async def _outcome(database: Database, queued: Command, within_s: float) -> Command:
    """Returns the command with its outcome, or as it is after `within_s`."""
    waited_s = 0.0
    while True:
        async with database.connection() as connection:
            stored = await stations.get_command(connection, queued.id)
        if stored.state in _ENDED or waited_s >= within_s:
            return stored
        await asyncio.sleep(_LOOK_S)
        waited_s += _LOOK_S


def _pairs(arguments: Sequence[str]) -> Mapping[str, str]:
    given: dict[str, str] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not equals:
            fail(f"{argument!r} is no argument", "NAME=VALUE, as kind=soft")
        if name in given:
            fail(f"{name} is given twice")
        given[name] = value
    return given


def _print(stored: Command, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(command_row(stored)))
        return
    outcome = stored.state
    if stored.state == "timed_out":
        was_sent = stored.sent_at is not None
        outcome = (
            "timed out: sent, and no answer came; it may have been carried out"
            if was_sent
            else "timed out: the station was not there in time, nothing was sent"
        )
    console.print(f"command {stored.id} {stored.action}: {outcome}")
    for name, value in (stored.response or {}).items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        console.print(f"  {name}: {shown}")
