"""Balances a Supabase project had before EvPower become opening payments, each exactly once.

The payment is the only record of it: its receipt is `opening:<client id>`, and evpower_apply writes
over the old balance only when the two figures are equal.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, cast
from uuid import UUID

import orjson

from evpower.foundation.clock import Clock
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.foundation.money import MAX_MINOR, rounded_minor, som_from_json, to_text
from evpower.foundation.text import checked
from evpower.identity import (
    Profile,
    block_client,
    ensure,
    get_client,
    lock_client,
    profile_of_row,
    record_act,
)
from evpower.payments import cash
from evpower.sync.errors import TargetUnavailable
from evpower.sync.inbound import status_words, store_status_words
from evpower.sync.inbound.store_status_words import Meaning
from evpower.sync.model import MAX_STATUS_WORD, is_project_word
from evpower.sync.outbound import store
from evpower.sync.supabase_rpc import Rpc

_MAX_WORDS: Final = 200
_TYIYN: Final = Decimal(100)


@dataclass(frozen=True, slots=True)
class Left:
    """A balance that was not adopted, in som, and why."""

    id: str
    balance: str
    why: str


@dataclass(frozen=True, slots=True)
class OpeningProgress:
    """`done` of about `total` balances."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was found and done; with a dry run, what would be.

    `already` were adopted before and are not in Supabase yet. `rounded` had parts of a tyiyn;
    `rounded_by` is what rounding gave away altogether, in som, negative if it took. `blocked` were
    blocked in Supabase and are here now.
    """

    found: int
    adopted: int
    adopted_minor: int
    already: int
    rounded: int
    rounded_by: Decimal
    blocked: int
    left: tuple[Left, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """A client of Supabase whose balance EvPower never wrote."""

    id: str
    balance: Decimal
    status: str
    person: Mapping[str, object]

    @property
    def minor(self) -> int:
        """Rounded half up, as evpower_apply does."""
        return rounded_minor(self.balance)

    @property
    def difference(self) -> Decimal:
        """What rounding gives away, in som."""
        return Decimal(self.minor) / _TYIYN - self.balance

    @property
    def text(self) -> str:
        """Two decimals, more only if there are more."""
        whole = self.balance.is_finite() and self.balance == round(self.balance, 2)
        return f"{self.balance:.2f}" if whole else str(self.balance)


@dataclass(slots=True)
class _Run:
    """One walk over what Supabase has."""

    db: Database
    operator: str
    reason: str
    clock: Clock
    dry_run: bool
    found: int = 0
    adopted: int = 0
    adopted_minor: int = 0
    already: int = 0
    rounded: int = 0
    rounded_by: Decimal = Decimal(0)
    blocked: int = 0
    left: list[Left] = field(default_factory=list[Left])
    meanings: Mapping[str, Meaning] = field(default_factory=dict[str, Meaning])

    def status(self, row: _Row) -> str:
        """What the row's status means. Raises Conflict for a word that no operator mapped."""
        if not is_project_word(row.status):
            return row.status
        meaning = self.meanings.get(row.status[:MAX_STATUS_WORD])
        if meaning is None:
            word = row.status[:MAX_STATUS_WORD]
            raise Conflict("status_unmapped", f"the status {word!r} is not mapped")
        return meaning

    async def page(self, rows: Sequence[_Row]) -> None:
        self.found += len(rows)
        good: dict[UUID, _Row] = {}
        for row in rows:
            if why := _unfit(row):
                self.left.append(Left(row.id, row.text, why))
            else:
                good[UUID(row.id)] = row
        async with self.db.connection() as connection:
            before = await store.openings(connection, list(good))
        for client, row in good.items():
            known = before.get(client)
            if known is None:
                await self.one(client, row)
            elif known == row.minor:
                self.already += 1
            else:
                self.left.append(Left(row.id, row.text, f"{to_text(known)} was adopted before"))
        if before and not self.dry_run:  # they may be parked since an earlier refusal
            async with self.db.transaction() as connection:
                await store.mark(connection, "client", list(before))

    async def one(self, client: UUID, row: _Row) -> None:
        try:
            new = await (self.could(client, row) if self.dry_run else self.enter(client, row))
        except (Conflict, Invalid) as error:
            why = error.detail if error.code == "status_unmapped" else error.code
            self.left.append(Left(row.id, row.text, why))
            return
        if not new:  # another run was faster
            self.already += 1
            return
        self.adopted += 1
        self.adopted_minor += row.minor
        self.rounded += row.difference != 0
        self.rounded_by += row.difference

    async def could(self, client: UUID, row: _Row) -> bool:
        async with self.db.connection() as connection:
            try:
                known = await get_client(connection, client)
            except NotFound:
                status = "active"
            else:
                status = known.status
        if status == "closed":
            raise Conflict("client_closed", "the client's account is closed")
        self.blocked += self.status(row) == "blocked" and status == "active"
        return True

    async def enter(self, client: UUID, row: _Row) -> bool:
        # Contacts come with the walk, which knows whether anybody can sign in with them.
        profile = Profile(name=profile_of_row(row.person).name)
        if is_project_word(row.status):
            await self.handle_word(client, row, profile)
        elif row.status == "blocked":  # first, and by itself: the relay writes EvPower's status
            async with self.db.transaction() as connection:
                known = await ensure(connection, client, profile, "supabase")
                if known.status == "active":
                    await self.block(connection, client)
        async with self.db.transaction() as connection:
            await ensure(connection, client, profile, "supabase")
            posted = await cash(
                connection,
                client_id=client,
                amount_minor=row.minor,
                operator=self.operator,
                reason=self.reason,
                receipt=f"{store.OPENING}{client}",
                now=self.clock(),
            )
            if posted.new and row.difference:
                await record_act(
                    connection,
                    actor=self.operator,
                    action="sync.adopt",
                    subject=f"client:{client}",
                    reason=self.reason,
                    details={"found": str(row.balance), "adopted_minor": row.minor},
                )
        return posted.new

    async def handle_word(self, client: UUID, row: _Row, profile: Profile) -> None:
        was_blocked = self.status(row) == "blocked"
        async with self.db.transaction() as connection:
            await ensure(connection, client, profile, "supabase")
            known = await lock_client(connection, client)
            assert known is not None  # noqa: S101 - clients are never deleted
            word = row.status[:MAX_STATUS_WORD]
            await status_words.handle(connection, known, word, self.clock, actor=self.operator)
        self.blocked += was_blocked and known.status == "active"

    async def block(self, connection: Connection, client: UUID) -> None:
        await block_client(connection, client, actor=self.operator, reason=self.reason)
        self.blocked += 1


async def adopt(
    db: Database,
    rpc: Rpc,
    *,
    operator: str,
    reason: str,
    clock: Clock,
    dry_run: bool = False,
    page: int = 500,
    on_progress: Callable[[OpeningProgress], None] = lambda _: None,
) -> Adopted:
    """Take over every balance EvPower never wrote; a running relay then writes them.

    A run that was stopped is simply run again. Raises Invalid("operator_missing" |
    "reason_missing") and the SyncErrors of a Supabase that does not answer.
    """
    for name, word in (("operator", operator), ("reason", reason)):
        if not 0 < len(word.strip()) <= _MAX_WORDS:
            raise Invalid(f"{name}_missing", f"{name} must be 1 to {_MAX_WORDS} characters")
        checked(word, name, most=_MAX_WORDS, lines=name == "reason")
    async with db.connection() as connection:
        meanings: dict[str, Meaning] = {
            one.word: one.meaning for one in await store_status_words.words(connection)
        }
    run = _Run(db, operator, reason, clock, dry_run, meanings=meanings)
    after: str | None = None
    total = 0
    while True:
        rows, after, told = await _openings(rpc, after, page)
        total = told if told is not None else total
        await run.page(rows)
        on_progress(OpeningProgress(run.found, max(total, run.found)))
        if after is None:
            break
    return Adopted(
        run.found,
        run.adopted,
        run.adopted_minor,
        run.already,
        run.rounded,
        run.rounded_by,
        run.blocked,
        tuple(run.left),
    )


def _unfit(row: _Row) -> str | None:
    """Why a row is for a person to decide."""
    try:
        if str(UUID(row.id)) != row.id or not UUID(row.id).int:
            return "the id is not a UUID"
    except ValueError:
        return "the id is not a UUID"
    if not row.balance.is_finite():
        return "not a number"
    if row.balance < 0:
        return "negative"
    if row.balance * _TYIYN > MAX_MINOR:
        return "too large"
    return None


async def _openings(
    rpc: Rpc, after: str | None, limit: int
) -> tuple[list[_Row], str | None, int | None]:
    body = orjson.dumps({"payload": {"after": after, "limit": limit}})
    raw = await rpc.call("evpower_openings", body)
    try:
        answer = cast("Mapping[str, object]", raw)
        rows = [_row(one) for one in cast("list[Mapping[str, object]]", answer["rows"])]
        total = answer["total"]
        return rows, cast("str | None", answer["next"]), None if total is None else int(str(total))
    except (KeyError, TypeError, ValueError) as error:
        raise TargetUnavailable("evpower_openings answered in an unknown form") from error


def _row(row: Mapping[str, object]) -> _Row:
    try:
        balance = som_from_json(row["balance"])
    except Invalid:
        balance = Decimal("nan")  # left for a person
    return _Row(str(row["id"]), balance, str(row["status"]), row)
