"""Stations: listed by filters, added, changed, taken out of service, secured, retired."""

from typing import Any
from uuid import uuid4

import pytest

from evpower import stations
from evpower.foundation.db import Database
from tests.api.operator_scenario import OperatorApi
from tests.charging.place import ChargingPlace

NEW: dict[str, Any] = {
    "id": "EVP-1",
    "location": {"name": "Mall", "city": "Bishkek"},
    "connectors": [{"number": 1, "rated_power_kw": 60}, {"number": 2, "rated_power_kw": "22.5"}],
    "owner": "Ala-Too",
    "reason": "new post",
}
WHY = {"reason": "asked by phone"}


async def add(operators: OperatorApi, station_id: str, **values: Any) -> Any:
    return await operators.call(
        "POST", "/stations", "operator", json=NEW | {"id": station_id} | values, expect=201
    )


async def test_a_location_is_changed_for_all_of_its_stations(operators: OperatorApi) -> None:
    await add(operators, "EVP-1")
    body = {"name": "Bishkek Park", "latitude": 42.8755, "longitude": 74.5902, **WHY}
    changed = await operators.call("PATCH", "/locations/Mall", "operator", json=body)
    assert (changed["name"], changed["city"]) == ("Bishkek Park", "Bishkek")
    assert (changed["latitude"], changed["longitude"]) == (42.8755, 74.5902)
    shown = await operators.call("GET", "/stations/EVP-1")
    assert shown["location"] == changed
    assert await operators.acts(f"location:{changed['id']}") == ["location.change"]
    wrong = {"country": "KG", **WHY}
    refused = await operators.call(
        "PATCH", f"/locations/{changed['id']}", "operator", json=wrong, expect=422
    )
    assert refused["error"] == "location_invalid"


class TestAdding:
    async def test_a_password_is_shown_once_and_the_act_is_in_the_audit(
        self, operators: OperatorApi
    ) -> None:
        added = await add(operators, "EVP-1")
        assert bytes.fromhex(added["password_hex"]).decode() == added["password"]
        assert [c["rated_power_kw"] for c in added["station"]["connectors"]] == [60.0, 22.5]
        shown = await operators.call("GET", "/stations/EVP-1")
        assert "password" not in shown
        assert (shown["owner"], shown["password_waits"]) == ("Ala-Too", True)
        assert await operators.acts("EVP-1") == ["station.add"]

    async def test_a_password_is_in_no_stored_response(
        self, operators: OperatorApi, db: Database
    ) -> None:
        key = {"Idempotency-Key": "k-1"}
        added = await operators.call(
            "POST", "/stations", "operator", json=NEW, headers=key, expect=201
        )
        async with db.connection() as connection:
            stored = await connection.fetch("select body from foundation.idempotency_keys")
        assert all(added["password"].encode() not in (row["body"] or b"") for row in stored)

    async def test_a_name_that_is_taken_is_refused(self, operators: OperatorApi) -> None:
        await add(operators, "EVP-1")
        refused = await operators.call("POST", "/stations", "operator", json=NEW, expect=409)
        assert refused["error"] == "station_name_taken"

    async def test_an_unknown_station_is_accepted_as_it_writes_itself(
        self, operators: OperatorApi, db: Database
    ) -> None:
        now = operators.clock()
        tried = stations.UnknownStation("Evp-Ü/7", "10.0.0.7", 1, now, now)
        async with db.transaction() as connection:
            await stations.record_attempts(connection, [tried])
        [unknown] = await operators.call("GET", "/unknown-stations", "viewer")
        assert (unknown["name"], unknown["attempts"]) == ("Evp-Ü/7", 1)
        assert unknown["reason"] == "station_not_found"
        body = {name: value for name, value in NEW.items() if name != "id"}
        path = "/unknown-stations/evp-%C3%BC%2F7/accept"
        added = await operators.call("POST", path, "operator", json=body, expect=201)
        assert added["station"]["id"] == "Evp-Ü/7"
        assert await operators.call("GET", "/unknown-stations", "viewer") == []
        await operators.call("POST", path, "operator", json=body, expect=404)

    async def test_a_station_with_a_wrong_password_is_listed_and_not_accepted(
        self, operators: OperatorApi, db: Database
    ) -> None:
        await add(operators, "EVP-1")
        now = operators.clock()
        tried = stations.UnknownStation("evp-1", "10.0.0.7", 1, now, now, "wrong_password")
        async with db.transaction() as connection:
            await stations.record_attempts(connection, [tried])
        body = {name: value for name, value in NEW.items() if name != "id"}
        path = "/unknown-stations/evp-1/accept"
        refused = await operators.call("POST", path, "operator", json=body, expect=409)
        assert refused["error"] == "station_name_taken"
        [listed] = await operators.call("GET", "/unknown-stations", "viewer")
        assert (listed["name"], listed["reason"]) == ("evp-1", "wrong_password")


class TestLists:
    async def test_pages_hold_every_station_once(self, operators: OperatorApi) -> None:
        names = [f"EVP-{number}" for number in range(1, 6)]
        for name in names:
            await add(operators, name)
        seen: list[str] = []
        cursor = None
        while True:
            query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = await operators.call("GET", "/stations", "viewer", params=query)
            seen += [station["id"] for station in page["items"]]
            cursor = page["next"]
            if cursor is None:
                break
        assert seen == names

    @pytest.mark.parametrize(
        ("query", "listed"),
        [
            ({"owner": "Ala-Too"}, ["EVP-1"]),
            ({"q": "p-2"}, ["EVP-2"]),
            ({"online": "true"}, ["S1"]),
            ({"online": "false"}, ["EVP-1", "EVP-2"]),
            ({"location": "L"}, ["S1"]),
            ({"status": "charging"}, ["S1"]),
            ({"status": "faulted"}, []),
            ({"availability": "inoperative"}, ["EVP-2"]),
            ({"retired": "true"}, ["EVP-3"]),
            ({"simulated": "true"}, ["EVP-2"]),
            ({"owner": "Ala-Too", "online": "true"}, []),
        ],
    )
    async def test_every_filter(
        self,
        operators: OperatorApi,
        place: ChargingPlace,
        query: dict[str, str],
        listed: list[str],
    ) -> None:
        await add(operators, "EVP-1")
        await add(operators, "EVP-2", owner=None, availability="inoperative", is_simulated=True)
        await add(operators, "EVP-3", owner=None)
        await operators.call("POST", "/stations/EVP-3/retire", json=WHY)
        place.now = operators.clock()
        await place.frame()
        await place.owner.execute(
            "update stations.connectors set reported_status = 'charging', reported_at = now()"
            " where station_id = 'S1'"
        )
        page = await operators.call("GET", "/stations", "viewer", params=query)
        assert [station["id"] for station in page["items"]] == listed

    @pytest.mark.parametrize("cursor", ["x", "%20", "W10", "WyJPdGhlciIsIngiXQ", "é"])
    async def test_what_is_no_cursor_is_refused(self, operators: OperatorApi, cursor: str) -> None:
        refused = await operators.call("GET", "/stations", params={"cursor": cursor}, expect=422)
        assert refused["error"] == "invalid_cursor"

    async def test_a_cursor_of_another_list_is_refused(self, operators: OperatorApi) -> None:
        for name in ("EVP-1", "EVP-2"):
            await add(operators, name)
        page = await operators.call("GET", "/stations", params={"limit": 1})
        query = {"cursor": page["next"]}
        assert (await operators.call("GET", "/sessions", params=query, expect=422))["error"] == (
            "invalid_cursor"
        )

    async def test_a_page_is_bounded(self, operators: OperatorApi) -> None:
        await operators.call("GET", "/stations", params={"limit": 501}, expect=422)

    async def test_owners_have_their_stations_counted(self, operators: OperatorApi) -> None:
        await add(operators, "EVP-1")
        await add(operators, "EVP-2")
        await add(operators, "EVP-3", owner=None)
        assert await operators.call("GET", "/owners", "viewer") == [
            {"owner": "Ala-Too", "stations": 2, "connectors": 4},
            {"owner": None, "stations": 1, "connectors": 2},
        ]

    async def test_deviations_are_listed(self, operators: OperatorApi, db: Database) -> None:
        await add(operators, "EVP-1")
        async with db.transaction() as connection:
            at = operators.clock()
            counted = stations.Deviation("EVP-1", "member_unknown", 3, "x", at)
            await stations.count_deviations(connection, [counted])
        [deviation] = await operators.call("GET", "/deviations", params={"station": "EVP-1"})
        assert (deviation["kind"], deviation["count"]) == ("member_unknown", 3)


class TestChanges:
    async def test_the_audit_has_what_was_before_and_after(
        self, operators: OperatorApi, db: Database
    ) -> None:
        await add(operators, "EVP-1")
        body = {"owner": "Other", "paid_only": False, **WHY}
        changed = await operators.call("PATCH", "/stations/EVP-1", "operator", json=body)
        assert (changed["owner"], changed["paid_only"]) == ("Other", False)
        async with db.connection() as connection:
            details: Any = await connection.fetchval(
                "select details from identity.audit where action = 'station.change'"
            )
        assert details["owner"] == "Other"
        assert details["before"] == {"owner": "Ala-Too", "paid_only": True}

    async def test_of_two_who_change_what_they_read_one_is_refused(
        self, operators: OperatorApi
    ) -> None:
        await add(operators, "EVP-1")
        tag = (await operators.answer("GET", "/stations/EVP-1")).headers["etag"]
        first = await operators.answer(
            "PATCH", "/stations/EVP-1", json={"owner": "A", **WHY}, headers={"If-Match": tag}
        )
        assert first.status_code == 200
        second = await operators.answer(
            "PATCH", "/stations/EVP-1", json={"owner": "B", **WHY}, headers={"If-Match": tag}
        )
        assert (second.status_code, second.json()["error"]) == (412, "changed_meanwhile")
        assert (await operators.call("GET", "/stations/EVP-1"))["owner"] == "A"
        again = first.headers["etag"]
        await operators.call(
            "PATCH", "/stations/EVP-1", json={"owner": "B", **WHY}, headers={"If-Match": again}
        )

    async def test_a_frame_that_came_meanwhile_is_no_change(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        before = (await operators.answer("GET", "/stations/S1")).headers["etag"]
        place.now = operators.clock()
        await place.frame()
        after = await operators.answer("GET", "/stations/S1", headers={"If-None-Match": before})
        assert after.status_code == 200, "what is shown has changed"
        await operators.call(
            "PATCH", "/stations/S1", json={"owner": "A", **WHY}, headers={"If-Match": before}
        )

    async def test_what_is_unchanged_is_not_sent_again(self, operators: OperatorApi) -> None:
        await add(operators, "EVP-1")
        tag = (await operators.answer("GET", "/stations/EVP-1")).headers["etag"]
        again = await operators.answer("GET", "/stations/EVP-1", headers={"If-None-Match": tag})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)

    async def test_a_connector_out_of_service_is_told_to_the_station(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        changed = await operators.call(
            "PUT", "/stations/S1/connectors/2/availability", "operator",
            json={"availability": "inoperative", **WHY},
        )  # fmt: skip
        assert [c["wanted_availability"] for c in changed["connectors"]] == [
            "operative", "inoperative",
        ]  # fmt: skip
        [command] = (await operators.call("GET", "/commands"))["items"]
        assert (command["action"], command["arguments"]["connector"]) == ("change_availability", 2)
        assert await place.commands() == ["change_availability"]

    async def test_a_new_password_is_another_one(self, operators: OperatorApi) -> None:
        added = await add(operators, "EVP-1")
        secured = await operators.call("POST", "/stations/EVP-1/secure", "operator", json=WHY)
        assert secured["password"] != added["password"]
        assert await operators.acts("EVP-1") == ["station.add", "station.secure"]

    async def test_a_station_in_use_is_not_retired(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        await place.charging(await place.driver())
        refused = await operators.call("POST", "/stations/S1/retire", json=WHY, expect=409)
        assert refused["error"] == "station_in_use"

    async def test_a_retired_station_comes_back(self, operators: OperatorApi) -> None:
        await add(operators, "EVP-1")
        retired = await operators.call("POST", "/stations/EVP-1/retire", json=WHY)
        assert retired == {"station": "EVP-1", "is_retired": True, "is_changed": True}
        back = await operators.call("POST", "/stations/EVP-1/retire", json={"undo": True, **WHY})
        assert back == {"station": "EVP-1", "is_retired": False, "is_changed": True}

    @pytest.mark.parametrize("path", ["/stations/{}", "/stations/{}/connections"])
    async def test_no_such_station(self, operators: OperatorApi, path: str) -> None:
        refused = await operators.call("GET", path.format(uuid4()), expect=404)
        assert refused["error"] == "station_not_found"

    async def test_no_act_without_a_reason(self, operators: OperatorApi) -> None:
        await add(operators, "EVP-1")
        for body in ({"owner": "A"}, {"owner": "A", "reason": "   "}):
            await operators.call("PATCH", "/stations/EVP-1", json=body, expect=422)
        assert await operators.acts("EVP-1") == ["station.add"]
