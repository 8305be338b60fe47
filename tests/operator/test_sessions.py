"""Sessions: found by filters, shown whole, stopped, corrected after a preview, decided once."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest

from evpower.foundation.db import Connection
from tests.api.operator_scenario import OperatorApi
from tests.charging.place import ChargingPlace

WHY = {"reason": "read on the meter"}


async def settled(place: ChargingPlace, wh: int = 10_000, som: int = 1_000) -> UUID:
    """A session that is billed by its station's own stop."""
    session, transaction = await place.charging(await place.driver(som))
    place.later(30)
    await place.stop(transaction, wh)
    return session


async def quarantined(place: ChargingPlace, som: int = 1_000) -> UUID:
    """A session of 10 kWh whose station says 500 kWh at its end."""
    session, transaction = await place.charging(await place.driver(som))
    place.later(20)
    await place.values(transaction, 10_000)
    place.later(1)
    await place.stop(transaction, 500_000)
    return session


async def ids(operators: OperatorApi, **query: Any) -> list[str]:
    page = await operators.call("GET", "/sessions", "viewer", params=query)
    return [session["id"] for session in page["items"]]


class TestLists:
    async def test_every_filter(self, operators: OperatorApi, place: ChargingPlace) -> None:
        done = await settled(place)
        client = await place.value("client_id", done)
        place.later(1)
        doubted = await quarantined(place)
        place.later(1)
        cancelled = await place.start(await place.driver())
        await place.ask_to_stop(cancelled)
        place.later(1)
        running, _ = await place.charging(await place.driver())
        everything = [str(session) for session in (running, cancelled, doubted, done)]
        made = [str(await place.value("created_at", UUID(session))) for session in everything]
        assert await ids(operators) == everything
        assert await ids(operators, live=True) == [str(running)]
        assert await ids(operators, state="settled") == [str(doubted), str(done)]
        assert await ids(operators, state=["charging", "cancelled"]) == [
            str(running), str(cancelled),
        ]  # fmt: skip
        assert await ids(operators, live=True, state="settled") == []
        assert await ids(operators, quarantined=True) == [str(doubted)]
        assert await ids(operators, client=str(client)) == [str(done)]
        assert await ids(operators, station="s1") == everything
        assert await ids(operators, start_failure="cancelled_by_operator") == [str(cancelled)]
        assert await ids(operators, start_failure="expired") == []
        reason = await place.value("end_reason", done)
        assert str(done) in await ids(operators, end_reason=reason)
        assert await ids(operators, end_reason="no_frames") == []
        made_at = {"from": made[1].replace(" ", "T"), "to": made[0].replace(" ", "T")}
        assert await ids(operators, **made_at) == [str(cancelled)]

    async def test_pages_hold_every_session_once(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        made = [str(await settled(place, 1_000)) for _ in range(5)]
        seen: list[str] = []
        query: dict[str, Any] = {"limit": 2, "state": ["settled", "charging"]}
        while True:
            page = await operators.call("GET", "/sessions", params=query)
            seen += [session["id"] for session in page["items"]]
            if page["next"] is None:
                break
            query["cursor"] = page["next"]
        assert seen == made[::-1]

    async def test_of_an_unknown_station(self, operators: OperatorApi) -> None:
        await operators.call("GET", "/sessions", params={"station": "nowhere"}, expect=404)


class TestOne:
    async def test_it_has_its_bills_evidence_and_events(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        session = await quarantined(place)
        shown = await operators.call("GET", f"/sessions/{session}", "viewer")
        assert shown["session"]["quarantine_reason"] == "implausible_energy"
        assert [bill["number"] for bill in shown["bills"]] == [1]
        evidence = shown["evidence"]
        assert (evidence["meter_start_wh"], evidence["meter_stop_wh"]) == (0.0, 500_000.0)
        assert evidence["trusted_register_wh"] == 10_000.0
        assert [stop["meter_stop_wh"] for stop in evidence["stops"]] == [500_000.0]
        kinds = [event["kind"] for event in shown["events"]]
        for kind in ("requested", "started", "ended", "quarantined", "billed", "station_stopped"):
            assert kind in kinds
        assert {"kind": "session_quarantined"} in [event["detail"] for event in shown["events"]]

    async def test_its_meter_values_come_page_by_page(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        session, transaction = await place.charging(await place.driver())
        for wh in (1_000, 2_000, 3_000):
            place.later(2)
            await place.values(transaction, wh)
            await place.values(transaction, wh + 100, context="Sample.Clock")
        seen: list[float] = []
        query: dict[str, Any] = {"limit": 1}
        while True:
            page = await operators.call(
                "GET", f"/sessions/{session}/meter-values", "viewer", params=query
            )
            seen += [value["register_wh"] for value in page["items"]]
            if page["next"] is None:
                break
            query["cursor"] = page["next"]
        assert sorted(seen) == [1_000, 1_100, 2_000, 2_100, 3_000, 3_100]

    async def test_no_such_session(self, operators: OperatorApi) -> None:
        for path in ("", "/meter-values"):
            await operators.call("GET", f"/sessions/{uuid4()}{path}", expect=404)


class TestStopping:
    async def test_one_that_charges_is_stopped_by_its_own_id(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        session, _ = await place.charging(await place.driver())
        answer = await operators.call(
            "POST", f"/sessions/{session}/stop", "support", json={"reason": "driver asked"}
        )
        assert (answer["state"], answer["is_repeated"]) == ("stopping", False)
        assert await place.commands() == ["remote_stop"]
        again = await operators.call("POST", f"/sessions/{session}/stop", "support", json=WHY)
        assert again["is_repeated"] is True
        assert await operators.acts(str(session)) == ["charging.stop", "charging.stop"]
        assert (await place.session(session))["stop_requested_by"].startswith("operator:")

    async def test_one_that_waits_is_cancelled(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        client = await place.driver()
        session = await place.start(client)
        answer = await operators.call("POST", f"/sessions/{session}/stop", json=WHY)
        assert answer["state"] == "cancelled"
        assert await place.held(client) == 0


class TestMoney:
    async def test_a_preview_says_what_the_correction_then_moves(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        session = await settled(place)
        client = await place.value("client_id", session)
        body = {"energy_kwh": 4, **WHY}
        path = f"/sessions/{session}/correction"
        preview = await operators.call("POST", f"{path}/preview", "finance", json=body)
        assert (preview["cost_before"], preview["cost"]) == (120.0, 48.0)
        assert (preview["refunded"], preview["charged"]) == (72.0, 0.0)
        assert await place.bills(session) == [(10_000, 120)]
        assert (await place.money.wallet(client))["balance_minor"] == 88_000
        tag = (await operators.answer("GET", f"/sessions/{session}")).headers["etag"]
        moved = await operators.call("POST", path, "finance", json=body, headers={"If-Match": tag})
        assert {**moved, "bill": None} == {**preview, "bill": None}
        assert await place.bills(session) == [(10_000, 120), (4_000, 48)]
        assert (await place.money.wallet(client))["balance_minor"] == 95_200
        assert await operators.acts(str(session)) == ["session.correct"]

    async def test_what_changed_since_the_preview_is_not_corrected(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        session = await settled(place)
        tag = (await operators.answer("GET", f"/sessions/{session}")).headers["etag"]
        path = f"/sessions/{session}/correction"
        await operators.call("POST", path, "finance", json={"energy_kwh": 9, **WHY})
        refused = await operators.call(
            "POST", path, "finance", json={"energy_kwh": 4, **WHY}, headers={"If-Match": tag},
            expect=412,
        )  # fmt: skip
        assert refused["error"] == "changed_meanwhile"
        assert await place.bills(session) == [(10_000, 120), (9_000, 108)]

    async def test_what_the_balance_can_t_pay_is_a_debt(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        session = await settled(place, som=150)
        body = {"energy_kwh": 15, **WHY}
        preview = await operators.call(
            "POST", f"/sessions/{session}/correction/preview", "finance", json=body
        )
        assert (preview["charged"], preview["debt_added"]) == (30.0, 30.0)

    async def test_a_debt_is_forgiven_before_anything_is_refunded(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        session = await settled(place, som=150)
        path = f"/sessions/{session}/correction"
        await operators.call("POST", path, "finance", json={"energy_kwh": 15, **WHY})
        for kwh, forgiven, refunded in ((14, 12.0, 0.0), (10, 18.0, 30.0)):
            body = {"energy_kwh": kwh, **WHY}
            preview = await operators.call("POST", f"{path}/preview", "finance", json=body)
            moved = await operators.call("POST", path, "finance", json=body)
            for effect in (preview, moved):
                assert (effect["debt_forgiven"], effect["refunded"]) == (forgiven, refunded)
                assert (effect["debt_added"], effect["charged"]) == (0.0, 0.0)

    async def test_a_repeat_with_its_key_bills_once(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        session = await settled(place)
        path, key = f"/sessions/{session}/correction", {"Idempotency-Key": "c-1"}
        first = await operators.call(
            "POST", path, "finance", json={"energy_kwh": 4, **WHY}, headers=key
        )
        await operators.call("POST", path, "finance", json={"energy_kwh": 5, **WHY})
        again = await operators.call(
            "POST", path, "finance", json={"energy_kwh": 4, **WHY}, headers=key
        )
        assert again == first
        assert await place.bills(session) == [(10_000, 120), (4_000, 48), (5_000, 60)]

    async def test_what_the_connector_can_t_deliver_needs_force(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        session = await settled(place)
        path, body = f"/sessions/{session}/correction", {"energy_kwh": 80, **WHY}
        refused = await operators.call("POST", path, "finance", json=body, expect=422)
        assert refused["error"] == "implausible_energy"
        forced = await operators.call("POST", path, "finance", json=body | {"force": True})
        assert forced["energy_kwh"] == 80.0

    @pytest.mark.parametrize(
        ("end", "error"),
        [
            ("2099-01-01T00:00:00Z", "invalid_time"),
            ("9999-12-31T23:59:59-12:00", "invalid_request"),  # UTC has no such time
        ],
    )
    async def test_an_end_in_the_future_is_refused(
        self, operators: OperatorApi, place: ChargingPlace, end: str, error: str
    ) -> None:
        session = await settled(place)
        body = {"ended_at": end, "force": True, **WHY}
        for path in ("correction", "correction/preview"):
            refused = await operators.call(
                "POST", f"/sessions/{session}/{path}", "finance", json=body, expect=422
            )
            assert refused["error"] == error
        assert await place.bills(session) == [(10_000, 120)]

    @pytest.mark.parametrize("role", ["admin", "operator"])
    async def test_no_other_role_moves_money(
        self, operators: OperatorApi, place: ChargingPlace, role: Any
    ) -> None:
        session = await settled(place)
        body = {"energy_kwh": 4, **WHY}
        await operators.call("POST", f"/sessions/{session}/correction", role, json=body, expect=403)
        assert await place.bills(session) == [(10_000, 120)]


class TestQuarantine:
    async def test_it_is_listed_until_it_is_decided(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        session = await quarantined(place)
        [listed] = (await operators.call("GET", "/quarantine", "viewer"))["items"]
        assert listed["id"] == str(session)
        decided = await operators.call(
            "POST", f"/quarantine/{session}/decision", "finance", json={"energy_kwh": 12, **WHY}
        )
        assert (decided["energy_kwh_before"], decided["energy_kwh"]) == (10.0, 12.0)
        assert decided["charged"] == 24.0
        assert (await operators.call("GET", "/quarantine"))["items"] == []
        assert await operators.acts(str(session)) == ["quarantine.decide"]

    async def test_of_two_at_once_one_decides_and_the_other_bills_nothing(
        self, operators: OperatorApi, place: ChargingPlace, owner: Connection
    ) -> None:
        session = await quarantined(place)
        path = f"/quarantine/{session}/decision"
        answers = await asyncio.gather(
            *(
                operators.answer("POST", path, "finance", json={"energy_kwh": kwh, **WHY})
                for kwh in (12, 13)
            )
        )
        assert sorted(answer.status_code for answer in answers) == [200, 409]
        [refused] = [answer.json() for answer in answers if answer.status_code == 409]
        assert refused["error"] == "session_not_quarantined"
        bills = await place.bills(session)
        assert len(bills) == 2
        assert bills[-1][0] in {12_000, 13_000}
        count = await owner.fetchval(
            "select count(*) from identity.audit where action = 'quarantine.decide'"
        )
        assert count == 1

    async def test_decided_by_what_was_billed_it_moves_nothing(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        place.later(1)
        await place.price({"energy_per_kwh": "12", "flat": "5"})
        session, transaction = await place.charging(await place.driver(), meter_wh=None)
        place.later(10)
        await place.stop(transaction, None)
        decided = await operators.call(
            "POST", f"/quarantine/{session}/decision", "finance", json=WHY
        )
        assert (decided["is_new_bill"], decided["charged"]) == (False, 0.0)
        assert await place.bills(session) == [(0, 0)]
        assert (await operators.call("GET", "/quarantine"))["items"] == []

    async def test_a_session_in_no_quarantine_is_not_decided(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        session = await settled(place)
        refused = await operators.call(
            "POST", f"/quarantine/{session}/decision", "finance", json=WHY, expect=409
        )
        assert refused["error"] == "session_not_quarantined"


class TestCards:
    async def test_an_unknown_card_is_shown_with_what_it_took(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        transaction = await place.begin(None, tag="04AABBCC")
        place.later(10)
        await place.stop(transaction, 3_000)
        [charge] = await operators.call("GET", "/unattributed", "viewer")
        assert (charge["id_tag"], charge["energy_kwh"]) == ("04AABBCC", 3.0)
        [card] = await operators.call("GET", "/unknown-cards", "viewer")
        assert (card["id_tag"], card["charges"], card["last_station"]) == ("04AABBCC", 1, "S1")

    async def test_stops_of_no_transaction_are_listed_in_pages(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        await settled(place)
        for number in (4_711, 4_712):
            await place.stop(number, number, tag="04AABBCC")
        first = await operators.call("GET", "/unmatched-stops", "viewer", params={"limit": 1})
        [stop] = first["items"]
        assert (stop["station"], stop["id_as_sent"], stop["id_tag"], stop["meter_stop_wh"]) == (
            "S1", "4712", "04AABBCC", 4712,
        )  # fmt: skip
        more = {"limit": 1, "cursor": first["next"]}
        last = await operators.call("GET", "/unmatched-stops", "viewer", params=more)
        assert [row["id_as_sent"] for row in last["items"]] == ["4711"]
        assert last["next"] is None

    async def test_a_technician_s_card_is_registered_once_and_removed(
        self, operators: OperatorApi
    ) -> None:
        body = {"tag": "04aa/bb", "name": "Bek", **WHY}
        added = await operators.call("POST", "/technicians", "operator", json=body, expect=201)
        assert [added] == await operators.call("GET", "/technicians", "viewer")
        refused = await operators.call("POST", "/technicians", json=body, expect=409)
        assert refused["error"] == "id_tag_taken"
        assert added["daily_limit_kwh"] == 20
        limit = {"daily_limit_kwh": 60, **WHY}
        path = "/technicians/04aa%2Fbb/limit"
        limited = await operators.call("PUT", path, "operator", json=limit)
        assert limited == {**added, "daily_limit_kwh": 60}
        await operators.call("PUT", path, "viewer", json=limit, expect=403)
        await operators.call("PUT", path, json={**limit, "daily_limit_kwh": 0}, expect=422)
        await operators.call("PUT", "/technicians/04cc/limit", json=limit, expect=404)
        path = "/technicians/04aa%2Fbb/remove"
        await operators.call("POST", path, "operator", json=WHY, expect=204)
        await operators.call("POST", path, "operator", json=WHY, expect=404)
        assert await operators.call("GET", "/technicians") == []


class TestOnSite:
    async def test_a_session_whose_station_is_away_is_ended_by_force(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        session, transaction = await place.charging(await place.driver())
        place.later(5)
        await place.values(transaction, 2_000)
        body = {"reason": "the station burnt down", "force": True}
        stopped = await operators.call("POST", f"/sessions/{session}/stop", "support", json=body)
        assert stopped["state"] == "settled"
        assert await place.bills(session) == [(2_000, 24)]
        assert await operators.acts(str(session)) == ["charging.force_stop"]

    async def test_one_that_is_there_is_asked_first(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        place.now = operators.clock()
        session, _ = await place.charging(await place.driver())
        body = {"reason": "in a hurry", "force": True}
        refused = await operators.call("POST", f"/sessions/{session}/stop", json=body, expect=409)
        assert refused["error"] == "station_online"

    async def test_a_card_is_given_listed_and_removed(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        client = await place.driver()
        body = {"tag": "04A2/B3", "client_id": str(client), **WHY}
        given = await operators.call("POST", "/cards", "operator", json=body, expect=201)
        assert (given["tag"], given["client_id"]) == ("04a2/b3", str(client))
        query = {"client": str(client)}
        assert await operators.call("GET", "/cards", "viewer", params=query) == [given]
        assert await operators.call("GET", "/cards", params={"tag": "04A2/B3"}) == [given]
        other = await place.driver()
        refused = await operators.call(
            "POST", "/cards", json=body | {"client_id": str(other)}, expect=409
        )
        assert refused["error"] == "id_tag_taken"
        path = "/cards/04a2%2Fb3/remove"
        await operators.call("POST", path, "operator", json=WHY, expect=204)
        await operators.call("POST", path, "operator", json=WHY, expect=404)

    async def test_a_station_is_free_for_a_while(
        self, operators: OperatorApi, place: ChargingPlace
    ) -> None:
        del place
        body = {"minutes": 60, "reason": "the app is down"}
        free = await operators.call("POST", "/stations/S1/free", "operator", json=body)
        assert [free] == await operators.call("GET", "/stations/s1/free", "viewer")
        await operators.call("POST", "/stations/S1/free/end", "operator", json=WHY, expect=204)
        refused = await operators.call("POST", "/stations/S1/free/end", json=WHY, expect=409)
        assert refused["error"] == "station_not_free"
