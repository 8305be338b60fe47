"""Stations in the field: each charges by app, and ends with one right bill."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import pytest

from evpower.simulator import PERSONAS, Car, SimulatedStation
from tests.flows.charging_site import Phone, Site, cost_minor, minor
from tests.waiting import until

pytestmark = [pytest.mark.xdist_group("charging"), pytest.mark.timeout(900)]
POWER_KW = 600
LEAST_WH = 500
# What the station itself says of its charge, where that is not what it delivered.
STOP_OFFSET_WH = {"huawei-minus-1": -1}
# What an operator has asked before the station connects: it must not be sent too early.
EARLY_COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "abb-boot-loop": ("get_configuration", "keys=MeterValuesSampledData"),
    "wallbox-boot-loop": ("get_configuration",),
}
# What stations in the field do; each has a persona.
KNOWN: Final = {
    "abb-boot-loop", "aefa-bad-json", "alfen-2e63", "alfen-currentmax", "en-plus-stale-tx",
    "foxess-probe", "go-e-minus-1", "grizzle-no-register", "growatt-two-registers",
    "heidelberg-blank", "huawei-minus-1", "huawei-object", "jigu-no-redial", "ocular-21-char-tag",
    "sigen-repeat-stop", "teison-10wh", "wallbox-boot-loop", "webasto-replay",
}  # fmt: skip
# What is counted of each. Nothing of `plain`; nor of `jigu-no-redial`, as it gets no close frame,
# and `wallbox-boot-loop`, as it gets no command too early.
KINDS: Final[Mapping[str, set[str]]] = {
    "abb-boot-loop": {"boot_repeated", "start_repeated"},
    "aefa-bad-json": {"json_repaired", "schema", "time_without_zone"},
    "alfen-2e63": {"transaction_id_large"},
    "alfen-currentmax": {"context_unknown", "measurand_by_unit", "schema"},
    "en-plus-stale-tx": {"before_boot", "values_after_stop"},
    "foxess-probe": {"connection_unused"},
    "go-e-minus-1": {"transaction_id_none"},
    "grizzle-no-register": {"register_absent"},
    "growatt-two-registers": {"two_registers"},
    "heidelberg-blank": {"register_absent", "transaction_id_none", "value_blank"},
    "huawei-minus-1": {"energy_in_kwh", "register_coarse"},
    "huawei-object": {"energy_in_kwh", "object_for_list", "schema"},
    "ocular-21-char-tag": {"schema", "text_too_long", "values_after_stop"},
    "sigen-repeat-stop": {"schema", "stop_repeated", "text_too_long"},
    "teison-10wh": {"available_before_stop", "energy_in_kwh", "register_coarse"},
    "webasto-replay": {"values_repeated"},
}


@dataclass
class Charged:
    """A charge, as the station knows it and as the driver was billed."""

    delivered_wh: int
    transactions: int
    energy_wh: int
    bills: int
    paid_minor: int
    held: float
    end_reason: str | None
    quarantine: str | None
    message: str
    connections: int
    violations: list[str]


async def charge(site: Site, persona: str, sign_up: asyncio.Lock) -> Charged:
    """A charge with a lost connection in its middle."""
    station_id = f"P-{persona}"
    if persona in EARLY_COMMANDS:
        await site.run(
            "station",
            "command",
            station_id,
            *EARLY_COMMANDS[persona],
            "--expires",
            "600",
            "--no-wait",
        )
    station = site.station(station_id, persona=persona, power_kw=POWER_KW)
    async with sign_up:
        phone = await site.driver(som=500)
    async with station.running():
        await until(lambda: station.is_online, f"{persona} was never let in")
        if persona in EARLY_COMMANDS:
            await until(lambda: _is_answered(site, station_id), f"{persona} was asked nothing")
            await until(lambda: station.is_online, f"{persona} is not back")
        await station.wait_sent()
        station.plug_in()
        session_id = (await phone.start(station_id))["session_id"]
        await until(lambda: station.delivered_wh >= LEAST_WH // 2, f"{persona} never charged")
        await station.wait_sent()  # else a lost answer makes any of them send its values again
        station.lose_network()
        station.restore_network()
        await until(lambda: station.is_online, f"{persona} is not back")
        await until(lambda: station.delivered_wh >= LEAST_WH, f"{persona} charges no more")
        await phone.stop(session_id)
        await until(lambda: phone.is_billed(session_id), f"{persona} was never billed")
        await station.wait_sent()
        if persona == "en-plus-stale-tx":
            await until(lambda: _sends_on(site, station_id), f"{persona} sends no more values")
        station.unplug()
    return await charged(site, station, phone, session_id)


async def charged(site: Site, station: SimulatedStation, phone: Phone, session_id: str) -> Charged:
    [row] = await site.rows(
        "select energy_wh, end_reason, quarantine_reason,"
        " (select count(*) from charging.settlements b where b.session_id = s.id) as bills,"
        " (select count(*) from stations.connections c where c.station_id = s.station_id)"
        " as connections from charging.sessions s where id = $1",
        UUID(session_id),
    )
    balance = await phone.balance()
    return Charged(
        delivered_wh=station.transactions[0].delivered_wh or 0,
        transactions=len(station.transactions),
        energy_wh=row["energy_wh"],
        bills=row["bills"],
        paid_minor=500_00 - minor(balance["balance"]),
        held=balance["held"],
        end_reason=row["end_reason"],
        quarantine=row["quarantine_reason"],
        message=(await phone.status(session_id))["message"],
        connections=row["connections"],
        violations=station.violations,
    )


async def _sends_on(site: Site, station_id: str) -> bool:
    """Whether meter values came after the stop."""
    [row] = await site.rows(
        "select exists (select from ocpp.frames f join charging.stops s using (station_id)"
        " where station_id = $1 and f.action = 'MeterValues' and f.direction = 'in'"
        " and f.received_at > s.received_at) as yes",
        station_id,
    )
    return row["yes"]


async def _is_answered(site: Site, station_id: str) -> bool:
    [row] = await site.rows(
        "select state from stations.commands where station_id = $1 order by id limit 1", station_id
    )
    return row["state"] in {"accepted", "refused", "timed_out"}


@pytest.fixture(scope="module")
async def site(site: Site) -> Site:
    names = [*(f"P-{persona}" for persona in PERSONAS), "Q14", "Q26"]
    await site.add_stations(names, power_kw=POWER_KW)
    return site


@pytest.fixture(scope="module")
async def charges(site: Site) -> Mapping[str, Charged | BaseException]:
    """All of them beside each other, on one stack."""
    sign_up = asyncio.Lock()
    results = await asyncio.gather(
        *(charge(site, persona, sign_up) for persona in PERSONAS), return_exceptions=True
    )
    return dict(zip(PERSONAS, results, strict=True))


def test_what_stations_in_the_field_do_has_a_persona() -> None:
    assert KNOWN - set(PERSONAS) == set()


@pytest.mark.parametrize("persona", PERSONAS)
async def test_a_persona_ends_with_one_right_bill(
    charges: Mapping[str, Charged | BaseException], persona: str
) -> None:
    charged = charges[persona]
    if isinstance(charged, BaseException):
        raise charged
    energy_wh = charged.delivered_wh + STOP_OFFSET_WH.get(persona, 0)
    assert charged.transactions == 1
    assert charged.bills == 1
    assert charged.energy_wh == energy_wh
    assert charged.paid_minor == cost_minor(energy_wh)
    assert charged.held == 0
    assert charged.quarantine is None
    assert charged.end_reason == "stopped_by_driver"
    assert charged.violations == []


@pytest.fixture(scope="module")
async def deviations(site: Site, charges: Mapping[str, object]) -> dict[str, set[str]]:
    """What was counted of each; a server that ends stores it."""
    assert charges
    await site.evpower.api.stop()
    await site.evpower.api.start()
    rows = await site.rows(
        "select station_id, kind from stations.deviations where station_id like 'P-%'"
    )
    kinds: dict[str, set[str]] = {persona: set() for persona in PERSONAS}
    for row in rows:
        kinds[row["station_id"].removeprefix("P-")].add(row["kind"])
    return kinds


@pytest.mark.parametrize("persona", PERSONAS)
async def test_what_a_persona_does_wrong_is_counted_by_kind(
    deviations: dict[str, set[str]], persona: str
) -> None:
    assert deviations[persona] == KINDS.get(persona, set())


async def test_q15_a_station_that_reboots_at_an_early_command_comes_to_rest(
    charges: Mapping[str, Charged | BaseException],
) -> None:
    wallbox = charges["wallbox-boot-loop"]
    assert isinstance(wallbox, Charged)
    assert wallbox.connections <= 3, "one at first, one after the lost connection, one each 30 s"


async def test_q14_a_station_that_never_redials_charges_on_through_a_restart(site: Site) -> None:
    """The server ends without close frames, after which such a station would stay away."""
    station = site.station("Q14", persona="jigu-no-redial", power_kw=POWER_KW)
    phone = await site.driver(som=500)
    async with station.running():
        await until(lambda: station.is_online)
        station.plug_in()
        session_id = (await phone.start("Q14"))["session_id"]
        await until(lambda: station.delivered_wh >= LEAST_WH)
        await site.evpower.api.stop()
        await site.evpower.api.start()
        await until(lambda: station.is_online, "it stays away")
        await phone.stop(session_id)
        await until(lambda: phone.is_billed(session_id))
    bill = await charged(site, station, phone, session_id)
    assert (bill.bills, bill.energy_wh) == (1, bill.delivered_wh)
    assert bill.paid_minor == cost_minor(bill.delivered_wh)


async def test_q26_a_full_car_costs_nothing_and_its_driver_learns_why(site: Site) -> None:
    station = site.station("Q26", persona="go-e-minus-1", power_kw=POWER_KW)
    phone = await site.driver(som=500)
    async with station.running():
        await until(lambda: station.is_online)
        station.plug_in(car=Car(soc_percent=100))
        session_id = (await phone.start("Q26"))["session_id"]
        await until(lambda: phone.is_billed(session_id), "it was never billed")
    bill = await charged(site, station, phone, session_id)
    assert (bill.energy_wh, bill.paid_minor, bill.held, bill.bills) == (0, 0, 0, 1)
    assert bill.end_reason == "car_took_nothing"
    assert bill.message
    assert bill.quarantine is None
