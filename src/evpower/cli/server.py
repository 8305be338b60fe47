"""`evpower serve`, `migrate`, `doctor` and `openapi`."""

import asyncio
import json
import sys

import typer

from evpower.cli.out import console, errors, fail, styled
from evpower.cli.settings import database_url, load, load_checked


def register(app: typer.Typer) -> None:
    """Adds the commands to the tree."""
    app.command()(serve)
    app.command()(migrate)
    app.command()(doctor)
    app.command()(openapi)


def serve(
    role: str = typer.Option(
        "all",
        help="all, api (HTTP only), stations (sockets of stations only) or worker (jobs only).",
    ),
    host: str = typer.Option("", help="Address to listen on; EVPOWER_HOST by default."),
    port: int | None = typer.Option(
        None, min=1, max=65535, help="Port to listen on; EVPOWER_PORT by default."
    ),
) -> None:
    """Run EvPower; refused with a list when a setting is missing or unsafe."""
    if role not in {"all", "api", "stations", "worker"}:
        fail(f"there is no role {role!r}", "all, api, stations or worker")
    settings = load_checked()
    changes: dict[str, str | int] = {}
    if host:
        changes["host"] = host
    if port is not None:
        changes["port"] = port
    from evpower import bootstrap

    sys.exit(bootstrap.serve(settings.model_copy(update=changes), role))  # type: ignore[arg-type]


def migrate() -> None:
    """Bring EvPower's database up to date."""
    import asyncpg

    from evpower.foundation import migrations
    from evpower.foundation.db import UnreadableAddress

    url = database_url(load())
    try:
        done = asyncio.run(migrations.migrate(url, errors.print))
    except migrations.MigrationError as error:
        fail(str(error))
    except (OSError, asyncpg.PostgresError, UnreadableAddress) as error:
        fail(f"the database does not let us in: {error}", "Check EVPOWER_DATABASE_URL.")
    console.print(f"applied {len(done)}, up to date" if done else "up to date")


def doctor(
    as_json: bool = typer.Option(False, "--json", help="One JSON line."),
    read_only: bool = typer.Option(
        False, "--read-only", help="Send no change notification, sign no user in."
    ),
) -> None:
    """Look at the database, Supabase, keys and clocks, and name the fix of what is wrong.

    A change notification is sent and waited for, and a user of doctor's own (no client) is created
    in Supabase Auth, signed in and deleted.
    """
    from evpower.cli.doctor import examine

    findings = asyncio.run(examine(load(), may_write=not read_only))
    if as_json:
        rows = [{"name": f.name, "ok": f.ok, "detail": f.detail, "fix": f.fix} for f in findings]
        typer.echo(json.dumps(rows))
    else:
        for finding in findings:
            marks = {True: ("ok   ", "green"), False: ("bad  ", "bold red"), None: ("--   ", "dim")}
            line = styled(marks[finding.ok], f"{finding.name}: {finding.detail}")
            console.print(line)
            if finding.ok is False:
                console.print(f"      fix: {finding.fix}")
    if any(finding.ok is False for finding in findings):
        raise typer.Exit(1)


def openapi() -> None:
    """Print the OpenAPI description."""
    from evpower import bootstrap

    typer.echo(json.dumps(bootstrap.openapi(), indent=2, ensure_ascii=False, sort_keys=True))
