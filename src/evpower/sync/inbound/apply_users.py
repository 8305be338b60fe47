"""People of one transaction, each in a savepoint: who fails is tried again, the others go on."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from evpower.foundation.backoff import Backoff
from evpower.foundation.clock import Clock
from evpower.foundation.db import LOST, Connection
from evpower.identity import Profile, ensure_new_clients
from evpower.sync import metrics
from evpower.sync.inbound import store_changes
from evpower.sync.inbound.apply_user import Accepted, accept, is_new_user, is_same, wanted
from evpower.sync.inbound.model_changes import Pulled
from evpower.sync.inbound.remote_users import RemoteUser
from evpower.sync.inbound.store_changes import Failed

_RETRY: Final = Backoff(1.0, 300.0)
_log = structlog.get_logger()


@dataclass(slots=True)
class UserResult:
    """What came of the people of one transaction; those who are as they were are not here."""

    accepted: list[Accepted] = field(default_factory=list[Accepted])
    failed: dict[Failed, str] = field(default_factory=dict[Failed, str])

    def told(
        self, *, changes: int = 0, walked: int = 0, more: bool = False, held: bool = False
    ) -> Pulled:
        """The same in numbers."""
        return Pulled(
            changes=changes,
            walked=walked,
            accepted=sum(one.outcome != "same" for one in self.accepted),
            created=sum(one.created for one in self.accepted),
            closed=sum(one.closed for one in self.accepted),
            failed=len(self.failed),
            contact_released=any(one.contact_released for one in self.accepted),
            more=more,
            held=held,
        )


async def take_people(
    connection: Connection,
    people: Sequence[RemoteUser],
    *,
    gone: Collection[UUID],
    blocked_before: Collection[UUID],
    clock: Clock,
    jitter: Callable[[], float],
    anonymous_clients: bool = False,
) -> UserResult:
    """Accept the users in the order of their ids, as every transaction locks them.

    Anonymous ones EvPower does not know are left out unless `anonymous_clients`.
    """
    taken = UserResult()
    ids = [person.id for person in people]
    known = await store_changes.known(connection, ids)
    if not anonymous_clients:
        people = [one for one in people if one.id in known or not one.anonymous]
    before = await store_changes.failed_among(connection, ids)
    special = {*gone, *blocked_before, *before, *known}
    created = await _create(connection, [one for one in people if one.id not in special])
    taken.accepted += created.values()
    for person in sorted(people, key=lambda one: one.id):
        if person.id in created:
            continue
        last = before.get(person.id)
        is_gone = person.id in gone or (last is not None and last.gone)
        blocked = person.id in blocked_before or (last is not None and last.blocked_before)
        same = is_same(person, known.get(person.id), gone=is_gone, blocked_before=blocked)
        if last is None and same:
            continue
        try:
            async with connection.transaction():
                taken.accepted.append(
                    await accept(
                        connection, person, gone=is_gone, blocked_before=blocked, clock=clock
                    )
                )
        except LOST:
            raise
        except Exception as error:  # noqa: BLE001 - one person never blocks the others
            attempts = last.attempts + 1 if last is not None else 1
            why = _why(error)
            _log.error("person_not_taken", client_id=str(person.id), why=why, attempts=attempts)
            taken.failed[Failed(person.id, is_gone, blocked, attempts)] = why
    still = {one.id for one in taken.failed}
    if done := [one for one in before if one not in still]:
        await store_changes.forget_failed(connection, done)
    if taken.failed:
        now = clock()
        at = [now + timedelta(seconds=_RETRY.pause_s(one.attempts, jitter)) for one in taken.failed]
        await store_changes.keep_failed(connection, list(taken.failed.items()), at)
    _count(taken, len(people))
    return taken


async def _create(connection: Connection, people: Sequence[RemoteUser]) -> dict[UUID, Accepted]:
    """Those who are new and nothing else, together; who is left is accepted one by one."""
    new = {person.id: person for person in people if is_new_user(person)}
    if not new:
        return {}
    profiles = {one: wanted(person, Profile()) for one, person in new.items()}
    try:
        async with connection.transaction():
            created = await ensure_new_clients(connection, profiles, "supabase")
    except LOST:
        raise
    except asyncpg.PostgresError as error:
        _log.warning("newcomers_one_by_one", why=_why(error), people=len(new))
        return {}
    return {
        one: Accepted(one, created=True, conflicts=() if new[one].user else ("row_alone",))
        for one in created
    }


def _count(taken: UserResult, looked_at: int) -> None:
    metrics.PEOPLE.labels("same").inc(looked_at - len(taken.accepted) - len(taken.failed))
    metrics.PEOPLE.labels("failed").inc(len(taken.failed))
    for one in taken.accepted:
        metrics.PEOPLE.labels(one.outcome).inc()


def _why(error: Exception) -> str:
    """Its first line: the others quote what people typed."""
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]
