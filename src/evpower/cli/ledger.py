"""`evpower ledger`: prove that the money is right, on the live database."""

import json

import typer

from evpower import wallet
from evpower.cli.out import console, fail, progress, styled
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
                    "offenders": report.offences,
                    "found": [_line(offender) for offender in report.offenders[:_SHOWN]],
                }
            )
        )
    else:
        console.print(f"{report.wallets} wallets, {report.transactions} transactions")
        for offender in report.offenders[:_SHOWN]:
            console.print(styled((_line(offender), "red")))
    if report.offences:
        fail(f"{report.offences} places are wrong", "docs/runbook.md, “ledger verify fails”.")
    if not as_json:
        console.print(styled(("every som is accounted for", "green")))


def _line(offender: wallet.Offender) -> str:
    client = f"client {offender.client_id} " if offender.client_id else ""
    return (
        f"{client}{offender.subject}: {offender.what}, "
        f"expected {offender.expected}, found {offender.found}"
    )
