"""What a forwarded station's charges would cost here: seen in its frames, priced, never billed."""

import asyncio
from datetime import datetime
from decimal import Decimal
from hashlib import blake2b
from typing import Final, NamedTuple

import structlog

from evpower import stations, tariffs
from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import EvPowerError
from evpower.ocpp import messages, store_forwards
from evpower.ocpp.forwarded_course import STATUS, VALUES, Clocks, PassedCall, samples_of
from evpower.ocpp.frame_log import FrameLog
from evpower.ocpp.model import CALL, Direction, OcppPayload
from evpower.ocpp.store_forwards import ForwardedCharge, ForwardedStart
from evpower.ocpp.times import BEFORE_BOOT, read_station_time
from evpower.ocpp.v16.tags import read_tag
from evpower.ocpp.values import integer, register, transaction_id

_WAITING: Final = 100  # frames that were not stored yet
_PENDING: Final = 100  # starts whose answer did not come yet
_MOST_FRAMES: Final = 10_000  # of a charge that are read for its price
_A_TURN: Final = 50  # frames that are read before others get the processor
_COURSE: Final = (VALUES, STATUS)
log: Final = structlog.get_logger()


class _Seen(NamedTuple):
    direction: Direction
    message: messages.Call | messages.StationReply
    at: datetime


class ForwardedCharges:
    """The charges of one connection; a failure here never touches the frames."""

    def __init__(self, db: Database, station_id: str, frames: FrameLog, clock: Clock) -> None:
        self._db = db
        self._frames = frames
        self._station_id = station_id
        self._since = clock() - BEFORE_BOOT
        self._starts: dict[str, int] = {}  # by message id: the rows of starts
        self._waiting: asyncio.Queue[_Seen | None] = asyncio.Queue(_WAITING)

    def note(
        self,
        direction: Direction,
        message: messages.Call | messages.StationReply | messages.Unreadable,
        at: datetime,
    ) -> None:
        """Takes notice of a frame that passed."""
        is_start_or_stop = (
            direction == "in"
            and isinstance(message, messages.Call)
            and message.action in {"StartTransaction", "StopTransaction"}
        )
        is_answer = direction == "out" and isinstance(message, messages.StationReply)
        if isinstance(message, messages.Unreadable) or not (is_start_or_stop or is_answer):
            return
        try:
            self._waiting.put_nowait(_Seen(direction, message, at))
        except asyncio.QueueFull:
            log.warning("forwarded_charge_lost", station=self._station_id)

    async def finish(self) -> None:
        """Lets `run` end after what was counted so far."""
        await self._waiting.put(None)

    async def run(self) -> None:
        """Stores the charges, one frame after the other."""
        while (seen := await self._waiting.get()) is not None:
            try:
                await self._store(seen)
            except EvPowerError as error:
                log.warning(
                    "forwarded_charge_lost", station=self._station_id, error=error.for_operators
                )
            except Exception:
                log.exception("forwarded_charge_lost", station=self._station_id)

    async def _store(self, seen: _Seen) -> None:
        message = seen.message
        if isinstance(message, messages.StationReply):
            row = self._starts.pop(str(message.id), None)
            if row is not None and message.payload is not None:
                their_id = transaction_id(message.payload.get("transactionId"), set())
                text = their_id.text if their_id.number is None else str(their_id.number)
                async with self._db.transaction() as connection:
                    await store_forwards.set_their_id(connection, row, text)
            return
        async with self._db.transaction() as connection:
            if message.action == "StartTransaction":
                row = await self._start(connection, message.payload, seen.at)
                self._starts[str(message.id)] = row
                if len(self._starts) > _PENDING:
                    del self._starts[next(iter(self._starts))]
            else:
                await self._stop(connection, message.payload, seen.at)

    async def _start(self, connection: Connection, payload: OcppPayload, at: datetime) -> int:
        notes = set[str]()
        profile = await stations.station_profile(connection, self._station_id)
        time = read_station_time(
            payload.get("timestamp"), since=self._since, now=at, notes=notes, zone=profile.zone
        )
        connector = max(integer(payload.get("connectorId"), notes, "form") or 0, 0)
        tag = read_tag(payload.get("idTag"), notes) or ""
        meter_wh = register(payload.get("meterStart"), notes)
        key = repr((self._station_id, connector, tag.casefold(), time.raw, meter_wh)).encode()
        start = ForwardedStart(
            self._station_id, connector, tag, meter_wh, min(time.at or at, at), time.raw,
            blake2b(key, digest_size=16).digest(),
        )  # fmt: skip
        return await store_forwards.insert_start(connection, start)

    async def _stop(self, connection: Connection, payload: OcppPayload, at: datetime) -> None:
        notes = set[str]()
        their_id = transaction_id(payload.get("transactionId"), notes)
        text = their_id.text if their_id.number is None else str(their_id.number)
        stop_wh = register(payload.get("meterStop"), notes)
        charge = await store_forwards.open_charge(connection, self._station_id, text)
        if charge is None:
            return  # it began before the station was forwarded, or was repeated
        profile = await stations.station_profile(connection, self._station_id)
        clocks = Clocks(self._since, profile.zone)
        time = read_station_time(
            payload.get("timestamp"), since=self._since, now=at, notes=notes, zone=profile.zone
        )
        ended_at = max(min(time.at or at, at), charge.started_at)
        energy_wh = _energy_wh(charge.meter_start_wh, stop_wh)
        snapshot = await self._tariff(connection, charge.connector, charge.started_at)
        cost_minor = None
        if snapshot is not None and energy_wh is not None:
            if not profile.profile.release_detection:  # it does not show when a car is done
                snapshot = tariffs.without_parking(snapshot)
            calls = await self._passed(connection, charge, at)
            calls.append(PassedCall(at, VALUES, _values_of(charge, payload)))
            end = tariffs.Sample(ended_at, energy_wh, is_timed=time.at is not None)
            samples = samples_of(charge, calls, end, clocks)
            priced = tariffs.price(snapshot.tariff, charge.started_at, samples)
            cost_minor = priced.cost.total_minor
            log.info(
                "forwarded_charge_priced", station=self._station_id, energy_wh=energy_wh,
                cost_minor=cost_minor,
            )  # fmt: skip
        await store_forwards.end_charge(
            connection, charge.id, ended_at=ended_at, meter_stop_wh=stop_wh, energy_wh=energy_wh,
            cost_minor=cost_minor, snapshot=snapshot,
        )  # fmt: skip

    async def _passed(
        self, connection: Connection, charge: ForwardedCharge, until: datetime
    ) -> list[PassedCall]:
        """Returns the values and statuses since the start of a charge; some are not stored yet."""
        waiting = self._frames.waiting(self._station_id)
        stored = await store_forwards.passed_frames(
            connection, self._station_id, charge.started_at, until, _COURSE, _MOST_FRAMES
        )
        known = {(at, frame) for at, frame in stored}
        stored += [
            (row.at, row.frame)
            for row in waiting
            if row.message_type == CALL
            and row.direction == "in"
            and row.action in _COURSE
            and (row.at, row.frame) not in known
        ]
        calls: list[PassedCall] = []
        for number, (at, frame) in enumerate(stored[-_MOST_FRAMES:], 1):
            message = messages.read(frame.encode())
            if isinstance(message, messages.Call):
                calls.append(PassedCall(at, message.action, message.payload))
            if number % _A_TURN == 0:
                await asyncio.sleep(0)
        return calls

    async def _tariff(
        self, connection: Connection, connector: int, at: datetime
    ) -> tariffs.Snapshot | None:
        view = await stations.get_station(connection, self._station_id)
        place = tariffs.Place(
            connector=f"{self._station_id}/{connector}",
            station=self._station_id,
            location=view.location.id,
        )
        return await tariffs.find_tariff(connection, place, at)


def _values_of(charge: ForwardedCharge, stop: OcppPayload) -> OcppPayload:
    """Returns the values in a charge's stop as if they had come alone."""
    return {"connectorId": charge.connector, "meterValue": stop.get("transactionData")}


def _energy_wh(start_wh: Decimal | None, stop_wh: Decimal | None) -> int | None:
    """Returns whole Wh; None: a register is missing or went down."""
    if start_wh is None or stop_wh is None or stop_wh < start_wh:
        return None
    return int(stop_wh - start_wh)
