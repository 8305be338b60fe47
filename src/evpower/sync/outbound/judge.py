"""What becomes of a claimed key after Supabase answered; no database, no network."""

from collections.abc import Mapping, Sequence
from typing import Final, cast, get_args
from uuid import UUID

import structlog

from evpower.sync.errors import TargetUnavailable
from evpower.sync.model import Answer, ApplyOutcome, Claim, ClientPart, Finish, OutboxTopic, Verdict

_TRANSIENT: Final = ("40", "55", "57", "53", "08")  # SQLSTATE classes that pass by themselves
_UNIQUE: Final = "23505"
_CONTACT_TRIES: Final = 5
_LONGEST_BUSY_S: Final = 5.0
_WAITED: Final = "waited"
_OTHER_STATUS: Final = "status"
_OUTCOMES: Final = frozenset(get_args(ApplyOutcome))
_log = structlog.get_logger()


def judge(
    claim: Claim,
    answer: Answer | None,
    part: ClientPart | None,
    *,
    waits_for_client: bool,
    waits_for_contact: bool,
    delay_s: float,
) -> Finish:
    """Returns the end of one claim; `part` is what was sent of a client.

    `waits_for_client`: Supabase refuses the session's client. `waits_for_contact`: a closed client
    whose contact this one has is on its way.
    """
    if answer is None:
        return _unanswered(claim, delay_s, sent=claim.topic == "session" or part is not None)
    match answer.outcome:
        case "gap":
            was = part.from_version if part is not None else 0
            have = answer.why if isinstance(answer.why, int) else 0
            return Finish(claim, "more", acknowledge=(was, have, 0))
        case "orphan":
            return _orphan(claim, delay_s, stuck=waits_for_client)
        case "busy":
            return _busy(claim, delay_s, waited=answer.why == _WAITED)
        case "refused":
            return _refused(claim, delay_s, str(answer.why), contact_goes=waits_for_contact)
        case "applied" | "stale":
            return _written(claim, answer, part)


def _written(claim: Claim, answer: Answer, part: ClientPart | None) -> Finish:
    if part is None:
        return Finish(claim, "sent")
    verdict: Verdict = "sent" if part.complete else "more"
    if answer.outcome == "stale" and answer.why == _OTHER_STATUS:
        verdict = "force"  # a clock that was turned back made its number too small
    return Finish(claim, verdict, acknowledge=(part.from_version, part.to_version, part.number))


def _unanswered(claim: Claim, delay_s: float, *, sent: bool) -> Finish:
    """A key that is in no table of ours was not sent; any other waits until it is named."""
    if not sent:
        return Finish(claim, "park", "no such client in EvPower")
    return Finish(claim, "retry", "Supabase did not answer for it", delay_s)


def _orphan(claim: Claim, delay_s: float, *, stuck: bool) -> Finish:
    """A session goes with its client, once more; then it waits for it."""
    if stuck:
        return Finish(claim, "park", "Supabase refuses its client")
    return Finish(claim, "retry", "Supabase lacks its client", delay_s if claim.attempts else 0.0)


def _busy(claim: Claim, delay_s: float, *, waited: bool) -> Finish:
    """Soon again; in a call of its own if Supabase waited because of it."""
    delay_s = min(_LONGEST_BUSY_S, delay_s)
    if waited:
        return Finish(claim, "alone", "busy: another transaction is in its way", delay_s)
    return Finish(claim, "retry", "busy: another transaction holds the row", delay_s)


def _refused(claim: Claim, delay_s: float, why: str, *, contact_goes: bool) -> Finish:
    """A refusal that passes by itself is tried again; any other waits for an operator."""
    if contact_goes:
        return Finish(claim, "retry", "a closed client's contacts go first", delay_s)
    if why.startswith(_TRANSIENT):
        return Finish(claim, "retry", why, delay_s)
    _log.error("sync_key_parked", topic=claim.topic, key=str(claim.key), why=why)
    return Finish(claim, "park", why)


def lack_a_contact(
    claims: Sequence[Claim], answers: Mapping[tuple[OutboxTopic, UUID], Answer]
) -> list[UUID]:
    """Returns the clients that Supabase refuses because another has their email or phone there."""
    return [
        claim.key
        for claim in claims
        if claim.topic == "client"
        and claim.attempts < _CONTACT_TRIES
        and (answer := answers.get((claim.topic, claim.key))) is not None
        and answer.outcome == "refused"
        and str(answer.why).startswith(_UNIQUE)
    ]


def parse_answers(raw: object) -> dict[tuple[OutboxTopic, UUID], Answer]:
    """Returns what evpower_apply did. Raises TargetUnavailable for what is no answer of it."""
    if not isinstance(raw, Mapping):
        raise TargetUnavailable("evpower_apply answered something else")
    listed = cast("Mapping[str, object]", raw).get("keys")
    if not isinstance(listed, list):
        raise TargetUnavailable("evpower_apply answered without keys")
    answers: dict[tuple[OutboxTopic, UUID], Answer] = {}
    for item in cast("list[object]", listed):
        try:
            topic, key, outcome, why = cast(
                "tuple[OutboxTopic, str, ApplyOutcome, str | int | None]", item
            )
            answer = Answer(topic, UUID(key), outcome, why)
        except (TypeError, ValueError) as error:
            raise TargetUnavailable("evpower_apply answered a key in an unknown form") from error
        if answer.topic in get_args(OutboxTopic) and outcome in _OUTCOMES:
            answers[answer.topic, answer.key] = answer
    return answers
