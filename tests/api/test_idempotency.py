"""Idempotency-Key: a repeat gets the first answer, whatever happened in between."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import APIRouter, Request, Response

from evpower.api.replay import KeyOwner, Replay
from evpower.foundation import idempotency
from evpower.foundation.clock import to_z, utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from tests.api.scenario import Api, bearer, running_api
from tests.charging.test_sync_history import PATH as SYNC
from tests.charging.test_sync_history import report
from tests.waiting import WAIT_LIMIT_S, until

PATH = "/api/v1/test/make"


class Maker:
    """A route that counts how often it really ran, and can be held, failed, made long."""

    def __init__(self) -> None:
        self.runs = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Response | Exception | None = None
        self.outcome: idempotency.RequestOutcome | None = None
        self.router = APIRouter(prefix="/api/v1/test")

        @self.router.post("/make")
        @self.router.put("/make")
        @self.router.post("/make/{_}")
        async def make(request: Request) -> Response:
            self.runs += 1
            number = self.runs
            await request.body()
            await self.gate.wait()
            if self.outcome is not None:
                idempotency.set_outcome(request.scope["state"], self.outcome)
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer or Response(
                f'{{"run":{number}}}', 201, media_type="application/json"
            )


@pytest.fixture
async def maker() -> Maker:
    return Maker()


@pytest.fixture
async def api(db: Database, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """Where repeats wait for their first one however slow the machine is."""
    usual = Replay.__init__.__kwdefaults__
    assert usual is not None
    monkeypatch.setitem(usual, "wait_s", WAIT_LIMIT_S)
    async with running_api(db, [maker.router]) as api:
        yield api


async def make(
    api: Api, client: UUID, key: str = "key-1", body: Any = None, **headers: str
) -> httpx.Response:
    return await api.post(
        PATH, {**bearer(client), "Idempotency-Key": key, **headers}, json=body or {"amount": 1}
    )


class TestReplay:
    async def test_a_repeat_gets_the_first_answer(
        self, api: Api, maker: Maker, client_id: UUID
    ) -> None:
        first, again = await make(api, client_id), await make(api, client_id)
        assert (
            (first.status_code, first.text) == (again.status_code, again.text) == (201, '{"run":1}')
        )
        assert "idempotent-replayed" not in first.headers
        assert again.headers["idempotent-replayed"] == "true"
        assert again.headers["content-type"] == "application/json"
        assert maker.runs == 1

    async def test_a_put_is_repeated_as_a_post_is(
        self, api: Api, maker: Maker, client_id: UUID
    ) -> None:
        headers = {**bearer(client_id), "Idempotency-Key": "k"}
        first = await api.http.put(PATH, headers=headers, json={"amount": 1})
        again = await api.http.put(PATH, headers=headers, json={"amount": 1})
        assert first.content == again.content
        assert again.headers["idempotent-replayed"] == "true"
        assert maker.runs == 1
        assert (await api.post(PATH, headers, json={"amount": 1})).status_code == 409

    async def test_without_a_key_each_runs(self, api: Api, maker: Maker, client_id: UUID) -> None:
        for _ in range(2):
            await api.post(PATH, bearer(client_id), json={})
        assert maker.runs == 2

    async def test_another_body_or_path_is_a_conflict(
        self, api: Api, maker: Maker, client_id: UUID
    ) -> None:
        await make(api, client_id)
        other = await make(api, client_id, body={"amount": 2})
        assert (other.status_code, other.json()["error"]) == (409, "idempotency_conflict")
        headers = {**bearer(client_id), "Idempotency-Key": "key-1"}
        assert (await api.post(f"{PATH}?x=1", headers, json={"amount": 1})).status_code == 409
        assert maker.runs == 1

    async def test_a_path_and_a_query_of_the_same_letters_are_another_request(
        self, api: Api, client_id: UUID
    ) -> None:
        headers = {**bearer(client_id), "Idempotency-Key": "key-1"}
        assert (await api.post(f"{PATH}/1?2", headers, json={})).status_code == 201
        assert (await api.post(f"{PATH}/12", headers, json={})).status_code == 409

    async def test_another_caller_with_the_same_key_is_independent(
        self, api: Api, client_id: UUID
    ) -> None:
        await make(api, client_id)
        assert (await make(api, uuid4())).text == '{"run":2}'
        anonymous = await api.post(PATH, {"Idempotency-Key": "key-1"}, json={"amount": 1})
        assert anonymous.text == '{"run":3}'

    async def test_a_credential_that_is_none_gets_no_replay(
        self, api: Api, maker: Maker, client_id: UUID
    ) -> None:
        body = {"session_id": str(uuid4())}
        headers = {"Idempotency-Key": "key-1", "Authorization": "Bearer nonsense"}
        path = "/api/v1/charging/sync-history"
        for _ in range(2):
            response = await api.post(path, headers, json=body)
            assert (response.status_code, "idempotent-replayed" in response.headers) == (401, False)
        await make(api, client_id)
        stolen = await make(api, client_id, Authorization="Bearer nonsense")
        assert stolen.text != '{"run":1}'
        assert maker.runs == 2

    @pytest.mark.parametrize("key", ["", " ", "a b", "k" * 256, "ключ"])
    async def test_a_key_that_is_none_is_refused(
        self, api: Api, maker: Maker, client_id: UUID, key: str
    ) -> None:
        response = await api.post(
            PATH,
            {**bearer(client_id), "Idempotency-Key": key.encode()},
            json={},  # type: ignore[dict-item]
        )
        assert (response.status_code, response.json()["error"]) == (422, "invalid_idempotency_key")
        assert maker.runs == 0


PASSING = {
    "not_found": NotFound("client_not_found"),
    "future": Invalid("invalid_time", "start_time is in the future"),
    "conflict": Conflict("session_conflict"),
    "blocked": Forbidden("client_blocked"),
    "credential": Response("{}", 401),
    "too_many": Response("{}", 429),
    "too_slow": Response("{}", 408),
    "not_yet": Response("{}", 425),
    "moved": Response("", 302),
}
UNKNOWN = {
    "bug": RuntimeError("bug"),
    "unavailable": Unavailable("database_unavailable"),
    "gateway": Response("no", 502),
    "internal": Response("no", 500),
}


class TestWhatIsNotDone:
    @pytest.mark.parametrize("refusal", PASSING.values(), ids=PASSING)
    async def test_a_refusal_is_worked_out_anew(
        self, api: Api, maker: Maker, owner: Connection, client_id: UUID, refusal: Any
    ) -> None:
        maker.answer = refusal
        first, again = await make(api, client_id), await make(api, client_id)
        assert first.status_code == again.status_code >= 300
        assert ("idempotent-replayed" in again.headers, maker.runs) == (False, 2)
        assert await owner.fetchval("select count(*) from foundation.idempotency_keys") == 0
        maker.answer = None
        assert (await make(api, client_id, body={"amount": 2})).text == '{"run":3}'

    @pytest.mark.parametrize("failure", UNKNOWN.values(), ids=UNKNOWN)
    async def test_after_an_unknown_outcome_only_the_same_request_runs_again(
        self, api: Api, maker: Maker, client_id: UUID, failure: Any
    ) -> None:
        maker.answer = failure
        assert (await make(api, client_id)).status_code >= 500
        maker.answer = None
        other = await make(api, client_id, body={"amount": 2})
        assert (other.status_code, other.json()["error"]) == (409, "idempotency_conflict")
        assert (await make(api, client_id)).text == '{"run":2}'
        again = await make(api, client_id)
        assert (again.text, again.headers["idempotent-replayed"]) == ('{"run":2}', "true")

    @pytest.mark.parametrize(("outcome", "keys"), [("refused", 0), ("unknown", 1)])
    async def test_a_route_may_say_that_a_200_did_nothing(
        self, api: Api, maker: Maker, owner: Connection, client_id: UUID, outcome: Any, keys: int
    ) -> None:
        maker.outcome = outcome
        for run in (1, 2):
            assert (await make(api, client_id)).text == f'{{"run":{run}}}'
        rows = await owner.fetch("select status from foundation.idempotency_keys")
        assert [row["status"] for row in rows] == [None] * keys

    async def test_a_session_is_billed_as_soon_as_its_client_exists(
        self, api: Api, owner: Connection
    ) -> None:
        client = uuid4()
        body = report(client)
        headers = {**api.service, "Idempotency-Key": "session-1"}
        assert (await api.post(SYNC, headers, json=body)).status_code == 404
        await owner.execute(
            "insert into identity.clients (id, origin) values ($1, 'import')", client
        )
        made = await api.post(SYNC, headers, json=body)
        assert (made.status_code, made.json()["charged"]) == (201, True)
        again = await api.post(SYNC, headers, json=body)
        assert (again.content, again.headers["idempotent-replayed"]) == (made.content, "true")

    async def test_a_clock_ahead_is_forgiven_when_the_time_has_come(
        self, api: Api, client_id: UUID
    ) -> None:
        ended = utc_now() + timedelta(minutes=10)
        body = report(client_id, end_time=to_z(ended))
        headers = {**api.service, "Idempotency-Key": "session-1"}
        early = await api.post(SYNC, headers, json=body)
        assert (early.status_code, early.json()["error"]) == (422, "invalid_time")
        api.clock.ahead = timedelta(minutes=10)
        assert (await api.post(SYNC, headers, json=body)).status_code == 201

    async def test_a_conflict_is_worked_out_anew(self, api: Api, client_id: UUID) -> None:
        first = report(client_id)
        assert (await api.post(SYNC, api.service, json=first)).status_code == 201
        headers = {**api.service, "Idempotency-Key": "session-1"}
        other = {**first, "total_cost": 1.0}
        for _ in range(2):
            refused = await api.post(SYNC, headers, json=other)
            assert (refused.status_code, refused.json()["error"]) == (409, "session_conflict")
            assert "idempotent-replayed" not in refused.headers
        assert (await api.post(SYNC, headers, json=first)).status_code == 200


class TestFailures:
    async def test_an_answer_too_large_to_keep_is_given_but_not_kept(
        self, api: Api, maker: Maker, owner: Connection, client_id: UUID
    ) -> None:
        maker.answer = Response("x" * (64 * 1024 + 1), 201)
        assert len((await make(api, client_id)).content) == 64 * 1024 + 1
        assert await owner.fetchval("select count(*) from foundation.idempotency_keys") == 0

    async def test_a_crashed_first_is_taken_over_when_its_lease_has_passed(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        await make(api, client_id)
        await owner.execute("update foundation.idempotency_keys set status = null, body = null")
        api.clock.ahead = timedelta(seconds=61)
        assert (await make(api, client_id)).text == '{"run":2}'
        assert (await make(api, client_id)).headers["idempotent-replayed"] == "true"

    async def test_a_caller_who_hangs_up_leaves_the_key_to_a_repeat(
        self, api: Api, maker: Maker, owner: Connection, client_id: UUID
    ) -> None:
        maker.gate.clear()
        first = asyncio.create_task(make(api, client_id))
        await until(lambda: maker.runs == 1)
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)

        async def is_released() -> bool:
            return await owner.fetchval(
                "select leased_until < created_at + interval '60 s'"
                " from foundation.idempotency_keys"
            )

        await until(is_released, "the lease runs to its end")
        maker.gate.set()
        assert (await make(api, client_id)).text == '{"run":2}'


class TestRepeats:
    async def test_a_repeat_waits_for_the_first_and_gets_its_answer(
        self, api: Api, maker: Maker, client_id: UUID
    ) -> None:
        maker.gate.clear()
        first = asyncio.create_task(make(api, client_id))
        await until(lambda: maker.runs == 1)
        twin = asyncio.create_task(make(api, client_id))
        await asyncio.sleep(0)
        maker.gate.set()
        assert (await first).text == (await twin).text == '{"run":1}'
        assert (await twin).headers["idempotent-replayed"] == "true"

    async def test_twenty_at_once_run_once(self, api: Api, maker: Maker, client_id: UUID) -> None:
        answers = await asyncio.gather(*(make(api, client_id) for _ in range(20)))
        assert Counter(answer.text for answer in answers) == {'{"run":1}': 20}
        assert maker.runs == 1

    async def test_a_twin_of_a_first_that_takes_too_long_is_told_to_come_back(
        self, db: Database, client_id: UUID
    ) -> None:
        waited: list[float] = []

        async def at_once(pause_s: float) -> None:
            waited.append(pause_s)

        gate, inside = asyncio.Event(), asyncio.Event()

        async def app(_scope: Any, _receive: Any, send: Any) -> None:
            inside.set()
            await gate.wait()
            await send({"type": "http.response.start", "status": 201, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        sent: list[dict[str, Any]] = []

        async def send(message: Any) -> None:
            sent.append(message)

        replay = Replay(db, utc_now, sleep=at_once)
        scope = {"method": "POST", "path": PATH, "query_string": b""}
        owner = KeyOwner(f"client:{client_id}", None)

        def run() -> Any:
            return replay.run(app, scope, receive, send, owner=owner, key=b"k")

        first = asyncio.create_task(run())
        await inside.wait()
        with pytest.raises(Conflict, match="still runs") as refused:
            await run()
        assert (refused.value.code, refused.value.retry_after_s) == ("idempotency_in_progress", 5)
        assert 10 <= sum(waited) < 11
        gate.set()
        await first
        assert [message.get("body") for message in sent] == [None, b"done"]


class TestWhatIsKept:
    async def test_no_request_is_kept_only_its_digest(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        await make(api, client_id, body={"password": "correct horse"})
        row = await owner.fetchrow("select * from foundation.idempotency_keys")
        assert row is not None
        assert "correct horse" not in str(dict(row))
        assert (row["scope"], len(row["request_sha256"])) == (f"client:{client_id}", 32)

    async def test_keys_are_forgotten_after_72_hours(
        self, api: Api, owner: Connection, client_id: UUID
    ) -> None:
        await make(api, client_id)
        assert await idempotency.purge(owner, utc_now() + timedelta(hours=71), 9) == 0
        assert await idempotency.purge(owner, utc_now() + timedelta(hours=73), 9) == 1
        assert (await make(api, client_id)).text == '{"run":2}'
