"""The bus when its NATS server is away, killed, unresponsive, slow, or not ours."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from nats.errors import ProtocolError
from structlog.testing import capture_logs

from evpower.devstack.nats import LocalNats
from evpower.foundation.bus import nats_link
from evpower.foundation.bus.nats_bus import reach
from evpower.foundation.bus.nats_link import NatsLink
from evpower.foundation.bus.nats_servers import NatsServer
from evpower.identity import CLIENT_CHANGED
from tests.foundation.nats_nodes import Node, counted, nodes, serving
from tests.waiting import WAIT_LIMIT_S, freeze, until


class TestAwayAndBack:
    async def test_a_server_may_come_later(self, tmp_path: Path) -> None:
        server = LocalNats(tmp_path)
        async with nodes(server.url, server.url, connected=False) as (here, there):
            here.bus.publish(CLIENT_CHANGED, early := uuid4())
            assert here.heard == [(CLIENT_CHANGED, early)], "the listeners here need no NATS"
            assert not await here.bus.wait_connected(0.3)
            async with serving(server):
                assert await here.bus.wait_connected(WAIT_LIMIT_S)
                assert await there.bus.wait_connected(WAIT_LIMIT_S)
                here.bus.publish(CLIENT_CHANGED, key := uuid4())
                await there.has_heard((CLIENT_CHANGED, key))

    async def test_what_waited_for_the_connection_is_sent(self, nats_server: LocalNats) -> None:
        async with nodes(nats_server.url) as (there,):
            here = Node(nats_server.url)
            here.bus.publish(CLIENT_CHANGED, key := uuid4())
            await here.bus.start()
            try:
                await there.has_heard((CLIENT_CHANGED, key))
            finally:
                await here.bus.close()

    async def test_killed_and_started_again_the_nodes_find_each_other(self, tmp_path: Path) -> None:
        async with serving(LocalNats(tmp_path)) as server, nodes(server.url, server.url) as pair:
            here, there = pair
            with capture_logs() as logs:
                server.kill()
                await until(lambda: not here.bus.connected, "the loss was not noticed")
                await until(lambda: not there.bus.connected, "the loss was not noticed")
                here.bus.publish(CLIENT_CHANGED, meanwhile := uuid4())
                assert (CLIENT_CHANGED, meanwhile) in here.heard
                assert not await here.bus.wait_connected(0.5), "it tries in vain a few times"
                await server.start()
                assert await here.bus.wait_connected(WAIT_LIMIT_S)
                assert await there.bus.wait_connected(WAIT_LIMIT_S)
                here.bus.publish(CLIENT_CHANGED, after := uuid4())
                await there.has_heard((CLIENT_CHANGED, after))
                events = Counter(line["event"] for line in logs)
                away = sum(not node.bus.connected for node in pair)  # lost once more, if not 0
            assert events["bus_disconnected"] >= 2
            assert events["bus_disconnected"] - events["bus_connected"] == away, (
                "once per change of state"
            )

    async def test_an_unresponsive_server_delays_no_publisher_and_is_noticed(
        self, tmp_path: Path
    ) -> None:
        async with serving(LocalNats(tmp_path)) as server, nodes(server.url) as (here,):
            await freeze(server.pid)
            try:
                for _ in range(5):
                    for _ in range(10_000):  # nothing here could let a server answer
                        here.bus.publish(CLIENT_CHANGED, uuid4())
                    await asyncio.sleep(0)
                await until(
                    lambda: not here.bus.connected, "an unresponsive server was not noticed"
                )
            finally:
                os.kill(server.pid, signal.SIGCONT)
            assert await here.bus.wait_connected(WAIT_LIMIT_S)

    async def test_an_unresponsive_server_is_noticed_though_there_is_always_something_to_send(
        self, tmp_path: Path
    ) -> None:
        async with serving(LocalNats(tmp_path)) as server, nodes(server.url) as (here,):
            await freeze(server.pid)
            try:

                async def noticed() -> bool:
                    here.bus.publish(CLIENT_CHANGED, uuid4())  # small: the kernel takes it for long
                    await asyncio.sleep(0.01)
                    return not here.bus.connected

                await until(noticed, "it went on telling a server that hangs")
            finally:
                os.kill(server.pid, signal.SIGCONT)

    async def test_what_a_dying_server_did_not_pass_on_is_said_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        may_come_back = asyncio.Event()
        open_link = NatsLink.open

        async def gated(server: NatsServer, subject: str, handler: Any, **how: Any) -> NatsLink:
            if handler.__self__ is here.bus:
                await may_come_back.wait()
            return await open_link(server, subject, handler, **how)

        async with serving(LocalNats(tmp_path)) as server, nodes(server.url, server.url) as pair:
            here, there = pair
            monkeypatch.setattr(NatsLink, "open", gated)
            await freeze(server.pid)
            here.bus.publish(CLIENT_CHANGED, key := uuid4())
            await until(lambda: not here.bus._waiting, "it was never handed over")
            os.kill(server.pid, signal.SIGKILL)
            await until(lambda: not here.bus.connected, "the loss was not noticed")
            await until(lambda: not there.bus.connected, "the loss was not noticed")
            server.kill()
            await server.start()
            assert await there.bus.wait_connected(WAIT_LIMIT_S), "who is not there hears nothing"
            assert (CLIENT_CHANGED, key) not in there.heard
            may_come_back.set()
            await there.has_heard((CLIENT_CHANGED, key))

    async def test_who_was_away_looks_at_everything(self, tmp_path: Path) -> None:
        async with serving(LocalNats(tmp_path)) as server, nodes(server.url) as (here,):
            assert here.looks >= 1
            server.kill()
            await until(lambda: not here.bus.connected, "the loss was not noticed")
            looked = here.looks
            await server.start()
            await until(lambda: here.looks > looked, "what it missed is not looked for")

    async def test_closing_while_the_server_hangs_is_bounded(self, tmp_path: Path) -> None:
        async with serving(LocalNats(tmp_path)) as server, nodes(server.url) as (here,):
            await freeze(server.pid)
            try:
                here.bus.publish(CLIENT_CHANGED, uuid4())
                await asyncio.wait_for(here.bus.close(), WAIT_LIMIT_S)
            finally:
                os.kill(server.pid, signal.SIGCONT)

    async def test_what_waits_is_bounded_and_the_rest_is_counted(self, no_one: str) -> None:
        here = Node(f"nats://{no_one}")
        before = counted("dropped_total", reason="full")
        for _ in range(30_000):
            here.bus.publish(CLIENT_CHANGED, uuid4())
        assert counted("dropped_total", reason="full") - before == 10_000
        assert len(here.heard) == 30_000
        await here.bus.start()
        await here.bus.close()

    async def test_a_silent_and_a_strange_server_are_passed_by(
        self, nats_server: LocalNats, no_one: str
    ) -> None:
        """One accepts and says nothing, one speaks HTTP, one is not there; the fourth is ours."""
        writers: list[asyncio.StreamWriter] = []

        async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)

        async def strange(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 100_000)
            writers.append(writer)

        mute = await asyncio.start_server(silent, "127.0.0.1", 0)
        other = await asyncio.start_server(strange, "127.0.0.1", 0)
        strangers = [
            f"127.0.0.1:{listener.sockets[0].getsockname()[1]}" for listener in (mute, other)
        ]
        tried = [*strangers, no_one, f"127.0.0.1:{nats_server.port}"]
        try:
            async with nodes(",".join(f"nats://{address}" for address in tried)) as (here,):
                assert here.bus.connected
        finally:
            for writer in writers:
                writer.close()
            mute.close()
            other.close()
            await mute.wait_closed()
            await other.wait_closed()


async def slow(writer: asyncio.StreamWriter) -> None:
    for byte in b'INFO {"max_payload":1048576,"version":"' + b"9" * 10_000:
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def endless_line(writer: asyncio.StreamWriter) -> None:
    writer.write(b"INFO ")
    for _ in range(16 * 1024):
        writer.write(b"x" * 65_536)
        await writer.drain()


@pytest.mark.parametrize("behavior", [slow, endless_line])
async def test_a_server_that_never_comes_to_an_end_is_left(
    behavior: Callable[[asyncio.StreamWriter], Awaitable[None]],
) -> None:
    done: list[bool] = []

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError), closing(writer):
            await behavior(writer)
            done.append(True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(WAIT_LIMIT_S):
        (tried,) = await reach(f"nats://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert tried[1]
    assert not done, "1 GB was read"


@pytest.mark.parametrize(
    "received",
    [b"MSG a.changes 1 1073741824\r\n", b"x" * 1_100_000, b"-ERR '" + b"x" * 1_100_000],
    ids=["a message of 1 GB", "no line's end", "an error's text"],
)
async def test_no_message_is_read_without_an_end(received: bytes) -> None:
    client = nats_link._Client()
    with pytest.raises(ProtocolError):
        await client._ps.parse(received)
