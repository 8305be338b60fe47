"""What nats-py's own reconnecting loses, and that the bus does not (docs/decisions/0020).

The first class tries nats-py alone. A test of it that fails after an upgrade says that the library
carries this now: then EvPower's own code for it goes.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from nats.aio.client import Client

from evpower.devstack.nats import LocalNats
from evpower.identity import CLIENT_CHANGED
from tests.foundation.nats_nodes import nodes, serving
from tests.waiting import COMMAND_S, WAIT_LIMIT_S, freeze, until

SUBJECT = "evpower.changes"
FLOOD = 1_500  # messages of 17 KB: more than the kernel takes for a peer that does not read
A_WHILE_S = 1.0  # a close or a reconnect that works takes milliseconds


@asynccontextmanager
async def client(*urls: str, **how: Any) -> AsyncIterator[Client]:
    made = Client()
    how = {"ping_interval": 0.2, "max_outstanding_pings": 1, "reconnect_time_wait": 0.05, **how}
    await made.connect(
        list(urls), allow_reconnect=True, max_reconnect_attempts=-1, dont_randomize=True, **how
    )
    try:
        yield made
    finally:
        transport: Any = made._transport
        transport._bare_io_writer.transport.abort()
        with suppress(Exception):
            await asyncio.wait_for(made.close(), A_WHILE_S)


async def flood(made: Client) -> None:
    """Hand over more than the connection takes; ends when that waits."""
    with suppress(Exception):
        async with asyncio.timeout(A_WHILE_S):
            for _ in range(FLOOD):
                await made.publish(SUBJECT, os.urandom(17_000))


@asynccontextmanager
async def expiring() -> AsyncIterator[tuple[str, list[int]]]:
    """A server that ends its first connection as NATS ends one whose credentials expired."""
    connections: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(1)
        is_first = len(connections) == 1
        writer.write(b'INFO {"max_payload":1048576,"version":"2.10.0"}\r\n')
        with suppress(ConnectionError):
            while line := await reader.readline():
                if line.startswith(b"PING"):
                    writer.write(b"PONG\r\n")
                if line.startswith(b"SUB") and is_first:
                    writer.write(b"-ERR 'User Authentication Expired'\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}", connections


class TestLibraryAlone:
    async def test_it_never_leaves_a_server_that_hangs_with_unread_data(
        self, tmp_path: Path
    ) -> None:
        async with (
            serving(LocalNats(tmp_path / "a")) as first,
            serving(LocalNats(tmp_path / "b")) as second,
            client(first.url, second.url) as made,
        ):
            await freeze(first.pid)
            try:
                await flood(made)
                await until(lambda: made.is_reconnecting, "the hang was not noticed")
                transport: Any = made._transport
                with pytest.raises(TimeoutError):  # what its reconnecting waits for first
                    await asyncio.wait_for(transport.wait_closed(), A_WHILE_S)
                assert made.is_reconnecting, "it reached the other server"
            finally:
                os.kill(first.pid, signal.SIGCONT)

    async def test_its_close_never_ends_on_a_server_that_hangs(self, tmp_path: Path) -> None:
        async with serving(LocalNats(tmp_path)) as server, client(server.url) as made:
            await freeze(server.pid)
            try:
                await flood(made)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(made.close(), A_WHILE_S)
            finally:
                os.kill(server.pid, signal.SIGCONT)

    async def test_expired_credentials_close_it_for_good(self) -> None:
        async with expiring() as (url, connections), client(url) as made:
            await made.subscribe(SUBJECT)
            await until(lambda: made.is_closed, "it went on")
            assert len(connections) == 1

    async def test_without_the_right_it_is_connected(self, tmp_path: Path) -> None:
        user = {"user": "ev", "password": "pw", "permissions": {"subscribe": {"deny": [">"]}}}
        settings = {"authorization": {"users": [user]}}
        errors: list[Exception] = []

        async def note(error: Exception) -> None:
            errors.append(error)

        async with (
            serving(LocalNats(tmp_path, settings=settings)) as server,
            client(f"nats://ev:pw@127.0.0.1:{server.port}", error_cb=note) as made,
        ):
            await made.subscribe(SUBJECT)
            await until(lambda: bool(errors), "the refusal did not come")
            assert made.is_connected

    async def test_it_sends_a_password_to_a_tls_server_that_offers_none(self) -> None:
        received = bytearray()

        async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b'INFO {"auth_required":true,"max_payload":1048576}\r\n')
            while data := await reader.read(1000):
                received.extend(data)
                if b"PING" in received:
                    writer.write(b"PONG\r\n")
            writer.close()

        server = await asyncio.start_server(plain, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, client(f"tls://ev:s3cret@127.0.0.1:{port}"):
            assert b"s3cret" in received

    async def test_it_forgets_what_the_server_did_not_read(self, tmp_path: Path) -> None:
        async with serving(LocalNats(tmp_path)) as server, client(server.url) as made:
            await freeze(server.pid)
            try:
                await made.publish(SUBJECT, b"a change")
                await until(lambda: made.pending_data_size == 0, "it was not handed over")
            finally:
                os.kill(server.pid, signal.SIGKILL)

    def test_its_reader_of_credentials_never_ends_on_another_file(self, tmp_path: Path) -> None:
        path = tmp_path / "not.creds"
        path.write_text("no credentials\n")
        code = (
            "import resource, sys; from nats.aio.client import Client;"
            "resource.setrlimit(resource.RLIMIT_CPU, (2, 2));"
            "Client()._read_creds_user_jwt(sys.argv[1])"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code, str(path)], check=False, timeout=COMMAND_S
        )
        assert ended.returncode in {-signal.SIGXCPU, -signal.SIGKILL}, "it ended by itself"


@pytest.mark.usefixtures("patient")
class TestBus:
    async def test_expired_credentials_are_tried_again(self) -> None:
        async with expiring() as (url, connections), nodes(url, connected=False) as (here,):
            await until(lambda: len(connections) > 1, "it gave up")
            assert await here.bus.wait_connected(WAIT_LIMIT_S)

    async def test_wrong_credentials_count_once_they_are_right(self, tmp_path: Path) -> None:
        async with serving(LocalNats(tmp_path, user="ev", password="another")) as server:
            url = f"nats://ev:right@127.0.0.1:{server.port}"
            async with nodes(url, connected=False) as (here,):
                assert not await here.bus.wait_connected(0.3)
                server.kill()
                server._password = "right"
                await server.start()
                assert await here.bus.wait_connected(WAIT_LIMIT_S)

    async def test_a_name_that_does_not_resolve_is_passed_by(self, tmp_path: Path) -> None:
        async with (
            serving(LocalNats(tmp_path)) as server,
            nodes(f"nats://no-such-host.invalid:4222,{server.url}") as (here,),
        ):
            assert here.bus.connected


async def test_the_bus_leaves_a_server_that_hangs_with_unread_data(tmp_path: Path) -> None:
    async with (
        serving(LocalNats(tmp_path / "a")) as first,
        serving(LocalNats(tmp_path / "b")) as second,
        nodes(f"{first.url},{second.url}") as (here,),
    ):
        looks = here.looks
        await freeze(first.pid)
        try:

            async def is_at_the_other() -> bool:
                for _ in range(10_000):
                    here.bus.publish(CLIENT_CHANGED, uuid4())
                return here.looks > looks

            await until(is_at_the_other, "the hang was not noticed")
        finally:
            os.kill(first.pid, signal.SIGCONT)
