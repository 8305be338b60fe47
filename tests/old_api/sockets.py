"""A page with the old live socket open, in the app's own form of messages."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from tests.waiting import WAIT_LIMIT_S, until

PATHS = ("/api/v1/ws/locations", "/api/v1/locations/ws/locations")


class OldSocket:
    """What came over one socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self.messages: list[dict[str, Any]] = []

    async def send(self, kind: str, **data: Any) -> None:
        """As R1 writes it: a type, and the rest in `data`."""
        await self._socket.send(json.dumps({"type": kind, "data": data}))

    async def hears(self, kind: str, **members: Any) -> dict[str, Any]:
        """Waits for a message of this type with these members."""

        def matching() -> list[dict[str, Any]]:
            return [
                message
                for message in self.messages
                if message["type"] == kind
                and all(message.get(name) == value for name, value in members.items())
            ]

        await until(matching, f"{kind} {members} never came")
        return matching()[-1]

    def of_type(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]

    async def listen(self) -> None:
        async for text in self._socket:
            self.messages.append(json.loads(text))


@contextlib.asynccontextmanager
async def old_socket(
    api_url: str, client_id: str, path: str = PATHS[0]
) -> AsyncIterator[OldSocket]:
    """Yields a socket that has been greeted."""
    url = f"{api_url.replace('http', 'ws', 1)}{path}?client_id={client_id}"
    async with connect(url, proxy=None, open_timeout=WAIT_LIMIT_S) as connection:
        socket = OldSocket(connection)
        task = asyncio.create_task(socket.listen())
        try:
            await socket.hears("connection", status="connected", client_id=client_id)
            yield socket
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
