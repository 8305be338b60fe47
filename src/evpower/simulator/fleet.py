"""Several stations run together, as `evpower station simulate` runs them."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Final

from evpower.simulator.model import OnEvent, StationConfig, ignore_event
from evpower.simulator.personas import PERSONAS
from evpower.simulator.plan import PlannedAct, follow
from evpower.simulator.station import SimulatedStation

STOP_LIMIT_S: Final = 10.0


class Fleet:
    """Stations that begin and end together."""

    def __init__(
        self, stations: Sequence[SimulatedStation], plan: Sequence[PlannedAct] = ()
    ) -> None:
        """`plan`: what happens to each of them from outside."""
        self.stations = stations
        self._plan = plan

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
        acts = [
            asyncio.create_task(follow(station, self._plan, asyncio.sleep))
            for station in self.stations
        ]
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in running:
                if task.done():
                    task.result()
            for task in acts:
                task.cancel()
            return await self._finish(stop_limit_s)
        finally:
            stopping.cancel()
            for task in (*running, *acts):
                task.cancel()
            await asyncio.gather(*running, *acts, return_exceptions=True)

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
    sample_s: int | None = None,
    plan: Sequence[PlannedAct] = (),
    on_event: OnEvent = ignore_event,
) -> Fleet:
    """Returns a station, or with `count` the stations ID-1 to ID-count. Raises KeyError.

    `sample_s`: between two meter values, until the CSMS sets it.
    """
    ids = [config.id] if count is None else [f"{config.id}-{n}" for n in range(1, count + 1)]
    stations = [
        make_station(
            replace(config, id=station_id),
            persona,
            random=Random(f"{seed}/{station_id}"),  # noqa: S311 - reproducible, guards nothing
            on_event=on_event,
        )
        for station_id in ids
    ]
    if sample_s is not None:
        for station in stations:
            station.configuration.set("MeterValueSampleInterval", str(sample_s))
    return Fleet(stations, plan)
