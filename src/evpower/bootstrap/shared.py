"""Builds what every slice works with: the database, the HTTP client, the bus, the clock."""

from evpower.config import Settings
from evpower.foundation.bus import Bus, LocalBus
from evpower.foundation.bus.nats_bus import NatsBus
from evpower.foundation.bus.nats_keys import NatsFiles
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Database
from evpower.foundation.http import HttpClient
from evpower.foundation.module import Shared


def build_shared(settings: Settings) -> Shared:
    """Builds it; nothing connects yet. Raises ValueError for an unusable setting."""
    return Shared(
        db=Database(settings.database_url.get_secret_value(), size=settings.database_pool),
        http=HttpClient(
            supabase_ca=settings.supabase_ca, proxy=settings.http_proxy.get_secret_value()
        ),
        bus=_bus(settings),
        clock=utc_now,
    )


def _bus(settings: Settings) -> Bus:
    urls = settings.nats_url.get_secret_value()
    if not urls:
        return LocalBus()
    files = NatsFiles(settings.nats_creds, settings.nats_nkey_file, settings.nats_ca)
    return NatsBus(urls, prefix=settings.nats_prefix, files=files)
