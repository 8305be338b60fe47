"""Raw frames that no transaction stores (replies, heartbeats, unreadable ones), in batches."""

import re
from collections.abc import Mapping
from typing import Any, Final, cast

import orjson

from evpower.foundation.db import Database
from evpower.foundation.json_reader import NotJson, read_json
from evpower.foundation.loops import AT_ONCE, Loop, Pause, Round
from evpower.ocpp import metrics, store
from evpower.ocpp.model import FrameRow

_FLUSH_S: Final = 1.0
_BATCH: Final = 500
_MOST: Final = 20_000
_MOST_CHARS: Final = 64 * 1024 * 1024  # of all that wait
# The second half of both is for stations with little of it: one that sends without end may not
# keep the frames of all others out.
_SHARE: Final = _MOST // 20
_SHARE_CHARS: Final = _MOST_CHARS // 20
BLANK: Final = "***"
# A member that holds a secret, or is the value of a configuration key that does.
_SUSPICIOUS: Final = re.compile(rb"(?i)key|passw|secret|token|credential")
_SECRET: Final = re.compile(r"(?i)authorizationkey|passw|secret|token|credential|private_?key")
_NAMES: Final = ("key", "messageId", "name")


class _Waiting:
    """How much of one station waits."""

    __slots__ = ("chars", "frames")

    def __init__(self) -> None:
        self.frames = 0
        self.chars = 0


class FrameLog:
    """Frames of this node that wait to be stored."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: list[FrameRow] = []
        self._chars = 0
        self._by_station: dict[str, _Waiting] = {}

    def add(self, frame: FrameRow) -> None:
        """Adds a frame; what finds no room is dropped and counted.

        While little waits there is room for all. From half on it is only for stations of which less
        than a twentieth of the whole waits.
        """
        waiting, chars = len(self._waiting), self._chars
        station = self._by_station.get(frame.station_id)
        if waiting >= _MOST // 2 or chars >= _MOST_CHARS // 2:
            is_full = waiting >= _MOST or chars >= _MOST_CHARS
            if is_full or (
                station is not None and (station.frames >= _SHARE or station.chars >= _SHARE_CHARS)
            ):
                metrics.UNLOGGED.inc()
                return
        if station is None:
            station = self._by_station[frame.station_id] = _Waiting()
        size = len(frame.frame)
        station.frames += 1
        station.chars += size
        self._waiting.append(frame)
        self._chars = chars + size

    def waiting(self, station_id: str) -> list[FrameRow]:
        """Returns the frames of a station that may not be stored yet, the oldest first."""
        if station_id not in self._by_station:
            return []
        return [frame for frame in self._waiting if frame.station_id == station_id]

    def loop(self) -> Loop:
        """Returns the loop that stores them."""

        async def flush(_: Round) -> Pause | None:
            await self.flush()
            return AT_ONCE if len(self._waiting) >= _BATCH else None

        return Loop("ocpp_frame_log", flush, period_s=_FLUSH_S)

    async def flush_all(self) -> None:
        """Stores all, at the end of the process."""
        while self._waiting:
            await self.flush()

    async def flush(self) -> None:
        """Stores a batch; after a failure it is stored later."""
        batch = self._waiting[:_BATCH]
        if not batch:
            return
        async with self._db.transaction() as connection:
            await store.insert_frames(connection, batch)
        del self._waiting[: len(batch)]
        for frame in batch:
            size = len(frame.frame)
            self._chars -= size
            station = self._by_station[frame.station_id]
            station.frames -= 1
            station.chars -= size
            if not station.frames:
                del self._by_station[frame.station_id]


def storable(raw: bytes) -> str:
    """Returns a frame's text without what PostgreSQL can't store."""
    text = raw.decode("utf-8", "replace")
    return text.replace("\x00", "\ufffd") if "\x00" in text else text


def shown(raw: bytes) -> str:
    """Returns a frame's text for the log, secrets blanked."""
    text = storable(raw)
    if _SUSPICIOUS.search(raw) is None:
        return text
    try:
        value = read_json(raw)
    except NotJson:
        return re.sub(r'(?i)("value"\s*:\s*)"[^"]*"?', rf'\1"{BLANK}"', text)
    blanked, is_changed = _blank(value)
    return orjson.dumps(blanked).decode() if is_changed else text


def without_secrets(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a payload as `shown` shows it."""
    return cast("dict[str, Any]", _blank(dict(payload))[0])


def _blank(value: object) -> tuple[object, bool]:
    if isinstance(value, list):
        pairs = [_blank(item) for item in cast("list[object]", value)]
        return [item for item, _ in pairs], any(changed for _, changed in pairs)
    if not isinstance(value, dict):
        return value, False
    members = cast("dict[str, object]", value)
    named = any(_SECRET.search(str(members.get(name, ""))) for name in _NAMES)
    blanked: dict[str, object] = {}
    is_changed = False
    for name, item in members.items():
        if _SECRET.search(name) or (named and name in {"value", "data"}):
            blanked[name], changed = BLANK, True
        else:
            blanked[name], changed = _blank(item)
        is_changed = is_changed or changed
    return blanked, is_changed
