"""`evpower station`: add stations, give them names, passwords and a version, retire them."""

import getpass
import json
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING, cast

import typer

from evpower import charging, stations
from evpower.cli.out import console, errors, fail
from evpower.cli.settings import with_database
from evpower.cli.stations_report import (
    SHOWN,
    StationLog,
    address_of,
    log_lines,
    log_rows,
    password_lines,
    station_lines,
    station_row,
    unknown_row,
)
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Invalid
from evpower.foundation.money import read_som

if TYPE_CHECKING:
    from evpower.stations import AddedStation, Location, NameKind, ProtocolVersion, StationDraft

station = typer.Typer(help="Charging stations.", no_args_is_help=True)
JSON = typer.Option(False, "--json", help="Print JSON.")
OPERATOR = typer.Option("", "--operator", help="Who does this; the login name by default.")
REASON = typer.Option("", "--reason", help="Why, for the audit.")
_STATION = typer.Argument(help="Its id, another name of it, or its post code.")
_ID = typer.Argument(help="The id as it stands in the station's settings.")
_LOCATION = typer.Option(..., "--location", help="A location's name or id; a new name makes one.")
_CONNECTORS = typer.Option(1, "--connectors", min=1, max=100, help="How many, numbered from 1.")
_POWER = typer.Option(..., "--power-kw", help="The rated power of each connector.")
_PRICE = typer.Option("", "--price-som", help="Som per kWh: saves a tariff and assigns it.")
_STANDARD = typer.Option("", "--standard", help="OCPI's word, such as GBT_DC; else by power.")
_OWNER = typer.Option("", "--owner", help="Whose the station is.")
_NO_AUTH = typer.Option(False, "--no-auth", help="It connects without a password.")
_SIMULATED = typer.Option(False, "--simulator", help="A simulated station, for tests.")
_Add = Callable[..., Awaitable["AddedStation"]]


@station.command()
def add(  # noqa: PLR0913, PLR0917 - a command's options
    station_id: str = _ID,
    location: str = _LOCATION,
    connectors: int = _CONNECTORS,
    power_kw: str = _POWER,
    price_som: str = _PRICE,
    standard: str = _STANDARD,
    owner: str = _OWNER,
    no_auth: bool = _NO_AUTH,
    simulated: bool = _SIMULATED,
    reason: str = REASON,
    operator: str = OPERATOR,
    as_json: bool = JSON,
) -> None:
    """Add a station; prints its address and, this once, its password."""
    draft = _draft(
        station_id, location, connectors, power_kw, standard, owner,
        no_auth=no_auth, simulated=simulated,
    )  # fmt: skip
    _add(stations.add_station, draft, price_som, operator, reason, as_json=as_json)


@station.command()
def accept(  # noqa: PLR0913, PLR0917 - a command's options
    station_id: str = typer.Argument(help="As `evpower station list --unknown` shows it."),
    location: str = _LOCATION,
    connectors: int = _CONNECTORS,
    power_kw: str = _POWER,
    price_som: str = _PRICE,
    standard: str = _STANDARD,
    owner: str = _OWNER,
    no_auth: bool = _NO_AUTH,
    reason: str = REASON,
    operator: str = OPERATOR,
    as_json: bool = JSON,
) -> None:
    """Add a station that tried to connect and is unknown."""
    draft = _draft(
        station_id, location, connectors, power_kw, standard, owner,
        no_auth=no_auth, simulated=False,
    )  # fmt: skip
    _add(stations.accept_station, draft, price_som, operator, reason, as_json=as_json)


@station.command("list")
def list_stations(
    location: str = typer.Option("", "--location", help="Only those of a location."),
    retired: bool = typer.Option(False, "--retired", help="Retired ones too."),
    unknown: bool = typer.Option(False, "--unknown", help="Names that were refused, and why."),
    as_json: bool = JSON,
) -> None:
    """List the stations, or with --unknown the names that tried to connect and were refused."""
    if unknown:
        _list_unknown(as_json=as_json)
        return

    async def work(database: Database) -> list[stations.StationView]:
        async with database.connection() as connection:
            return await stations.list_stations(
                connection, location=location or None, with_retired=retired
            )

    views = with_database(work)
    if as_json:
        typer.echo(json.dumps([station_row(view, utc_now()) for view in views]))
        return
    for view in views:
        console.print(station_lines(view, utc_now())[0])
    if not views:
        console.print("no station: evpower station add ID --location NAME --power-kw 22")


@station.command()
def show(name: str = _STATION, as_json: bool = JSON) -> None:
    """Show a station: names, profile, connectors, what it reports and does, its latest commands."""

    async def work(database: Database) -> tuple[stations.StationView, StationLog]:
        async with database.connection() as connection:
            view = await stations.get_station(connection, name)
            station_id = view.station.id
            return view, StationLog(
                await stations.list_connections(connection, station_id, SHOWN),
                await stations.list_statuses(connection, station_id, SHOWN),
                await stations.list_commands(connection, station_id, SHOWN),
                *await charging.list_meters(connection, station_id),
                await charging.list_free_periods(connection, station_id, limit=SHOWN),
            )

    view, log = with_database(work)
    now = utc_now()
    if as_json:
        typer.echo(json.dumps(station_row(view, now) | log_rows(log)))
        return
    for line in (*station_lines(view, now), *log_lines(log)):
        console.print(line)


@station.command()
def rename(
    name: str = _STATION,
    new_name: str = typer.Argument(help="A further name; those it has stay."),
    kind: str = typer.Option("ocpp", "--kind", help="ocpp (it connects by it), old_id or serial."),
    reason: str = REASON,
    operator: str = OPERATOR,
    as_json: bool = JSON,
) -> None:
    """Give a station a further name, by which it connects and is found."""
    if kind not in {"ocpp", "old_id", "serial"}:
        fail(f"there is no kind {kind!r}", "ocpp, old_id or serial")

    async def act(connection: Connection) -> None:
        await stations.rename_station(
            connection,
            station=name,
            name=new_name,
            kind=cast("NameKind", kind),
            actor=operator or getpass.getuser(),
            reason=reason or None,
        )

    _change(act, name, as_json=as_json)


@station.command()
def pin(
    name: str = _STATION,
    version: str = typer.Argument(help="ocpp1.6 or ocpp2.0.1; none: as each socket agrees."),
    reason: str = REASON,
    operator: str = OPERATOR,
    as_json: bool = JSON,
) -> None:
    """Let a station speak one version of OCPP only."""
    if version not in {*stations.VERSIONS, "none"}:
        fail(f"there is no version {version!r}", f"{', '.join(stations.VERSIONS)} or none")

    async def act(connection: Connection) -> None:
        await stations.pin_station(
            connection,
            station=name,
            version=None if version == "none" else cast("ProtocolVersion", version),
            actor=operator or getpass.getuser(),
            reason=reason or None,
        )

    _change(act, name, as_json=as_json)


@station.command()
def secure(
    name: str = _STATION,
    at_once: bool = typer.Option(False, "--at-once", help="End the one before now, not later."),
    reason: str = REASON,
    operator: str = OPERATOR,
    as_json: bool = JSON,
) -> None:
    """Make a new password and print it, this once; the one before counts until it is used."""

    async def work(database: Database) -> tuple[str, str]:
        async with database.transaction() as connection:
            password = await stations.secure_station(
                connection,
                station=name,
                at_once=at_once,
                actor=operator or getpass.getuser(),
                reason=reason or None,
            )
            view = await stations.get_station(connection, name)
            return view.station.id, password

    station_id, password = with_database(work)
    if as_json:
        row = {"id": station_id, "password": password, "password_hex": stations.as_hex(password)}
        typer.echo(json.dumps(row))
        return
    _print_password(password)
    if not at_once:
        errors.print("What it used before counts until it connects with this one.")


@station.command()
def retire(
    name: str = _STATION,
    undo: bool = typer.Option(False, "--undo", help="Bring it back."),
    reason: str = REASON,
    operator: str = OPERATOR,
    as_json: bool = JSON,
) -> None:
    """Retire a station: it connects no more; its sessions, bills and names stay."""

    async def act(connection: Connection) -> None:
        await charging.retire_station(
            connection,
            station=name,
            undo=undo,
            now=utc_now(),
            actor=operator or getpass.getuser(),
            reason=reason or None,
        )

    _change(act, name, as_json=as_json)


def _draft(
    station_id: str,
    location: str,
    connectors: int,
    power_kw: str,
    standard: str,
    owner: str,
    *,
    no_auth: bool,
    simulated: bool,
) -> "StationDraft":
    try:
        power_w = stations.read_power_w(power_kw)
    except Invalid as error:
        fail(error.detail)
    usual = [
        stations.usual_connector(number, power_w, standard=standard)
        for number in range(1, connectors + 1)
    ]
    return stations.StationDraft(
        id=station_id,
        location=stations.Location("", location),
        connectors=tuple(usual),
        owner=owner or None,
        no_auth=no_auth,
        is_simulated=simulated,
    )


def _add(
    use_case: _Add,
    draft: "StationDraft",
    price_som: str,
    operator: str,
    reason: str,
    *,
    as_json: bool,
) -> None:
    price = _price(price_som)
    actor = operator or getpass.getuser()

    async def work(database: Database) -> "tuple[AddedStation, str | None]":
        now = utc_now()
        async with database.transaction() as connection:
            added = await use_case(connection, draft, now=now, actor=actor, reason=reason or None)
            if price is None:
                return added, None
            return added, await _assign_price(connection, added, price, now, actor)

    added, plan = with_database(work)
    address = address_of(added.id)
    row: Mapping[str, object] = {
        "id": added.id,
        "post_code": added.post_code,
        "location": _location_row(added.location),
        "address": address,
        "password": added.password,
        "password_hex": added.password and stations.as_hex(added.password),
        "tariff": plan,
    }
    if as_json:
        typer.echo(json.dumps(row))
        return
    console.print(f"station   {added.id}, post code {added.post_code}, at {added.location.name}")
    console.print(f"address   {address}")
    if plan is not None:
        console.print(f"tariff    {plan}: {price_som} som per kWh")
    if added.password is not None:
        _print_password(added.password)


def _price(text: str) -> Decimal | None:
    if not text:
        return None
    try:
        return read_som(text)
    except Invalid as error:
        fail(error.detail)


async def _assign_price(
    connection: Connection, added: "AddedStation", price: Decimal, now: datetime, actor: str
) -> str:
    """Saves a tariff of one price per kWh for this station alone; returns its plan's code."""
    from evpower import tariffs

    plan = f"station-{added.post_code}"
    document = {"name": added.id, "elements": [{"prices": {"energy_per_kwh": str(price)}}]}
    saved = await tariffs.save(
        connection, plan=plan, document=document, valid_from=now, now=now, actor=actor
    )
    for flaw in saved.warnings:
        errors.print(f"warning: {flaw.where}: {flaw.detail}")
    await tariffs.assign(
        connection,
        scope="station",
        scope_id=added.id,
        plan=plan,
        valid_from=now,
        now=now,
        actor=actor,
    )
    return plan


def _location_row(location: "Location") -> dict[str, object]:
    return {"id": location.id, "name": location.name}


def _change(act: Callable[[Connection], Awaitable[None]], name: str, *, as_json: bool) -> None:
    """Does something to a station in one transaction, and shows the station afterwards."""

    async def work(database: Database) -> stations.StationView:
        async with database.transaction() as connection:
            await act(connection)
            return await stations.get_station(connection, name)

    view = with_database(work)
    if as_json:
        typer.echo(json.dumps(station_row(view, utc_now())))
    else:
        console.print(station_lines(view, utc_now())[0])


def _list_unknown(*, as_json: bool) -> None:
    async def work(database: Database) -> list[stations.UnknownStation]:
        async with database.connection() as connection:
            return await stations.list_unknown(connection)

    rows = [unknown_row(unknown) for unknown in with_database(work)]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        times = f"{row['attempts']} attempts, last {row['last_seen_at']} from {row['address']}"
        console.print(f"{row['name']}  {row['reason']}  {times}")
    if not rows:
        console.print("no unknown or refused station tried to connect")


def _print_password(password: str) -> None:
    for line in password_lines(password):
        console.print(line)
    errors.print("Keep it now: it is not shown again.")
