"""What `evpower identity` prints of a plan and a run."""

import json
from collections.abc import Sequence
from dataclasses import asdict

import typer

from evpower import client_migration as moving
from evpower.cli.out import console, counted, fail, styled
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
                f"{done.failed} failed, {counted(done.conflicts, 'conflict')}, "
                f"{done.invalid} invalid"
            )
    if done is not None and done.failed:
        fail(f"{done.failed} failed", "evpower identity migrate --resume tries them again")
    if done is not None and done.conflicts + done.invalid:
        fail(
            _left_text(done),
            f"evpower identity conflicts --run {done.run}; docs/migrate-ids.md says what to do",
        )


def _left_text(done: moving.RunSummary) -> str:
    texts: list[str] = []
    if done.conflicts:
        verb = "needs" if done.conflicts == 1 else "need"
        texts.append(f"{counted(done.conflicts, 'row')} {verb} a decision")
    if done.invalid:
        verb = "is" if done.invalid == 1 else "are"
        texts.append(f"{counted(done.invalid, 'row')} {verb} invalid")
    return ", ".join(texts)


def _print_plan(rows: moving.RowSource, planned: moving.PlanResult, *, dry_run: bool) -> None:
    counts = planned.counts
    would = "would be" if dry_run else "to be"
    console.print(
        f"{counted(counts.read, 'row')}: {counts.link} {would} linked, "
        f"{counts.create} {would} created, "
        f"{counts.add} {would} added to, {counts.skip} moved before, "
        f"{counted(counts.conflict, 'conflict')}, {counts.invalid} invalid"
    )
    if counts.id_tags:
        console.print(counted(counts.id_tags, "id tag"))
    if counts.balances:
        console.print(
            f"{counted(counts.balances, 'balance')}, {to_text(counts.balance_minor)} som, "
            f"{would} carried over"
        )
    if counts.passwords_unknown:
        console.print(
            styled(
                (counted(counts.passwords_unknown, "password"), "yellow"),
                " hashed in a way Supabase Auth can't check: the owner sets a new one",
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
    """Prints the count of each plan and reason, each with those of its rows in `troubles`."""
    for kind in kinds:
        why = moving.reason_text(kind.reason)
        console.print(styled((kind.plan, "yellow"), f" {kind.rows}: {why}"))
        for trouble in troubles:
            if (trouble.plan, trouble.reason) == (kind.plan, kind.reason):
                detail = f" ({trouble.detail})" if trouble.detail else ""
                console.print(
                    f"    line {trouble.line}  {trouble.old_id}: {trouble.reason}{detail}"
                )
