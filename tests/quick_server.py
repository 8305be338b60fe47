"""uvicorn in a test's own process, where the end of a server is no pause."""

import asyncio
import contextlib
import socket

import uvicorn

from tests.waiting import until

_TICK_S = 0.1


class QuickServer(uvicorn.Server):
    """uvicorn that sees at once that it is to end, and that its connections have ended.

    uvicorn looks ten times a second, three times in a row: 0.2 s for each server of a test.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        self._ends = asyncio.Event()
        super().__init__(config)

    @property
    def should_exit(self) -> bool:
        return self._ends.is_set()

    @should_exit.setter
    def should_exit(self, ends: bool) -> None:
        if ends:
            self._ends.set()

    async def main_loop(self) -> None:
        ticks = 0
        while not await self.on_tick(ticks):
            ticks += 1
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ends.wait(), _TICK_S)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listening in sockets or []:
            listening.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        await until(
            lambda: self.force_exit or not (state.connections or state.tasks),
            "the server's connections did not end",
        )
        if not self.force_exit:
            await self.lifespan.shutdown()
