"""`evpower dev` and `evpower demo`: the whole stack on this machine."""

import asyncio
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from evpower.cli.out import console, errors, fail, styled

if TYPE_CHECKING:
    from evpower.devstack import Urls

DEFAULT_DATA = Path(".evpower")
_BANKS: Final = ("sandbox", "odengi")


def register(app: typer.Typer) -> None:
    """Adds the commands to the tree."""
    app.command()(dev)
    app.command()(demo)


def dev(
    port: int = typer.Option(9210, min=0, max=65535, help="Where EvPower answers; 0: a free one."),
    supabase_port: int = typer.Option(
        54321, min=0, max=65535, help="Where the local Supabase answers."
    ),
    sandbox_port: int = typer.Option(9211, min=0, max=65535, help="Where the bank answers."),
    bank: str = typer.Option(
        "sandbox", help="Which bank: sandbox, or odengi, a simulator of O!Dengi."
    ),
    data: Path = typer.Option(DEFAULT_DATA / "dev", help="The data folder."),
    fresh: bool = typer.Option(False, "--fresh", help="Begin with an empty data folder."),
    as_json: bool = typer.Option(False, "--json", help="Print one JSON line when ready."),
) -> None:
    """Run PostgreSQL, a local Supabase, a bank and EvPower; Ctrl-C ends all of it."""
    from evpower.devstack import DevstackError

    if bank not in _BANKS:
        fail(f"there is no bank {bank}", f"--bank takes {' or '.join(_BANKS)}")
    try:
        died = asyncio.run(
            _dev(port, supabase_port, sandbox_port, data, bank, fresh=fresh, as_json=as_json)
        )
    except DevstackError as error:
        fail(error.problem, error.fix)
    if died is not None:
        fail(f"{died} ended by itself", f"Its last words are in {data}/*.log.")


async def _dev(
    port: int,
    supabase_port: int,
    sandbox_port: int,
    data: Path,
    bank: str,
    *,
    fresh: bool,
    as_json: bool,
) -> str | None:
    from evpower.devstack import LocalEvPower

    evpower = LocalEvPower(
        data,
        port=port,
        supabase_port=supabase_port,
        sandbox_port=sandbox_port,
        fresh=fresh,
        bank="odengi" if bank == "odengi" else "sandbox",
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if not as_json:
        errors.print("Starting PostgreSQL, Supabase, the bank and EvPower…")
    starting = asyncio.create_task(evpower.start())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return None
    await starting
    try:
        urls = evpower.urls()
        if as_json:
            sys.stdout.write(urls.to_json() + "\n")
            sys.stdout.flush()
        else:
            _print_urls(evpower.settings_file, urls)
        watching = asyncio.create_task(evpower.stack.watch())
        await asyncio.wait({watching, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return watching.result() if watching.done() else None
    finally:
        await evpower.stop()


def _print_urls(settings: Path, urls: "Urls") -> None:
    ready = styled(("ready", "bold green"), f"  EvPower   {urls.api}   (docs: {urls.api}/docs)")
    console.print(ready)
    console.print(f"       Supabase  {urls.supabase}")
    console.print(f"       bank      {urls.sandbox}")
    console.print(f"       stations  {urls.ocpp}/ID")
    sms = settings.parent / "evpower-all.log"
    console.print(f"       SMS       the codes of sign-in by phone are in {sms}")
    console.print("\nFor other commands, its keys and addresses in another terminal:")
    sys.stdout.write(f"  . {shlex.quote(str(settings))}\n")
    sys.stdout.write("\nCtrl-C ends everything; the data stays for the next start.\n")
    sys.stdout.flush()


def demo(
    keep: bool = typer.Option(False, "--keep", help="Leave the stack running and print its URLs."),
    drivers: int = typer.Option(20, min=2, max=500, help="How many drivers."),
    data: Path = typer.Option(DEFAULT_DATA / "demo", help="The data folder; emptied first."),
) -> None:
    """Do the main job for real: register, pay, charge, lose Supabase, end equal on both sides."""
    from evpower.devstack import Demo, DemoFailed, DevstackError

    async def run() -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - inside asyncio.run there is one
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        await Demo(data, drivers=drivers, keep=keep, console=console).run()

    try:
        asyncio.run(run())
    except DevstackError as error:
        fail(error.problem, error.fix)
    except DemoFailed as error:
        fail(str(error), f"The logs are in {data}.")
    except (KeyboardInterrupt, asyncio.CancelledError):
        fail("stopped before the end", code=130)
