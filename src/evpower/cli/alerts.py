"""`evpower alert`: what an operator should look at."""

import json
from typing import Any

import typer

from evpower.alerts import Alert, list_alerts
from evpower.cli.out import console, counted
from evpower.cli.settings import with_database
from evpower.foundation.clock import to_z
from evpower.foundation.db import Database

alert = typer.Typer(help="What an operator should look at.", no_args_is_help=True)
_JSON = typer.Option(False, "--json", help="Print JSON.")


@alert.command("list")
def list_(
    kind: str = typer.Option("", "--kind", help="Of one kind."),
    subject: str = typer.Option("", "--subject", help="About one station or session."),
    with_closed: bool = typer.Option(False, "--closed", help="Also those that are closed."),
    limit: int = typer.Option(100, "--limit", min=1, max=1_000, help="At most this many."),
    as_json: bool = _JSON,
) -> None:
    """List the open alerts, the newest first."""

    async def work(database: Database) -> list[Alert]:
        async with database.connection() as connection:
            return await list_alerts(
                connection,
                kind=kind or None,
                subject=subject or None,
                with_closed=with_closed,
                limit=limit,
            )

    listed = with_database(work)
    if as_json:
        typer.echo(json.dumps([_row(item) for item in listed]))
        return
    for item in listed:
        state = "open  " if item.closed_at is None else "closed"
        seen = counted(item.count, "time")
        detail = json.dumps(dict(item.detail), ensure_ascii=False)
        console.print(
            f"{to_z(item.opened_at)}  {state}  {item.kind}  {item.subject}  {seen}  {detail}"
        )
    if not listed:
        console.print("no alerts")


def _row(item: Alert) -> dict[str, Any]:
    return {
        "id": item.id,
        "kind": item.kind,
        "subject": item.subject,
        "detail": dict(item.detail),
        "count": item.count,
        "opened_at": to_z(item.opened_at),
        "last_seen_at": to_z(item.last_seen_at),
        "closed_at": item.closed_at and to_z(item.closed_at),
    }
