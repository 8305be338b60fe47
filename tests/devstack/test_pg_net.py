"""The stand-in for pg_net: at the commit, at most once, never repeated."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal, Self

import asyncpg
import pytest

from evpower.devstack.postgres.server import EmbeddedPostgres
from evpower.devstack.supabase.server import LocalSupabase
from tests.waiting import until

HERE = Path(__file__).parent


class Receiver:
    """An HTTP server that records requests."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.request_heads: list[bytes] = []
        self.status = b"200 OK"
        self.hang: asyncio.Event | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/hook"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(
            line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line
        )
        body = await reader.readexactly(int(fields[b"content-length"]))
        self.request_heads.append(head)
        self.bodies.append(body)
        if self.hang is not None:
            await self.hang.wait()
        writer.write(
            b"HTTP/1.1 " + self.status + b"\r\nContent-Type: text/plain\r\n"
            b"Content-Length: 2\r\nConnection: close\r\n\r\nok"
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver() as receiver:
        yield receiver


@pytest.fixture
async def psql(
    postgres: EmbeddedPostgres,
    supabase: LocalSupabase,  # noqa: ARG001 - its worker runs
) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(postgres.dsn("supabase"))
    await connection.execute("truncate net._http_response")
    yield connection
    await connection.close()


PATIENT_MS = 60_000
POST = "select net.http_post(url := $1, body := $2::jsonb, timeout_milliseconds := $3)"


async def _responses(
    psql: "asyncpg.Connection[asyncpg.Record]", count: int
) -> list[asyncpg.Record]:
    async def answered() -> bool:
        return await psql.fetchval("select count(*) from net._http_response") >= count

    await until(answered, f"{count} answers never came")
    return await psql.fetch("select * from net._http_response order by id")


async def test_request_goes_out_at_the_commit_with_the_bytes_of_the_json(
    psql: "asyncpg.Connection[asyncpg.Record]", receiver: Receiver
) -> None:
    body = json.dumps({"longer key": 1.50, "a": "Бишкек"})
    async with psql.transaction():
        number = await psql.fetchval(POST, receiver.url, body, PATIENT_MS)
        text = await psql.fetchval("select $1::jsonb::text", body)
        assert receiver.bodies == []
    (response,) = await _responses(psql, 1)
    assert receiver.bodies == [text.encode()]
    assert b"content-type: application/json\r\n" in receiver.request_heads[0].lower()
    assert (response["id"], response["status_code"], response["content"]) == (number, 200, "ok")
    assert response["content_type"] == "text/plain"


async def test_rolled_back_request_is_none(
    psql: "asyncpg.Connection[asyncpg.Record]", receiver: Receiver
) -> None:
    transaction = psql.transaction()
    await transaction.start()
    await psql.fetchval(POST, receiver.url, "{}", PATIENT_MS)
    await transaction.rollback()
    await psql.fetchval(POST, receiver.url, '{"second": true}', PATIENT_MS)
    await _responses(psql, 1)
    assert receiver.bodies == [b'{"second": true}']


async def test_nothing_is_sent_twice(
    psql: "asyncpg.Connection[asyncpg.Record]", receiver: Receiver
) -> None:
    receiver.status = b"503 Service Unavailable"
    await psql.fetchval(POST, receiver.url, "{}", PATIENT_MS)
    await psql.fetchval(POST, "http://127.0.0.1:1/unheard", "{}", PATIENT_MS)
    refused, unreachable = await _responses(psql, 2)
    assert refused["status_code"] == 503
    assert unreachable["status_code"] is None
    assert unreachable["error_msg"]
    receiver.status = b"200 OK"
    await psql.fetchval(POST, receiver.url, '{"next": 1}', PATIENT_MS)
    await _responses(psql, 3)
    assert receiver.bodies == [b"{}", b'{"next": 1}']
    assert await psql.fetchval("select count(*) from net.http_request_queue") == 0


async def test_slow_receiver_is_left_after_the_timeout(
    psql: "asyncpg.Connection[asyncpg.Record]", receiver: Receiver
) -> None:
    receiver.hang = asyncio.Event()
    try:
        await psql.fetchval(POST, receiver.url, "{}", 100)
        (response,) = await _responses(psql, 1)
    finally:
        receiver.hang.set()
    assert (response["timed_out"], response["status_code"]) == (True, None)


async def test_many_at_once_all_go_out(
    psql: "asyncpg.Connection[asyncpg.Record]", receiver: Receiver
) -> None:
    await psql.execute(
        f"select net.http_post('{receiver.url}', jsonb_build_object('n', n),"
        f" timeout_milliseconds := {PATIENT_MS}) from generate_series(1, 450) n"
    )
    await _responses(psql, 450)
    assert sorted(json.loads(body)["n"] for body in receiver.bodies) == list(range(1, 451))


async def test_only_json_is_taken(psql: "asyncpg.Connection[asyncpg.Record]") -> None:
    for arguments in (
        """'http://x', '{}', headers := '{"content-type": "text/plain"}'""",
        "'http://x', null",
    ):
        with pytest.raises(asyncpg.RaiseError):
            await psql.execute(f"select net.http_post({arguments})")


async def test_apps_may_not_read_the_queue(psql: "asyncpg.Connection[asyncpg.Record]") -> None:
    for role in ("anon", "authenticated"):
        right = "select has_table_privilege($1, 'net.http_request_queue', 'select')"
        assert not await psql.fetchval(right, role)


@pytest.mark.parametrize("mode", ["stuck", "absent"])
async def test_project_whose_pg_net_is_dead_or_missing(
    postgres: EmbeddedPostgres,
    folder: Path,
    receiver: Receiver,
    mode: Literal["stuck", "absent"],
) -> None:
    name = f"pg_net_{mode}"
    await postgres.create_database(name)
    local = LocalSupabase(
        postgres.dsn(name),
        port=None,
        state_dir=folder,
        migrations_dir=HERE / "migrations",
        pg_net=mode,
    )
    await local.start()
    connection = await asyncpg.connect(postgres.dsn(name))
    try:
        if mode == "absent":
            assert await connection.fetchval("select to_regnamespace('net')") is None
        else:
            await connection.fetchval(POST, receiver.url, "{}", PATIENT_MS)
            await local.stop()  # it had the time in which a living worker sends
            assert await connection.fetchval("select count(*) from net.http_request_queue") == 1
            assert receiver.bodies == []
    finally:
        await connection.close()
        await local.stop()
