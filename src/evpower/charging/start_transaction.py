"""A station began a transaction: it is bound to its session, made for a card, or unattributed.

The station is right about which transaction runs. What stands on the connector gives way, in the
same database transaction.
"""

from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from evpower import alerts, stations
from evpower.charging import (
    closing,
    free_period,
    late_start,
    remote,
    store_clocks,
    store_running,
    store_sessions,
    store_transactions,
    technicians,
)
from evpower.charging.card_start import begin_by_card
from evpower.charging.events import Changes, StartAnswer, StationStart, TagStatus
from evpower.charging.learn_meter import learn_start
from evpower.charging.model import (
    ChargingSession,
    Purpose,
    StationTransaction,
    TechnicianAllowance,
)
from evpower.charging.rules import DEFAULT_RULES, Rules
from evpower.charging.start_match import FreeStart, match_start, read_start, start_key, started_at
from evpower.charging.states import WAITING
from evpower.charging.steps import drop_ambiguous_stops, end_steps, free_connector
from evpower.charging.unstarted import end_unstarted
from evpower.foundation import failpoints
from evpower.foundation.db import Connection
from evpower.foundation.failpoints import Failpoint
from evpower.stations import Station

_NOT_ALLOWED: Final = "start_not_allowed"


class _Start(NamedTuple):
    """A start at its station, which is locked."""

    connection: Connection
    station: Station
    report: StationStart
    key: str
    number: int  # of several starts with this key
    free: FreeStart  # whether the station gives energy to any tag
    skew_s: int | None  # how far its clock is known to be off
    rules: Rules
    now: datetime

    def began_at(self, session: ChargingSession | None = None) -> datetime:
        """When it began; by app not before it was asked to."""
        return started_at(self.report, session and session.created_at, self.skew_s)


async def start_transaction(
    connection: Connection, report: StationStart, *, now: datetime, rules: Rules = DEFAULT_RULES
) -> StartAnswer:
    """Returns our number for the transaction and the status of its tag.

    A repeated start gets the number and the answer of the first one. A start by an unknown tag is
    recorded and not billed; where only paid charging is allowed the station is sent a stop.
    Raises NotFound("station_not_found").
    """
    station = await stations.lock_station(connection, report.station_id)
    report = await read_start(connection, station, report)
    key = start_key(report)
    known = await store_transactions.transaction_of_key(connection, key)
    number = 1 if known is None else known.start_number + 1
    skew_s = await store_clocks.skew_of(connection, station.id)
    free = await free_period.free_start(connection, report, skew_s)
    start = _Start(connection, station, report, key, number, free, skew_s, rules, now)
    if known is not None and _is_same(start, known):
        answer = await _again(start, known)
    else:
        answer = await _answer(start, known)
    failpoints.hit(Failpoint.BEGIN_UNCOMMITTED)
    return answer


def _is_same(start: _Start, known: StationTransaction) -> bool:
    """Returns whether a start is of a transaction that began with the same facts.

    Without a clock the same facts come with each charge, so they say nothing once one has ended.
    """
    if known.end_kind is None:
        return True
    return known.end_kind == "estimated" and start.report.time.at is not None


async def _answer(start: _Start, known: StationTransaction | None) -> StartAnswer:
    """Finds what the start is of; `known`: one that began with the same facts and has ended."""
    if known is not None and start.report.time.at is not None:
        return await _after_stop(start, known)  # the same moment again
    match = await match_start(start.connection, start.station, start.report, start.free)
    if match.session is not None:
        return await _of_session(start, match.session)
    if match.same_as is not None:
        return await _again(start, match.same_as)
    if match.card_client_id is not None:
        return await _by_card(start, match.card_client_id)
    if match.is_technician:
        card = await technicians.find_card(
            start.connection, start.report.id_tag, start.now, for_start=True
        )
        if card is not None:  # it may have been removed since it was matched
            return await _by_technician(start, card)
    answer = await _unattributed(start)
    if answer.tag == "invalid":
        answer.changes.notes.add("start_unauthorized")
    return answer


async def _of_session(start: _Start, session: ChargingSession) -> StartAnswer:
    """Begins a session, or answers as before when it has begun already."""
    bound = await store_transactions.transaction_of_session(start.connection, session.id)
    if bound is None:
        return await _begin(start, session)
    return await (_after_stop(start, bound) if bound.end_kind == "stop" else _again(start, bound))


async def _by_card(start: _Start, client_id: UUID) -> StartAnswer:
    """Makes the session of a card; one that may not charge is stopped at once.

    Transaction and session are on one connector, also where the station named none.
    """
    if start.report.is_connector_guessed:
        connector = await store_transactions.likely_connector(start.connection, start.station.id)
        start = start._replace(report=start.report._replace(connector=connector))
    changes = await _clear(start, None)
    began_at = start.began_at()
    session, is_allowed = await begin_by_card(
        start.connection,
        start.station,
        client_id,
        start.report.connector,
        began_at=began_at,
        rules=start.rules,
        now=start.now,
    )
    answer = await _insert(start, session, began_at)
    answer.changes.merge(changes)
    if is_allowed:
        return answer
    stopped = await late_start.stop_at_once(
        start.connection, session, _NOT_ALLOWED, rules=start.rules, now=start.now
    )
    answer.changes.merge(stopped)
    return answer._replace(tag="blocked")


async def _begin(start: _Start, session: ChargingSession) -> StartAnswer:
    """Begins a session that waits, or one that was given up and starts late."""
    if start.report.is_connector_guessed:  # it is where its driver chose
        report = start.report._replace(connector=session.connector_id, is_connector_guessed=False)
        start = start._replace(report=report)
    changes = await _clear(start, session)
    if session.state == "requested":  # it may begin before it was asked, or asked again
        await remote.drop_start(start.connection, session, start.now)
    began_at = start.began_at(session)
    await store_sessions.set_charging(
        start.connection, session.id, start.report.connector, began_at
    )
    answer = await _insert(start, session, began_at)
    answer.changes.merge(changes)
    answer.changes.merge(
        await late_start.admit(start.connection, session, rules=start.rules, now=start.now)
    )
    return answer


async def _insert(start: _Start, session: ChargingSession, began_at: datetime) -> StartAnswer:
    changes = await _learn(start)
    transaction_id = await store_transactions.insert_transaction(
        start.connection,
        start.report,
        start.key,
        start.number,
        purpose="driver",
        session_id=session.id,
        started_at=began_at,
    )
    await _store_text_id(start, transaction_id)
    await drop_ambiguous_stops(start.connection, start.station.id, start.now)
    changes.merge(
        Changes(clients={session.client_id}, sessions={session.id}, stations={session.station_id})
    )
    return StartAnswer(transaction_id, "accepted", changes)


async def _learn(start: _Start) -> Changes:
    """Learns from the register how it counts."""
    changes = Changes()
    if await learn_start(start.connection, start.station, start.report):
        changes.notes.add("register_from_zero")
    return changes


async def _after_stop(start: _Start, ended: StationTransaction) -> StartAnswer:
    """Records a start that the station has ended before: unattributed, with an alert.

    Where something runs that began later, it is a replay of the old one and ends nothing.
    """
    running = await store_transactions.open_on_connector(
        start.connection, start.station.id, start.report.connector
    )
    if running is not None and _is_earlier(start, running):
        answer = await _again(start, ended)
    else:
        answer = await _unattributed(start)
    answer.changes.notes.add("start_after_stop")
    detail = {"connector": start.report.connector, "transaction_id": answer.transaction_id}
    await alerts.open_alert(
        start.connection, "start_after_stop", start.station.id, detail, start.now
    )
    return answer


def _is_earlier(start: _Start, running: StationTransaction) -> bool:
    """Returns whether a start was before that of what runs, by the station's clock if it can be."""
    stamp, running_stamp = start.report.time.at, running.start_station_at
    if stamp is None or running_stamp is None:
        return start.began_at() < running.started_at
    return stamp < running_stamp


async def _unattributed(start: _Start) -> StartAnswer:
    """Records a start that no client pays; where all pay, the station is sent a stop."""
    answer = await _without_session(start, "unattributed")
    if start.free.any_tag or not start.station.paid_only:
        return answer
    return await _stop_at_once(start, answer, "not_paid", "invalid")


async def _by_technician(start: _Start, card: TechnicianAllowance) -> StartAnswer:
    """Records a start by a technician's card, with what the card may still take."""
    answer = await _without_session(start, "technician", card)
    await technicians.record_charge(
        start.connection, card, start.station.id, answer.transaction_id, start.now
    )
    if card.left_wh > 0:
        return answer
    return await _stop_at_once(start, answer, "technician_limit", "blocked")


async def _stop_at_once(
    start: _Start, answer: StartAnswer, cause: str, tag: TagStatus
) -> StartAnswer:
    answer.changes.merge(
        await late_start.stop_transaction(
            start.connection, answer.transaction_id, cause, rules=start.rules, now=start.now
        )
    )
    return answer._replace(tag=tag)


async def _without_session(
    start: _Start, purpose: Purpose, card: TechnicianAllowance | None = None
) -> StartAnswer:
    changes = await _clear(start, None)
    changes.merge(await _learn(start))
    transaction_id = await store_transactions.insert_transaction(
        start.connection,
        start.report,
        start.key,
        start.number,
        purpose=purpose,
        session_id=None,
        started_at=start.began_at(),
        card=card,
    )
    await _store_text_id(start, transaction_id)
    await drop_ambiguous_stops(start.connection, start.station.id, start.now)
    changes.stations.add(start.station.id)
    return StartAnswer(transaction_id, "accepted", changes)


async def _again(start: _Start, known: StationTransaction) -> StartAnswer:
    """Answers a repeated start as the first one."""
    await _store_text_id(start, known.id)
    tag: TagStatus = "accepted"
    if known.limit_energy_wh == 0 or await _was_blocked(start, known):
        tag = "blocked"
    elif await free_period.is_unwanted(
        start.connection, known, is_paid_only=start.station.paid_only
    ):
        tag = "invalid"
    changes = Changes()
    changes.notes.add("start_repeated")
    return StartAnswer(known.id, tag, changes)


async def _was_blocked(start: _Start, known: StationTransaction) -> bool:
    """Returns whether a start by a card was refused; the first reason of a session's stop stays."""
    session = (await store_running.load(start.connection, known.id)).session
    return session is not None and session.stop_reason == _NOT_ALLOWED


async def _clear(start: _Start, keep: ChargingSession | None) -> Changes:
    """Makes room on the connector: what waits there is cancelled, what runs there has ended."""
    connection, report = start.connection, start.report
    changes = await free_connector(
        connection, start.station.id, report.connector, rules=start.rules, now=start.now
    )
    running = await store_transactions.open_on_connector(
        connection, start.station.id, report.connector
    )
    if running is not None:
        changes.notes.add("stop_missing")
    if running is not None and running.session_id is None:
        await store_transactions.end_without_session(connection, running.id, start.now)
        changes.merge(
            await end_steps(connection, running, "stopped", rules=start.rules, now=start.now)
        )
    elif running is not None:
        detail = {"connector": report.connector, "transaction_id": running.id}
        await alerts.open_alert(
            connection, "start_while_charging", start.station.id, detail, start.now
        )
        changes.merge(
            await closing.close_estimated(
                connection,
                running.id,
                "next_start",
                next_start_wh=report.meter_wh,
                rules=start.rules,
                now=start.now,
            )
        )
    for session in await store_sessions.lock_open(connection, start.station.id):
        is_kept = keep is not None and session.id == keep.id
        if session.connector_id == report.connector and session.state in WAITING and not is_kept:
            changes.merge(
                await end_unstarted(
                    connection, session, "cancelled", "connector_taken", now=start.now
                )
            )
    return changes


async def _store_text_id(start: _Start, transaction_id: int) -> None:
    if start.report.text_id:
        await store_transactions.add_alias(
            start.connection, start.station.id, start.report.text_id, transaction_id, start.now
        )
