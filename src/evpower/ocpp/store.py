"""All SQL of the stations' sockets: raw frames, and answers to repeated requests."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from evpower.foundation.db import Connection, fetch_one
from evpower.foundation.purge import count
from evpower.ocpp.model import FrameRow

ANSWERS_STAY: Final = timedelta(days=30)
_FRAME_COLUMNS: Final = (
    "station_id", "received_at", "direction", "message_type", "message_id", "action", "frame",
)  # fmt: skip


class AnsweredCall(NamedTuple):
    """A request with its answer: its key, the answer's payload, and both raw frames."""

    key: bytes
    answer: str
    frames: tuple[FrameRow, FrameRow]


async def answer_of(connection: Connection, key: bytes) -> str | None:
    """Returns the answer that was given to the same request before."""
    return await connection.fetchval("select answer from ocpp.answers where key = $1", key)


async def claim_answer(
    connection: Connection, key: bytes, answer: str, frames: Sequence[FrameRow]
) -> bool:
    """Stores an answer and the frames. Returns false if the request was answered before.

    A request under way in another transaction is waited for.
    """
    row = await fetch_one(
        connection,
        """
        with claimed as (
          insert into ocpp.answers (key, answer, received_at) values ($1, $2, $3)
          on conflict (key) do nothing returning 1
        ), logged as (
          insert into ocpp.frames
            (station_id, received_at, direction, message_type, message_id, action, frame)
          select * from unnest($4::text[], $5::timestamptz[], $6::text[], $7::smallint[],
                               $8::text[], $9::text[], $10::text[])
        )
        select exists (select from claimed) as is_new
        """,
        key,
        answer,
        frames[0].at,
        *_columns(frames),
    )
    return row["is_new"]


async def claim_answers(connection: Connection, answered: Sequence[AnsweredCall]) -> set[bytes]:
    """Stores the answers of calls by key, and the raw frames of both directions.

    Returns the keys of the calls that were not answered before.
    """
    rows = await connection.fetch(
        """
        insert into ocpp.answers (key, answer, received_at)
        select * from unnest($1::bytea[], $2::text[], $3::timestamptz[])
        on conflict (key) do nothing returning key
        """,
        [call.key for call in answered],
        [call.answer for call in answered],
        [call.frames[0].at for call in answered],
    )
    await connection.copy_records_to_table(
        "frames",
        schema_name="ocpp",
        columns=_FRAME_COLUMNS,
        records=[frame for call in answered for frame in call.frames],
    )
    return {row["key"] for row in rows}


async def insert_frames(connection: Connection, frames: Sequence[FrameRow]) -> None:
    """Stores frames."""
    await connection.execute(
        """
        insert into ocpp.frames
          (station_id, received_at, direction, message_type, message_id, action, frame)
        select * from unnest($1::text[], $2::timestamptz[], $3::text[], $4::smallint[], $5::text[],
                             $6::text[], $7::text[])
        """,
        *_columns(frames),
    )


async def keep_frames(
    connection: Connection, today: date, keep_days: int
) -> list[tuple[str, date]]:
    """Makes and drops partitions of the frames. Returns the outcomes by day.

    An outcome is made, dropped, or moved: rows of the day were in the default partition.
    """
    rows = await connection.fetch("select * from ocpp.keep_frames($1, $2)", today, keep_days)
    return [(row["outcome"], row["day"]) for row in rows]


async def delete_answers(
    connection: Connection, now: datetime, at_most: int, *, keep: timedelta = ANSWERS_STAY
) -> int:
    """Deletes answers that are too old for a retry. Returns how many."""
    return count(
        await connection.execute(
            """
            delete from ocpp.answers where ctid = any (array(
              select ctid from ocpp.answers where received_at < $1 limit $2))
            """,
            now - keep,
            at_most,
        )
    )


class OtherSocket(NamedTuple):
    """A station's newest socket, wherever it is."""

    node: str
    last_frame_at: datetime


async def socket_of(connection: Connection, station_id: str) -> OtherSocket | None:
    """Returns the station's newest socket, None if it never sent anything."""
    row = await connection.fetchrow(
        """
        select node, last_frame_at from stations.sockets_public
         where station_id = $1 and last_frame_at is not null
        """,
        station_id,
    )
    return None if row is None else OtherSocket(row["node"], row["last_frame_at"])


def _columns(frames: Sequence[FrameRow]) -> list[list[object]]:
    return [list(column) for column in zip(*frames, strict=True)]
