"""`evpower push`: the key of push messages, and whether they are sent."""

import json
from datetime import timedelta
from typing import Any, Final, get_args

import typer

from evpower import push
from evpower.cli.out import console, errors
from evpower.cli.settings import load, with_database
from evpower.foundation.clock import to_z, utc_now
from evpower.foundation.db import Database
from evpower.push import PushState

push_group = typer.Typer(help="Messages to drivers whose app is closed.", no_args_is_help=True)
_DAY: Final = timedelta(days=1)


@push_group.command()
def keys() -> None:
    """Make a key for Web Push and print it, this once; nothing is stored.

    A subscription is made for one key: with another one, browsers have to subscribe anew.
    """
    private = push.make_private_key()
    typer.echo(f"EVPOWER_PUSH_VAPID_PRIVATE_KEY={private}")
    errors.print(
        f"The public key, which apps get from the API: {push.read_private_key(private).public}\n"
        "Set EVPOWER_PUSH_CONTACT=mailto:... too."
    )


@push_group.command()
def status(as_json: bool = typer.Option(False, "--json", help="Print JSON.")) -> None:
    """Show how many devices there are, what waits, and what was given up in the last day."""
    is_configured = push.push_settings(load()) is not None

    async def work(database: Database) -> list[PushState]:
        async with database.connection() as connection:
            return await push.push_states(connection, get_args(push.DeviceKind), utc_now(), _DAY)

    states = with_database(work)
    if as_json:
        rows = {state.kind: _row(state) for state in states}
        typer.echo(json.dumps({"web_push_configured": is_configured, "kinds": rows}))
        return
    console.print(f"Web Push is {'set up' if is_configured else 'not set up (EVPOWER_PUSH_*)'}")
    for state in states:
        line = f"{state.kind:4} {state.devices} devices, {state.waiting} messages waiting"
        if state.given_up:
            line += f", {state.given_up} given up in the last day"
        console.print(line + (f": {state.error}" if state.error else ""))


def _row(state: PushState) -> dict[str, Any]:
    return {
        "devices": state.devices,
        "waiting": state.waiting,
        "oldest_at": None if state.oldest_at is None else to_z(state.oldest_at),
        "given_up": state.given_up,
        "error": state.error,
    }
