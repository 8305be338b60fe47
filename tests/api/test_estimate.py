"""POST /api/v1/tariffs/estimate: the cost by the driver's own tariff, and what is refused."""

import math
from typing import Any
from uuid import UUID

import pytest

from evpower import tariffs
from evpower.foundation.db import Connection, Database
from tests.api.charging_scenario import STATION, Ride
from tests.api.scenario import Api, bearer
from tests.api.stations_scenario import Site

PATH = "/api/v1/tariffs/estimate"


@pytest.fixture
async def ride(api: Api, db: Database, owner: Connection, client_id: UUID) -> Ride:
    """A connector of 22 kW; a kWh costs 13.50 som, a start 5."""
    ride = Ride(api, owner, Site(db, api.clock), client_id)
    await ride.open()
    return ride


async def ask(ride: Ride, **body: Any) -> Any:
    body = {"station_id": STATION, "connector_id": 1} | body
    return await ride.api.post(PATH, bearer(ride.client), json=body)


async def test_the_cost_has_its_parts(ride: Ride) -> None:
    response = await ask(ride, energy_kwh=11)
    assert response.status_code == 200, response.text
    answer = response.json()
    assert {name: answer[name] for name in ("total", "currency", "limited_by", "energy_kwh")} == {
        "total": 153.5, "currency": "KGS", "limited_by": "energy", "energy_kwh": 11,
    }  # fmt: skip
    assert (answer["duration_minutes"], answer["power_kw"], answer["rate_per_kwh"]) == (
        30,
        22,
        13.5,
    )
    assert answer["cost_parts"] == [
        {"kind": "flat", "amount": 5.0, "element": 1, "price": 5.0},
        {"kind": "energy", "amount": 148.5, "element": 1, "price": 13.5, "energy_kwh": 11.0},
    ]


async def test_an_amount_and_a_time(ride: Ride) -> None:
    amount = (await ask(ride, amount_som=50)).json()
    assert (amount["limited_by"], amount["total"] <= 50) == ("amount", True)
    assert amount["total"] > 49.9
    time = (await ask(ride, minutes=60)).json()
    assert (time["limited_by"], time["energy_kwh"], time["total"]) == ("time", 22, 302)


async def test_the_driver_of_the_token_has_its_own_price(ride: Ride, db: Database) -> None:
    now = ride.api.clock()
    async with db.transaction() as connection:
        await tariffs.add_client_tariff(
            connection,
            tariffs.NewClientTariff(ride.client, now, discount_ppm=200_000),
            now=now,
            actor="aida",
        )
    answer = (await ask(ride, energy_kwh=10, client_id="another")).json()
    assert (answer["total"], answer["discount_percent"]) == (5 + 108, 20)
    assert answer["cost_parts"][-1] == {"kind": "discount", "amount": -27.0}


async def test_it_needs_a_token(ride: Ride) -> None:
    response = await ride.api.post(PATH, {}, json={"station_id": STATION, "connector_id": 1})
    assert (response.status_code, response.json()["error"]) == (401, "missing_token")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "estimate_limit_missing"),
        ({"energy_kwh": None}, 422, "estimate_limit_missing"),
        ({"energy_kwh": 0}, 422, "invalid_energy"),
        ({"energy_kwh": -1}, 422, "invalid_energy"),
        ({"energy_kwh": "10"}, 422, "invalid_energy"),
        ({"energy_kwh": True}, 422, "invalid_energy"),
        ({"energy_kwh": 0.0001}, 422, "invalid_energy"),
        ({"energy_kwh": 1e300}, 422, "invalid_energy"),
        ({"energy_kwh": 1001}, 422, "invalid_energy"),
        ({"amount_som": 0.001}, 422, "invalid_amount"),
        ({"amount_som": [5]}, 422, "invalid_amount"),
        ({"minutes": 0}, 422, "invalid_request"),
        ({"minutes": 10081}, 422, "invalid_request"),
        ({"minutes": 1.5}, 422, "invalid_request"),
        ({"energy_kwh": 1, "parked_minutes": -1}, 422, "invalid_request"),
        ({"energy_kwh": 1, "power_kw": 0}, 422, "invalid_power"),
        ({"energy_kwh": 1, "power_kw": 2000}, 422, "invalid_power"),
        ({"energy_kwh": 1, "start_time": "2020-01-01T00:00:00Z"}, 422, "invalid_time"),
        ({"energy_kwh": 1, "start_time": "tomorrow"}, 422, "invalid_time"),
        ({"energy_kwh": 1, "start_time": "2036-01-01T00:00:00"}, 422, "invalid_time"),
        ({"energy_kwh": 1, "start_time": 5}, 422, "invalid_time"),
        ({"energy_kwh": 1, "station_id": "nowhere"}, 404, "station_not_found"),
        ({"energy_kwh": 1, "station_id": "\x00"}, 422, "invalid_request"),
        ({"energy_kwh": 1, "station_id": " "}, 422, "invalid_request"),
        ({"energy_kwh": 1, "connector_id": 9}, 404, "connector_not_found"),
        ({"energy_kwh": 1, "connector_id": 0}, 422, "invalid_request"),
        ({"energy_kwh": 1, "connector_id": "1"}, 422, "invalid_request"),
    ],
)
async def test_what_can_not_be_is_a_problem(
    ride: Ride, body: dict[str, Any], status: int, code: str
) -> None:
    response = await ask(ride, **body)
    assert (response.status_code, response.json()["error"]) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["message"]


@pytest.mark.parametrize("raw", [b"", b"[]", b"nope", b'{"station_id": "EVP-1", "connector_id"'])
async def test_a_body_that_is_none_is_a_problem(ride: Ride, raw: bytes) -> None:
    headers = bearer(ride.client) | {"Content-Type": "application/json"}
    response = await ride.api.http.post(PATH, headers=headers, content=raw)
    assert (response.status_code, response.json()["error"]) == (422, "invalid_request")


async def test_a_number_beyond_all_bounds_is_refused(ride: Ride) -> None:
    headers = bearer(ride.client) | {"Content-Type": "application/json"}
    for number in ("1e999", "NaN", "-Infinity"):
        raw = f'{{"station_id": "{STATION}", "connector_id": 1, "energy_kwh": {number}}}'
        response = await ride.api.http.post(PATH, headers=headers, content=raw.encode())
        assert response.status_code == 422, response.text
    assert math.isfinite((await ask(ride, energy_kwh=1)).json()["total"])


async def test_a_car_that_takes_nothing_is_shown_the_price_of_no_power(ride: Ride) -> None:
    by_power = {"energy_per_kwh": "13.5", "parking_per_hour": "60", "if": {"from_kw": "20"}}
    await ride.site.price(by_power, {"energy_per_kwh": "11", "parking_per_hour": "120"})
    await ride.owner.execute(
        "insert into stations.profiles (station_id, overrides)"
        " values ($1, '{\"release_detection\": true}')",
        STATION,
    )
    answer = (await ask(ride, energy_kwh=11, parked_minutes=30)).json()
    parking = answer["cost_parts"][-1]
    assert (answer["rate_per_kwh"], answer["parking_fee_per_minute"]) == (13.5, 2)
    assert (parking["kind"], parking["amount"]) == ("parking", 60)
