"""What `evpower identity` prints of a plan and a run."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import typer

from evpower import client_migration as moving
from evpower.cli.out import console, fail, styled
from evpower.foundation.money import to_text

SHOWN = 20


def tell(
    rows: moving.RowSource,
    planned: moving.PlanResult | None,
    done: moving.RunSummary | None,
    *,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Prints what was planned and done; exits with 1 when something needs a decision."""
    if as_json:
        counts = asdict(planned.counts) if planned is not None else {}
        result = {"dry_run": dry_run, "plan": counts, "done": asdict(done) if done else None}
        typer.echo(json.dumps(result))
    else:
        if planned is not None:
            _print_plan(rows, planned, dry_run=dry_run)
        if done is not None:
            console.print(
                f"run {done.run}: {done.moved} moved now, {done.done} in all, "
                f"{done.failed} failed, {done.conflicts} conflicts, {done.invalid} invalid"
            )
    if done is not None and done.failed:
        fail(f"{done.failed} failed", "evpower identity migrate --resume tries them again")
    if done is not None and done.conflicts + done.invalid:
        fail(
            f"{done.conflicts + done.invalid} are for a person",
            f"evpower identity conflicts --run {done.run}; docs/migrate-ids.md says what to do",
        )


def _print_plan(rows: moving.RowSource, planned: moving.PlanResult, *, dry_run: bool) -> None:
    counts = planned.counts
    would = "would be" if dry_run else "to be"
    console.print(
        f"{counts.read} rows: {counts.link} {would} linked, {counts.create} {would} created, "
        f"{counts.add} {would} added to, {counts.skip} moved before, "
        f"{counts.conflict} conflicts, {counts.invalid} invalid"
    )
    if counts.id_tags:
        console.print(f"{counts.id_tags} id tags")
    if counts.balances:
        console.print(
            f"{counts.balances} balances, {to_text(counts.balance_minor)} som, {would} carried over"
        )
    if counts.passwords_unknown:
        console.print(
            styled(
                (f"{counts.passwords_unknown} passwords", "yellow"),
                " are hashed in a way Supabase Auth can't check: these people set a new one",
            )
        )
    for contact in ("email", "phone"):
        if contact in rows.fields and f"{contact}_confirmed" not in rows.fields:
            console.print(
                styled(
                    (f"no column says which {contact}s were confirmed", "yellow"),
                    ": they are taken for their owners' own; "
                    f"--unconfirmed {contact} if they were only typed",
                )
            )
    if dry_run:
        print_troubles(planned.kinds, planned.troubles[:SHOWN])
        if counts.conflict + counts.invalid > SHOWN:
            console.print("    … --json or --report FILE has all of them")


def print_troubles(
    kinds: Sequence[moving.TroubleCount], troubles: Sequence[moving.Trouble]
) -> None:
    """Prints the count of each plan and reason, and each of `troubles`."""
    for kind in kinds:
        why = moving.reason_text(kind.reason)
        console.print(styled((kind.plan, "yellow"), f" {kind.rows}: {why}"))
    for trouble in troubles:
        detail = f" ({trouble.detail})" if trouble.detail else ""
        console.print(f"    line {trouble.line}  {trouble.old_id}: {trouble.reason}{detail}")
