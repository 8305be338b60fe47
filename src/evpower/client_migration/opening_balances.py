"""Imports balances a Supabase project had before EvPower as opening payments, each exactly once.

The payment is the only record of it: its receipt is `opening:<client id>`, and evpower_apply
overwrites the old balance only when the two amounts are equal.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final, cast
from uuid import UUID

import orjson

from evpower.client_migration.store import opening_balances
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
from evpower.payments import OPENING, cash
from evpower.sync import (
    MAX_STATUS_WORD,
    Meaning,
    Rpc,
    TargetUnavailable,
    enqueue,
    handle_status_word,
    is_project_word,
    mapped_words,
)

_MAX_TEXT: Final = 200
_TYIYN: Final = Decimal(100)


@dataclass(frozen=True, slots=True)
class SkippedBalance:
    """A balance that was not imported, in som, and why."""

    id: str
    balance: str
    reason: str


@dataclass(frozen=True, slots=True)
class OpeningProgress:
    """`done` of about `total` balances."""

    done: int
    total: int


@dataclass(frozen=True, slots=True)
class OpeningBalances:
    """The counts of an import; of a dry run, what an import would do.

    `already` were imported before and are not in Supabase yet. `rounded` had fractions of a tyiyn;
    `rounded_by` is the sum that rounding added, in som, negative if it removed. `blocked` were
    blocked in Supabase and are here now.
    """

    rows_read: int
    imported: int
    imported_minor: int
    already: int
    rounded: int
    rounded_by: Decimal
    blocked: int
    skipped: tuple[SkippedBalance, ...]


@dataclass(frozen=True, slots=True)
class _Row:
    """A client in Supabase whose balance EvPower never wrote."""

    id: str
    balance: Decimal
    status: str
    fields: Mapping[str, object]

    @property
    def minor(self) -> int:
        """The balance in tyiyn, rounded half up as evpower_apply does."""
        return rounded_minor(self.balance)

    @property
    def difference(self) -> Decimal:
        """What rounding adds, in som."""
        return Decimal(self.minor) / _TYIYN - self.balance

    @property
    def text(self) -> str:
        """The balance with two decimals, or more if it has more."""
        whole = self.balance.is_finite() and self.balance == round(self.balance, 2)
        return f"{self.balance:.2f}" if whole else str(self.balance)


@dataclass(slots=True)
class _Run:
    """One pass over the balances in Supabase."""

    db: Database
    operator: str
    reason: str
    clock: Clock
    dry_run: bool
    rows_read: int = 0
    imported: int = 0
    imported_minor: int = 0
    already: int = 0
    rounded: int = 0
    rounded_by: Decimal = Decimal(0)
    blocked: int = 0
    skipped: list[SkippedBalance] = field(default_factory=list[SkippedBalance])
    meanings: Mapping[str, Meaning] = field(default_factory=dict[str, Meaning])

    def status(self, row: _Row) -> str:
        """Returns the meaning of the status. Raises Conflict for a word no operator mapped."""
        if not is_project_word(row.status):
            return row.status
        meaning = self.meanings.get(row.status[:MAX_STATUS_WORD])
        if meaning is None:
            word = row.status[:MAX_STATUS_WORD]
            raise Conflict("status_unmapped", f"the status {word!r} is not mapped")
        return meaning

    async def page(self, rows: Sequence[_Row]) -> None:
        self.rows_read += len(rows)
        good: dict[UUID, _Row] = {}
        for row in rows:
            if reason := _reason_to_skip(row):
                self.skipped.append(SkippedBalance(row.id, row.text, reason))
            else:
                good[UUID(row.id)] = row
        async with self.db.connection() as connection:
            before = await opening_balances(connection, list(good))
        for client, row in good.items():
            known = before.get(client)
            if known is None:
                await self.import_balance(client, row)
            elif known == row.minor:
                self.already += 1
            else:
                self.skipped.append(
                    SkippedBalance(row.id, row.text, f"{to_text(known)} was imported before")
                )
        if before and not self.dry_run:  # their entries may be parked after an earlier refusal
            async with self.db.transaction() as connection:
                await enqueue(connection, "client", list(before))

    async def import_balance(self, client: UUID, row: _Row) -> None:
        try:
            new = await (
                self.could_import(client, row) if self.dry_run else self.credit(client, row)
            )
        except (Conflict, Invalid) as error:
            reason = error.detail if error.code == "status_unmapped" else error.code
            self.skipped.append(SkippedBalance(row.id, row.text, reason))
            return
        if not new:  # a concurrent run imported it
            self.already += 1
            return
        self.imported += 1
        self.imported_minor += row.minor
        self.rounded += row.difference != 0
        self.rounded_by += row.difference

    async def could_import(self, client: UUID, row: _Row) -> bool:
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

    async def credit(self, client: UUID, row: _Row) -> bool:
        # Contacts come with the full scan, which knows whether a user can sign in with them.
        profile = Profile(name=profile_of_row(row.fields).name)
        if is_project_word(row.status):
            await self.handle_word(client, row, profile)
        elif (
            row.status == "blocked"
        ):  # in an earlier transaction: the relay writes EvPower's status
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
                receipt=f"{OPENING}{client}",
                now=self.clock(),
            )
            if posted.new and row.difference:
                await record_act(
                    connection,
                    actor=self.operator,
                    action="sync.adopt",
                    subject=f"client:{client}",
                    reason=self.reason,
                    details={"found": str(row.balance), "imported_minor": row.minor},
                )
        return posted.new

    async def handle_word(self, client: UUID, row: _Row, profile: Profile) -> None:
        was_blocked = self.status(row) == "blocked"
        async with self.db.transaction() as connection:
            await ensure(connection, client, profile, "supabase")
            known = await lock_client(connection, client)
            assert known is not None  # noqa: S101 - clients are never deleted
            word = row.status[:MAX_STATUS_WORD]
            await handle_status_word(connection, known, word, self.clock, actor=self.operator)
        self.blocked += was_blocked and known.status == "active"

    async def block(self, connection: Connection, client: UUID) -> None:
        await block_client(connection, client, actor=self.operator, reason=self.reason)
        self.blocked += 1


async def import_opening_balances(
    db: Database,
    rpc: Rpc,
    *,
    operator: str,
    reason: str,
    clock: Clock,
    dry_run: bool = False,
    page: int = 500,
    on_progress: Callable[[OpeningProgress], None] = lambda _: None,
) -> OpeningBalances:
    """Imports every balance EvPower never wrote; a running relay then sends the clients.

    After a stop it is simply called again. Raises Invalid("operator_missing" | "reason_missing"),
    and SyncError when Supabase does not respond.
    """
    for name, word in (("operator", operator), ("reason", reason)):
        if not 0 < len(word.strip()) <= _MAX_TEXT:
            raise Invalid(f"{name}_missing", f"{name} must be 1 to {_MAX_TEXT} characters")
        checked(word, name, most=_MAX_TEXT, lines=name == "reason")
    async with db.connection() as connection:
        meanings: dict[str, Meaning] = {
            word.word: word.meaning for word in await mapped_words(connection)
        }
    run = _Run(db, operator, reason, clock, dry_run, meanings=meanings)
    after: str | None = None
    total = 0
    while True:
        rows, after, reported = await _openings(rpc, after, page)
        total = reported if reported is not None else total
        await run.page(rows)
        on_progress(OpeningProgress(run.rows_read, max(total, run.rows_read)))
        if after is None:
            break
    return OpeningBalances(
        run.rows_read,
        run.imported,
        run.imported_minor,
        run.already,
        run.rounded,
        run.rounded_by,
        run.blocked,
        tuple(run.skipped),
    )


def _reason_to_skip(row: _Row) -> str | None:
    """Returns why an operator must decide about a row; None: it can be imported."""
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
        response = cast("Mapping[str, object]", raw)
        rows = [_row(record) for record in cast("list[Mapping[str, object]]", response["rows"])]
        total = response["total"]
        return (
            rows,
            cast("str | None", response["next"]),
            None if total is None else int(str(total)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TargetUnavailable("evpower_openings returned an unknown form") from error


def _row(row: Mapping[str, object]) -> _Row:
    try:
        balance = som_from_json(row["balance"])
    except Invalid:
        balance = Decimal("nan")  # an operator must decide
    return _Row(str(row["id"]), balance, str(row["status"]), row)
