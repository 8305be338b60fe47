"""The JavaScript of docs/live.md through the troubles of a phone's day."""

import asyncio
import contextlib
import json
import re
import socket as sockets
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

from evpower.devstack.supabase.server import node_binary
from evpower.foundation.db import Connection, Database
from evpower.identity import CLIENT_CHANGED
from tests.realtime.scenario import Live, Message, running, token
from tests.waiting import WAIT_LIMIT_S, until

PAGE = Path(__file__).parents[2] / "docs" / "live.md"
_SOON, _NEVER = "0.05", "1e6"  # what stands in for chance when it waits before it comes back
DRIVER = """
import { readFile } from "node:fs/promises";
const [url, tokenFile, chance] = process.argv.slice(2);
Math.random = () => Number(chance);
const say = (message) => console.log(JSON.stringify(message));
globalThis.WebSocket = class extends WebSocket {
  constructor(...to) {
    super(...to); // heard before the example hears of it, which may take itself out
    this.addEventListener("close", () => say({ type: "socket closed" }));
  }
};
let handed = Promise.resolve();
const getToken = async () => {
  say({ type: "token asked" });
  await handed;
  return `${await readFile(tokenFile)}`;
};
const client = watch(url, getToken, say, say, (code, reason) => say({ type: "end", code, reason }));
process.stdin.on("data", (lines) => {
  for (const word of `${lines}`.trim().split("\\n")) {
    if (word === "close") { client.close(); process.stdin.destroy(); }
    if (word === "close while asked") {
      handed = new Promise((resolve) => { setTimeout(() => { client.close(); resolve(); }); });
      process.stdin.destroy();
      client.wake();
    }
    if (word === "wake") client.wake();
  }
});
"""


@dataclass
class Phone:
    """The example in a process of its own."""

    process: asyncio.subprocess.Process
    tokens: Path

    async def next_message(self) -> Message:
        """The next of what the example tells its app, or asks of it."""
        while (message := await self._next_line())["type"] == "socket closed":
            pass
        return message

    async def socket_closed(self) -> None:
        """Until it has noticed; whatever else comes before it."""
        while (await self._next_line())["type"] != "socket closed":
            pass

    async def told_of(self, kind: str) -> Message:
        """The next of this kind; whatever else comes before it."""
        while (message := await self.next_message())["type"] != kind:
            pass
        return message

    async def _next_line(self) -> Message:
        assert self.process.stdout
        async with asyncio.timeout(WAIT_LIMIT_S):
            line = await self.process.stdout.readline()
        return json.loads(line)

    def hear(self, word: str) -> None:
        assert self.process.stdin
        self.process.stdin.write(f"{word}\n".encode())

    async def ends_by_itself(self) -> bool:
        """With nothing left to wait for: no timer, no socket."""
        return await asyncio.wait_for(self.process.wait(), WAIT_LIMIT_S) == 0


@contextlib.asynccontextmanager
async def phone(
    live: Live, folder: Path, first_token: str, chance: str = _SOON
) -> AsyncIterator[Phone]:
    (code,) = re.findall(r"```js\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script, tokens = folder / "app.mjs", folder / "token"
    script.write_text(code + DRIVER)
    tokens.write_text(first_token)
    process = await asyncio.create_subprocess_exec(
        str(node_binary()), str(script), _base(live), str(tokens), chance,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Phone(process, tokens)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def _base(live: Live) -> str:
    return live.url.replace("ws://", "http://").split("/api")[0]


class _At(sockets.socket):
    """A socket on a port that it shares with others like it, though their peers are slow to go."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        for option in (sockets.SO_REUSEADDR, sockets.SO_REUSEPORT):
            self.setsockopt(sockets.SOL_SOCKET, option, 1)

    def bind(self, address: Any, /) -> None:
        super().bind((address[0], self.port))


@contextlib.contextmanager
def _one_port() -> Iterator[int]:
    """Reserves a port that no server uses, so that a connection to it is refused."""
    with _At(0) as keeper:
        keeper.bind(("127.0.0.1", 0))
        yield keeper.getsockname()[1]


async def _cut(live: Live, client: UUID, app: Phone) -> None:
    """The network goes away under an open socket, and both sides have noticed."""
    (socket,) = live.hub._clients[client].sockets
    socket.wire.abort()
    await until(lambda: client not in live.hub)
    await app.socket_closed()


async def test_it_comes_back_after_a_restart_with_what_it_has(
    db: Database, owner: Connection, client_id: UUID, tmp_path: Path
) -> None:
    async with contextlib.AsyncExitStack() as running_app:
        port = running_app.enter_context(_one_port())
        async with running(db, owner, listener=_At(port)) as live:
            app = await running_app.enter_async_context(phone(live, tmp_path, token(client_id)))
            first = await app.told_of("balance_update")
            assert (first["balance"], first["version"]) == (0, 0)
            await live.top_up(client_id)
            assert (await app.told_of("balance_update"))["balance"] == 100
        async with running(db, owner, listener=_At(port)) as live:
            again = await app.told_of("ready")
            assert (again["balance"], again["version"]) == (100, 1), "it said its version"
        await live.top_up(client_id)
        async with running(db, owner, listener=_At(port)):
            assert (await app.told_of("balance_update"))["version"] == 2


async def test_an_expired_token_is_replaced_by_a_fresh_one(
    live: Live, client_id: UUID, tmp_path: Path
) -> None:
    async with phone(live, tmp_path, token(client_id, lives_s=-3600)) as app:
        await app.told_of("token asked")
        app.tokens.write_text(token(client_id))
        await app.told_of("balance_update")
        app.tokens.write_text(token(client_id, lives_s=3 * 3600))
        live.clock.ahead = timedelta(minutes=61)
        assert (await app.next_message())["type"] == "token asked", "4401: the token has expired"
        assert (await app.next_message())["type"] == "ready"


async def test_a_closed_client_does_not_come_back(
    live: Live, client_id: UUID, owner: Connection, tmp_path: Path
) -> None:
    async with phone(live, tmp_path, token(client_id)) as app:
        await app.told_of("balance_update")
        await owner.execute(
            "update identity.clients set status = 'closed' where id = $1", client_id
        )
        live.bus.publish(CLIENT_CHANGED, client_id)
        ended = await app.next_message()
        assert ended == {"type": "end", "code": 4403, "reason": "client_closed"}
        app.hear("close")
        assert await app.ends_by_itself()


async def test_closed_while_it_waits_it_does_not_come_back(
    live: Live, client_id: UUID, tmp_path: Path
) -> None:
    """A driver signs out while there is no network; the next token may be another driver's."""
    async with phone(live, tmp_path, token(client_id), chance=_NEVER) as app:
        await app.told_of("balance_update")
        await _cut(live, client_id, app)
        app.hear("close")
        assert await app.ends_by_itself()
    await until(lambda: len(live.hub) == 0)


async def test_closed_while_its_token_is_fetched_it_does_not_come_back(
    live: Live, client_id: UUID, tmp_path: Path
) -> None:
    async with phone(live, tmp_path, token(client_id), chance=_NEVER) as app:
        await app.told_of("balance_update")
        await _cut(live, client_id, app)
        app.hear("close while asked")
        assert await app.ends_by_itself()
    await until(lambda: len(live.hub) == 0)


async def test_woken_it_comes_back_at_once_and_only_once(
    live: Live, client_id: UUID, tmp_path: Path
) -> None:
    async with phone(live, tmp_path, token(client_id), chance=_NEVER) as app:
        await app.told_of("balance_update")
        await _cut(live, client_id, app)
        app.hear("wake\nwake\nwake")
        assert (await app.told_of("ready"))["version"] == 0
        await live.top_up(client_id)
        assert (await app.told_of("balance_update"))["balance"] == 100
        assert len(live.hub._clients[client_id].sockets) == 1
        app.hear("close")
        assert await app.ends_by_itself()
