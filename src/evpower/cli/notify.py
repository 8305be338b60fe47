"""Notifies running nodes of what a command changed, where a bus between nodes is configured."""

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from uuid import UUID

from evpower.cli.out import errors
from evpower.cli.settings import load
from evpower.foundation.bus import EVERYTHING, Topic
from evpower.foundation.bus.nats_bus import announce
from evpower.foundation.bus.nats_keys import NatsFiles
from evpower.identity import CLIENT_CHANGED
from evpower.stations import STATION_CHANGED, station_key


def notify(*clients: UUID) -> None:
    """Announces after the commit that these clients changed. Best effort, two seconds at most.

    The nodes also poll, every few seconds.
    """
    _tell([(CLIENT_CHANGED, client) for client in clients])


def notify_station(*station_ids: str) -> None:
    """Announces that a command waits for a station, or that it changed; as `notify`."""
    _tell([(STATION_CHANGED, station_key(station_id)) for station_id in station_ids])


@contextmanager
def notifying(*, on: bool = True) -> Generator[None]:
    """Announces that any client may have changed when the block ends; as `notify`.

    After an error too: what was committed until then stays.
    """
    try:
        yield
    finally:
        if on:
            _tell([(CLIENT_CHANGED, EVERYTHING)])


def _tell(changes: Sequence[tuple[Topic, UUID]]) -> None:
    settings = load()
    urls = settings.nats_url.get_secret_value()
    if not urls or not changes:
        return
    files = NatsFiles(settings.nats_creds, settings.nats_nkey_file, settings.nats_ca)
    try:
        trouble = asyncio.run(announce(urls, changes, prefix=settings.nats_prefix, files=files))
    except ValueError as error:
        trouble = str(error)
    if trouble:
        errors.print(f"the nodes see it a few seconds later: NATS: {trouble}")
