"""Cards of clients: an operator gives them, or imports those that an older backend knew."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, Literal, NamedTuple
from uuid import UUID

from evpower import identity
from evpower.charging import store_technicians
from evpower.charging.tags import fold_tag, is_phone_tag
from evpower.foundation.clock import read_time
from evpower.foundation.db import Connection
from evpower.foundation.errors import Conflict, Invalid, NotFound
from evpower.identity import IdTag, RemovedIdTag

MAX_ROWS: Final = 100_000
_DATE_LENGTH: Final = len("2026-12-31")
_COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "id_tag": ("id_tag", "idtag", "tag", "card"),
    "client_id": ("client_id", "client"),
    "status": ("status",),
    "expiry_date": ("expiry_date", "expires_at"),
}

# What became of a line. added, repeated: it is the client's. The others are left out.
CardOutcome = Literal[
    "added", "repeated", "phone_number", "not_accepted", "expired", "unknown_client", "of_another",
    "invalid_tag",
]  # fmt: skip


class ImportedCard(NamedTuple):
    """A line of a file of cards, and what became of it."""

    line: int
    tag: str
    outcome: CardOutcome


class ImportedCards(NamedTuple):
    """What became of a file of cards."""

    counts: Mapping[CardOutcome, int]
    left_out: tuple[ImportedCard, ...]


async def add_card(
    connection: Connection,
    *,
    tag: str,
    client_id: str,
    actor: str,
    reason: str | None = None,
) -> IdTag:
    """Gives a card to a client: it starts charges from now on, billed to the client's wallet.

    `client_id`: the client's id, also one from before. Raises Invalid("invalid_request" |
    "phone_is_no_card"), NotFound("client_not_found"), Conflict("id_tag_taken") for a card of
    another client or a technician.
    """
    client = await identity.resolve(connection, client_id)
    outcome = "unknown_client" if client is None else await _add(connection, tag, client)
    match outcome:
        case "invalid_tag":
            raise Invalid("invalid_request", "a card has 1 to 200 printable characters")
        case "phone_number":
            raise Invalid("phone_is_no_card", f"{tag!a:.80} is a phone number, not a card")
        case "unknown_client":
            raise NotFound("client_not_found", f"{client_id!a:.80} is no client that is open")
        case "of_another":
            raise Conflict("id_tag_taken", f"{tag!a:.80} is another's card")
        case _:
            pass
    plain = identity.plain_id_tag(tag)
    await identity.record_act(
        connection,
        actor=actor,
        action="charging.card_add",
        subject=str(client),
        reason=reason,
        details={"tag": plain},
    )
    return (await identity.list_id_tags(connection, tag=tag))[0]


async def remove_card(
    connection: Connection, *, tag: str, actor: str, reason: str | None = None
) -> list[RemovedIdTag]:
    """Takes a card from its client, however it was written; what runs goes on.

    Returns each spelling with its client: two clients may have had one card in two spellings.
    Raises NotFound("card_not_found").
    """
    removed = await identity.remove_id_tag(connection, tag)
    if not removed:
        raise NotFound("card_not_found", f"{tag!a:.80} is no client's card")
    for spelling, client_id in removed:
        await identity.record_act(
            connection,
            actor=actor,
            action="charging.card_remove",
            subject=str(client_id),
            reason=reason,
            details={"tag": spelling},
        )
    return removed


async def import_cards(
    connection: Connection, raw: bytes, *, actor: str, now: datetime, reason: str | None = None
) -> ImportedCards:
    """Gives the cards of a CSV file to their clients, as the older backend's table has them.

    A line that can't be taken is left out and named; phone numbers, which that backend used as
    tags, are no cards. The same file again changes nothing. Raises Invalid("invalid_request") for a
    file without the columns id_tag and client_id.
    """
    rows = [
        ImportedCard(line, row["id_tag"], await _import_one(connection, row, now))
        for line, row in _rows(raw)
    ]
    counts: Counter[CardOutcome] = Counter(row.outcome for row in rows)
    await identity.record_act(
        connection,
        actor=actor,
        action="charging.card_import",
        subject="cards",
        reason=reason,
        details={str(outcome): count for outcome, count in counts.items()},
    )
    left_out = tuple(row for row in rows if row.outcome not in {"added", "repeated"})
    return ImportedCards(counts, left_out)


async def _import_one(connection: Connection, row: Mapping[str, str], now: datetime) -> CardOutcome:
    if row["status"] and row["status"].lower() != "accepted":
        return "not_accepted"
    if _is_expired(row["expiry_date"], now):
        return "expired"
    if is_phone_tag(row["id_tag"]):
        return "phone_number"
    client_id = await identity.resolve(connection, row["client_id"])
    if client_id is None:
        return "unknown_client"
    return await _add(connection, row["id_tag"], client_id)


async def _add(connection: Connection, tag: str, client_id: UUID) -> CardOutcome:
    plain = identity.plain_id_tag(tag)
    if plain is None:
        return "invalid_tag"
    if is_phone_tag(tag) or await _is_own_phone(connection, plain, client_id):
        return "phone_number"
    if await store_technicians.find(connection, fold_tag(tag)) is not None:
        return "of_another"
    outcome = await identity.add_id_tag(connection, tag, client_id)
    return "unknown_client" if outcome == "not_found" else outcome


async def _is_own_phone(connection: Connection, plain: str, client_id: UUID) -> bool:
    """Returns whether a tag is the client's own number, as typed or as Supabase Auth stores it."""
    try:
        client = await identity.get_client(connection, client_id)
    except NotFound:
        return False
    readings = {identity.phone_as_typed(plain), identity.phone_from_auth(plain)}
    return client.phone is not None and client.phone in readings


def _is_expired(text: str, now: datetime) -> bool:
    if not text:
        return False
    try:
        return read_time(f"{text} 00:00" if len(text) == _DATE_LENGTH else text, zone=UTC) <= now
    except ValueError:
        return True  # one that can't be read is not trusted


def _rows(raw: bytes) -> Iterator[tuple[int, dict[str, str]]]:
    """Yields each line with its number; raises for a file of another form."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise Invalid("invalid_request", "the file is no UTF-8") from error
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        places = _places(next(reader, list[str]()))
        for number, cells in enumerate(reader):
            if number >= MAX_ROWS:
                raise Invalid("invalid_request", f"the file has more than {MAX_ROWS} lines")
            if any(cell.strip() for cell in cells):
                row = {name: _cell(cells, place) for name, place in places.items()}
                yield reader.line_num, row
    except csv.Error as error:
        raise Invalid("invalid_request", f"line {reader.line_num}: {error}") from error


def _places(header: Sequence[str]) -> dict[str, int | None]:
    columns = [name.strip().lower() for name in header]
    places = {
        column: next((columns.index(name) for name in names if name in columns), None)
        for column, names in _COLUMNS.items()
    }
    if places["id_tag"] is None or places["client_id"] is None:
        raise Invalid("invalid_request", "the file needs the columns id_tag and client_id")
    return places


def _cell(cells: Sequence[str], place: int | None) -> str:
    return cells[place].strip() if place is not None and place < len(cells) else ""
