"""Finds the transaction that a stop means, whatever id it has.

An id of a station counts within a session: it may be used again, be wrong, or be missing.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from evpower.charging import store_running as store
from evpower.charging.events import StationStop
from evpower.charging.model import StationTransaction
from evpower.charging.our_time import SKEW_LIMIT, our_time, stamped_at
from evpower.charging.register import FOLLOWING, observe, point, tolerance_wh
from evpower.charging.running import bounded
from evpower.charging.store_ends import is_over_since
from evpower.charging.store_transactions import is_of_unhandled_start
from evpower.charging.tags import fold_tag
from evpower.foundation.db import Connection

_UNKNOWN_TEXTS: Final = frozenset({"", "null", "none", "0", "-1"})
MAX_ID: Final = 2**31 - 1
LATE: Final = timedelta(days=30)  # so long after an estimated end a stop still finds it
_MOST_BEHIND: Final = timedelta(days=1)  # a clock in the zone of another place
_TAG_PREFIX: Final = 8  # stations add to a tag, cut it, and change its case


def known_id(number: int | None) -> int | None:
    """Returns a transaction's id; None for what stations send when they know none."""
    return number if number is not None and number > 0 else None


def known_name(text: str | None) -> str | None:
    """Returns a station's own id as it is compared; None: it named none."""
    folded = "" if text is None else (store.clip(text) or "").strip().lower()
    return None if folded in _UNKNOWN_TEXTS else folded


def sent_id(event: StationStop) -> str:
    """Returns the id of a stop as it was sent."""
    number, text = event.transaction_id, event.text_id
    return store.clip(text if text is not None else "" if number is None else str(number)) or ""


def same_tag(sent: str | None, known: str) -> bool:
    """Returns whether a tag may be the known one; a missing tag is no contradiction."""
    tag, expected = fold_tag(sent or ""), fold_tag(known)
    if not tag or not expected:
        return True
    shorter = min(len(tag), len(expected))
    return tag[:shorter] == expected[:shorter] and (shorter >= _TAG_PREFIX or tag == expected)


async def is_unhandled(connection: Connection, station_id: str, number: int | None) -> bool:
    """Returns whether it is of a start that could not be handled, and so of no transaction."""
    ours = as_ours(number)
    return ours is not None and await is_of_unhandled_start(connection, station_id, ours)


def as_ours(number: int | None) -> int | None:
    """Returns a number that can be one of ours."""
    return number if number is not None and number <= MAX_ID else None


async def bind_stop(connection: Connection, event: StationStop) -> StationTransaction | None:
    """Returns the transaction that a stop is of; None: of none.

    If the transaction has ended, the stop is late, or sent again.
    """
    number, name = known_id(event.transaction_id), known_name(event.text_id)
    opened = await store.find_open(connection, event.station_id)
    if number is not None or name is not None:
        text = name if name is not None else str(number)
        named = await store.find_named(connection, event.station_id, as_ours(number), text)
        running = [transaction for transaction in named if transaction.ended_at is None]
        if running:
            return await _of_an_open_id(connection, event, named, opened)
        if named:
            return await _of_a_used_id(connection, event, named, opened)
        if await is_unhandled(connection, event.station_id, number):
            return None
    fitting = await _that_may_end(connection, event, _begun_by_time(event, opened))
    if fitting:
        return fitting[0]
    ended = await store.find_ended(connection, event.station_id, event.received_at - LATE)
    late = [
        transaction
        for transaction in ended
        if transaction.meter_stop_wh is None and _may_end(event, transaction)
    ]
    matched = await _by_register(connection, event, late) or await _that_may_end(
        connection, event, opened
    )
    return matched[0] if matched else None


async def bind_like_earlier(
    connection: Connection, event: StationStop, earlier_at: datetime
) -> StationTransaction | None:
    """Returns what is ended by a stop that has no time and looks like an earlier stop.

    None: it is the earlier stop, sent again, as it always is by our own number. It is a new stop if
    it fits a transaction that began since and took energy up to its register, or an open one whose
    connector has reported since the start that the charge is over.
    """
    number = known_id(event.transaction_id)
    if number is not None:
        named = await store.find_named(
            connection, event.station_id, as_ours(number), known_name(event.text_id) or str(number)
        )
        if any(transaction.id == number for transaction in named):
            return None
    opened = await store.find_open(connection, event.station_id)
    late = [
        transaction
        for transaction in await store.find_ended(connection, event.station_id, earlier_at)
        if transaction.end_kind == "estimated" and transaction.meter_stop_wh is None
    ]
    for listed in (opened, late):
        began = [
            transaction
            for transaction in listed
            if transaction.received_at >= earlier_at
            and same_tag(event.id_tag, transaction.id_tag)
            and not _is_at_start(event, transaction)
        ]
        if fitting := await _by_register(connection, event, began):
            return fitting[0]
    return await _that_is_over(connection, event, opened)


async def _that_is_over(
    connection: Connection, event: StationStop, opened: Sequence[StationTransaction]
) -> StationTransaction | None:
    """Returns the open transaction at a stop's register whose connector reported its end.

    Should the stop be another's after all, no more than a tolerance is billed unmeasured.
    """
    for transaction in reversed(opened):  # the oldest first
        last = (await store.load(connection, transaction.id)).progress.register.last
        if (
            event.meter_wh is not None
            and last is not None
            and abs(event.meter_wh - last.wh) <= tolerance_wh(last, last)
            and same_tag(event.id_tag, transaction.id_tag)
            and not transaction.is_connector_guessed
            and await is_over_since(
                connection, event.station_id, transaction.connector, transaction.received_at
            )
        ):
            return transaction
    return None


def _is_at_start(event: StationStop, transaction: StationTransaction) -> bool:
    start_wh = transaction.meter_start_wh
    return event.meter_wh is not None and start_wh is not None and event.meter_wh <= start_wh


async def _of_an_open_id(
    connection: Connection,
    event: StationStop,
    named: Sequence[StationTransaction],
    opened: Sequence[StationTransaction],
) -> StationTransaction:
    """Returns the transaction that a stop ends, where an open one has its id.

    Our own id is of one transaction. A station's own id may be of several: then the tag and the
    register decide, also about open ones whose values have not shown an id yet. A station may give
    the id of an ended charge to one that runs. So the stop is the late one of the ended charge if
    it fits nothing that runs, if it is from before that began although at its register, or if it
    has the tag of a charge that ended on another connector.
    """
    number = known_id(event.transaction_id)
    running = [transaction for transaction in named if transaction.ended_at is None]
    for transaction in running:
        if transaction.id == number:
            return transaction
    begun = _begun_by_time(event, running)
    is_of_ended = any(transaction.id == number for transaction in named)
    others = opened if event.id_tag else ()
    fitting = await _that_may_end(connection, event, begun)
    if fitting and not is_of_ended and not await _by_register(connection, event, fitting):
        late = _elsewhere(event, await _that_ended(connection, event, named), fitting)
        fitting = await _by_register(connection, event, late) or fitting
    if not fitting:
        fitting = await _that_may_end(connection, event, _begun_by_time(event, others))
    if not fitting:
        fitting = await _that_ended(connection, event, named)
        if not fitting and not is_of_ended:
            fitting = await _late_without_id(connection, event, named)
        if event.meter_wh is not None:  # whatever card stopped what runs: its register is nearer
            fitting = (
                await _by_register(connection, event, _elsewhere(event, fitting, begun))
                or await _by_register(connection, event, [*begun, *fitting])
                or fitting
            )
    if not fitting and not is_of_ended:
        fitting = await _that_may_end(connection, event, [*running, *others])
    return fitting[0] if fitting else running[0]


def _elsewhere(
    event: StationStop,
    ended: Sequence[StationTransaction],
    running: Sequence[StationTransaction],
) -> list[StationTransaction]:
    """Returns the ended transactions with a stop's tag on connectors where no `running` one is.

    Only those that EvPower ended: their own stop may still come. Callers look at them first, as the
    register of what runs on another connector may be nearer by chance.
    """
    connectors = {transaction.connector for transaction in running}
    return [
        transaction
        for transaction in ended
        if transaction.end_kind == "estimated"
        and transaction.connector not in connectors
        and same_tag(event.id_tag, transaction.id_tag)
    ]


async def _that_ended(
    connection: Connection, event: StationStop, named: Sequence[StationTransaction]
) -> list[StationTransaction]:
    """Returns the ended transactions that a stop may be of.

    One that EvPower ended may get its late stop. One that its station stopped can only get the same
    stop again, which is no later than its end. By our own number, tag and time need not fit.
    """
    number = known_id(event.transaction_id)
    ended = [
        transaction
        for transaction in named
        if transaction.end_kind == "estimated"
        or (transaction.end_kind == "stop" and not _is_later(event, transaction))
    ]
    own = [transaction for transaction in ended if transaction.id == number]
    return own or await _that_may_end(connection, event, ended)


async def _of_a_used_id(
    connection: Connection,
    event: StationStop,
    named: Sequence[StationTransaction],
    opened: Sequence[StationTransaction],
) -> StationTransaction:
    """Returns the transaction that a stop is of, where only ended ones have its id.

    A station's own id may be of several. If none of these has the stop's tag, the stop is of
    another transaction, however soon after their ends it comes. Else it is of an open one if it is
    later than the end; where several are open, only a stop with a tag is.
    """
    if _is_of_none(event, named):
        others = [transaction for transaction in opened if _may_end(event, transaction)]
        others += await _late_without_id(connection, event, named)
        if matched := await _by_register(connection, event, others):
            return matched[0]
    ended = await _nearest_ended(connection, event, named)
    if ended.end_kind != "stop" or (len(opened) > 1 and not event.id_tag):
        return ended
    if event.time.at is None or ended.ended_at is None:
        return ended
    skew_s = (await store.load(connection, ended.id)).skew_s
    at = stamped_at(event.time, event.received_at, ended, skew_s) or event.time.at
    if at <= ended.ended_at + SKEW_LIMIT:
        return ended
    fitting = [transaction for transaction in opened if _may_end(event, transaction)]
    matched = await _by_register(connection, event, fitting)
    return matched[0] if matched else ended


def _is_of_none(event: StationStop, named: Sequence[StationTransaction]) -> bool:
    """Returns whether none of the transactions with a stop's id has its tag, or is it by number."""
    number = known_id(event.transaction_id)
    return not any(
        transaction.id == number or same_tag(event.id_tag, transaction.id_tag)
        for transaction in named
    )


async def _nearest_ended(
    connection: Connection, event: StationStop, named: Sequence[StationTransaction]
) -> StationTransaction:
    """Returns which ended transaction with its id a stop is of: by tag and time, else register."""
    fitting = await _that_ended(connection, event, named)
    if not fitting:  # whatever card stopped it
        late = [item for item in named if item.end_kind == "estimated" and _has_begun(event, item)]
        fitting = await _by_register(connection, event, late)
    return fitting[0] if fitting else named[0]


async def _late_without_id(
    connection: Connection, event: StationStop, named: Sequence[StationTransaction]
) -> list[StationTransaction]:
    """Returns the ended transactions with a stop's tag whose values never showed its id."""
    if not event.id_tag:
        return []
    ids = {transaction.id for transaction in named}
    late = [
        transaction
        for transaction in await store.find_ended(
            connection, event.station_id, event.received_at - LATE
        )
        if transaction.id not in ids
        and transaction.end_kind == "estimated"
        and _may_end(event, transaction)
    ]
    return await _by_register(connection, event, late)


def _is_later(event: StationStop, ended: StationTransaction) -> bool:
    """Returns whether a stop is later than the end of a transaction."""
    at = event.time.at
    return at is not None and ended.ended_at is not None and at > ended.ended_at + SKEW_LIMIT


async def _that_may_end(
    connection: Connection, event: StationStop, candidates: Sequence[StationTransaction]
) -> list[StationTransaction]:
    """Returns those that a stop may end by tag and time; of several, by register too."""
    fitting = [transaction for transaction in candidates if _may_end(event, transaction)]
    return await _by_register(connection, event, fitting) if len(fitting) > 1 else fitting


def _may_end(event: StationStop, transaction: StationTransaction) -> bool:
    """Returns whether tag and time let a stop end a transaction."""
    return same_tag(event.id_tag, transaction.id_tag) and _has_begun(event, transaction)


def _has_begun(event: StationStop, transaction: StationTransaction) -> bool:
    """Returns whether a transaction had begun when the stop was.

    A station may stamp a stop a moment before its start; the registers are equal then. The late
    stop of the charge before looks the same, so callers look for that charge first.
    """
    if _has_begun_by_time(event, transaction):
        return True
    return event.meter_wh is not None and event.meter_wh == transaction.meter_start_wh


def _begun_by_time(
    event: StationStop, transactions: Sequence[StationTransaction]
) -> list[StationTransaction]:
    """Returns those that had begun by the stop's time, whatever the registers."""
    return [transaction for transaction in transactions if _has_begun_by_time(event, transaction)]


def _has_begun_by_time(event: StationStop, transaction: StationTransaction) -> bool:
    """Returns whether a transaction had begun by a stop's time; true if the stop has none.

    The station's clock may be up to a day behind: then the stamp of the start counts.
    """
    begun_at, stamp = transaction.started_at, transaction.start_station_at
    if stamp is not None and stamp < begun_at and begun_at - stamp <= _MOST_BEHIND:
        begun_at = stamp
    return event.time.at is None or begun_at - event.time.at <= SKEW_LIMIT


async def _by_register(
    connection: Connection, event: StationStop, candidates: Sequence[StationTransaction]
) -> list[StationTransaction]:
    """Returns those whose register can have reached the stop's; the nearest first.

    Of two that are equally near, the one with the stop's tag comes first.
    """
    if event.meter_wh is None:
        return list(candidates)
    distances: list[tuple[Decimal, bool, int, StationTransaction]] = []
    for transaction in candidates:
        running = await store.load(connection, transaction.id)
        last = running.progress.register.last
        if last is None:
            continue
        value = point(event.meter_wh, event.time, event.received_at, Decimal(1))
        at = our_time(event.time, event.received_at, transaction, running.skew_s)
        register = bounded(running.progress.register, transaction, at, event.received_at)
        outcome = observe(register, value, running.rated_power_w).outcome
        if outcome in FOLLOWING or abs(value.wh - last.wh) <= tolerance_wh(last, value):
            is_other = not same_tag(event.id_tag, transaction.id_tag)
            distances.append((abs(value.wh - last.wh), is_other, -transaction.id, transaction))
    return [item[-1] for item in sorted(distances, key=lambda item: item[:3])]
