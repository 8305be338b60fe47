"""The module of the alerts: their delivery, their routes, their gauges."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from evpower.alerts import metrics, store, store_messages
from evpower.alerts.certificates import certificates_loop, read_tls_hosts
from evpower.alerts.channels import configured_channels, configured_quiet_hours
from evpower.alerts.delivery import MessageDelivery
from evpower.alerts.kinds import facts_of
from evpower.alerts.model import CallGuard, ChannelName
from evpower.alerts.upkeep import upkeep_loop
from evpower.config import Settings
from evpower.foundation.clock import Clock
from evpower.foundation.db import Database
from evpower.foundation.module import Job, Module, Shared

_DAY: Final = timedelta(days=1)


def module(
    settings: Settings, shared: Shared, *, may_read: CallGuard, may_act: CallGuard
) -> Module:
    """Returns the slice. Raises ValueError for unusable settings of its channels.

    `may_read`, `may_act`: identify the operator of a request, or raise; identity is above.
    """
    from evpower.alerts.endpoints import alert_router

    db, clock = shared.db, shared.clock
    channels = configured_channels(settings, shared.http, clock)
    quiet_hours = configured_quiet_hours(settings)
    hosts = read_tls_hosts(settings.alert_tls_hosts)
    return Module(
        "alerts",
        routers=[alert_router(db, clock, may_read=may_read, may_act=may_act)],
        jobs=[
            Job(lambda: MessageDelivery(db, channels, quiet_hours, clock).loop()),
            Job(lambda: upkeep_loop(db, clock, list(channels))),
            Job(lambda: certificates_loop(db, clock, hosts)),
        ],
        collectors=[lambda: measure(db, list(channels), clock)],
    )


async def measure(db: Database, channels: Sequence[ChannelName], clock: Clock) -> None:
    """Refreshes the gauges: open alerts, messages that wait."""
    now = clock()
    async with db.connection() as connection:
        by_kind = await store.count_open(connection)
        states = await store_messages.channel_states(connection, channels, now - _DAY)
    metrics.OPEN.clear()
    for kind, count in by_kind.items():
        metrics.OPEN.labels(kind, facts_of(kind).severity).set(count)
    for state in states:
        age_s = 0.0 if state.oldest_at is None else (now - state.oldest_at).total_seconds()
        metrics.WAITING.labels(state.channel).set(state.waiting)
        metrics.OLDEST_SECONDS.labels(state.channel).set(max(age_s, 0.0))
