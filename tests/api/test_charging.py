"""Charging over HTTP as phones of every revision do it: shapes, refusals, who may do what."""

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args
from uuid import UUID, uuid4

import orjson
import pytest

from evpower import charging
from evpower.api import messages
from evpower.charging.request_stop import StopReason
from evpower.charging.stop_transaction import _REASONS
from evpower.charging.unstarted import StartFailure
from evpower.foundation.db import Connection, Database
from tests.api.charging_scenario import (
    ACTIVE,
    START,
    STOP,
    Ride,
    free_the_station,
    wants_the_cable_first,
)
from tests.api.scenario import Api, bearer, running_api
from tests.api.stations_scenario import Site
from tests.contracts.answers import code_of
from tests.old_api.golden_answers import assert_golden
from tests.old_api.revisions import assert_taken
from tests.waiting import WAIT_LIMIT_S, until

_UNKNOWN_ID = "5e0c2f0a-6e3a-4d0b-9a41-7a1d6f0f5c11"  # a fixed one: workers must agree on the tests
ENGLISH = {"Accept-Language": "en"}
CHARGING = Path(charging.__file__).parent


@pytest.fixture
def bare(api: Api, db: Database, owner: Connection, client_id: UUID) -> Ride:
    """Nothing is there yet."""
    return Ride(api, owner, Site(db, api.clock), client_id)


@pytest.fixture
async def ride(bare: Ride) -> Ride:
    await bare.open()
    return bare


class TestStart:
    @pytest.mark.parametrize(
        ("golden", "limits"),
        [
            ("no_limit", {}),
            ("energy", {"energy_kwh": 20}),
            ("amount", {"amount_som": 150.5}),
            ("soc", {"soc_percent": 80, "vehicle_plate": " 01kg123 abc "}),
            ("both", {"energy_kwh": 20.5, "amount_som": 100, "soc_percent": None}),
        ],
    )
    async def test_each_limit(self, ride: Ride, golden: str, limits: dict[str, Any]) -> None:
        response = await ride.start(**limits)
        assert_golden(f"v1/charging/start/{golden}", response)
        assert_taken("start", response.json())

    async def test_no_money_moves_and_the_command_is_queued(self, ride: Ride) -> None:
        body = (await ride.start()).json()
        assert (body["reserved_amount"], body["new_balance"]) == (200.0, 800.0)
        [command] = await ride.owner.fetch("select action, state from stations.commands")
        assert dict(command) == {"action": "remote_start", "state": "queued"}
        balance = (await ride.api.get(f"/api/v1/balance/{ride.client}", bearer(ride.client))).json()
        assert (balance["balance"], balance["held"]) == (1000.0, 200.0)

    async def test_a_body_that_names_the_client_as_older_apps_do(self, ride: Ride) -> None:
        response = await ride.start(client_id=str(ride.client).upper())
        assert response.json()["client_id"] == str(ride.client)

    async def test_unknown_members_and_nulls_are_passed_over(self, ride: Ride) -> None:
        response = await ride.start(
            energy_kwh=None, amount_som=None, soc_percent=None, vehicle_plate=None, client_id=None,
            tariff={"free": True}, session_id=str(uuid4()), state="settled", held_minor=0,
        )  # fmt: skip
        assert response.status_code == 200

    async def test_a_second_tap_gets_the_same_session(self, ride: Ride, owner: Connection) -> None:
        taps = await asyncio.gather(*(ride.start() for _ in range(8)))
        assert {tap.status_code for tap in taps} == {200}
        assert len({tap.json()["session_id"] for tap in taps}) == 1
        assert await owner.fetchval("select count(*) from wallet.holds") == 1

    async def test_a_repeat_shows_the_session_as_it_is_by_now(self, ride: Ride) -> None:
        session = await ride.started(amount_som=150.5)
        await ride.begin(session)
        response = await ride.start({**bearer(ride.client), **ENGLISH}, amount_som=150.5)
        assert response.json()["session_id"] == session
        assert_golden("v1/charging/start/repeated", response)
        assert_taken("start", response.json())

    async def test_the_same_key_gets_the_same_answer(self, ride: Ride, owner: Connection) -> None:
        headers = {**bearer(ride.client), "Idempotency-Key": "one-tap"}
        first = await ride.start(headers)
        ride.forward(seconds=90)
        await ride.stay_online()
        again = await ride.start(headers)
        assert again.content == first.content
        assert again.headers["idempotent-replayed"] == "true"
        other = await ride.start(headers, energy_kwh=5)
        assert (other.status_code, code_of(other)) == (409, "idempotency_conflict")
        assert await owner.fetchval("select count(*) from charging.sessions") == 1


class TestStartRefused:
    async def refusal(self, ride: Ride, golden: str, status: int, **body: Any) -> None:
        response = await ride.start({**bearer(ride.client), **ENGLISH}, **body)
        assert response.status_code == status
        assert_golden(f"v1/charging/start/refused_{golden}", response)
        answer = response.json()
        assert answer["success"] is False
        assert answer["error"] == answer["message"] != answer["error_code"]
        assert await ride.owner.fetchval("select count(*) from wallet.holds") == 0

    async def test_by_an_empty_balance(self, bare: Ride) -> None:
        await bare.open(som=0)
        await self.refusal(bare, "zero_balance", 402)

    async def test_by_a_balance_below_the_minimum(self, bare: Ride) -> None:
        await bare.open(som=5)
        await self.refusal(bare, "insufficient_balance", 402)

    async def test_by_an_amount_above_the_balance(self, ride: Ride) -> None:
        await self.refusal(ride, "amount_exceeds_balance", 402, amount_som=1500)

    @pytest.mark.parametrize(
        ("change", "golden"),
        [
            ("status = 'blocked'", "client_blocked"),
            ("status = 'closed'", "client_closed"),
            ("deletion_requested_at = now()", "client_deleted"),
        ],
    )
    async def test_of_a_client_who_may_not_spend(
        self, ride: Ride, owner: Connection, change: str, golden: str
    ) -> None:
        await owner.execute(f"update identity.clients set {change}")
        await self.refusal(ride, golden, 403)

    async def test_at_an_unknown_station(self, ride: Ride) -> None:
        await self.refusal(ride, "station_not_found", 404, station_id="nowhere")

    async def test_at_an_unknown_connector(self, ride: Ride) -> None:
        await self.refusal(ride, "connector_not_found", 404, connector_id=9)

    async def test_at_a_station_that_is_offline(self, ride: Ride) -> None:
        ride.forward(seconds=100)
        await self.refusal(ride, "station_offline", 409)

    async def test_at_a_station_in_maintenance(self, bare: Ride) -> None:
        await bare.open(availability="inoperative")
        await self.refusal(bare, "station_unavailable", 409)

    @pytest.mark.parametrize(
        ("status", "golden"),
        [("charging", "connector_occupied"), ("finishing", "unplug_first")],
    )
    async def test_at_a_connector_in_use(self, ride: Ride, status: str, golden: str) -> None:
        await ride.site.report("EVP-1", 1, status)
        await self.refusal(ride, golden, 409)

    async def test_without_a_tariff(self, bare: Ride) -> None:
        await bare.site.ready("EVP-1")
        await self.refusal(bare, "tariff_missing", 409)

    async def test_at_a_station_that_wants_the_cable_first(
        self, ride: Ride, owner: Connection
    ) -> None:
        await wants_the_cable_first(owner)
        await self.refusal(ride, "plug_in_first", 409)

    async def test_at_a_station_that_every_card_may_use(self, ride: Ride) -> None:
        await free_the_station(ride)
        await self.refusal(ride, "station_free", 409)

    async def test_with_another_session_open(self, ride: Ride) -> None:
        await ride.started()
        response = await ride.start({**bearer(ride.client), **ENGLISH}, connector_id=2)
        assert_golden("v1/charging/start/refused_session_already_active", response)


NO_BODIES = [b"", b"nonsense", b"[]", b"null", b"\xff\xfe", b"[" * 10_000, b'{"station_id": ']
WRONG: list[tuple[dict[str, Any], str]] = [
    *[({"station_id": value}, "invalid_request") for value in (None, "", "  ", 7, [], {}, True)],
    ({"station_id": "x" * 300}, "invalid_request"),
    *[
        ({"connector_id": value}, "invalid_request")
        for value in (None, 0, -1, 1.5, "1", True, [], 1e9, 10**30)
    ],
    *[({"energy_kwh": value}, "invalid_energy") for value in (0, -1, 201, "20", True, [], 1e-9)],
    *[
        ({"amount_som": value}, "invalid_amount")
        for value in (0, -5, 10.001, 100_001, "100", False, {}, 1e-5)
    ],
    *[({"soc_percent": value}, "invalid_request") for value in (0, 101, 50.5, "80", True)],
    *[
        ({"vehicle_plate": value}, "invalid_request")
        for value in ("", "   ", "x" * 17, 7, "\u200b")
    ],
]


class TestBadStart:
    @pytest.mark.parametrize("body", NO_BODIES, ids=range(len(NO_BODIES)))
    async def test_bodies_that_are_no_objects(self, ride: Ride, body: bytes) -> None:
        for path in (START, STOP):
            response = await ride.api.post(path, bearer(ride.client), content=body)
            assert (response.status_code, code_of(response)) == (422, "invalid_request")
            assert response.headers["content-type"] == "application/json"

    @pytest.mark.parametrize(("member", "code"), WRONG, ids=range(len(WRONG)))
    async def test_members_of_a_wrong_type_or_size(
        self, ride: Ride, member: dict[str, Any], code: str
    ) -> None:
        response = await ride.start(**member)
        assert (response.status_code, code_of(response)) == (422, code)
        assert await ride.owner.fetchval("select count(*) from charging.sessions") == 0

    @pytest.mark.parametrize(
        ("limit", "golden"), [({"amount_som": 5}, "amount"), ({"energy_kwh": 500}, "energy")]
    )
    async def test_a_limit_out_of_range_names_the_range(
        self, ride: Ride, limit: dict[str, Any], golden: str
    ) -> None:
        response = await ride.start({**bearer(ride.client), **ENGLISH}, **limit)
        assert_golden(f"v1/charging/start/refused_{golden}_range", response)

    @pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999999", "9" * 500])
    async def test_numbers_that_are_none(self, ride: Ride, number: str) -> None:
        for member in ("connector_id", "energy_kwh", "amount_som", "soc_percent"):
            body = f'{{"station_id": "EVP-1", "connector_id": 1, "{member}": {number}}}'
            response = await ride.api.post(START, bearer(ride.client), content=body.encode())
            assert response.status_code == 422

    @pytest.mark.parametrize("stranger", [_UNKNOWN_ID, 7, "", {}])
    async def test_another_clients_id_is_forbidden(self, ride: Ride, stranger: object) -> None:
        response = await ride.start(client_id=stranger)
        assert (response.status_code, code_of(response)) == (403, "forbidden")


class TestStatus:
    async def test_before_the_station_starts(self, ride: Ride) -> None:
        session = await ride.started(energy_kwh=20)
        response = await ride.status(session)
        assert_golden("v1/charging/status/requested", response)
        assert_taken("status", response.json())

    async def test_while_it_charges(self, ride: Ride) -> None:
        session = await ride.started(energy_kwh=20, vehicle_plate="01KG123ABC")
        await ride.begin(session)
        ride.forward(minutes=12.5)
        await ride.stay_online()
        await ride.progress(
            session, energy_wh=5250, cost_minor=7588, power_w=21_960, soc_percent=62,
            current_ma=32_040, voltage_mv=229_900, ev_current_ma=54_000, ev_voltage_mv=400_100,
            body_temperature=31, outlet_temperature=44, register_wh=6250,
        )  # fmt: skip
        response = await ride.status(session)
        assert_golden("v1/charging/status/charging", response)
        assert_taken("status", response.json())

    async def test_by_the_money_limit(self, ride: Ride) -> None:
        session = await ride.started(amount_som=100)
        await ride.begin(session)
        await ride.progress(session, energy_wh=2000, cost_minor=3200)
        body = (await ride.status(session)).json()
        assert (body["limit_type"], body["limit_value"], body["progress_percent"]) == (
            "amount", 100.0, 32.0,
        )  # fmt: skip

    async def test_of_a_station_that_is_lost_for_half_an_hour(self, ride: Ride) -> None:
        session = await ride.started()
        await ride.begin(session)
        ride.forward(minutes=29)
        assert (await ride.status(session)).json()["station_online"] is False
        ride.forward(minutes=2)
        await ride.watch()
        response = await ride.status(session, {**bearer(ride.client), **ENGLISH})
        assert_golden("v1/charging/status/station_lost", response)

    async def test_while_the_car_is_not_plugged_in(self, ride: Ride, owner: Connection) -> None:
        session = await ride.started()
        await owner.execute("update charging.sessions set state = 'starting'")
        response = await ride.status(session)
        assert_golden("v1/charging/status/starting", response)
        assert_taken("status", response.json())

    async def test_while_it_stops(self, ride: Ride) -> None:
        session = await ride.started()
        await ride.begin(session)
        await ride.stop(session)
        response = await ride.status(session)
        assert_golden("v1/charging/status/stopping", response)
        assert_taken("status", response.json())

    @pytest.mark.parametrize(
        ("state", "failure"),
        [
            ("expired", "not_plugged_in"),
            ("refused", "station_refused"),
            ("cancelled", "cancelled_by_driver"),
            ("failed", "not_delivered"),
        ],
    )
    async def test_of_a_session_that_never_charged(
        self, ride: Ride, state: str, failure: str
    ) -> None:
        session = await ride.started()
        await ride.owner.execute("select wallet.release_hold($1)", UUID(session))
        await ride.owner.execute(
            "update charging.sessions set state = $2, start_failure = $3,"
            " start_window_ends_at = $4 where id = $1",
            UUID(session), state, failure, ride.api.clock(),
        )  # fmt: skip
        response = await ride.status(session)
        assert_golden(f"v1/charging/status/{state}", response)
        assert_taken("status", response.json())

    @pytest.mark.parametrize(
        ("golden", "state", "minutes"),
        [("imported_open", "charging", 0), ("imported", "finished", 40)],
    )
    async def test_of_a_session_of_another_system(
        self, ride: Ride, golden: str, state: str, minutes: int
    ) -> None:
        session, now = uuid4(), ride.api.clock()
        await ride.owner.execute(
            "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
            " created_at, updated_at, started_at, ended_at, energy_wh, cost_minor,"
            " billed_elsewhere)"
            " values ($1, $2, 'OLD-7', 1, $3, 'import', $4, $4, $4, $5, $6, $7, $8)",
            session, ride.client, state, now - timedelta(minutes=50),
            now - timedelta(minutes=50 - minutes) if minutes else None,
            500 * minutes, 700 * minutes, bool(minutes),
        )  # fmt: skip
        response = await ride.status(str(session), {**bearer(ride.client), **ENGLISH})
        assert_golden(f"v1/charging/status/{golden}", response)
        assert_taken("status", response.json())

    async def test_both_ways_answer_the_same(self, ride: Ride) -> None:
        session = await ride.started()
        await ride.begin(session)
        routed = await ride.status(session.replace("-", "%2D"))
        assert (await ride.status(session)).content == routed.content

    async def test_operators_and_services_read_any(self, ride: Ride) -> None:
        session = await ride.started()
        for headers in (ride.api.operator, ride.api.service):
            assert (await ride.status(session, headers)).status_code == 200

    @pytest.mark.parametrize("session", [_UNKNOWN_ID, "nothing", "%D1%8B", "1' or '1'='1"])
    async def test_an_unknown_session(self, ride: Ride, session: str) -> None:
        response = await ride.status(session, {**bearer(ride.client), **ENGLISH})
        assert_golden("v1/charging/status/unknown", response)


class TestActive:
    async def test_the_open_session_flat(self, ride: Ride) -> None:
        session = await ride.started()
        response = await ride.active()
        assert_golden("v1/charging/active/open", response)
        status = (await ride.status(session)).json()
        status.pop("session")
        assert response.json() == status

    async def test_none(self, ride: Ride) -> None:
        response = await ride.active(ENGLISH | bearer(ride.client))
        assert response.status_code == 404
        assert (response.json()["error"], response.headers["content-type"]) == (
            "no_active_session", "application/problem+json",
        )  # fmt: skip
        assert_golden("v1/charging/active/none", response)

    async def test_one_that_another_system_runs_is_none(self, ride: Ride) -> None:
        await ride.owner.execute(
            "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
            " started_at) values (gen_random_uuid(), $1, 'X', 1, 'charging', 'import', now())",
            ride.client,
        )
        assert (await ride.active()).status_code == 404


class TestBill:
    async def charged(self, ride: Ride, **limits: Any) -> tuple[str, int]:
        session = await ride.started(**limits)
        transaction = await ride.begin(session)
        ride.forward(minutes=31)
        await ride.stay_online()
        return session, transaction

    async def test_a_stop_waits_for_it(self, db: Database, owner: Connection) -> None:
        async with running_api(db, stop_wait_s=WAIT_LIMIT_S) as api:
            ride = Ride(api, owner, Site(db, api.clock), await api.new_client())
            await ride.open()
            session, transaction = await self.charged(ride)
            stopping = asyncio.create_task(ride.stop(session))

            async def queued() -> bool:
                action = (
                    "select exists (select from stations.commands where action = 'remote_stop')"
                )
                return await owner.fetchval(action)

            await until(queued)
            await ride.end(transaction, 11_000)
            response = await stopping
        assert_golden("v1/charging/stop/billed", response)
        assert_taken("stop", response.json())

    async def test_a_stop_of_what_ended_gets_the_bill_again(self, ride: Ride) -> None:
        session, transaction = await self.charged(ride, energy_kwh=10)
        await ride.end(transaction, 11_000, "EVDisconnected")
        first = await ride.stop(session)
        assert_golden("v1/charging/stop/after_the_end", first)
        assert_taken("stop", first.json())
        ride.forward(hours=3)
        assert (await ride.stop(session)).json() == {**first.json(), "station_online": False}

    async def test_a_bill_beyond_the_hold(self, ride: Ride) -> None:
        session, transaction = await self.charged(ride)
        ride.forward(minutes=31)
        await ride.end(transaction, 16_100)
        body = (await ride.stop(session)).json()
        assert (body["final_cost"], body["reserved_amount"]) == (208.85, 200.0)
        assert (body["additional_charge"], body["refunded_amount"]) == (8.85, 0.0)
        assert (await ride.status(session)).json()["amount_charged_som"] == 208.85
        assert body["new_balance"] == 791.15

    async def test_a_debt_is_named_to_who_can_not_start_again(self, bare: Ride) -> None:
        await bare.open(som=200)
        session, transaction = await self.charged(bare)
        bare.forward(minutes=31)
        await bare.end(transaction, 16_100)
        assert (await bare.status(session)).json()["amount_charged_som"] == 200.0
        await bare.site.report("EVP-1", 1, "available")
        await bare.stay_online()
        refused = await bare.start({**bearer(bare.client), **ENGLISH})
        assert_golden("v1/charging/start/refused_debt", refused)

    async def test_a_bill_in_quarantine_is_not_final(self, ride: Ride) -> None:
        session, transaction = await self.charged(ride)
        await ride.end(transaction, 900_000)
        response = await ride.stop(session)
        assert_golden("v1/charging/stop/under_review", response)
        assert_taken("stop", response.json())
        status = await ride.status(session, {**bearer(ride.client), **ENGLISH})
        assert_golden("v1/charging/status/under_review", status)
        assert_taken("status", status.json())

    async def test_one_by_the_last_value_is_an_estimate(self, ride: Ride) -> None:
        session, transaction = await self.charged(ride, amount_som=150.5)
        await ride.values(transaction, 6250)
        ride.forward(hours=13)
        await ride.watch()
        status = await ride.status(session, {**bearer(ride.client), **ENGLISH})
        assert_golden("v1/charging/status/estimated", status)
        assert_taken("status", status.json())

    async def test_the_status_afterwards(self, ride: Ride) -> None:
        session, transaction = await self.charged(ride, energy_kwh=10)
        await ride.end(transaction, 11_000, "EVDisconnected")
        response = await ride.status(session)
        assert_golden("v1/charging/status/settled", response)
        assert_taken("status", response.json())
        assert (await ride.active()).status_code == 404

    def test_each_reason_has_its_sentence(self) -> None:
        source = "".join(path.read_text() for path in CHARGING.glob("*.py"))
        closed = set(re.findall(r'close_reason="(\w+)"', source))
        closed |= set(re.findall(r'close_estimated\([^()]*?"(\w+)"', source))
        ended = {*get_args(StopReason), *_REASONS.values(), *closed} - {"other"}
        codes = {f"ended_{reason}" for reason in ended}
        codes |= {f"failed_{failure}" for failure in get_args(StartFailure)}
        assert len(closed) >= 4
        for language, texts in messages.LANGUAGES.items():
            assert codes - texts.keys() == set(), language


class TestStop:
    async def test_before_the_start_cancels(self, ride: Ride) -> None:
        session = await ride.started()
        response = await ride.stop(session)
        assert_golden("v1/charging/stop/cancelled", response)
        assert_taken("stop", response.json())
        assert await ride.owner.fetchval("select held_minor from wallet.wallets") == 0

    async def test_a_station_that_has_the_start_may_still_begin(self, ride: Ride) -> None:
        """Nothing is final while it may: what it delivers until it stops is billed."""
        session = await ride.started()
        await ride.deliver()
        response = await ride.stop(session)
        assert_golden("v1/charging/stop/cancelled_may_begin", response)
        assert_taken("stop", response.json())
        assert_golden("v1/charging/status/cancelled_may_begin", await ride.status(session))
        transaction = await ride.begin(session)
        ride.forward(minutes=1)
        await ride.end(transaction, 1_100)
        billed = (await ride.stop(session)).json()
        assert (billed["final"], billed["actual_cost"]) == (True, 6.35)

    @pytest.mark.parametrize("end", ["refused", "window"])
    async def test_a_cancelled_session_is_final_once_its_station_begins_no_more(
        self, ride: Ride, end: str
    ) -> None:
        session = await ride.started()
        command = await ride.deliver()
        assert not (await ride.stop(session)).json()["final"]
        if end == "refused":
            await ride.reply(command, "refused")
        else:
            ride.forward(minutes=10)
            await ride.stay_online()
        stopped = (await ride.stop(session)).json()
        assert (stopped["state"], stopped["final"]) == ("cancelled", True)

    async def test_without_the_stations_answer_it_is_not_final(self, ride: Ride) -> None:
        session = await ride.started()
        await ride.begin(session)
        await ride.progress(session, energy_wh=2000, cost_minor=3200)
        response = await ride.stop(session)
        assert_golden("v1/charging/stop/not_final", response)
        assert_taken("stop", response.json())
        again = await ride.stop(session)
        assert again.json()["final"] is False
        queued = await ride.owner.fetchval(
            "select count(*) from stations.commands where action = 'remote_stop'"
        )
        assert queued == 1

    async def test_a_repeat_gets_the_same_success(self, ride: Ride) -> None:
        session = await ride.started()
        taps = await asyncio.gather(*(ride.stop(session) for _ in range(6)))
        assert {tap.status_code for tap in taps} == {200}
        later = await ride.stop(session)
        assert {tap.content for tap in taps} | {later.content} == {later.content}

    async def test_a_key_with_an_answer_that_is_not_final_is_worked_out_again(
        self, ride: Ride
    ) -> None:
        session = await ride.started()
        await ride.begin(session)
        headers = {**bearer(ride.client), "Idempotency-Key": "one-stop"}
        await ride.stop(session, headers)
        await ride.progress(session, energy_wh=9000, cost_minor=12_650)
        again = await ride.stop(session, headers)
        assert (again.json()["energy_consumed"], "idempotent-replayed" in again.headers) == (
            9.0, False,
        )  # fmt: skip

    async def test_what_another_system_runs_can_not_be_stopped_here(self, ride: Ride) -> None:
        session = uuid4()
        await ride.owner.execute(
            "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
            " started_at) values ($1, $2, 'X', 1, 'charging', 'import', now())",
            session, ride.client,
        )  # fmt: skip
        response = await ride.stop(str(session), {**bearer(ride.client), **ENGLISH})
        assert_golden("v1/charging/stop/refused_session_not_ours", response)

    @pytest.mark.parametrize("value", [None, 7, "", [], {}, True, "x" * 101])
    async def test_ids_of_a_wrong_type(self, ride: Ride, value: object) -> None:
        response = await ride.stop(value)
        assert (response.status_code, code_of(response)) == (422, "invalid_request")

    @pytest.mark.parametrize("session", [_UNKNOWN_ID, "nothing", "ы"])
    async def test_an_unknown_session(self, ride: Ride, session: str) -> None:
        response = await ride.stop(session, {**bearer(ride.client), **ENGLISH})
        assert_golden("v1/charging/stop/refused_unknown", response)


class TestWho:
    CALLS = ("start", "stop", "status", "active")

    async def call(self, ride: Ride, name: str, session: str, headers: dict[str, str]) -> Any:
        match name:
            case "start":
                return await ride.start(headers, connector_id=2)
            case "stop":
                return await ride.stop(session, headers)
            case "status":
                return await ride.status(session, headers)
            case _:
                return await ride.active(headers)

    @pytest.mark.parametrize("name", CALLS)
    @pytest.mark.parametrize(
        ("headers", "code"),
        [
            ({"X-Nothing": "1"}, "missing_token"),
            ({"Authorization": "Bearer nonsense"}, "invalid_token"),
            (bearer(uuid4(), exp=1), "token_expired"),
            ({"X-Service-Key": "evp_sk_none"}, "invalid_token"),
        ],
    )
    async def test_no_one_without_a_valid_token(
        self, ride: Ride, name: str, headers: dict[str, str], code: str
    ) -> None:
        session = await ride.started()
        response = await self.call(ride, name, session, {**headers, **ENGLISH})
        assert (response.status_code, code_of(response)) == (401, code)
        form = "application/problem+json" if name == "active" else "application/json"
        assert response.headers["content-type"] == form
        if name == "active" and "X-Service-Key" not in headers:  # the old API did not have it
            assert_golden(f"v1/charging/active/refused_{code}", response)

    @pytest.mark.parametrize("name", ["stop", "status"])
    async def test_another_clients_token(self, ride: Ride, name: str) -> None:
        session = await ride.started()
        response = await self.call(ride, name, session, {**bearer(uuid4()), **ENGLISH})
        assert_golden(f"v1/charging/{name}/refused_of_another_client", response)
        assert (await ride.status(session)).json()["state"] == "requested"

    async def test_another_client_sees_none_of_it(self, ride: Ride) -> None:
        await ride.started()
        assert (await ride.active(bearer(uuid4()))).status_code == 404

    @pytest.mark.parametrize("name", ["start", "stop", "active"])
    @pytest.mark.parametrize("caller", ["operator", "manager", "service"])
    async def test_only_drivers_charge(self, ride: Ride, name: str, caller: str) -> None:
        session = await ride.started()
        headers = getattr(ride.api, caller)
        response = await self.call(ride, name, session, {**headers, **ENGLISH})
        assert (response.status_code, code_of(response)) == (403, "forbidden")
        if name == "active":
            assert_golden("v1/charging/active/refused_forbidden", response)

    async def test_methods_that_are_none(self, ride: Ride) -> None:
        for path in (START, STOP):
            response = await ride.api.get(path, bearer(ride.client))
            assert (response.status_code, response.headers["allow"]) == (405, "OPTIONS, POST")
        assert (await ride.api.post(ACTIVE, bearer(ride.client))).status_code == 405

    async def test_a_huge_body_is_cut(self, ride: Ride) -> None:
        body = orjson.dumps({"station_id": "EVP-1", "connector_id": 1, "x": "y" * 20_000})
        response = await ride.api.post(START, bearer(ride.client), content=body)
        assert (response.status_code, code_of(response)) == (413, "too_large")


class TestTextsThatNoColumnHolds:
    """Half characters, controls and texts beyond all bounds, wherever a text may stand."""

    @pytest.mark.parametrize("text", ["\ud800", "a\u0000b", "\u202e", "x" * 5000])
    async def test_each_is_refused_and_none_is_a_fault(self, ride: Ride, text: str) -> None:
        body = {"station_id": "EVP-1", "connector_id": 1}
        for path, wrong in (
            (START, {**body, "station_id": text}),
            (START, {**body, "client_id": text}),
            (START, {**body, "vehicle_plate": text}),
            (STOP, {"session_id": text}),
        ):
            raw = json.dumps(wrong).encode()
            response = await ride.api.post(path, bearer(ride.client), content=raw)
            assert 400 <= response.status_code < 500, (path, response.text)
            assert response.json()["success"] is False
