"""One simulated station at a foreign CSMS, in a time that the test turns."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Any

from ocpp.v16 import call
from ocpp.v16.enums import ChargePointStatus

from evpower.simulator import (
    PERSONAS,
    Car,
    Faults,
    SimulatedStation,
    StationConfig,
    StationEvent,
)
from tests.simulator.csms import CentralSystem, Csms, running_csms
from tests.simulator.turned_clock import TurnedClock
from tests.waiting import until

NEVER_S = 1e6  # no reply is late, however far a test turns the clock
TAG = "A1B2C3D4E5F6"


@dataclass
class Rig:
    csms: Csms
    clock: TurnedClock
    station: SimulatedStation
    events: list[StationEvent]

    @property
    def server(self) -> CentralSystem:
        return self.csms.station

    @property
    def transaction(self) -> Any:
        return self.station.transactions[-1]

    async def settled(self) -> None:
        """All that the station had to send was answered."""
        await until(lambda: self.station.is_online and not self.station.queued)

    async def advance(self, seconds: float, step_s: float = 60) -> None:
        """Turns the clock in steps; after each the station sends what it has."""
        while seconds > 0:
            await self.clock.advance(min(step_s, seconds))
            seconds -= step_s
            await until(lambda: not self.station.is_online or not self.station.queued)

    async def command(self, payload: Any) -> Any:
        return await self.server.call(payload, suppress=False)

    async def start(self, **car: Any) -> Any:
        """Plugs a car in and starts it remotely. Returns the running transaction."""
        self.station.plug_in(car=Car(**car))
        reply = await self.command(call.RemoteStartTransaction(id_tag=TAG, connector_id=1))
        assert reply.status == "Accepted"
        await until(lambda: self.transaction.id is not None)
        await self.settled()
        return self.transaction

    async def stop(self) -> dict[str, Any]:
        """Stops remotely. Returns the StopTransaction."""
        reply = await self.command(call.RemoteStopTransaction(transaction_id=self.transaction.id))
        assert reply.status == "Accepted"
        await until(lambda: self.csms.count("StopTransaction"))
        await self.settled()
        return self.csms.payloads("StopTransaction")[-1]

    async def reconnected(self) -> None:
        """The pause before the next connection is over, and it is made."""
        before = self.csms.handshakes

        async def is_online() -> bool:
            await self.clock.advance(2)
            return self.csms.handshakes > before and self.station.is_online

        await until(is_online)

    def status(self) -> ChargePointStatus:
        return self.station.connectors[1].status


@asynccontextmanager
async def running_rig(
    faults: Faults | None = None,
    *,
    csms: dict[str, Any] | None = None,
    persona: str = "plain",
    **config: Any,
) -> AsyncGenerator[Rig]:
    """`csms` are the options of the CSMS, `config` those of the station."""
    clock = TurnedClock()
    events: list[StationEvent] = []
    async with running_csms(**(csms or {})) as central:
        fields: dict[str, Any] = {"id": "EV-1", "url": central.url, "reply_timeout_s": NEVER_S}
        station = SimulatedStation(
            PERSONAS[persona].dress(StationConfig(**(fields | config))),
            faults=faults or PERSONAS[persona].faults(),
            clock=clock,
            sleep=clock.sleep,
            random=Random(1),
            on_event=events.append,
        )
        rig = Rig(central, clock, station, events)
        async with station.running():
            await rig.settled()
            yield rig
    await asyncio.sleep(0)
