"""The older family `/api/...` as the oldest app reads it: codes in `error`, 200 for refusals."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from evpower.api.legacy import mobile_schemas
from evpower.foundation.db import Connection, Database
from tests.api.charging_scenario import (
    STATION,
    Ride,
    free_the_station,
    wants_the_cable_first,
)
from tests.api.scenario import Api, bearer, running_api
from tests.api.stations_scenario import Site
from tests.contracts.answers import fits
from tests.old_api.golden_answers import assert_golden
from tests.waiting import WAIT_LIMIT_S, until

ENGLISH = {"Accept-Language": "en"}


@pytest.fixture
def bare(api: Api, db: Database, owner: Connection, client_id: Any) -> Ride:
    return Ride(api, owner, Site(db, api.clock), client_id)


@pytest.fixture
async def ride(bare: Ride) -> Ride:
    await bare.open()
    return bare


async def start(ride: Ride, **body: Any) -> httpx.Response:
    body = {"client_id": str(ride.client), "station_id": STATION, "connector_id": 1, **body}
    headers = {**bearer(ride.client), **ENGLISH}
    return await ride.api.post("/api/charging/start", headers, json=body)


async def stop(ride: Ride, session: str) -> httpx.Response:
    return await ride.api.post(
        "/api/charging/stop", {**bearer(ride.client), **ENGLISH}, json={"session_id": session}
    )


async def read(ride: Ride, tail: str) -> httpx.Response:
    return await ride.api.get(f"/api{tail}", {**bearer(ride.client), **ENGLISH})


class TestCharging:
    @pytest.mark.parametrize("limits", [{}, {"energy_kwh": 20}, {"amount_som": 150.5}])
    async def test_a_start_has_the_old_members(self, ride: Ride, limits: dict[str, Any]) -> None:
        response = await start(ride, **limits)
        assert fits(mobile_schemas.MobileStarted, response.json()), response.text
        assert response.json()["energy_kwh"] == limits.get("energy_kwh")

    async def test_status_before_during_and_after(self, ride: Ride) -> None:
        session = (await start(ride)).json()["session_id"]
        answers = [await read(ride, f"/charging/status/{session}")]
        transaction = await ride.begin(session)
        await ride.progress(session, energy_wh=1234, cost_minor=2166, power_w=7040)
        answers.append(await read(ride, f"/charging/status/{session}"))
        await ride.end(transaction, 3000)
        answers.append(await read(ride, f"/charging/status/{session}"))
        bodies = [response.json() for response in answers]
        assert all(fits(mobile_schemas.MobileStatus, body) for body in bodies), bodies
        nulls = [{name for name, value in body.items() if value is None} for body in bodies]
        unknown = {"stop_time", "last_update", "transaction_id", "ocpp_status"}
        assert nulls == [unknown | {"ocpp_transaction_id"}, {"stop_time"}, set()]
        assert [body["status"] for body in bodies] == ["started", "started", "stopped"]

    async def test_while_it_stops(self, ride: Ride) -> None:
        session = (await start(ride)).json()["session_id"]
        await ride.begin(session)
        assert_golden("api/charging/stop/not_final", await stop(ride, session))
        assert_golden(
            "api/charging/status/stopping", await read(ride, f"/charging/status/{session}")
        )

    async def test_a_cancelled_one_that_its_station_may_begin(self, ride: Ride) -> None:
        session = (await start(ride)).json()["session_id"]
        await ride.deliver()
        assert_golden("api/charging/stop/cancelled_may_begin", await stop(ride, session))
        assert_golden(
            "api/charging/status/cancelled_may_begin",
            await read(ride, f"/charging/status/{session}"),
        )

    async def test_before_the_car_is_plugged_in(self, ride: Ride) -> None:
        session = (await start(ride)).json()["session_id"]
        await ride.owner.execute("update charging.sessions set state = 'starting'")
        response = await read(ride, f"/charging/status/{session}")
        assert_golden("api/charging/status/starting", response)

    async def test_of_a_station_that_is_lost(self, ride: Ride) -> None:
        session = (await start(ride)).json()["session_id"]
        await ride.begin(session)
        ride.forward(minutes=31)
        await ride.watch()
        response = await read(ride, f"/charging/status/{session}")
        assert_golden("api/charging/status/station_lost", response)

    async def test_a_stop_that_waits_for_the_bill(self, db: Database, owner: Connection) -> None:
        async with running_api(db, stop_wait_s=WAIT_LIMIT_S) as api:
            ride = Ride(api, owner, Site(db, api.clock), await api.new_client())
            await ride.open()
            session = (await start(ride)).json()["session_id"]
            transaction = await ride.begin(session)
            ride.forward(minutes=31)
            await ride.stay_online()
            stopping = asyncio.create_task(stop(ride, session))

            async def queued() -> bool:
                action = (
                    "select exists (select from stations.commands where action = 'remote_stop')"
                )
                return await owner.fetchval(action)

            await until(queued)
            await ride.end(transaction, 11_000)
            assert_golden("api/charging/stop/billed", await stopping)

    async def test_one_that_an_operator_checks(self, ride: Ride) -> None:
        session = (await start(ride)).json()["session_id"]
        transaction = await ride.begin(session)
        ride.forward(minutes=31)
        await ride.stay_online()
        await ride.end(transaction, 900_000)
        assert_golden("api/charging/stop/under_review", await stop(ride, session))
        status = await read(ride, f"/charging/status/{session}")
        assert_golden("api/charging/status/under_review", status)

    @pytest.mark.parametrize(
        ("state", "failure"),
        [
            ("expired", "not_plugged_in"),
            ("refused", "station_refused"),
            ("failed", "not_delivered"),
        ],
    )
    async def test_status_of_what_never_charged(self, ride: Ride, state: str, failure: str) -> None:
        """As the old backend had it: stopped, with nothing delivered, and the reason in words."""
        session = (await start(ride)).json()["session_id"]
        await ride.owner.execute("select wallet.release_hold($1)", UUID(session))
        await ride.owner.execute(
            "update charging.sessions set state = $2, start_failure = $3 where id = $1",
            UUID(session), state, failure,
        )  # fmt: skip
        response = await read(ride, f"/charging/status/{session}")
        body = response.json()
        assert (body["status"], body["energy_consumed"]) == ("stopped", 0)
        assert_golden(f"api/charging/status/{state}", response)

    async def test_a_second_stop_answers_the_same_bill(self, ride: Ride) -> None:
        session = (await start(ride)).json()["session_id"]
        transaction = await ride.begin(session)
        await ride.end(transaction, 3000)
        first, second = await stop(ride, session), await stop(ride, session)
        assert first.json() == second.json()
        assert fits(mobile_schemas.MobileStopped, first.json())

    async def test_two_taps_make_one_session(self, ride: Ride, owner: Connection) -> None:
        taps = await asyncio.gather(*(start(ride) for _ in range(6)))
        assert len({tap.json()["session_id"] for tap in taps}) == 1
        assert await owner.fetchval("select count(*) from wallet.holds") == 1

    async def test_stops_at_once_make_one_bill(self, ride: Ride, owner: Connection) -> None:
        session = (await start(ride)).json()["session_id"]
        await ride.begin(session)
        taps = await asyncio.gather(*(stop(ride, session) for _ in range(4)))
        assert {(tap.status_code, tap.json()["success"]) for tap in taps} == {(200, True)}
        queued = "select count(*) from stations.commands where action = 'remote_stop'"
        assert await owner.fetchval(queued) == 1


class TestRefusals:
    def refusal(self, response: httpx.Response, code: str, finer: str = "", **more: Any) -> None:
        answer = response.json()
        assert response.status_code == 200
        assert (answer["success"], answer["error"]) == (False, code)
        assert answer["error_code"] == (finer or code)
        assert " " in answer["message"]
        assert answer.items() >= more.items()

    async def test_by_an_empty_balance(self, bare: Ride) -> None:
        await bare.open(som=0)
        self.refusal(await start(bare), "zero_balance", current_balance=0.0)

    async def test_by_a_balance_that_is_too_small(self, bare: Ride) -> None:
        await bare.open(som=5)
        self.refusal(
            await start(bare), "insufficient_balance",
            current_balance=5.0, required_amount=10.0, missing_amount=5.0,
        )  # fmt: skip

    async def test_by_an_amount_above_the_balance(self, ride: Ride) -> None:
        self.refusal(
            await start(ride, amount_som=1500), "amount_exceeds_balance",
            current_balance=1000.0, requested_amount=1500.0, max_allowed_amount=1000.0,
        )  # fmt: skip

    @pytest.mark.parametrize(
        ("code", "finer", "body"),
        [
            ("station_unavailable", "station_not_found", {"station_id": "nowhere"}),
            ("connector_not_found", "connector_not_found", {"connector_id": 9}),
            ("invalid_amount", "invalid_amount", {"amount_som": 1}),
        ],
    )
    async def test_of_what_is_not_there(
        self, ride: Ride, code: str, finer: str, body: dict[str, Any]
    ) -> None:
        self.refusal(await start(ride, **body), code, finer)

    async def test_at_a_station_that_is_offline(self, ride: Ride) -> None:
        ride.forward(seconds=100)
        self.refusal(await start(ride), "station_unavailable", "station_offline")

    async def test_by_a_cable_that_has_to_be_unplugged(self, bare: Ride) -> None:
        await bare.open()
        await bare.site.report(STATION, 1, "finishing")
        self.refusal(await start(bare), "connector_occupied", "unplug_first")

    async def test_at_a_station_in_maintenance(self, bare: Ride) -> None:
        await bare.open(availability="inoperative")
        response = await start(bare)
        self.refusal(response, "station_unavailable")
        assert_golden("api/charging/start/refused_station_unavailable", response)

    async def test_without_a_tariff(self, bare: Ride) -> None:
        await bare.site.ready(STATION)
        response = await start(bare)
        self.refusal(response, "station_unavailable", "tariff_missing")
        assert_golden("api/charging/start/refused_tariff_missing", response)

    async def test_at_a_station_that_wants_the_cable_first(
        self, ride: Ride, owner: Connection
    ) -> None:
        await wants_the_cable_first(owner)
        response = await start(ride)
        self.refusal(response, "station_unavailable", "plug_in_first")
        assert_golden("api/charging/start/refused_plug_in_first", response)

    async def test_at_a_station_that_every_card_may_use(self, ride: Ride) -> None:
        await free_the_station(ride)
        response = await start(ride)
        self.refusal(response, "station_unavailable", "station_free")
        assert_golden("api/charging/start/refused_station_free", response)

    async def test_of_an_unknown_session(self, ride: Ride) -> None:
        unknown = "5e0c2f0a-6e3a-4d0b-9a41-7a1d6f0f5c11"
        self.refusal(await read(ride, f"/charging/status/{unknown}"), "session_not_found")
        self.refusal(await stop(ride, unknown), "session_not_found")
        self.refusal(await read(ride, "/charging/status/x"), "session_not_found")

    async def test_of_a_stop_of_what_another_system_runs(self, ride: Ride) -> None:
        session = uuid4()
        await ride.owner.execute(
            "insert into charging.sessions (id, client_id, station_id, connector_id, state, source,"
            " started_at) values ($1, $2, 'X', 1, 'charging', 'import', now())",
            session, ride.client,
        )  # fmt: skip
        response = await stop(ride, str(session))
        self.refusal(response, "session_not_ours")
        assert_golden("api/charging/stop/refused_session_not_ours", response)

    async def test_of_an_unknown_station(self, ride: Ride) -> None:
        self.refusal(await read(ride, "/station/status/nowhere"), "station_not_found")

    async def test_a_refusal_is_not_replayed_for_its_key(self, bare: Ride) -> None:
        await bare.open(som=0)
        body = {"station_id": STATION, "connector_id": 1}
        headers = {**bearer(bare.client), "Idempotency-Key": "one-tap"}
        first = await bare.api.post("/api/charging/start", headers, json=body)
        again = await bare.api.post("/api/charging/start", headers, json=body)
        assert first.json()["error"] == again.json()["error"] == "zero_balance"
        assert "idempotent-replayed" not in again.headers

    @pytest.mark.parametrize(
        ("change", "code"),
        [("status = 'blocked'", "client_blocked"), ("status = 'closed'", "client_deleted")],
    )
    async def test_of_a_client_who_may_not_spend_stay_403(
        self, ride: Ride, owner: Connection, change: str, code: str
    ) -> None:
        await owner.execute(f"update identity.clients set {change}")
        response = await start(ride)
        assert (response.status_code, response.json()["error"]) == (403, code)

    async def test_without_a_token_stay_401(self, ride: Ride) -> None:
        response = await ride.api.post("/api/charging/stop", json={"session_id": "x"})
        answer = response.json()
        assert (response.status_code, answer["error"]) == (401, "unauthorized")
        assert answer["error_code"] == "missing_token"

    async def test_of_another_client_stay_403(self, ride: Ride) -> None:
        other = await ride.api.new_client()
        assert (await start(ride, client_id=str(other))).status_code == 403
        response = await read(ride, f"/balance/{other}")
        assert (response.status_code, response.json()["error"]) == (403, "forbidden")

    async def test_of_a_misshaped_body_are_422_in_the_old_form(self, ride: Ride) -> None:
        response = await start(ride, connector_id="1")
        assert response.status_code == 422
        [fault] = response.json()["detail"]
        assert fault.keys() == {"loc", "msg", "type"}


class TestBalance:
    async def test_has_the_old_members(self, ride: Ride) -> None:
        response = await read(ride, f"/balance/{ride.client}")
        assert fits(mobile_schemas.MobileBalance, response.json())

    async def test_of_a_client_without_a_top_up(self, bare: Ride) -> None:
        response = await read(bare, f"/balance/{bare.client}")
        assert response.json()["last_topup_at"] is None

    async def test_of_an_unknown_client_is_404_as_it_was(self, ride: Ride) -> None:
        response = await ride.api.get(f"/api/balance/{uuid4()}", {**ride.api.service, **ENGLISH})
        assert response.status_code == 404
        answer = response.json()
        assert (answer["success"], answer["error"]) == (False, "client_not_found")
        assert answer["detail"]


@pytest.mark.parametrize(
    ("golden", "status", "error"),
    [
        ("busy", "charging", None),
        ("plugged_in", "preparing", None),
        ("reserved", "reserved", None),
        ("faulted", "faulted", "GroundFailure"),
        ("offline", None, None),
    ],
)
async def test_each_state_of_a_station(
    ride: Ride, golden: str, status: str | None, error: str | None
) -> None:
    if status is None:
        ride.forward(seconds=100)
    else:
        await ride.site.report(STATION, 1, status, error)
    response = await read(ride, f"/station/status/{STATION}")
    assert_golden(f"api/station/status/{golden}", response)


async def test_a_station_in_maintenance(bare: Ride) -> None:
    await bare.open(availability="inoperative")
    response = await read(bare, f"/station/status/{STATION}")
    assert_golden("api/station/status/in_maintenance", response)


async def test_station_status_is_the_newer_family_s(ride: Ride) -> None:
    mobile = await ride.api.get(f"/api/station/status/{STATION}")
    newer = await ride.api.get(f"/api/v1/station/status/{STATION}")
    assert mobile.status_code == newer.status_code == 200
    assert mobile.content == newer.content
