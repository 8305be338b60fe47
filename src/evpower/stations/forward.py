"""Lets another CSMS answer a station: its frames are passed on."""

import re
from collections.abc import Sequence
from typing import Final

from evpower import identity
from evpower.foundation.db import Connection
from evpower.foundation.errors import Invalid
from evpower.stations import store
from evpower.stations.find import lock_station

# Without user and password, which would be stored and shown, and without a slash at its end.
_URL: Final = re.compile(r"wss?://[^\s/?#@]+[^\s?#@]*")
_MOST: Final = 500


async def forward_station(
    connection: Connection,
    *,
    station: str,
    url: str | None,
    actor: str,
    reason: str | None = None,
) -> None:
    """Passes a station's frames to another CSMS from its next connection on; None: no more.

    The caller publishes STATION_CHANGED after the commit. Raises NotFound("station_not_found"),
    Invalid("forward_url_invalid").
    """
    if url is not None:
        url = url.rstrip("/")
        if _URL.fullmatch(url) is None or len(url) > _MOST:
            raise Invalid(
                "forward_url_invalid",
                "the address must read wss://host/path, without the station's id or a password",
            )
    stored = await lock_station(connection, station)
    if stored.forward_url == url:
        return
    await store.set_forward_url(connection, stored.id, url)
    await identity.record_act(
        connection,
        actor=actor,
        action="station.forward",
        subject=stored.id,
        reason=reason,
        details={"url": url, "before": stored.forward_url},
    )


async def forward_targets(connection: Connection, station_ids: Sequence[str]) -> dict[str, str]:
    """Returns the addresses to which those of these stations are forwarded that are."""
    return await store.forward_urls(connection, station_ids)
