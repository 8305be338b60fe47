"""`evpower sync`: what Supabase lacks, whether both sides are equal, and how to repair it."""

import getpass
import json
from collections import Counter
from dataclasses import asdict
from typing import cast
from uuid import UUID

import typer

from evpower import client_migration
from evpower import sync as synced
from evpower.cli.notify import notifying
from evpower.cli.out import console, counted, fail, progress, styled
from evpower.cli.remote import with_supabase
from evpower.cli.settings import load_checked, with_database
from evpower.cli.sync_report import facts_text, print_loops
from evpower.cli.sync_words import words
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.foundation.money import to_text
from evpower.identity import WaitingConfirmations, waiting_confirmations

sync = typer.Typer(help="Keep Supabase and EvPower equal.", no_args_is_help=True)
sync.add_typer(words, name="words")
_JSON = typer.Option(False, "--json", help="One JSON line.")
_SHOWN = 20
_RUNS = {"full": "everything", "recent": "recent changes", "on_demand": "on demand"}


@sync.command()
def status(as_json: bool = _JSON) -> None:
    """Show what is not in Supabase yet, what is parked and why, and how long changes take."""

    async def work(database: Database) -> tuple[synced.SyncStatus, WaitingConfirmations]:
        async with database.connection() as connection:
            return await synced.status(connection), await waiting_confirmations(connection)

    now, mails = with_database(work)
    if as_json:
        row = {
            "pending": now.pending,
            "oldest_s": now.oldest_s,
            "parked": now.parked,
            "lag_p50_ms": now.lag.p50_ms or 0,
            "lag_p99_ms": now.lag.p99_ms or 0,
            "transactions": now.lag.transactions,
            "target": now.target,
            "drift": now.drift,
            "notices": now.notices,
            "runs": [
                {
                    "kind": run.kind,
                    "finished_at": run.finished_at.isoformat() if run.finished_at else None,
                    "error": run.error,
                    **run.counts,
                }
                for run in now.runs
            ],
            "last_error": now.last_error,
            "changes": now.inbound.source,
            "changes_age_s": now.inbound.age_s,
            "scanning": now.inbound.scanning,
            "scanned": now.inbound.scanned,
            "users_failed": now.inbound.failed,
            "contacts_waiting": now.inbound.contacts,
            "confirmations_waiting": mails.count,
            "confirmations_oldest_s": mails.oldest_s,
            "confirmations_error": mails.error,
            "loops": [
                {
                    "node": loop.node,
                    "loop": loop.loop,
                    "last_round_at": loop.finished_at.isoformat() if loop.finished_at else None,
                    "error": loop.error or None,
                    "overdue": loop.overdue or loop.lost,
                }
                for loop in now.loops
            ],
        }
        typer.echo(json.dumps(row))
        return
    console.print(
        f"Supabase   {now.target}" + (f": {now.target_error}" if now.target_error else "")
    )
    age = f", the oldest for {now.oldest_s:.0f} s" if now.oldest_s else ""
    console.print(
        f"pending    {now.pending} ({counted(now.pending_clients, 'client')}, "
        f"{counted(now.pending_sessions, 'session')}){age}"
    )
    console.print(f"parked     {now.parked}")
    for parked in now.parked_keys:
        console.print(f"           {parked.topic} {parked.key}: {parked.reason}")
    if now.lag.p50_ms is not None:
        console.print(
            f"lag        p50 {now.lag.p50_ms} ms, p99 {now.lag.p99_ms} ms "
            f"({now.lag.transactions} transactions in 15 minutes)"
        )
    _tell_checks(now)
    if now.last_error:
        console.print(f"last error {now.last_error}")
    _tell_inbound(now.inbound)
    if mails.count:
        console.print(
            f"mails      {mails.count} confirmations wait, the oldest for {mails.oldest_s:.0f} s"
            + (f": {mails.error}" if mails.error else ""),
        )
    print_loops(now.loops)


def _tell_checks(now: synced.SyncStatus) -> None:
    notices = f" and {now.notices} worth knowing" if now.notices else ""
    console.print(f"drift      {now.drift}{notices}")
    for run in now.runs:
        counts = run.counts
        ended = f"{run.finished_at:%F %T}" if run.finished_at is not None else "under way"
        console.print(
            f"check      {_RUNS[run.kind]}: {ended}, {counted(counts.get('client', 0), 'client')}, "
            f"{counts.get('drift', 0)} differed, {counts.get('closed', 0)} repaired"
            + (f"; waits: {run.error}" if run.error else ""),
        )


def _tell_inbound(now: synced.InboundStatus) -> None:
    source = now.source + (f": {now.source_error}" if now.source_error else "")
    age = f", read to the end {now.age_s:.0f} s ago" if now.age_s is not None else ""
    console.print(f"changes    {source}{age}")
    if now.scanning:
        console.print(f"           full scan under way, {counted(now.scanned, 'user')} so far")
    elif now.scanned_at is not None:
        console.print(
            f"           full scan of {counted(now.scanned, 'user')} finished at "
            f"{now.scanned_at:%F %T}"
        )
    if now.resets:
        console.print(f"           Supabase was restored {counted(now.resets, 'time')}")
    console.print(f"failed     {now.failed}")
    for failure in now.failed_users:
        console.print(f"           {failure.client_id}: {failure.reason}")
    console.print(f"contacts   {now.contacts} wait until another client releases them")


@sync.command()
def pull(
    everyone: bool = typer.Option(
        False, "--all", help="Read all users of Supabase again, not only what changed."
    ),
    as_json: bool = _JSON,
) -> None:
    """Apply what changed in Supabase, now."""

    async def work(database: Database, rpc: synced.SupabaseRpc) -> synced.PullResult:
        puller = synced.Puller(database, rpc, load_checked(), utc_now)
        if not everyone:
            return await puller.drain()
        with progress("scanned") as step:
            return await puller.scan_all(lambda done: step(done, None))

    with notifying():
        done = with_supabase(work)
    if as_json:
        names = ("changes", "scanned", "applied", "created", "closed", "failed", "reset", "error")
        typer.echo(json.dumps({name: getattr(done, name) for name in names}))
    else:
        console.print(
            f"{counted(done.changes, 'change')}, {counted(done.scanned, 'user')} scanned:"
            f" {done.applied} applied,"
            f" {done.created} of them new, {done.closed} closed"
        )
    if done.error is not None:
        fail(f"Supabase: {done.error}", "evpower doctor names the cause.")
    if done.failed:
        fail(f"{done.failed} could not be applied", "evpower sync status")


@sync.command()
def check(
    repair: bool = typer.Option(
        False, "--repair", help="Repair what one side is right about: money here, profiles there."
    ),
    overwrite_ahead: bool = typer.Option(
        False,
        "--overwrite-ahead",
        help="With --repair: also where Supabase is ahead or the histories diverge; its rows are"
        " archived there first.",
    ),
    as_json: bool = _JSON,
) -> None:
    """Compare every profile, client and session on both sides; exit 1 when something differs."""

    async def work(database: Database, rpc: synced.SupabaseRpc) -> synced.RunResult:
        relay = synced.Relay(database, rpc, load_checked(), utc_now)
        with progress("compared") as step:
            return await synced.check(
                database,
                rpc,
                repair=repair,
                overwrite_ahead=overwrite_ahead,
                deliver=relay.drain if repair else None,
                on_progress=lambda at: step(at.done, at.total),
            )

    if overwrite_ahead and not repair:
        fail("--overwrite-ahead goes with --repair", "docs/runbook.md")
    with notifying(on=repair):
        result = with_supabase(work)
    left = result.differ - result.closed
    if as_json:
        row = {
            "run": result.run_id,
            "users": result.users,
            "clients": result.clients,
            "sessions": result.sessions,
            "transactions": result.transactions,
            "in_flight": result.in_flight,
            "foreign_sessions": result.foreign_sessions,
            "foreign_transactions": result.foreign_transactions,
            "notices": result.notices,
            "drift": left,
            "closed": result.closed,
        }
        typer.echo(json.dumps(row))
    else:
        _tell_checked(result)
    if left:
        fail(f"{left} differ", _next_step(result, repaired=repair))
    if not as_json:
        repaired = f", {result.closed} repaired" if result.closed else ""
        console.print(styled(("equal", "green"), repaired))


def _next_step(result: synced.RunResult, *, repaired: bool) -> str:
    """Returns the command that helps: a repair writes no opening balance, and failed if it ran."""
    if {drift.kind for drift in result.drift} == {"opening"} and len(result.drift) == result.differ:
        return "evpower sync import-balances imports opening balances (docs/deploy.md, step 6)"
    return "docs/runbook.md" if repaired else "evpower sync check --repair"


def _tell_checked(result: synced.RunResult) -> None:
    console.print(
        f"{counted(result.clients, 'client')} with {counted(result.transactions, 'transaction')}, "
        f"{counted(result.sessions, 'session')}; {result.in_flight} still under way"
    )
    if result.foreign_transactions or result.foreign_sessions:
        console.print(
            f"from before EvPower, left alone: "
            f"{counted(result.foreign_transactions, 'transaction')}, "
            f"{counted(result.foreign_sessions, 'session')}"
        )
    for drift in result.drift[:_SHOWN]:
        fields = f" ({', '.join(drift.fields)})" if drift.fields else ""
        name = (drift.title, "red")
        console.print(styled(name, f": {drift.action}{fields}"))
        for side, facts in (("here ", drift.ours), ("there", drift.theirs)):
            console.print(f"    {side} {facts_text(facts, drift.fields)}")
    for notice in result.notice_sample[:_SHOWN]:
        name = (f"{notice.topic} {notice.key}", "yellow")
        console.print(styled(name, f": {notice.action}"))
    shown = min(len(result.drift), _SHOWN) + min(len(result.notice_sample), _SHOWN)
    if more := result.differ + result.notices - shown:
        console.print(
            f"and {more} more: select * from sync.drift where run_id = {result.run_id}",
        )


@sync.command()
def replay(
    topic: str = typer.Argument("", help="client or session; nothing: every parked key."),
    key: str = typer.Argument("", help="Its id."),
) -> None:
    """Try parked keys again, or send one client or session again from its start."""
    if topic not in {"", "client", "session"}:
        fail(f"there is no topic {topic!r}", "client or session")
    if topic and not key:
        fail("name a topic and an id", "evpower sync replay client <uuid>")

    async def work(database: Database) -> int:
        async with database.transaction() as connection:
            if not topic:
                return await synced.replay_parked(connection)
            await synced.replay(connection, cast("synced.ComparedTopic", topic), _uuid(key))
            return 1

    console.print(f"{with_database(work)} to send again")


@sync.command()
def backfill(
    topic: str = typer.Argument("", help="client or session; nothing: both."),
    from_scratch: bool = typer.Option(
        False, "--from-scratch", help="Supabase was emptied: send every transaction again."
    ),
) -> None:
    """Mark every client and session to be sent; a run that was stopped carries on."""
    if topic not in {"", "client", "session"}:
        fail(f"there is no topic {topic!r}", "client or session")
    topics = (cast("synced.ComparedTopic", topic),) if topic else ("client", "session")

    async def work(database: Database) -> synced.BackfillResult:
        with progress("marked") as step:
            return await synced.backfill(
                database,
                topics,
                from_scratch=from_scratch,
                on_progress=lambda at: step(at.done, at.total),
            )

    done = with_database(work)
    console.print(
        f"marked: {counted(done.clients, 'client')} and {counted(done.sessions, 'session')}; "
        "a running worker sends them (evpower sync status)"
    )


@sync.command("import-balances")
def import_balances(
    reason: str = typer.Option(..., "--reason", help="Why, for the audit."),
    operator: str = typer.Option(
        "", "--operator", help="Who does this; the login name by default."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only tell what would be done."),
    as_json: bool = _JSON,
) -> None:
    """Import the balances Supabase had before EvPower; exit 1 when any was not imported."""

    async def work(database: Database, rpc: synced.SupabaseRpc) -> client_migration.OpeningBalances:
        with progress("read" if dry_run else "imported") as step:
            return await client_migration.import_opening_balances(
                database,
                rpc,
                operator=operator or getpass.getuser(),
                reason=reason,
                clock=utc_now,
                dry_run=dry_run,
                on_progress=lambda at: step(at.done, at.total),
            )

    with notifying(on=not dry_run):
        done = with_supabase(work)
    if as_json:
        row = asdict(done) | {
            "dry_run": dry_run,
            "sum": to_text(done.imported_minor),
            "rounded_by": str(done.rounded_by),
        }
        typer.echo(json.dumps(row))
    else:
        _tell_imported(done, dry_run=dry_run)
    if done.skipped and not dry_run:
        fail(f"{len(done.skipped)} not imported", "docs/deploy.md says what to do with each")


@sync.command(
    "adopt",
    hidden=True,
    add_help_option=False,
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
)
def renamed_import_balances() -> None:
    """Name the command that took the place of this one."""
    fail("evpower sync adopt is now evpower sync import-balances.", code=2)


def _tell_imported(done: client_migration.OpeningBalances, *, dry_run: bool) -> None:
    would = "would import" if dry_run else "imported"
    console.print(
        f"{would} {counted(done.imported, 'balance')}, {to_text(done.imported_minor)} som; "
        f"{done.already} were imported before and are on their way"
    )
    if done.rounded:
        console.print(f"{done.rounded} rounded to tyiyn, {done.rounded_by:+f} som altogether")
    if done.blocked:
        console.print(f"{done.blocked} blocked, as in Supabase")
    for reason, count in Counter(row.reason for row in done.skipped).items():
        console.print(styled(("not imported", "yellow"), f" {count}: {reason}"))
    for row in done.skipped[:_SHOWN]:
        console.print(f"    {row.id} {row.balance}: {row.reason}")


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        fail(f"{text!r} is not an id")
