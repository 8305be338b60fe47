"""The command tree. Commands import what they need when they run, so that --help is quick."""

import typer

from evpower import __version__
from evpower.cli import (
    alerts,
    bank,
    cards,
    clients,
    clients_without_token,
    dev,
    identity,
    keys,
    ledger,
    payments_bank,
    payments_reconcile,
    push,
    reports,
    server,
    sessions,
    sign_in,
    simulate,
    station_forward,
    station_frames,
    station_free,
    station_setup,
    stations_command,
    stations_file,
    supabase,
    sync,
    tariffs,
    technicians,
)

app = typer.Typer(
    name="evpower",
    help="Backend of an EV-charging operator: a prepaid wallet, kept equal with Supabase.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
server.register(app)
dev.register(app)
simulate.register(stations_file.station)
stations_command.register(stations_file.station)
station_forward.register(stations_file.station)
station_frames.register(stations_file.station)
station_setup.register(stations_file.station)
station_free.register(stations_file.station)
clients.clients.add_typer(clients_without_token.listed, name="without-token")
app.add_typer(clients.clients, name="clients")
app.add_typer(keys.keys, name="keys")
app.add_typer(keys.operators, name="operators")
app.add_typer(sign_in.sign_in, name="sign-in")
app.add_typer(sign_in.keys, name="sign-in-keys")
payments_reconcile.register(payments_bank.payments)
app.add_typer(payments_bank.payments, name="payments")
app.add_typer(bank.bank, name="bank")
app.add_typer(tariffs.tariff, name="tariff")
app.add_typer(stations_file.station, name="station")
app.add_typer(alerts.alert, name="alert")
app.add_typer(push.push_group, name="push")
app.add_typer(reports.report, name="report")
app.add_typer(sessions.session, name="session")
app.add_typer(sessions.quarantine, name="quarantine")
app.add_typer(cards.card, name="card")
app.add_typer(technicians.technician, name="technician")
app.add_typer(ledger.ledger, name="ledger")
app.add_typer(sync.sync, name="sync")
app.add_typer(identity.identity, name="identity")
app.add_typer(supabase.supabase, name="supabase")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"evpower {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Backend of an EV-charging operator."""


def main() -> None:
    """Runs the command line."""
    app()
