"""All names of stations with their passwords' hashes, in memory: who is known costs no statement.

It decides nothing: a station is let in by `admit`. It tells stations from strangers, whose number
is not bounded, before either costs the database anything.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from evpower.foundation.db import Connection
from evpower.stations import store_credentials
from evpower.stations.credentials import digests_of
from evpower.stations.names import key_of
from evpower.stations.store_credentials import Admitting

_NO_PASSWORD: Final = frozenset[bytes]()


class KnownStation(NamedTuple):
    """A station that a handshake seems to be of; `is_open`: no password of it was compared."""

    station_id: str
    is_open: bool


class Directory:
    """The stations as they were when it was read."""

    def __init__(self, names: Iterable[Admitting]) -> None:
        self._names = {name.key: name for name in names}

    def __len__(self) -> int:
        return len(self._names)

    def find(
        self, whole: str, names: Sequence[str], presented: bytes | None
    ) -> KnownStation | None:
        """Returns the one station of these names, if it may connect with this password."""
        named = [self._names.get(key_of(whole))]
        if named[0] is None:
            named = [self._names.get(key_of(name)) for name in names]
        by_id = {name.station_id: name for name in named if name is not None}
        if len(by_id) != 1:
            return None
        [(station_id, name)] = by_id.items()
        digests = frozenset(digests_of(presented)) if presented else _NO_PASSWORD
        if not digests.isdisjoint(name.digests):
            return KnownStation(station_id, is_open=False)
        return KnownStation(station_id, is_open=True) if name.is_open else None

    def forget(self, station_id: str) -> None:
        """Drops a station that has changed since: its next handshake is a stranger's."""
        for name in [name for name in self._names.values() if name.station_id == station_id]:
            del self._names[name.key]


async def read_directory(connection: Connection) -> Directory:
    """Returns the directory of all stations that are not retired, as they are now."""
    return Directory(await store_credentials.all_admitting(connection))
