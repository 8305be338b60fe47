"""Decides what becomes of a claimed key after a call; uses no database and no network."""

from collections.abc import Mapping, Sequence
from typing import Final, cast, get_args
from uuid import UUID

import structlog

from evpower.sync.errors import TargetUnavailable
from evpower.sync.model import (
    ApplyOutcome,
    ApplyResult,
    Claim,
    ClientPart,
    Finish,
    OutboxTopic,
    Verdict,
)

_TRANSIENT: Final = ("40", "55", "57", "53", "08")  # SQLSTATE classes of transient failures
_UNIQUE: Final = "23505"
_CONTACT_TRIES: Final = 5
_LONGEST_BUSY_S: Final = 5.0
_WAITED: Final = "waited"
_OTHER_STATUS: Final = "status"
_STATION: Final = "station"
_OUTCOMES: Final = frozenset(get_args(ApplyOutcome))
_log = structlog.get_logger()


def judge(
    claim: Claim,
    result: ApplyResult | None,
    part: ClientPart | None,
    *,
    waits_for_needed: bool,
    waits_for_contact: bool,
    delay_s: float,
) -> Finish:
    """Returns the end of one claim; `part` is what was sent of a client.

    `waits_for_needed`: Supabase refuses what the session or payment names. `waits_for_contact`: a
    closed client with the same contact is sent first, so that Supabase releases it.
    """
    if result is None:
        return _unnamed(claim, delay_s, is_sent=claim.topic != "client" or part is not None)
    match result.outcome:
        case "gap":
            old_version = part.from_version if part is not None else 0
            last_version = result.reason if isinstance(result.reason, int) else 0
            return Finish(claim, "more", acknowledge=(old_version, last_version, 0))
        case "orphan":
            return _orphan(claim, result, delay_s, is_refused=waits_for_needed)
        case "busy":
            return _busy(claim, delay_s, is_blocking=result.reason == _WAITED)
        case "refused":
            return _refused(
                claim, delay_s, str(result.reason), contact_is_released=waits_for_contact
            )
        case "applied" | "stale":
            return _written(claim, result, part)


def _written(claim: Claim, result: ApplyResult, part: ClientPart | None) -> Finish:
    if part is None:
        return Finish(claim, "sent")
    verdict: Verdict = "sent" if part.complete else "more"
    if result.outcome == "stale" and result.reason == _OTHER_STATUS:
        verdict = "force"  # our clock was turned back, so the number was too small
    return Finish(claim, verdict, acknowledge=(part.from_version, part.to_version, part.number))


def _unnamed(claim: Claim, delay_s: float, *, is_sent: bool) -> Finish:
    """Parks a key that no table of ours has; any other is sent again until Supabase names it."""
    if not is_sent:
        return Finish(claim, "park", "no such client in EvPower")
    return Finish(claim, "retry", "Supabase returned no result for it", delay_s)


def _orphan(claim: Claim, result: ApplyResult, delay_s: float, *, is_refused: bool) -> Finish:
    """Sends it again at once, with what it names; the next time after a pause."""
    needed = "its client" if claim.topic == "session" else "what it names"
    refusal = f"Supabase refuses {needed}"
    if lacks_station(result):
        needed = "its station"
        refusal = "23503: Supabase refuses its station, or EvPower has none"
    if is_refused:
        return Finish(claim, "park", refusal)
    return Finish(claim, "retry", f"Supabase lacks {needed}", delay_s if claim.attempts else 0.0)


def _busy(claim: Claim, delay_s: float, *, is_blocking: bool) -> Finish:
    """Sends the key again soon; in a call of its own if Supabase waited because of it."""
    delay_s = min(_LONGEST_BUSY_S, delay_s)
    if is_blocking:
        return Finish(claim, "alone", "busy: another transaction is in its way", delay_s)
    return Finish(claim, "retry", "busy: another transaction holds the row", delay_s)


def _refused(claim: Claim, delay_s: float, reason: str, *, contact_is_released: bool) -> Finish:
    """Sends again after a transient refusal; any other waits for an operator."""
    if contact_is_released:
        return Finish(
            claim, "retry", "a closed client with the same contact is sent first", delay_s
        )
    if reason.startswith(_TRANSIENT):
        return Finish(claim, "retry", reason, delay_s)
    _log.error("outbox_entry_refused", topic=claim.topic, key=str(claim.key), reason=reason)
    return Finish(claim, "park", reason)


def lacks_station(result: ApplyResult) -> bool:
    """Returns whether a session is an orphan because Supabase lacks its station."""
    return (result.topic, result.outcome, result.reason) == ("session", "orphan", _STATION)


def refused_for_contact(
    claims: Sequence[Claim], results: Mapping[tuple[OutboxTopic, UUID], ApplyResult]
) -> list[UUID]:
    """Returns the clients that Supabase refuses because another row has their email or phone."""
    return [
        claim.key
        for claim in claims
        if claim.topic == "client"
        and claim.attempts < _CONTACT_TRIES
        and (result := results.get((claim.topic, claim.key))) is not None
        and result.outcome == "refused"
        and str(result.reason).startswith(_UNIQUE)
    ]


def parse_results(raw: object) -> dict[tuple[OutboxTopic, UUID], ApplyResult]:
    """Returns what evpower_apply did, by key. Raises TargetUnavailable for any other response."""
    if not isinstance(raw, Mapping):
        raise TargetUnavailable("evpower_apply returned no object")
    keys = cast("Mapping[str, object]", raw).get("keys")
    if not isinstance(keys, list):
        raise TargetUnavailable("evpower_apply returned no keys")
    results: dict[tuple[OutboxTopic, UUID], ApplyResult] = {}
    for item in cast("list[object]", keys):
        try:
            topic, key, outcome, reason = cast(
                "tuple[OutboxTopic, str, ApplyOutcome, str | int | None]", item
            )
            result = ApplyResult(topic, UUID(key), outcome, reason)
        except (TypeError, ValueError) as error:
            raise TargetUnavailable("evpower_apply returned a key in an unknown form") from error
        if result.topic in get_args(OutboxTopic) and outcome in _OUTCOMES:
            results[result.topic, result.key] = result
    return results


def parse_tables(raw: object) -> list[str]:
    """Returns the tables of an older backend that evpower_apply named; an earlier one names none.

    Call `parse_results` first: it refuses what is no response of evpower_apply.
    """
    tables = cast("Mapping[str, object]", raw).get("tables")
    if not isinstance(tables, list):
        return []
    return [str(name) for name in cast("list[object]", tables)]
