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
from evpower.cli.out import console, fail, progress, styled
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
_CHECKS = {"all": "everything", "hot": "what changed lately", "hand": "by hand"}


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
            "checks": [
                {
                    "kind": check.kind,
                    "finished_at": check.finished_at.isoformat() if check.finished_at else None,
                    "waits": check.error,
                    **check.counts,
                }
                for check in now.checks
            ],
            "last_error": now.last_error,
            "changes": now.incoming.source,
            "changes_age_s": now.incoming.age_s,
            "walking": now.incoming.walking,
            "walked": now.incoming.walked,
            "people_failed": now.incoming.failed,
            "contacts_waiting": now.incoming.contacts,
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
        f"pending    {now.pending} ({now.pending_clients} clients, "
        f"{now.pending_sessions} sessions){age}"
    )
    console.print(f"parked     {now.parked}")
    for parked in now.parked_keys:
        console.print(f"           {parked.topic} {parked.key}: {parked.why}")
    if now.lag.p50_ms is not None:
        console.print(
            f"lag        p50 {now.lag.p50_ms} ms, p99 {now.lag.p99_ms} ms "
            f"({now.lag.transactions} transactions in 15 minutes)"
        )
    _tell_checks(now)
    if now.last_error:
        console.print(f"last error {now.last_error}")
    _tell_incoming(now.incoming)
    if mails.count:
        console.print(
            f"mails      {mails.count} confirmations wait, the oldest for {mails.oldest_s:.0f} s"
            + (f": {mails.error}" if mails.error else ""),
        )
    print_loops(now.loops)


def _tell_checks(now: synced.SyncStatus) -> None:
    notices = f" and {now.notices} worth knowing" if now.notices else ""
    console.print(f"drift      {now.drift}{notices}")
    for check in now.checks:
        counts = check.counts
        ended = f"{check.finished_at:%F %T}" if check.finished_at is not None else "under way"
        console.print(
            f"check      {_CHECKS[check.kind]}: {ended}, {counts.get('client', 0)} clients, "
            f"{counts.get('drift', 0)} differed, {counts.get('healed', 0)} healed"
            + (f"; waits: {check.error}" if check.error else ""),
        )


def _tell_incoming(now: synced.Incoming) -> None:
    source = now.source + (f": {now.source_error}" if now.source_error else "")
    age = f", read to the end {now.age_s:.0f} s ago" if now.age_s is not None else ""
    console.print(f"changes    {source}{age}")
    if now.walking:
        console.print(f"           full scan under way, {now.walked} users so far")
    elif now.walked_at is not None:
        console.print(
            f"           full scan of {now.walked} users finished at {now.walked_at:%F %T}"
        )
    if now.resets:
        console.print(f"           Supabase was restored {now.resets} times")
    console.print(f"failed     {now.failed}")
    for user in now.failed_people:
        console.print(f"           {user.client_id}: {user.why}")
    console.print(f"contacts   {now.contacts} wait until another client releases them")


@sync.command()
def pull(
    everyone: bool = typer.Option(
        False, "--all", help="Read all users of Supabase again, not only what changed."
    ),
    as_json: bool = _JSON,
) -> None:
    """Apply what changed in Supabase, now."""

    async def work(database: Database, rpc: synced.SupabaseRpc) -> synced.Pulled:
        puller = synced.Puller(database, rpc, load_checked(), utc_now)
        if not everyone:
            return await puller.drain()
        with progress("looked at") as step:
            return await puller.walk_all(lambda done: step(done, None))

    with notifying():
        done = with_supabase(work)
    if as_json:
        names = ("changes", "walked", "accepted", "created", "closed", "failed", "reset", "error")
        typer.echo(json.dumps({name: getattr(done, name) for name in names}))
    else:
        console.print(
            f"{done.changes} changes, {done.walked} users read: {done.accepted} applied,"
            f" {done.created} of them new, {done.closed} closed"
        )
    if done.error is not None:
        fail(f"Supabase: {done.error}", "evpower doctor names the cause.")
    if done.failed:
        fail(f"{done.failed} could not be applied", "evpower sync status")


@sync.command()
def check(
    repair: bool = typer.Option(
        False,
        "--repair",
        help="Repair each side where the other is right: money here, profiles there.",
    ),
    overwrite_ahead: bool = typer.Option(
        False,
        "--overwrite-ahead",
        help="With --repair: also where Supabase knows more or the histories part; its rows are"
        " put aside there first.",
    ),
    as_json: bool = _JSON,
) -> None:
    """Compare every user, client and session on both sides; exit 1 when something differs."""

    async def work(database: Database, rpc: synced.SupabaseRpc) -> synced.Checked:
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
        checked = with_supabase(work)
    left = checked.differ - checked.healed
    if as_json:
        row = {
            "check": checked.check_id,
            "people": checked.people,
            "clients": checked.clients,
            "sessions": checked.sessions,
            "transactions": checked.transactions,
            "in_flight": checked.in_flight,
            "foreign_sessions": checked.foreign_sessions,
            "foreign_transactions": checked.foreign_transactions,
            "notices": checked.notices,
            "drift": left,
            "healed": checked.healed,
        }
        typer.echo(json.dumps(row))
    else:
        _tell_checked(checked)
    if left:
        fail(f"{left} differ", _next_step(checked, repaired=repair))
    if not as_json:
        healed = f", {checked.healed} healed" if checked.healed else ""
        console.print(styled(("equal", "green"), healed))


def _next_step(checked: synced.Checked, *, repaired: bool) -> str:
    """Returns the command that helps: a repair writes no opening balance, and failed if it ran."""
    is_all_shown = len(checked.drift) == checked.differ
    if is_all_shown and {drift.kind for drift in checked.drift} == {"opening"}:
        return "evpower sync adopt carries opening balances over (docs/deploy.md, step 6)"
    return "docs/runbook.md" if repaired else "evpower sync check --repair"


def _tell_checked(checked: synced.Checked) -> None:
    console.print(
        f"{checked.clients} clients with {checked.transactions} transactions, "
        f"{checked.sessions} sessions; {checked.in_flight} still under way"
    )
    if checked.foreign_transactions or checked.foreign_sessions:
        console.print(
            f"from before EvPower, left alone: {checked.foreign_transactions} transactions, "
            f"{checked.foreign_sessions} sessions"
        )
    for drift in checked.drift[:_SHOWN]:
        fields = f" ({', '.join(drift.fields)})" if drift.fields else ""
        name = (f"{drift.topic} {drift.key}", "red")
        console.print(styled(name, f": {drift.action}{fields}"))
        for side, facts in (("here ", drift.ours), ("there", drift.theirs)):
            console.print(f"    {side} {facts_text(facts, drift.fields)}")
    for notice in checked.told[:_SHOWN]:
        name = (f"{notice.topic} {notice.key}", "yellow")
        console.print(styled(name, f": {notice.action}"))
    shown = min(len(checked.drift), _SHOWN) + min(len(checked.told), _SHOWN)
    if more := checked.differ + checked.notices - shown:
        console.print(
            f"and {more} more: select * from sync.drift where check_id = {checked.check_id}",
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
            await synced.replay(connection, cast("synced.OutboxTopic", topic), _uuid(key))
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
    topics = (cast("synced.OutboxTopic", topic),) if topic else ("client", "session")

    async def work(database: Database) -> synced.Backfilled:
        with progress("marked") as step:
            return await synced.backfill(
                database,
                topics,
                from_scratch=from_scratch,
                on_progress=lambda at: step(at.done, at.total),
            )

    done = with_database(work)
    console.print(
        f"{done.clients} clients and {done.sessions} sessions are marked; "
        "a running worker sends them (evpower sync status)"
    )


@sync.command()
def adopt(
    reason: str = typer.Option(..., "--reason", help="Why, for the audit."),
    operator: str = typer.Option(
        "", "--operator", help="Who does this; the login name by default."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Only tell what would be done."),
    as_json: bool = _JSON,
) -> None:
    """Carry over the balances Supabase had before EvPower; exit 1 when any was not adopted."""

    async def work(database: Database, rpc: synced.SupabaseRpc) -> client_migration.Adopted:
        with progress("looked at" if dry_run else "adopted") as step:
            return await client_migration.adopt(
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
            "sum": to_text(done.adopted_minor),
            "rounded_by": str(done.rounded_by),
        }
        typer.echo(json.dumps(row))
    else:
        _tell_adopted(done, dry_run=dry_run)
    if done.left and not dry_run:
        fail(f"{len(done.left)} not adopted", "docs/deploy.md says what to do with each")


def _tell_adopted(done: client_migration.Adopted, *, dry_run: bool) -> None:
    would = "would adopt" if dry_run else "adopted"
    console.print(
        f"{would} {done.adopted} balances, {to_text(done.adopted_minor)} som; "
        f"{done.already} were adopted before and are on their way"
    )
    if done.rounded:
        console.print(f"{done.rounded} rounded to tyiyn, {done.rounded_by:+f} som altogether")
    if done.blocked:
        console.print(f"{done.blocked} blocked, as in Supabase")
    for why, count in Counter(left.why for left in done.left).items():
        console.print(styled(("not adopted", "yellow"), f" {count}: {why}"))
    for left in done.left[:_SHOWN]:
        console.print(f"    {left.id} {left.balance}: {left.why}")


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        fail(f"{text!r} is not an id")
