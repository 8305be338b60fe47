"""A driver's app with an open live socket, as the demo uses it."""

import asyncio
import contextlib
import json
from typing import Any, Final

import websockets

from evpower.foundation.json_reader import read_object

_OPEN_S: Final = 60.0  # until the first balance, on a busy machine
_MAX_BYTES: Final = 65_536


class LiveBalance:
    """The balance that an app shows if it only listens; `balance_minor` in tyiyn."""

    def __init__(self, api_url: str, token: str) -> None:
        self._url = f"{api_url.replace('http', 'ws', 1)}/api/v1/ws"
        self._token = token
        self._task: asyncio.Task[None] | None = None
        self.balance_minor: int | None = None
        self.frames = 0
        self.in_order = True
        self.strangers = 0  # messages of another client: must stay 0
        self._client_id = ""
        self._revision = -1

    async def open(self) -> None:
        """Signs in and waits for the first state."""
        async with asyncio.timeout(_OPEN_S):
            self._socket = await websockets.connect(self._url, proxy=None, max_size=_MAX_BYTES)
            await self._socket.send(json.dumps({"type": "auth", "token": self._token}))
            while self.balance_minor is None:
                self._take(read_object(await self._socket.recv()))
        self._task = asyncio.create_task(self._listen())

    async def close(self) -> None:
        """Disconnects."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._socket.close()

    async def _listen(self) -> None:
        async for text in self._socket:
            self._take(read_object(text))

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "connection":
            self._client_id = frame["client_id"]
        elif frame["type"] == "balance_update":
            self.strangers += frame["client_id"] != self._client_id
            self.in_order = self.in_order and frame["revision"] > self._revision
            self._revision = frame["revision"]
            self.balance_minor = round(frame["balance"] * 100)
            self.frames += 1
