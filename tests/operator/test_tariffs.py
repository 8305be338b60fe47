"""Tariffs: saved as a draft, activated, assigned, quoted; refused with what is wrong."""

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from evpower import tariffs
from evpower.foundation.db import Database
from evpower.tariffs import Scope
from tests.api.operator_scenario import OperatorApi
from tests.charging.place import ChargingPlace

WHY = {"reason": "winter prices"}
DAY: dict[str, Any] = {"name": "Day", "elements": [{"prices": {"energy_per_kwh": "13.5"}}]}


def soon(operators: OperatorApi, **delta: float) -> str:
    later: datetime = operators.clock() + timedelta(**delta)
    return later.isoformat()


async def test_a_draft_is_saved_quoted_activated_and_assigned(operators: OperatorApi) -> None:
    saved = await operators.call(
        "POST", "/tariffs/city/versions", "finance", json={"document": DAY, **WHY}, expect=201
    )
    assert (saved["tariff"]["version"], saved["tariff"]["valid_from"]) == (1, None)
    example = {"started_at": soon(operators), "energy_kwh": "24", "minutes": 60, "version": 1}
    quoted = await operators.call("POST", "/tariffs/city/quote", "viewer", json=example)
    assert (quoted["total"], quoted["version"]) == ("324.00", 1)
    active = await operators.call(
        "POST", "/tariffs/city/versions/1/activate", "finance",
        json={"valid_from": soon(operators, hours=1), **WHY},
    )  # fmt: skip
    assert active["valid_from"] is not None
    assignment = {"scope": "everything", "plan": "city", "valid_from": soon(operators, hours=2)}
    [assigned] = await operators.call(
        "POST", "/tariff-assignments", "finance", json=assignment | WHY, expect=201
    )
    assert (assigned["scope"], assigned["plan"]) == ("everything", "city")
    assert [assigned] == await operators.call("GET", "/tariff-assignments", "viewer")
    [listed] = await operators.call("GET", "/tariffs", "viewer")
    assert listed["plan"] == "city"
    assert await operators.acts("city") == ["tariff.save", "tariff.activate"]
    assert await operators.acts("everything") == ["tariff.assign"]


async def test_a_tariff_file_is_saved_as_it_is(operators: OperatorApi) -> None:
    url, body = "/tariffs/city/versions", {"document": DAY | {"plan": "city"}, **WHY}
    saved = await operators.call("POST", url, "finance", json=body, expect=201)
    assert saved["tariff"]["plan"] == "city"
    body["document"] = DAY | {"plan": "town"}
    refused = await operators.call("POST", url, "finance", json=body, expect=422)
    assert (refused["error"], refused["detail"]) == (
        "tariff_field_invalid", "plan: the path says city",
    )  # fmt: skip


async def test_a_place_is_priced_by_any_of_its_names(operators: OperatorApi) -> None:
    station = {
        "id": "EVP-7", "connectors": [{"number": 2, "rated_power_kw": 60}],
        "location": {"name": "Bishkek Park"}, **WHY,
    }  # fmt: skip
    await operators.call("POST", "/stations", "operator", json=station, expect=201)
    added = await operators.call("GET", "/stations/EVP-7", "viewer")
    body = {"document": DAY, "valid_from": soon(operators, hours=1), **WHY}
    await operators.call("POST", "/tariffs/city/versions", "finance", json=body, expect=201)

    async def assign(scope: str, name: str, *, expect: int = 201) -> Any:
        body = {"scope": scope, "scope_id": name, "plan": "city", **WHY}
        body["valid_from"] = soon(operators, hours=2)
        return await operators.call(
            "POST", "/tariff-assignments", "finance", json=body, expect=expect
        )

    await assign("location", "Bishkek Park")
    await assign("connector", "evp-7/2")
    listed = await assign("station", added["post_code"])
    assert {row["scope"]: row["scope_id"] for row in listed} == {
        "location": added["location"]["id"], "station": "EVP-7", "connector": "EVP-7/2",
    }  # fmt: skip
    for scope, name in (("location", "EVP-7"), ("station", "EVP-8"), ("connector", "EVP-7/1")):
        refused = await assign(scope, name, expect=404)
        assert refused["error"] == f"{scope}_not_found"
    assert await operators.call("GET", "/tariff-assignments", "viewer") == listed


async def test_an_assignment_of_no_place_is_ended_by_its_id(
    operators: OperatorApi, db: Database
) -> None:
    """It was stored by the place's name, which is no id; the place's own assignment stays."""
    station = {
        "id": "EVP-7", "connectors": [{"number": 2, "rated_power_kw": 60}],
        "location": {"id": "park", "name": "Bishkek Park"}, **WHY,
    }  # fmt: skip
    await operators.call("POST", "/stations", "operator", json=station, expect=201)
    body = {"document": DAY, "valid_from": soon(operators, hours=1), **WHY}
    await operators.call("POST", "/tariffs/city/versions", "finance", json=body, expect=201)
    places: list[tuple[Scope, str]] = [
        ("location", "Bishkek Park"), ("connector", "EVP-7/9"), ("location", "park"),
    ]  # fmt: skip
    for scope, scope_id in places:
        async with db.transaction() as connection:
            await tariffs.assign(
                connection, scope=scope, scope_id=scope_id, plan="city",
                valid_from=operators.clock() + timedelta(hours=2), now=operators.clock(),
                actor="aida",
            )  # fmt: skip
    listed: Any = []
    for scope, scope_id in places[:2]:
        body = {
            "scope": scope, "scope_id": scope_id, "plan": None,
            "valid_from": soon(operators, hours=2), **WHY,
        }  # fmt: skip
        listed = await operators.call(
            "POST", "/tariff-assignments", "finance", json=body, expect=201
        )
    newest = {(row["scope"], row["scope_id"]): row["plan"] for row in listed}
    assert newest == {
        ("location", "Bishkek Park"): None, ("location", "park"): "city",
        ("connector", "EVP-7/9"): None,
    }  # fmt: skip
    body = body | {"scope_id": "EVP-7/8"}
    await operators.call("POST", "/tariff-assignments", "finance", json=body, expect=404)


async def test_a_tariff_with_a_hole_is_refused_with_its_place(operators: OperatorApi) -> None:
    night = {"prices": {"energy_per_kwh": "9"}, "if": {"from": "23:00", "to": "07:00"}}
    body = {"document": {"name": "Night", "elements": [night]}, **WHY}
    refused = await operators.call(
        "POST", "/tariffs/city/versions", "finance", json=body, expect=422
    )
    assert refused["error"] == "tariff_hole"
    await operators.call("GET", "/tariffs/city", expect=404)


async def test_a_price_does_not_begin_in_the_past(operators: OperatorApi) -> None:
    body = {"document": DAY, "valid_from": soon(operators, hours=-1), **WHY}
    refused = await operators.call(
        "POST", "/tariffs/city/versions", "finance", json=body, expect=422
    )
    assert refused["error"] == "tariff_starts_in_past"


async def test_an_operator_sets_no_price(operators: OperatorApi) -> None:
    body = {"document": DAY, **WHY}
    for role in ("operator", "admin"):
        await operators.call("POST", "/tariffs/city/versions", role, json=body, expect=403)


async def test_a_client_has_a_discount_until_it_is_ended(
    operators: OperatorApi, client_id: UUID
) -> None:
    body = {
        "client_id": str(client_id), "discount_percent": "12.5", "discount_on": ["energy"],
        "valid_from": soon(operators, hours=1), **WHY,
    }  # fmt: skip
    given = await operators.call("POST", "/client-tariffs", "finance", json=body, expect=201)
    assert (given["discount_percent"], given["discount_on"]) == ("12.5", ["energy"])
    query = {"client": str(client_id)}
    assert await operators.call("GET", "/client-tariffs", "viewer", params=query) == [given]
    ended = await operators.call(
        "POST", f"/client-tariffs/{given['id']}/end", "finance",
        json={"valid_until": soon(operators, hours=2), **WHY},
    )  # fmt: skip
    assert ended["valid_until"] is not None
    refused = await operators.call(
        "POST", "/client-tariffs", "finance", json=body | {"discount_percent": "101"}, expect=422
    )
    assert refused["error"] == "tariff_discount_invalid"


NEXT: dict[str, Any] = {
    "name": "Next",
    "elements": [{"prices": {"energy_per_kwh": "15", "flat": "3"}}],
}


class TestAPreview:
    """20 kWh from noon on, 240 som by the plan in force; the draft takes 15 and 3 at the start."""

    PATH = "/tariffs/next/versions/1/preview"

    async def drafted(self, operators: OperatorApi, place: ChargingPlace) -> UUID:
        await operators.call(
            "POST", "/tariffs/next/versions", "finance",
            json={"document": NEXT, **WHY}, expect=201,
        )  # fmt: skip
        session, transaction = await place.charging(await place.driver())
        place.later(20)
        await place.stop(transaction, 20_000)
        return session

    async def test_both_bills_of_a_session_and_of_a_station(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        session = await self.drafted(operators, place)
        [bill] = await operators.call(
            "POST", self.PATH, "viewer", json={"session_id": str(session)}
        )
        assert (bill["billed"]["total"], bill["preview"]["total"]) == (240, 303)
        assert bill["difference"] == 63
        assert (bill["billed"]["plan"], bill["preview"]["plan"]) == ("t", "next")
        parts = [(part["kind"], part["amount"]) for part in bill["preview"]["parts"]]
        assert parts == [("flat", 3), ("energy", 300)]
        body = {"station": bill["station_id"], "last": 5}
        assert [bill] == await operators.call("POST", self.PATH, "viewer", json=body)
        assert await place.bill(session) == ("settled", 20_000, 240)

    async def test_what_is_not_there_is_not_found(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        await self.drafted(operators, place)
        nothing = "00000000-0000-4000-8000-000000000000"
        for path, body, code in (
            (self.PATH, {"session_id": nothing}, "session_not_found"),
            (self.PATH, {"station": "no-such"}, "station_not_found"),
            ("/tariffs/next/versions/2/preview", {"station": "S1"}, "tariff_not_found"),
        ):
            refused = await operators.call("POST", path, "viewer", json=body, expect=404)
            assert refused["error"] == code
        for body in ({}, {"station": "S1", "session_id": nothing}):
            await operators.call("POST", self.PATH, "viewer", json=body, expect=422)
