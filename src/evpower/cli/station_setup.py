"""`evpower station setup`: which configuration keys a station has, and what was written."""

import getpass
import json
from typing import TYPE_CHECKING, Final

import typer

from evpower.cli.notify import notify_station
from evpower.cli.out import console, errors
from evpower.cli.settings import with_database
from evpower.foundation.clock import to_z, utc_now
from evpower.foundation.db import Database

if TYPE_CHECKING:
    from evpower.stations import SetupKey, StationSetup

_OUTCOMES: Final = {
    "as_wanted": "as wanted",
    "to_write": "not written",
    "written": "written",
    "written_after_reboot": "written, counts after a reboot",
    "read_only": "read-only",
    "refused": "the station refused it",
    "absent": "the station has no such key",
    "shown": "",
    "autostart": "it may start by itself: check",
}
_FAILURES: Final = {
    "refused": "the station refused it",
    "no_answer": "no answer came",
    "not_delivered": "the station was not there; it begins again when it connects",
}
_TEST_CHARGE: Final = (
    "now make a test charge: one by app, one plug-in without any card that must not charge"
)


def register(group: typer.Typer) -> None:
    """Adds the command to `evpower station`."""
    group.command()(setup)


def setup(
    name: str = typer.Argument(help="Its id, another name of it, or its post code."),
    run: bool = typer.Option(False, "--run", help="Begin one now, as after a new firmware."),
    reason: str = typer.Option("", "--reason", help="Why, for the audit."),
    operator: str = typer.Option("", "--operator", help="Who does this; the login name else."),
    as_json: bool = typer.Option(False, "--json", help="Print JSON."),
) -> None:
    """Show the set-up of a station key by key: wanted, actual, written. Or begin it anew."""
    from evpower import stations

    async def work(database: Database) -> "tuple[str, StationSetup | None]":
        async with database.transaction() as connection:
            if run:
                begun = await stations.request_setup(
                    connection,
                    station=name,
                    now=utc_now(),
                    actor=operator or getpass.getuser(),
                    reason=reason or None,
                )
                return begun.station_id, begun
            station_id = (await stations.get_station(connection, name)).station.id
            return station_id, await stations.latest_setup(connection, station_id)

    station_id, latest = with_database(work)
    if run:
        notify_station(station_id)
    if as_json:
        typer.echo(json.dumps(_row(station_id, latest)))
        return
    if latest is None:
        begins = "it begins at the next boot with a password, or by --run"
        console.print(f"{station_id}  never set up: {begins}")
        return
    for line in _lines(latest):
        console.print(line)
    if latest.state == "done":
        errors.print(_TEST_CHARGE)


def _row(station_id: str, latest: "StationSetup | None") -> dict[str, object]:
    if latest is None:
        return {"station": station_id, "state": None, "keys": []}
    return {
        "station": station_id,
        "state": latest.state,
        "failure": latest.failure,
        "vendor": latest.vendor,
        "model": latest.model,
        "firmware": latest.firmware,
        "actor": latest.actor,
        "started_at": to_z(latest.started_at),
        "ended_at": to_z(latest.ended_at) if latest.ended_at else None,
        "keys": [
            {
                "key": key.key,
                "wanted": key.wanted,
                "actual": key.actual,
                "readonly": key.is_readonly,
                "outcome": key.outcome,
            }
            for key in latest.keys
        ],
        "test_charge_suggested": latest.state == "done",
    }


def _lines(latest: "StationSetup") -> list[str]:
    device = ", ".join(part for part in (latest.vendor, latest.model, latest.firmware) if part)
    failure = f": {_FAILURES[latest.failure]}" if latest.failure else ""
    lines = [
        f"{latest.station_id}  set-up {latest.id} {latest.state}{failure}",
        f"  of        {device or 'no firmware known'}, {to_z(latest.started_at)} by {latest.actor}",
    ]
    lines += [f"  {_line(key)}" for key in latest.keys]
    return lines


def _line(key: "SetupKey") -> str:
    actual = "-" if key.actual is None else key.actual or '""'
    wanted = "" if key.wanted is None else f", wanted {key.wanted}"
    outcome = _OUTCOMES.get(key.outcome, key.outcome)
    readonly = " (read-only)" if key.is_readonly and key.outcome != "read_only" else ""
    return f"{key.key} = {actual}{readonly}{wanted}" + (f": {outcome}" if outcome else "")
