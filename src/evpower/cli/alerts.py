"""`evpower alert`: what an operator should look at, and whether it is sent."""

import asyncio
import getpass
import json
from typing import Any

import typer

from evpower import alerts
from evpower.alerts import Alert
from evpower.cli.out import console, counted, fail, styled
from evpower.cli.settings import load, logs_to_stderr, outgoing_http, with_database
from evpower.config import Settings
from evpower.foundation.clock import to_z, utc_now
from evpower.foundation.db import Database
from evpower.foundation.text import checked

alert = typer.Typer(help="What an operator should look at.", no_args_is_help=True)
_JSON = typer.Option(False, "--json", help="Print JSON.")
_ID = typer.Argument(min=1, max=2**63 - 1, help="The alert's number.")
_MOST_NOTE = 500


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
            if kind:
                await alerts.check_kind(connection, kind)
            return await alerts.list_alerts(
                connection,
                kinds=[kind] if kind else None,
                subject=subject or None,
                with_closed=with_closed,
                limit=limit,
            )

    listed = with_database(work)
    if as_json:
        typer.echo(json.dumps([_row(item) for item in listed]))
        return
    for item in listed:
        console.print(_line(item))
    if not listed:
        console.print("no alerts")


@alert.command()
def show(alert_id: int = _ID, as_json: bool = _JSON) -> None:
    """Show an alert, and what to do."""

    async def work(database: Database) -> Alert:
        async with database.connection() as connection:
            return await alerts.find_alert(connection, alert_id)

    _print(with_database(work), as_json=as_json)


@alert.command()
def acknowledge(
    alert_id: int = _ID,
    note: str = typer.Option("", "--note", help="What you say of it."),
    operator: str = typer.Option("", "--operator", help="Who does this; the login by default."),
    as_json: bool = _JSON,
) -> None:
    """Take an open alert up: its repeats are sent no more. Its cause closes it."""
    actor = f"operator:{operator or getpass.getuser()}"

    async def work(database: Database) -> Alert:
        text = checked(note.strip(), "note", most=_MOST_NOTE) or None
        async with database.transaction() as connection:
            return await alerts.acknowledge_alert(
                connection, alert_id, actor=actor, note=text, now=utc_now()
            )

    _print(with_database(work), as_json=as_json)


@alert.command("test-delivery")
def try_delivery(as_json: bool = _JSON) -> None:
    """Send a test message through each channel, and say which one failed and why."""
    settings = load()
    if wrong := alerts.channel_problems(settings):
        fail("the settings of alerts make no sense:\n  - " + "\n  - ".join(wrong))
    with logs_to_stderr():
        results = asyncio.run(_send_test(settings))
    if as_json:
        typer.echo(json.dumps({name: error is None for name, error in results.items()}))
    for name, error in results.items():
        if not as_json and error is None:
            console.print(styled(("ok   ", "green"), f"{name}: accepted"))
        elif not as_json:
            console.print(styled(("bad  ", "bold red"), f"{name}: {error}"))
    if not results:
        fail("no channel is set", "EVPOWER_ALERT_WEBHOOK_URL, EVPOWER_ALERT_SMTP_URL: README.md")
    if any(error is not None for error in results.values()):
        raise typer.Exit(1)


async def _send_test(settings: Settings) -> dict[alerts.ChannelName, str | None]:
    async with outgoing_http(settings) as http:
        channels = alerts.configured_channels(settings, http)
        return dict(await alerts.send_test(channels, utc_now()))


def _print(item: Alert, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_row(item)))
        return
    facts = alerts.facts_of(item.kind)
    console.print(_line(item))
    for language in alerts.LANGUAGES:
        console.print(f"  {language}  {facts.title[language]}. {facts.act[language]}")
    console.print(f"  last seen {to_z(item.last_seen_at)}")
    if item.closed_at is not None:
        console.print(f"  closed {to_z(item.closed_at)}")
    if item.acknowledged_at is not None:
        note = f": {item.note}" if item.note else ""
        console.print(f"  taken up {to_z(item.acknowledged_at)} by {item.acknowledged_by}{note}")


def _line(item: Alert) -> str:
    state = "open  " if item.closed_at is None else "closed"
    severity = alerts.facts_of(item.kind).severity
    detail = json.dumps(dict(item.detail), ensure_ascii=False)
    seen = counted(item.count, "time")
    return (
        f"{to_z(item.opened_at)}  {state}  #{item.id}  {severity}  {item.kind}  {item.subject}  "
        f"{seen}  {detail}"
    )


def _row(item: Alert) -> dict[str, Any]:
    facts = alerts.facts_of(item.kind)
    return {
        "id": item.id,
        "kind": item.kind,
        "severity": facts.severity,
        "subject": item.subject,
        "title": facts.title["en"],
        "act": facts.act["en"],
        "detail": dict(item.detail),
        "count": item.count,
        "opened_at": to_z(item.opened_at),
        "last_seen_at": to_z(item.last_seen_at),
        "closed_at": item.closed_at and to_z(item.closed_at),
        "acknowledged_at": item.acknowledged_at and to_z(item.acknowledged_at),
        "acknowledged_by": item.acknowledged_by,
        "note": item.note,
    }
