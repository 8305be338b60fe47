"""The module of the stations' sockets: where they connect, and the jobs behind them."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from evpower import alerts, charging, stations
from evpower.config import Settings
from evpower.foundation.db import Connection
from evpower.foundation.failpoints import Failpoint, hit
from evpower.foundation.loops import Round, every
from evpower.foundation.module import Job, Module, Shared, SocketPaths
from evpower.foundation.purge import purging
from evpower.foundation.roles import STATIONS
from evpower.identity import Access, OperatorCalls
from evpower.ocpp import metrics, store
from evpower.ocpp.admission import Admissions
from evpower.ocpp.deviations import Deviations
from evpower.ocpp.dispatch import Dispatcher
from evpower.ocpp.endpoint import MESSAGE_BYTES, OLD_SOCKET_S, StationSockets
from evpower.ocpp.forward import Forwarder
from evpower.ocpp.frame_log import FrameLog
from evpower.ocpp.handshake import matches, socket_urls
from evpower.ocpp.model import STATION_PING
from evpower.ocpp.process import Processor
from evpower.ocpp.router import Router
from evpower.ocpp.sockets import PING_S, TICK_S, Sockets
from evpower.ocpp.unknown import UnknownNames
from evpower.ocpp.v16.boot_notification import HEARTBEAT_S

_SILENT_S: Final = 3.0 * HEARTBEAT_S
_KEEP_S: Final = 3600.0
_PURGE_S: Final = 600.0


@dataclass(frozen=True, slots=True)
class Parts:
    """What serves the stations of one process."""

    sockets: Sockets
    processor: Processor
    endpoint: StationSockets
    dispatcher: Dispatcher
    forwarder: Forwarder
    log: FrameLog
    deviations: Deviations
    unknown: UnknownNames


@dataclass(frozen=True, slots=True)
class Times:
    """Intervals in seconds, which tests shorten."""

    silent_s: float = _SILENT_S
    ping_s: float = PING_S
    tick_s: float = TICK_S
    old_socket_s: float = OLD_SOCKET_S


def build(
    settings: Settings,
    shared: Shared,
    times: Times | None = None,
    *,
    now_s: Callable[[], float] = time.monotonic,
) -> Parts:
    """Returns the parts; nothing runs yet. `now_s`: the time of the limits of handshakes."""
    times = times or Times()
    rules = charging.configured_rules(settings)
    log, deviations = FrameLog(shared.db), Deviations(shared.db)
    sockets = Sockets(
        shared, log, deviations,
        silent_s=times.silent_s, ping_s=times.ping_s, tick_s=times.tick_s,
    )  # fmt: skip

    async def ended(
        connection: Connection, command: stations.Command, now: datetime
    ) -> charging.Changes:
        changes = await charging.command_ended(connection, command, now=now, rules=rules)
        hit(Failpoint.OUTCOME_UNCOMMITTED)
        return changes

    processor = Processor(shared.db, shared.bus, Router(), sockets, shared.clock, rules)
    forwarder = Forwarder(shared, sockets, log, ended, now_s=now_s)
    unknown = UnknownNames(shared.db)
    admissions = Admissions(
        shared.db, unknown, shared.clock, now_s,
        refused_per_minute=settings.rate_refused_stations_per_minute,
    )  # fmt: skip
    endpoint = StationSockets(
        settings, shared, sockets, processor, forwarder, admissions, rules,
        old_socket_s=times.old_socket_s,
    )  # fmt: skip
    dispatcher = Dispatcher(
        shared.db, shared.bus, sockets,
        ended=ended, clock=shared.clock, reply_s=settings.charging_command_reply_s,
    )  # fmt: skip
    return Parts(sockets, processor, endpoint, dispatcher, forwarder, log, deviations, unknown)


async def keep_frame_days(connection: Connection, keep_days: int, now: datetime) -> None:
    """Makes and drops the partitions of the frames.

    An alert is open while frames come for which no partition was made in time.
    """
    outcomes = await store.keep_frames(connection, now.date(), keep_days)
    stray = [day.isoformat() for outcome, day in outcomes if outcome == "moved"]
    if stray:
        detail = {"days": stray}
        await alerts.open_alert(connection, "partition_missing", "ocpp.frames", detail, now)
    else:
        await alerts.close_alert(connection, "partition_missing", "ocpp.frames", now)


def module(settings: Settings, shared: Shared, *, parts: Parts | None = None) -> Module:
    """Returns the module of the stations' sockets."""
    parts = parts or build(settings, shared)
    log, deviations, sockets = parts.log, parts.deviations, parts.sockets

    async def close() -> None:
        await parts.processor.close()
        await log.flush_all()
        await deviations.flush()
        await parts.unknown.flush()

    async def keep_frames(_: Round) -> None:
        now = shared.clock()
        async with shared.db.transaction() as connection:
            await keep_frame_days(connection, settings.ocpp_keep_frames_days, now)

    purge = purging(shared.db, shared.clock, store.delete_answers)
    return Module(
        "ocpp",
        roles=STATIONS,
        sockets=SocketPaths(matches, parts.endpoint, MESSAGE_BYTES),
        about={"websocket_urls": socket_urls(settings.public_url)},
        jobs=[
            Job(sockets.timer_loop, STATIONS),
            Job(sockets.touch_loop, STATIONS),
            Job(sockets.ended_loop, STATIONS),
            Job(sockets.profile_loop, STATIONS),
            Job(parts.dispatcher.loop, STATIONS),
            Job(parts.forwarder.loop, STATIONS),
            Job(log.loop, STATIONS),
            Job(deviations.loop, STATIONS),
            Job(parts.unknown.loop, STATIONS),
            Job(lambda: every(_KEEP_S, "keep_frames", keep_frames)),
            Job(lambda: every(_PURGE_S, "purge_answers", purge)),
        ],
        collectors=[metrics.publish],
        topics=[STATION_PING],
        close=close,
    )


def message_log(shared: Shared, *, access: Access) -> Module:
    """Returns the log as a module of its own: processes without stations' sockets serve it too."""
    from evpower.ocpp.operator_endpoints import messages_router

    calls = OperatorCalls(access, shared.db, shared.bus, shared.clock)
    return Module("message_log", routers=[messages_router(calls)])
