"""`evpower station simulate`: run charging stations against a CSMS."""

import asyncio
import signal
from typing import TYPE_CHECKING, Final, NoReturn

import typer

from evpower.cli.out import ProgressStep, console, counted, fail, progress

if TYPE_CHECKING:
    from evpower.simulator import ConnectFailed, Fleet, StationEvent

MAX_STATIONS: Final = 10_000
_W_PER_KW: Final = 1_000
_LISTED: Final = 10  # stations; the events of more are not read by anyone
_QUIET: Final = frozenset({"command", "transaction_known"})
_HINTS: Final = {
    "refused": "is the server running, and is the port right?",
    "unauthorized": "--password takes the station's key",
    "speed": "evpower station add ... --simulator makes one that may have a speed",
    "unknown_station": "add the station to the server first, or check the path of --url",
    "no_host": "check the name in --url",
}


def register(group: typer.Typer) -> None:
    """Adds the command to `evpower station`."""
    group.command()(simulate)


def _list_personas(persona: str) -> str:
    """Returns a persona's name; for `list` it prints them all and ends."""
    from evpower.simulator import PERSONAS

    if persona != "list":
        return persona
    for name, value in PERSONAS.items():
        console.print(f"{name}: {value.summary}")
    raise typer.Exit


def simulate(  # noqa: PLR0913, PLR0917 - a command's options
    station_id: str = typer.Option(..., "--id", help="The station's id."),
    url: str = typer.Option(..., "--url", help="Without the id: ws://127.0.0.1:9210/ocpp."),
    count: int | None = typer.Option(
        None, "--count", min=1, max=MAX_STATIONS, help="Run ID-1 to ID-COUNT."
    ),
    connectors: int = typer.Option(1, "--connectors", min=1, max=32, help="Of each station."),
    power_kw: float = typer.Option(
        60.0, "--power-kw", min=0.001, max=10_000, help="Rated power of each connector."
    ),
    speed: float = typer.Option(
        1.0, "--speed", min=0.001, max=100_000, help="Multiplies power, never time."
    ),
    password: str | None = typer.Option(None, "--password", help="The stations' Basic password."),
    persona: str = typer.Option(
        "plain",
        "--persona",
        callback=_list_personas,
        is_eager=True,
        help="A station in the field, with its faults; `list` names them.",
    ),
    seed: int = typer.Option(0, "--seed", help="Of all random choices."),
    sample_s: int | None = typer.Option(
        None, "--sample-s", min=1, max=86_400, help="Seconds between meter values; 60 by default."
    ),
    at: list[str] = typer.Option(
        [], "--at", help="What happens when: '30 lose-network', '60 card A1B2C3D4E5F6'. Repeatable."
    ),
) -> None:
    """Run stations of OCPP 1.6J; a car comes with each remote start. Ctrl-C ends."""
    from evpower.simulator import ACTS, PERSONAS, ConnectFailed, StationConfig, make_fleet, read_act

    if persona not in PERSONAS:
        fail(f"no persona {persona}", f"there are: {', '.join(PERSONAS)}")
    try:
        plan = [read_act(text) for text in at]
    except ValueError as error:
        fail(f"--at {error}", f"seconds and an act: {', '.join(ACTS)}")
    config = StationConfig(
        id=station_id,
        url=url,
        password=password,
        connectors=connectors,
        rated_power_w=round(power_kw * _W_PER_KW),
        speed=speed,
        plugs_itself=True,
    )
    total = count or 1
    online: set[str] = set()

    def run(show: ProgressStep | None) -> tuple["Fleet", int]:
        def on_event(event: "StationEvent") -> None:
            if show is None:
                _print_event(event)
            elif event.name in {"online", "connection_lost"}:
                (online.add if event.name == "online" else online.discard)(event.station)
                show(len(online), total)

        fleet = make_fleet(
            config, count=count, persona=persona, seed=seed, sample_s=sample_s, plan=plan,
            on_event=on_event,
        )  # fmt: skip
        return fleet, asyncio.run(_run_until_signal(fleet))

    try:
        if total <= _LISTED:
            fleet, unsent = run(None)
        else:
            with progress("stations online") as show:
                fleet, unsent = run(show)
    except ConnectFailed as error:
        _fail_to_connect(error)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    _print_totals(fleet, unsent)


async def _run_until_signal(fleet: "Fleet") -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def end() -> None:
        stop.set()
        loop.remove_signal_handler(signal.SIGINT)  # the next Ctrl-C ends at once

    loop.add_signal_handler(signal.SIGINT, end)
    loop.add_signal_handler(signal.SIGTERM, end)
    return await fleet.run(stop)


def _print_event(event: "StationEvent") -> None:
    if event.name in _QUIET:
        return
    place = event.station if event.connector is None else f"{event.station}/{event.connector}"
    console.print(f"{place} {event.name.replace('_', ' ')} {event.text}".rstrip())


def _print_totals(fleet: "Fleet", unsent: int) -> None:
    charges = sum(len(station.transactions) for station in fleet.stations)
    console.print(f"delivered {fleet.delivered_wh} Wh in {counted(charges, 'transaction')}")
    violations = [text for station in fleet.stations for text in station.violations]
    for text in sorted(set(violations)):
        console.print(f"the server sent against the schemas of OCPP 1.6: {text}")
    if unsent:
        console.print(f"{counted(unsent, 'message')} could not be sent")


def _fail_to_connect(error: "ConnectFailed") -> NoReturn:
    fail(str(error), _HINTS.get(error.reason, ""))
