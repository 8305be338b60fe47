"""Prices sessions that are over by another tariff: what they would have cost."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from evpower import stations, tariffs
from evpower.charging import store_preview, store_running
from evpower.charging.course import Course, even_course, metered_course, price_course
from evpower.charging.limits import parts_as_billed
from evpower.charging.running import snapshot_of
from evpower.charging.store_preview import BilledSession
from evpower.foundation.db import Connection
from evpower.foundation.errors import NotFound
from evpower.tariffs import Snapshot, Tariff

MAX_PREVIEWED: Final = 1000


@dataclass(frozen=True, slots=True)
class PreviewedBill:
    """A session's newest bill, and what its course costs by the other tariff."""

    session: BilledSession
    billed_by: Snapshot | None  # None: another system priced it
    cost_minor: int  # by the other tariff
    parts: Sequence[dict[str, Any]]
    is_even: bool  # without meter values the energy is taken to have flowed evenly


async def preview_session(
    connection: Connection, session_id: UUID, other: Snapshot
) -> PreviewedBill:
    """Returns a finished session's bill and its preview. Raises NotFound("session_not_found")."""
    session = await store_preview.find_billed(connection, session_id)
    if session is None:
        raise NotFound("session_not_found", "there is no such session with a bill")
    return await _preview(connection, session, other)


async def preview_station(
    connection: Connection, station: str, other: Snapshot, *, count: int
) -> list[PreviewedBill]:
    """Returns the previews of a station's newest sessions. Raises NotFound("station_not_found")."""
    known = await stations.resolve_station(connection, station)
    if known is None:
        raise NotFound("station_not_found", "there is no such station")
    sessions = await store_preview.list_billed(connection, known.id, count)
    return [await _preview(connection, session, other) for session in sessions]


async def _preview(
    connection: Connection, session: BilledSession, other: Snapshot
) -> PreviewedBill:
    billed_by = None if session.snapshot is None else snapshot_of(session.snapshot)
    tariff = await _as_frozen(connection, session, other.tariff, billed_by)
    course = await _course(connection, session)
    priced = price_course(tariff, course, limit_amount_minor=session.limit_amount_minor)
    cost_minor = 0 if session.free_reason is not None else priced.cost_minor
    cost = priced.session.cost
    parts = parts_as_billed(
        tariffs.cost_parts(tariff, cost),
        cost.total_minor - cost_minor,
        "not_billed" if session.free_reason is None else "free",
    )
    is_even = session.energy_wh > 0 and len(course.samples) == 1
    return PreviewedBill(session, billed_by, cost_minor, parts, is_even)


async def _as_frozen(
    connection: Connection, session: BilledSession, tariff: Tariff, billed_by: Snapshot | None
) -> Tariff:
    """Returns the tariff as the session would have stored it: with its client's discount."""
    discount = None if billed_by is None else billed_by.tariff.discount
    tariff = replace(tariff, discount=discount)
    if not tariff.prices_parking:
        return tariff
    try:
        profile = await stations.vendor_profile(connection, session.station_id)
    except NotFound:  # a session from before may name a station that EvPower never had
        return replace(tariff, bills_parking=False)
    return replace(tariff, bills_parking=profile.release_detection)


async def _course(connection: Connection, session: BilledSession) -> Course:
    if session.transaction_id is not None:
        running = await store_running.load(connection, session.transaction_id)
        assert running.session is not None, "its transaction was found by it"  # noqa: S101
        return await metered_course(
            connection, running, running.session,
            energy_wh=session.energy_wh, ended_at=session.ended_at,
        )  # fmt: skip
    duration_s = max(int((session.ended_at - session.started_at).total_seconds()), 0)
    return even_course(session.started_at, session.energy_wh, duration_s)
