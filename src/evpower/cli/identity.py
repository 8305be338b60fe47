"""`evpower identity`: move clients from old ids to one id, confirm it or take it back."""

import asyncio
import getpass
import json
import logging
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import typer

from evpower import client_migration as moving
from evpower import payments
from evpower import sync as synced
from evpower.cli.identity_report import print_troubles, tell
from evpower.cli.notify import notifying
from evpower.cli.out import console, counted, errors, fail, progress, styled
from evpower.cli.settings import (
    MAX_NUMBER,
    load_checked,
    logs_to_stderr,
    outgoing_http,
    with_database,
)
from evpower.config import Settings
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import EvPowerError
from evpower.identity import Contact, SupabaseAdmin

T = TypeVar("T")

identity = typer.Typer(help="Move clients from old ids to one id.", no_args_is_help=True)
_JSON = typer.Option(False, "--json", help="One JSON line.")
_RUN = typer.Option(None, "--run", min=1, max=MAX_NUMBER, help="Its number; the newest by default.")
_MOVED_RUN = typer.Option(
    None,
    "--run",
    min=1,
    max=MAX_NUMBER,
    help="Its number; by default the newest that moved anybody and is not final.",
)
_OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
_PER_SECOND = typer.Option(50.0, "--per-second", min=0.1, help="Calls of Supabase Auth, at most.")


@dataclass(frozen=True, slots=True)
class _Parts:
    settings: Settings
    db: Database
    admin: SupabaseAdmin
    rpc: synced.SupabaseRpc


@identity.command("migrate")
def migrate(  # noqa: PLR0913, PLR0917 - a command's options
    source: str = typer.Option(..., "--source", help="A CSV file, or postgres://user@host/db."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only tell what would be done."),
    resume: bool = typer.Option(
        False, "--resume", help="Carry on with a run that was stopped; begin one if none was."
    ),
    table: str = typer.Option("clients", "--table", help="Of the database: schema.table."),
    query: str = typer.Option("", "--query", help="Of the database: a select instead of a table."),
    mapped: list[str] = typer.Option(
        [], "--map", help="field=column where the names differ; field= leaves it out."
    ),
    unconfirmed: list[str] = typer.Option(
        [], "--unconfirmed", help="email or phone: the old system never confirmed it."
    ),
    trust: list[str] = typer.Option(
        [],
        "--trust-auth",
        help="email or phone: trust any that Auth confirmed, even without a message. Dangerous.",
    ),
    report: Path | None = typer.Option(None, "--report", help="Write every row's plan to a CSV."),
    per_second: float = _PER_SECOND,
    at_once: int = typer.Option(8, "--at-once", min=1, max=40, help="Calls at the same time."),
    reason: str = typer.Option("moved from the old system", "--reason", help="For the audit."),
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Give every old client its Supabase user, and keep its old id; exit 1 when any was left."""
    rows = _source(source, table, query, mapped, unconfirmed)
    trusted = _contacts("--trust-auth", trust)
    actor = operator or getpass.getuser()

    async def work(parts: _Parts) -> tuple[moving.PlanResult | None, moving.RunSummary | None]:
        run, planned = None, None
        if resume and not dry_run:
            async with parts.db.transaction() as connection:
                run = await moving.resumable(connection)
        if run is None:
            with progress("read") as step:
                planned = await moving.plan(
                    parts.db,
                    rows,
                    _all_users(parts, trusted),
                    actor=actor,
                    dry_run=dry_run,
                    verified_users=moving.users_by_admin(parts.admin),
                    trusted=trusted,
                    report=report,
                    on_progress=step,
                )
            run = planned.run
        if run is None:
            return planned, None
        options = moving.ExecuteOptions(
            moving.RateLimiter(per_second), at_once, parts.settings.register_confirm, trusted
        )
        with progress("moved") as step, _stopped_by_signals() as stop:
            done = await moving.execute(
                parts.db, parts.admin, rows, run,
                credit_balance=_carrier(actor, reason), options=options, stop=stop,
                on_progress=step, actor=actor,
            )  # fmt: skip
        return planned, done

    with notifying(on=not dry_run):
        planned, done = _with_parts(
            work, connections=at_once + 4, again="The same command with --resume carries on."
        )
    tell(rows, planned, done, dry_run=dry_run, as_json=as_json)


@identity.command()
def status(as_json: bool = _JSON) -> None:
    """Show every run and what became of its rows."""

    async def work(database: Database) -> list[moving.RunStatus]:
        async with database.transaction() as connection:
            return await moving.run_statuses(connection)

    runs = with_database(work)
    if as_json:
        typer.echo(json.dumps([asdict(run) | {"started_at": str(run.started_at)} for run in runs]))
        return
    for run in runs:
        console.print(
            f"run {run.id}  {run.state}  {run.started_at:%Y-%m-%d %H:%M}Z  {run.source}",
        )
        console.print(
            f"    {counted(run.rows_read, 'row')}: {run.linked} linked, {run.created} created, "
            f"{run.added} added to, {run.rows_skipped} moved before, "
            f"{counted(run.conflicts, 'conflict')}, "
            f"{run.invalid} invalid, {run.left} left"
        )
        if run.reverted or run.retained:
            console.print(
                f"    {run.reverted} taken back, {run.retained} retained as they are in use"
            )
        if run.passwords_to_reset:
            console.print(f"    {run.passwords_to_reset} must set a new password")
    if not runs:
        console.print("no run yet")


@identity.command()
def conflicts(
    run: int | None = _RUN,
    limit: int = typer.Option(
        1000, "--limit", min=1, max=MAX_NUMBER, help="How many are listed; all are counted."
    ),
    as_json: bool = _JSON,
) -> None:
    """Show the rows that a run did not move, with the reason of each."""

    async def work(
        database: Database,
    ) -> tuple[list[moving.TroubleCount], list[moving.Trouble]]:
        async with database.transaction() as connection:
            run_id = await moving.newest(connection) if run is None else run
            if run_id is None:
                return [], []
            kinds = await moving.count_troubles(connection, run_id)
            return kinds, await moving.troubles_of(connection, run_id, limit)

    kinds, troubles = with_database(work)
    if as_json:
        typer.echo(json.dumps([asdict(trouble) for trouble in troubles]))
        return
    print_troubles(kinds, troubles)
    if more := sum(kind.rows for kind in kinds) - len(troubles):
        console.print(f"    … and {more} more: --limit {len(troubles) + more} lists them")
    if not troubles:
        console.print(styled(("none", "green")))


@identity.command()
def decide(
    old_id: str,
    client_id: UUID = typer.Argument(..., help="The Supabase user's id."),
    reason: str = typer.Option(..., "--reason", help="How you know, for the audit."),
    operator: str = _OPERATOR,
) -> None:
    """Settle a conflict: say whom an old client is; the next migrate does it."""

    async def work(database: Database) -> None:
        async with database.transaction() as connection:
            await moving.decide(
                connection, old_id, client_id, actor=operator or getpass.getuser(), reason=reason
            )

    with_database(work)
    console.print(f"{old_id} will be {client_id}: run migrate again")


@identity.command()
def revert(
    run: int | None = _MOVED_RUN,
    per_second: float = _PER_SECOND,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Revert a run for the clients that are not in use."""

    async def work(parts: _Parts) -> moving.RevertResult:
        with progress("looked at") as step:
            return await moving.revert(
                parts.db,
                parts.admin,
                run,
                actor=operator or getpass.getuser(),
                rate_limiter=moving.RateLimiter(per_second),
                on_progress=step,
            )

    with notifying():
        done = _with_parts(work, connections=4)
    if as_json:
        typer.echo(json.dumps(asdict(done)))
        return
    console.print(
        f"run {done.run}: removed aliases of clients who were there before: {done.aliases}, "
        f"deleted users: {done.users}, retained as they are in use: {done.retained}"
    )
    if done.retained:
        console.print(f"evpower identity conflicts --run {done.run} names them")


@identity.command()
def confirm(run: int | None = _MOVED_RUN, operator: str = _OPERATOR) -> None:
    """Make a run final: it can't be taken back any more."""

    async def work(database: Database) -> moving.Run:
        async with database.transaction() as connection:
            return await moving.confirm(connection, run, actor=operator or getpass.getuser())

    console.print(f"run {with_database(work).id} is final")


def _source(
    source: str, table: str, query: str, mapped: Sequence[str], unconfirmed: Sequence[str]
) -> moving.RowSource:
    names: dict[str, str] = {}
    for mapping in mapped:
        field, equals, column = mapping.partition("=")
        if not equals or field not in moving.FIELDS:
            fail(
                f"--map {mapping!r}: say field=column",
                f"fields: {', '.join(moving.FIELDS)}",
            )
        names[field] = column
    doubted = _contacts("--unconfirmed", unconfirmed)
    try:
        if source.startswith(("postgres://", "postgresql://")):
            return moving.PostgresSource(
                source, table=table, query=query, mapped=names, unconfirmed=doubted
            )
    except moving.SourceError as error:
        fail(str(error))
    path = Path(source)
    if not path.is_file():
        shown_source = "this address" if "://" in source else source  # a URL may hold a password
        fail(f"{shown_source} is no file", "--source FILE.csv or postgres://user@host/db")
    return moving.CsvSource(path, mapped=names, unconfirmed=doubted)


def _contacts(option: str, words: Sequence[str]) -> frozenset[Contact]:
    kinds: dict[str, Contact] = {"email": "email", "phone": "phone"}
    if set(words) - set(kinds):
        fail(f"{option} is email or phone")
    return frozenset(kinds[word] for word in words)


async def _all_users(
    parts: _Parts, trusted: frozenset[Contact] = frozenset()
) -> AsyncGenerator[Sequence[moving.KnownUser]]:
    """Yields all users of Supabase: by its own function, or by the list of users without it."""
    pages = moving.users_by_rpc(parts.rpc, transient=synced.TargetUnavailable)
    try:
        yield await anext(pages)
    except synced.TargetRefuses as error:
        message = str(error)
        errors.print(
            f"evpower_people is not there ({message}): reading the users one page at a time"
        )
        pages = moving.users_by_admin(parts.admin, trusted=trusted)
    async for page in pages:
        yield page


def _carrier(actor: str, reason: str) -> moving.CreditBalance:
    """Returns what credits an old balance as a payment of provider manual (decision 0014)."""

    async def credit_balance(
        connection: Connection, client_id: UUID, old_id: str, balance_minor: int
    ) -> bool:
        posted = await payments.cash(
            connection,
            client_id=client_id,
            amount_minor=balance_minor,
            operator=actor,
            reason=f"{reason} (old id {old_id})"[:200],
            receipt=f"opening:{client_id}",
            now=utc_now(),
        )
        return posted.new

    return credit_balance


@contextmanager
def _stopped_by_signals() -> Generator[asyncio.Event]:
    """Makes the first Ctrl-C let running calls end; a second one ends at once."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)

    def end() -> None:
        stop.set()
        for number in signals:
            loop.remove_signal_handler(number)

    for number in signals:
        loop.add_signal_handler(number, end)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _with_parts(
    work: Callable[[_Parts], Awaitable[T]],
    *,
    connections: int,
    again: str = "The same command carries on.",
) -> T:
    settings = load_checked()

    async def run() -> T:
        # As the login itself: the role of the processes has no right to it (decision 0007).
        database = await Database.open(
            settings.database_url.get_secret_value(),
            size=connections,
            role=None,
        )
        try:
            async with outgoing_http(settings) as http:
                secret = settings.supabase_secret_key
                admin = SupabaseAdmin(
                    http=http,
                    url=settings.supabase_url,
                    secret_key=secret,
                    publishable_key=settings.supabase_publishable_key,
                )
                rpc = synced.SupabaseRpc(
                    http, settings.supabase_url, secret.get_secret_value(), timeout_s=30
                )
                return await work(_Parts(settings, database, admin, rpc))
        finally:
            await database.close()

    try:
        with logs_to_stderr(logging.ERROR):
            return asyncio.run(run())
    except moving.RunStopped as error:
        fail(str(error), again)
    except moving.SourceError as error:
        fail(str(error))
    except EvPowerError as error:
        fail(error.for_operators)
    except synced.SyncError as error:
        fail(f"Supabase: {error}", "evpower doctor names the cause.")
