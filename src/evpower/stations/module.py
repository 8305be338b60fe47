"""Builds the slice: its routes, jobs and topic."""

from typing import Final

from evpower.foundation.loops import Round, every
from evpower.foundation.module import Job, Module, Shared
from evpower.foundation.purge import purging
from evpower.identity import Access, OperatorCalls
from evpower.stations.ask_boot import ask_for_boots
from evpower.stations.jobs import CommandsEnded, end_commands, purge_logs
from evpower.stations.lost import measure, watch_lost
from evpower.stations.model import COMMAND_QUEUED, STATION_CHANGED
from evpower.stations.profile_files import vendor_profiles
from evpower.stations.request import CommandCheck
from evpower.stations.setup import set_up_stations

_END_S: Final = 5.0
_SETUP_S: Final = 2.0
_BOOTS_S: Final = 10.0
_PURGE_S: Final = 3600.0
_LOST_S: Final = 30.0


def module(
    shared: Shared,
    *,
    access: Access,
    commands_ended: CommandsEnded | None = None,
    check_command: CommandCheck | None = None,
) -> Module:
    """Returns the slice. `commands_ended` is called with commands that ended without a reply.

    `check_command` is asked before an operator's command is queued, in the same transaction.

    Raises InvalidProfile.
    """
    from evpower.stations.operator_commands import commands_router
    from evpower.stations.operator_endpoints import stations_router

    db, bus, clock = shared.db, shared.bus, shared.clock
    calls = OperatorCalls(access, db, bus, clock)
    vendor_profiles()  # a wrong one fails the start

    async def end(_: Round) -> None:
        await end_commands(db, bus, clock(), commands_ended)

    async def set_up(_: Round) -> None:
        await set_up_stations(db, bus, clock())

    async def ask(_: Round) -> None:
        await ask_for_boots(db, bus, clock())

    async def watch(_: Round) -> None:
        async with db.transaction() as connection:
            await watch_lost(connection, clock())

    return Module(
        "stations",
        routers=[stations_router(calls), commands_router(calls, check_command)],
        jobs=[
            Job(lambda: every(_LOST_S, "stations_lost", watch)),
            Job(lambda: every(_END_S, "end_station_commands", end)),
            Job(lambda: every(_SETUP_S, "set_up_stations", set_up)),
            Job(lambda: every(_BOOTS_S, "ask_for_boots", ask)),
            Job(lambda: every(_PURGE_S, "purge_station_logs", purging(db, clock, purge_logs))),
        ],
        collectors=[lambda: measure(db, clock())],
        topics=[STATION_CHANGED, COMMAND_QUEUED],
    )
