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

from evpower.api.replay import Replay
from evpower.foundation import idempotency
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, NotFound
from tests.api.world import Api, bearer, running_api
from tests.waiting import PATIENCE_S, until

PATH = "/api/v1/test/make"


class Maker:
    """A route that counts how often it really ran, and can be held, failed, made long."""

    def __init__(self) -> None:
        self.runs = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Response | Exception | None = None
        self.router = APIRouter(prefix="/api/v1/test")

        @self.router.post("/make")
        async def make(request: Request) -> Response:
            self.runs += 1
            mine = self.runs
            await request.body()
            await self.gate.wait()
            if isinstance(self.answer, Exception):
                raise self.answer
            return self.answer or Response(f'{{"run":{mine}}}', 201, media_type="application/json")


@pytest.fixture
async def maker() -> Maker:
    return Maker()


@pytest.fixture
async def api(db: Database, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    """Where twins wait for their first one however slow the machine is."""
    usual = Replay.__init__.__kwdefaults__
    assert usual is not None
    monkeypatch.setitem(usual, "wait_s", PATIENCE_S)
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

    async def test_another_caller_with_the_same_key_is_independent(
        self, api: Api, client_id: UUID
    ) -> None:
        await make(api, client_id)
        assert (await make(api, uuid4())).text == '{"run":2}'
        anonymous = await api.post(PATH, {"Idempotency-Key": "key-1"}, json={"amount": 1})
        assert anonymous.text == '{"run":3}'

    async def test_a_refusal_of_the_request_is_an_answer_too(
        self, api: Api, maker: Maker, client_id: UUID
    ) -> None:
        maker.answer = NotFound("client_not_found")
        first, again = await make(api, client_id), await make(api, client_id)
        assert (first.status_code, again.status_code, maker.runs) == (404, 404, 1)
        assert again.headers["content-type"] == "application/problem+json"

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


class TestFailures:
    @pytest.mark.parametrize(
        "failure",
        [RuntimeError("bug"), Response("no", 503), Response("{}", 401), Response("{}", 429)],
    )
    async def test_a_passing_failure_frees_the_key(
        self, api: Api, maker: Maker, client_id: UUID, failure: Any
    ) -> None:
        maker.answer = failure
        assert (await make(api, client_id)).status_code in {500, 503, 401, 429}
        maker.answer = None
        assert (await make(api, client_id)).text == '{"run":2}'

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

    async def test_a_first_that_lost_its_lease_does_not_overwrite(
        self, db: Database, client_id: UUID
    ) -> None:
        key = idempotency.Key(f"client:{client_id}", "k", b"x" * 32)
        async with db.connection() as connection:
            slow = await idempotency.claim(connection, key, utc_now())
            quick = await idempotency.claim(connection, key, utc_now() + timedelta(seconds=61))
            assert isinstance(slow, idempotency.Mine)
            assert isinstance(quick, idempotency.Mine)
            slow_answer = idempotency.Answered(200, None, b"slow")
            quick_answer = idempotency.Answered(200, None, b"quick")
            assert await idempotency.finish(connection, key, slow, slow_answer) is False
            await idempotency.free(connection, key, slow)
            assert await idempotency.finish(connection, key, quick, quick_answer) is True
            assert await idempotency.claim(connection, key, utc_now()) == quick_answer


class TestTwins:
    async def test_a_twin_waits_for_the_first_and_gets_its_answer(
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

        def run() -> Any:
            return replay.run(app, scope, receive, send, scope_name=f"client:{client_id}", key=b"k")

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
        assert await idempotency.purge(owner, lambda: utc_now() + timedelta(hours=71)) == 0
        assert await idempotency.purge(owner, lambda: utc_now() + timedelta(hours=73)) == 1
        assert (await make(api, client_id)).text == '{"run":2}'
