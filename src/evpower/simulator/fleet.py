"""Several stations run together, as `evpower station simulate` runs them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final

from evpower.simulator.model import OnEvent, StationConfig, ignore_event
from evpower.simulator.personas import PERSONAS
from evpower.simulator.station import SimulatedStation

STOP_LIMIT_S: Final = 10.0


class Fleet:
    """Stations that begin and end together."""

    def __init__(self, stations: Sequence[SimulatedStation]) -> None:
        self.stations = stations

    @property
    def delivered_wh(self) -> int:
        """The energy that all stations delivered, in Wh."""
        return sum(station.delivered_wh for station in self.stations)

    async def run(self, stop: asyncio.Event, *, stop_limit_s: float = STOP_LIMIT_S) -> int:
        """Runs until `stop` is set, then ends what charges and sends what is queued.

        Returns how many messages could not be sent in `stop_limit_s` seconds. Raises ConnectFailed
        when a station's first connection fails.
        """
        running = [
            asyncio.create_task(station.run(retries_first=False)) for station in self.stations
        ]
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                if task.done():
                    task.result()
            return await self._finish(stop_limit_s)
        finally:
            stopping.cancel()
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _finish(self, stop_limit_s: float) -> int:
        for station in self.stations:
            for number in station.connectors:
                station.stop_by_card(number)
        sent = [asyncio.create_task(station.wait_sent()) for station in self.stations]
        await asyncio.wait(sent, timeout=stop_limit_s)
        for task in sent:
            task.cancel()
        return sum(station.queued for station in self.stations)


def make_station(
    config: StationConfig,
    persona: str = "plain",
    *,
    random: Random | None = None,
    on_event: OnEvent = ignore_event,
) -> SimulatedStation:
    """Returns a station that is as the persona. Raises KeyError."""
    value = PERSONAS[persona]
    station = SimulatedStation(
        value.dress(config), faults=value.faults(), random=random, on_event=on_event
    )
    for key, text in value.configuration.items():
        station.configuration.set(key, text)
    return station


def make_fleet(
    config: StationConfig,
    *,
    count: int | None = None,
    persona: str = "plain",
    seed: int = 0,
    on_event: OnEvent = ignore_event,
) -> Fleet:
    """Returns a station, or with `count` the stations ID-1 to ID-count. Raises KeyError."""
    ids = [config.id] if count is None else [f"{config.id}-{n}" for n in range(1, count + 1)]
    return Fleet(
        [
            make_station(
                replace(config, id=station_id),
                persona,
                random=Random(f"{seed}/{station_id}"),  # noqa: S311 - reproducible, guards nothing
                on_event=on_event,
            )
            for station_id in ids
        ]
    )
