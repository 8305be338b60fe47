"""The JavaScript of docs/live.md, as an app runs it: sign-in, updates, reconnect."""

import asyncio
import json
import re
from pathlib import Path
from uuid import UUID

from evpower.devstack.supabase.server import node_binary
from tests.realtime.scenario import WAIT_LIMIT_S, Live, token, until

PAGE = Path(__file__).parents[2] / "docs" / "live.md"
DRIVER = """
const [url, token] = process.argv.slice(2);
const say = (message) => console.log(JSON.stringify(message));
const { freshToken, close } = watch(url, async () => token, say, say);
process.stdin.on("data", (line) => {
  if (`${line}`.startsWith("token")) freshToken(`${line}`.trim().slice(6));
  else { close(); process.exit(0); }
});
"""


async def test_the_example_of_the_docs(live: Live, client_id: UUID, tmp_path: Path) -> None:
    (code,) = re.findall(r"```js\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = tmp_path / "app.mjs"
    script.write_text(code + DRIVER)
    app = await asyncio.create_subprocess_exec(
        str(node_binary()), str(script), live.url.replace("ws://", "http://").split("/api")[0],
        token(client_id), stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert app.stdin
    assert app.stdout
    out, into = app.stdout, app.stdin

    async def next_message() -> dict[str, object]:
        async with asyncio.timeout(2 * WAIT_LIMIT_S):
            return json.loads(await out.readline())

    assert (await next_message())["version"] == 0
    await live.top_up(client_id)
    assert (await next_message())["balance"] == 100
    await live.start_session(client_id)
    assert (await next_message())["status"] == "started"

    into.write(f"token {token(client_id, lives_s=7200)}\n".encode())
    (socket,) = live.hub._clients[client_id].sockets
    ends_at = socket.expires_s
    await until(lambda: socket.expires_s > ends_at)

    socket.wire.abort()  # the network went away
    again = [await next_message() for _ in range(2)]
    assert {message["type"] for message in again} == {"ready", "charging_update"}
    into.write(b"end\n")
    assert await app.wait() == 0
