"""`evpower ledger`: prove that the money is right, on the live database."""

import json

import typer

from evpower import wallet
from evpower.cli.out import console, counted, fail, progress, styled
from evpower.cli.settings import with_database
from evpower.foundation.db import Database

ledger = typer.Typer(help="Prove the money.", no_args_is_help=True)
_SHOWN = 20


@ledger.callback()
def _root() -> None:
    """Prove the money."""


@ledger.command()
def verify(as_json: bool = typer.Option(False, "--json", help="One JSON line.")) -> None:
    """Prove every wallet and bill: versions, chain, causes, holds, debts; exit 1 if wrong."""

    async def work(database: Database) -> wallet.LedgerReport:
        with progress("rows proved") as step:
            return await wallet.verify(database, on_progress=step)

    report = with_database(work)
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "wallets": report.wallets,
                    "transactions": report.transactions,
                    "discrepancies": report.count,
                    "lines": [_line(item) for item in report.discrepancies[:_SHOWN]],
                }
            )
        )
    else:
        wallets = counted(report.wallets, "wallet")
        console.print(f"{wallets}, {counted(report.transactions, 'transaction')}")
        for item in report.discrepancies[:_SHOWN]:
            console.print(styled((_line(item), "red")))
    if report.count:
        noun = "discrepancy" if report.count == 1 else "discrepancies"
        fail(f"{report.count} {noun}", "docs/runbook.md, “ledger verify fails”.")
    if not as_json:
        console.print(styled(("every som is accounted for", "green")))


def _line(item: wallet.Discrepancy) -> str:
    client = f"client {item.client_id} " if item.client_id else ""
    return f"{client}{item.subject}: {item.rule}, expected {item.expected}, found {item.actual}"
