"""`evpower tariff`: save plans, say where they apply, price examples."""

import getpass
import json
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, NoReturn, cast

import typer

from evpower import tariffs
from evpower.cli.out import console, errors, fail
from evpower.cli.settings import MAX_NUMBER, with_database
from evpower.cli.tariffs_clients import client
from evpower.cli.tariffs_preview import preview
from evpower.cli.tariffs_report import (
    assigned_nowhere,
    assignment_line,
    assignment_row,
    flaw_line,
    print_cost,
    version_line,
    version_row,
)
from evpower.foundation.clock import to_z, utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Invalid, NotFound
from evpower.foundation.json_reader import NotJson, read_handwritten_json
from evpower.tariffs import Flaw, Scope, Snapshot, Tariff, TariffVersion

tariff = typer.Typer(help="Prices: plans, where they apply, what they cost.", no_args_is_help=True)
tariff.add_typer(client, name="client")
tariff.command()(preview)
_JSON = typer.Option(False, "--json", help="Print JSON.")
_OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
_REASON = typer.Option("", "--reason", help="Why, for the audit.")
_FROM = typer.Option(
    "", "--from", help="When it begins; without a zone in the tariff's. Now by default."
)


@tariff.command()
def save(
    file: Path = typer.Argument(help="A JSON file, see docs/tariffs.md."),
    valid_from: str = _FROM,
    draft: bool = typer.Option(False, "--draft", help="Store it, and put it in force later."),
    reason: str = _REASON,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Save a file as the next version of its plan; a plan's price changes where it applies."""
    if draft and valid_from:
        fail("a draft does not begin", "leave out --from, or --draft")
    plan, document = _plan_file(file)
    read = _checked(document, "saved", as_json=as_json)

    async def work(database: Database) -> tariffs.SavedTariff:
        now = utc_now()
        begins = None if draft else _begins(read, valid_from, now)
        async with database.transaction() as connection:
            return await tariffs.save(
                connection,
                plan=plan,
                document=document,
                valid_from=begins,
                now=now,
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )

    saved = with_database(work)
    if as_json:
        row = version_row(saved.version, utc_now())
        warnings = [flaw._asdict() for flaw in saved.warnings]
        typer.echo(json.dumps(row | {"is_new": saved.is_new, "warnings": warnings}))
        return
    for flaw in saved.warnings:
        errors.print(f"warning: {flaw_line(flaw)}")
    how = "saved" if saved.is_new else "nothing changed"
    console.print(f"{how}: {version_line(saved.version, utc_now())}")


@tariff.command()
def activate(
    plan: str = typer.Argument(help="The plan's code."),
    version: int = typer.Argument(..., min=1, max=MAX_NUMBER, help="The draft's number."),
    valid_from: str = _FROM,
    reason: str = _REASON,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Put a draft in force, now or from a time on."""

    async def work(database: Database) -> TariffVersion:
        now = utc_now()
        async with database.transaction() as connection:
            draft = await tariffs.get_plan(connection, plan, at=now, number=version)
            return await tariffs.activate(
                connection,
                plan=plan,
                number=version,
                valid_from=_begins(draft.tariff, valid_from, now),
                now=now,
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )

    active = with_database(work)
    if as_json:
        typer.echo(json.dumps(version_row(active, utc_now())))
    else:
        console.print(version_line(active, utc_now()))


@tariff.command()
def assign(  # noqa: PLR0913, PLR0917 - a command's options
    plan: str = typer.Argument("", help="The plan's code; leave it out with --none."),
    everywhere: bool = typer.Option(False, "--everywhere", help="All that has no plan of its own."),
    location: str = typer.Option("", "--location", help="A location's id or name."),
    station: str = typer.Option("", "--station", help="A station, by any of its names."),
    connector: str = typer.Option("", "--connector", help="STATION/NUMBER."),
    none: bool = typer.Option(False, "--none", help="No plan of its own: the wider scope's again."),
    valid_from: str = _FROM,
    reason: str = _REASON,
    operator: str = _OPERATOR,
    as_json: bool = _JSON,
) -> None:
    """Say where a plan applies, and from when; the narrowest scope with a plan counts."""
    named: list[tuple[Scope, str]] = [
        ("location", location), ("station", station), ("connector", connector),
    ]  # fmt: skip
    scopes: list[tuple[Scope, str]] = [pair for pair in named if pair[1]]
    if everywhere:
        scopes.append(("everything", ""))
    if len(scopes) != 1:
        fail("one place is needed", "--everywhere, --location, --station or --connector")
    if bool(plan) == none:
        fail("either a plan or --none", "evpower tariff assign PLAN --everywhere")
    [(scope, name)] = scopes

    async def work(database: Database) -> tuple[str, datetime]:
        now = utc_now()
        async with database.transaction() as connection:
            known = await _find_place(connection, scope, name, ends_at=now if none else None)
            if known is None:
                errors.print(f"there is no {scope} {name} yet: the plan waits for it")
            scope_id = name if known is None else known
            begins = await _assignment_begins(connection, plan, valid_from, now)
            await tariffs.assign(
                connection,
                scope=scope,
                scope_id=scope_id,
                plan=plan or None,
                valid_from=begins,
                now=now,
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )
            return scope_id, begins

    scope_id, begins = with_database(work)
    row = {"scope": scope, "scope_id": scope_id, "plan": plan or None, "valid_from": to_z(begins)}
    if as_json:
        typer.echo(json.dumps(row))
    else:
        console.print(assignment_line(row))


@tariff.command()
def quote(
    source: str = typer.Argument(help="A plan's code, or a tariff file that ends in .json."),
    energy: str = typer.Option("", "--energy", help="kWh, flowing evenly."),
    minutes: int = typer.Option(60, "--minutes", min=0, help="How long it flows."),
    parked_minutes: int = typer.Option(
        0, "--parked-minutes", min=0, help="How long the car stays when it is done."
    ),
    start: str = typer.Option("", "--start", help="When; without a zone in the tariff's. Now."),
    samples: Path | None = typer.Option(None, "--samples", help="A JSON list of meter values."),
    version: int | None = typer.Option(None, "--version", min=1, max=MAX_NUMBER, help="Of a plan."),
    as_json: bool = _JSON,
) -> None:
    """Price an example, and show of which parts it is made."""
    if bool(energy) == (samples is not None):
        fail("either an energy or samples", "--energy 20 --minutes 40, or --samples FILE")
    now = utc_now()
    label, read = _quoted_tariff(source, version, start, now)
    try:
        started_at = tariffs.local_time(read, start) if start else now
        if samples is not None:
            session = tariffs.quote_samples(read, started_at=started_at, raw=_read_json(samples))
        else:
            wh = tariffs.read_energy_wh(energy)
            session = tariffs.quote_even(
                read,
                started_at=started_at,
                energy_wh=wh,
                minutes=minutes,
                parked_minutes=parked_minutes,
            )
    except Invalid as error:
        fail(error.for_operators)
    cost = tariffs.cost_document(read, session)
    if as_json:
        typer.echo(json.dumps(label | cost))
    else:
        print_cost(read, session, cost)


@tariff.command("list")
def list_plans(as_json: bool = _JSON) -> None:
    """List the plans and where they apply, now and later, and drafts."""
    now = utc_now()

    async def work(database: Database) -> tuple[list[TariffVersion], list[dict[str, object]]]:
        async with database.connection() as connection:
            plans = await tariffs.list_plans(connection, now)
            assigned = await tariffs.list_assignments(connection, now)
            nowhere = await assigned_nowhere(connection, assigned)
        return plans, [
            assignment_row(assignment) | {"has_place": assignment not in nowhere}
            for assignment in assigned
        ]

    plans, rows = with_database(work)
    if as_json:
        listed = [version_row(version, now) for version in plans]
        typer.echo(json.dumps({"plans": listed, "assignments": rows}))
        return
    for version in plans:
        console.print(version_line(version, now))
    for row in rows:
        console.print(assignment_line(row))
    if not plans:
        console.print("no plan: evpower tariff save FILE")


@tariff.command()
def show(
    plan: str = typer.Argument(help="The plan's code."),
    version: int | None = typer.Option(
        None, "--version", min=1, max=MAX_NUMBER, help="The newest by default."
    ),
    as_json: bool = _JSON,
) -> None:
    """Print the text of a version as `save` reads it, and the plan's versions to stderr."""
    now = utc_now()

    async def work(database: Database) -> tuple[list[TariffVersion], Snapshot]:
        async with database.connection() as connection:
            versions = await tariffs.list_versions(connection, plan)
            number = version or versions[0].number
            return versions, await tariffs.get_plan(connection, plan, at=now, number=number)

    versions, snapshot = with_database(work)
    document = {"plan": plan} | tariffs.write_tariff(snapshot.tariff)
    if as_json:
        listed = [version_row(stored, now) for stored in versions]
        typer.echo(json.dumps({"versions": listed, "document": document}))
        return
    for stored in versions:
        errors.print(version_line(stored, now))
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))


def _plan_file(file: Path) -> tuple[str, Mapping[str, Any]]:
    """Returns the plan's code and the rest of a file."""
    document = _read_json(file)
    if not isinstance(document, dict):
        fail(f"{file} is no JSON object", "docs/tariffs.md has examples")
    fields = dict(cast("Mapping[str, Any]", document))
    plan = fields.pop("plan", None)
    if not isinstance(plan, str):
        fail(f"{file} names no plan", '"plan": "day-night"')
    return plan, fields


def _read_json(file: Path) -> object:
    try:
        return read_handwritten_json(file.read_bytes())
    except (OSError, NotJson) as error:
        fail(f"{file} can't be read: {error}")


def _checked(document: Mapping[str, Any], purpose: str, *, as_json: bool = False) -> Tariff:
    try:
        read = tariffs.read_tariff(document)
        tariffs.check(read)
    except tariffs.InvalidTariff as error:
        _refuse(error.flaws, purpose, as_json=as_json)
    return read


def _refuse(flaws: tuple[Flaw, ...], purpose: str, *, as_json: bool) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"errors": [flaw._asdict() for flaw in flaws]}))
    lines = "\n  ".join(flaw_line(flaw) for flaw in flaws)
    fail(f"the tariff can't be {purpose}:\n  {lines}")


def _quoted_tariff(
    source: str, version: int | None, start: str, now: datetime
) -> tuple[dict[str, object], Tariff]:
    """Returns which tariff is quoted, and the tariff."""
    if source.endswith(".json"):
        plan, document = _plan_file(Path(source))
        return {"plan": plan, "version": None}, _checked(document, "quoted")

    async def work(database: Database) -> Snapshot:
        async with database.connection() as connection:
            versions = await tariffs.list_versions(connection, source)
            newest = tariffs.snapshot_of(versions[0]).tariff
            at = tariffs.local_time(newest, start) if start else now
            return await tariffs.get_plan(connection, source, at=at, number=version)

    snapshot = with_database(work)
    return {"plan": snapshot.plan, "version": snapshot.version}, snapshot.tariff


async def _find_place(
    connection: Connection, scope: "Scope", name: str, *, ends_at: datetime | None
) -> str | None:
    """Returns the id under which sessions look a place up; None: there is no such place."""
    from evpower import stations

    try:
        return await tariffs.place_id(connection, stations.find_place, scope, name, ends_at=ends_at)
    except NotFound:
        return None


async def _assignment_begins(
    connection: Connection, plan: str, valid_from: str, now: datetime
) -> datetime:
    if not valid_from:
        return now
    newest = (await tariffs.list_versions(connection, plan))[0] if plan else None
    tariff_of_plan = tariffs.snapshot_of(newest).tariff if newest else Tariff(elements=())
    return tariffs.local_time(tariff_of_plan, valid_from)


def _begins(read: Tariff, valid_from: str, now: datetime) -> datetime:
    return tariffs.local_time(read, valid_from) if valid_from else now
