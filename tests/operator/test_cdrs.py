"""The export: every bill once, sums that are the ledger's, OCPI's words."""

import csv
import io
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from evpower.foundation.clock import to_z
from evpower.foundation.db import Connection
from tests.api.operator_scenario import OperatorApi
from tests.charging.place import ChargingPlace
from tests.operator.test_sessions import WHY, settled

ALL = {"from": "2020-01-01T00:00:00Z", "to": "2020-12-31T00:00:00Z"}


@pytest.fixture
def this_year(operators: OperatorApi) -> dict[str, str]:
    """Bills are written at the database's own time."""
    now = operators.clock()
    return {"from": f"{now.year}-01-01T00:00:00Z", "to": f"{now.year + 1}-01-01T00:00:00Z"}


async def rows_of(operators: OperatorApi, query: dict[str, str]) -> list[dict[str, str]]:
    answer = await operators.answer("GET", "/cdrs", "finance", params=query)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/csv")
    return list(csv.DictReader(io.StringIO(answer.text)))


async def test_the_changes_add_up_to_what_the_wallets_paid(
    operators: OperatorApi, place: ChargingPlace, owner: Connection, this_year: dict[str, str]
) -> None:
    for wh in (10_000, 3_333, 7_001):
        corrected = await settled(place, wh)
    body = {"energy_kwh": 2, **WHY}
    await operators.call("POST", f"/sessions/{corrected}/correction", "finance", json=body)
    rows = await rows_of(operators, this_year)
    assert [row["bill_number"] for row in rows] == ["1", "1", "1", "2"]
    paid: Any = await owner.fetchval(
        "select -sum(amount_minor) * 0.01 from wallet.transactions where kind <> 'topup'"
    )
    assert sum(Decimal(row["change"]) for row in rows) == paid
    last = rows[-1]
    assert (last["total"], last["energy_kwh"], last["reason"]) == ("24.00", "2.000", WHY["reason"])
    assert last["corrected_by"].startswith("operator:")


async def test_a_later_bill_is_a_credit_and_a_new_record(
    operators: OperatorApi, place: ChargingPlace, this_year: dict[str, str]
) -> None:
    session = await settled(place)
    body = {"energy_kwh": 4, **WHY}
    await operators.call("POST", f"/sessions/{session}/correction", "finance", json=body)
    query = this_year | {"format": "ocpi"}
    first, credit, second = await operators.call("GET", "/cdrs", "finance", params=query)
    assert credit["credit"] is True
    assert credit["credit_reference_id"] == first["id"]
    assert credit["id"] == f"{first['id']}-C"
    totals = [record["total_cost"]["incl_vat"] for record in (first, credit, second)]
    assert totals == [120.0, -120.0, 48.0]
    assert (first["total_energy"], second["total_energy"]) == (10.0, 4.0)


async def test_a_credit_says_all_that_the_record_before_said(
    operators: OperatorApi, place: ChargingPlace, this_year: dict[str, str]
) -> None:
    """Two taxes by two prices, and an end that the correction moves."""
    place.later(1)
    await place.price_document({
        "name": "t",
        "taxes": [{"name": "VAT", "percent": "12"}],
        "elements": [
            {"prices": {"energy_per_kwh": {"price": "11.2"}, "time_per_hour": {"price": "20"}}},
        ],
    })  # fmt: skip
    session = await settled(place)
    for kwh, minutes in ((4, 20), (2, 10)):
        end = place.now - timedelta(minutes=30 - minutes)
        body = {"energy_kwh": kwh, "ended_at": to_z(end), **WHY}
        await operators.call("POST", f"/sessions/{session}/correction", "finance", json=body)
    query = this_year | {"format": "ocpi"}
    records = await operators.call("GET", "/cdrs", "finance", params=query)
    first, credit, second, other_credit, _ = records
    assert first["charging_periods"] != second["charging_periods"]
    own = {"id", "credit", "credit_reference_id", "total_cost", "remark", "last_updated"}
    for record, its_credit in ((first, credit), (second, other_credit)):
        assert its_credit["credit_reference_id"] == record["id"]
        assert {name: its_credit[name] for name in its_credit.keys() - own} == {
            name: record[name] for name in record.keys() - own
        }
        costs, negative = record["total_cost"], its_credit["total_cost"]
        assert negative == {name: -cost for name, cost in costs.items()}


async def test_a_record_has_every_member_that_ocpi_asks_for(
    operators: OperatorApi, place: ChargingPlace, this_year: dict[str, str]
) -> None:
    session = await settled(place)
    query = this_year | {"format": "ocpi"}
    [record] = await operators.call("GET", "/cdrs", "finance", params=query)
    for member in (
        "country_code", "party_id", "id", "start_date_time", "end_date_time", "cdr_token",
        "auth_method", "cdr_location", "currency", "charging_periods", "total_cost",
        "total_energy", "total_time", "last_updated",
    ):  # fmt: skip
        assert member in record
    assert record["session_id"] == str(session)
    assert record["cdr_token"]["type"] == "APP_USER"
    assert record["auth_method"] == "COMMAND"
    assert record["total_time"] == 0.5
    [period] = record["charging_periods"]
    assert {"type": "ENERGY", "volume": 10.0} in period["dimensions"]
    assert {"type": "TIME", "volume": 0.5} in period["dimensions"]
    assert len(record["id"]) <= 36


async def test_a_total_is_split_by_its_tax(
    operators: OperatorApi, place: ChargingPlace, this_year: dict[str, str]
) -> None:
    place.later(1)
    await place.price_document({
        "name": "t",
        "taxes": [{"name": "VAT", "percent": "12"}],
        "elements": [{"prices": {"energy_per_kwh": {"price": "11.2"}}}],
    })  # fmt: skip
    await settled(place)
    query = this_year | {"format": "ocpi"}
    [record] = await operators.call("GET", "/cdrs", "finance", params=query)
    assert record["total_cost"] == {"excl_vat": 100.0, "incl_vat": 112.0}


async def test_a_time_without_bills_is_an_empty_file(operators: OperatorApi) -> None:
    assert await rows_of(operators, ALL) == []
    assert await operators.call("GET", "/cdrs", "finance", params=ALL | {"format": "ocpi"}) == []


async def test_a_bill_on_the_edge_of_two_times_is_in_the_later_one(
    operators: OperatorApi, place: ChargingPlace, owner: Connection, this_year: dict[str, str]
) -> None:
    session = await settled(place)
    made_at: Any = await owner.fetchval("select created_at from charging.cdrs")
    assert await rows_of(operators, this_year | {"to": made_at.isoformat()}) == []
    [row] = await rows_of(operators, this_year | {"from": made_at.isoformat()})
    assert row["session_id"] == str(session)


async def test_it_is_filtered_by_station_and_owner(
    operators: OperatorApi, place: ChargingPlace, this_year: dict[str, str]
) -> None:
    await settled(place)
    assert len(await rows_of(operators, this_year | {"station": "s1"})) == 1
    assert await rows_of(operators, this_year | {"owner": "another"}) == []
    await operators.call(
        "GET", "/cdrs", "finance", params=this_year | {"station": "S9"}, expect=404
    )


async def test_an_export_of_more_than_a_page_is_whole_and_in_the_audit(
    operators: OperatorApi,
    place: ChargingPlace,
    this_year: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("evpower.charging.export_cdrs._PAGE", 2)
    made = [str(await settled(place, 1_000)) for _ in range(5)]
    assert [row["session_id"] for row in await rows_of(operators, this_year)] == made
    assert "cdrs.export" in await operators.acts("everything")


async def test_no_cell_is_a_formula(
    operators: OperatorApi, place: ChargingPlace, this_year: dict[str, str]
) -> None:
    session = await settled(place)
    body = {"energy_kwh": 4, "reason": "=HYPERLINK(0)"}
    await operators.call("POST", f"/sessions/{session}/correction", "finance", json=body)
    assert (await rows_of(operators, this_year))[-1]["reason"] == "'=HYPERLINK(0)"


@pytest.mark.parametrize(
    "query",
    [
        {"from": ALL["to"], "to": ALL["from"]},
        {"from": "2020-01-01T00:00:00Z", "to": "2022-01-01T00:00:00Z"},
        {"from": "2020-01-01T00:00:00", "to": ALL["to"]},
        {"from": ALL["from"]},
        ALL | {"format": "xml"},
    ],
)
async def test_an_unbounded_time_is_refused(operators: OperatorApi, query: dict[str, str]) -> None:
    await operators.call("GET", "/cdrs", "finance", params=query, expect=422)
