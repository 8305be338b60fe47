"""The list of slices: the only place that knows every one of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from evpower import (
    alerts,
    api,
    charging,
    identity,
    ocpp,
    payments,
    push,
    realtime,
    reports,
    stations,
    sync,
    tariffs,
    wallet,
)
from evpower.api import legacy
from evpower.bootstrap.commands import commands_ended
from evpower.bootstrap.shared import build_shared
from evpower.config import Settings
from evpower.foundation.bus.nats_bus import NatsBus
from evpower.foundation.module import Module, Shared


@dataclass(frozen=True, slots=True)
class Assembled:
    """The parts of a process; nothing here has connected yet."""

    settings: Settings
    shared: Shared
    access: identity.Access
    modules: Sequence[Module]


def assemble(
    settings: Settings,
    *,
    shared: Shared | None = None,
    admin: identity.SupabaseAdmin | None = None,
) -> Assembled:
    """Builds every slice from the settings. Raises ValueError for an unusable setting.

    `shared` and `admin` replace what the settings would build.
    """
    shared = shared or build_shared(settings)
    admin = admin or identity.configured_admin(settings, shared)
    access = identity.configured_access(settings, shared, admin)
    phones = identity.configured_sign_in(
        settings, shared, access=access, admin=admin, with_money=legacy.clients_with_money
    )
    providers = payments.configured_providers(settings, shared.http)
    confirmer = payments.Confirmer(shared.db, shared.bus)
    callers = legacy.old_callers(settings, shared, access)
    sockets = ocpp.build(settings, shared)
    modules = [
        identity.module(settings, shared, access=access, admin=admin),
        alerts.module(
            settings,
            shared,
            may_read=alerts.CallGuard(access.may("read"), identity.operator_call("read")),
            may_act=alerts.CallGuard(access.may("alert.act"), identity.operator_call("alert.act")),
        ),
        tariffs.module(shared, access=access, find_place=stations.find_place),
        stations.module(
            shared,
            access=access,
            commands_ended=commands_ended(settings),
            check_command=charging.refuse_while_in_use,
        ),
        payments.module(settings, shared, access=access, providers=providers, confirmer=confirmer),
        wallet.module(shared, access=access, reader=callers.reader_of_v1),
        realtime.module(
            settings,
            shared,
            access=access,
            sentence=api.sentence,
            choose_language=api.choose_language,
        ),
        push.module(
            settings,
            shared,
            access=access,
            sentence=api.sentence,
            choose_language=api.choose_language,
        ),
        charging.module(settings, shared, access=access),
        ocpp.module(settings, shared, parts=sockets),
        ocpp.message_log(shared, access=access),
        legacy.module(
            settings,
            shared,
            access=access,
            providers=providers,
            confirmer=confirmer,
            callers=callers,
            period_totals=reports.period_totals,
            station_paths=ocpp.STATION_PATHS,
            phones=phones,
            deletion=identity.configured_deletion(settings, shared, admin),
            carrier=sockets.dispatcher,
        ),
        sync.module(settings, shared),
        reports.module(shared, access=access),
        api.module(shared),
    ]
    if isinstance(shared.bus, NatsBus):
        topics = [topic for module in modules for topic in module.topics]
        shared.bus.use_topics(topics, missed=identity.CLIENT_CHANGED)
    return Assembled(settings, shared, access, modules)
