"""`evpower station frames`: the raw frames of a station, as evidence."""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, cast
from uuid import UUID

import typer

from evpower.cli.out import console, errors, fail
from evpower.cli.settings import with_database
from evpower.foundation.clock import read_time, to_z, utc_now
from evpower.foundation.db import Database

if TYPE_CHECKING:
    from evpower.ocpp import Direction, FramePage, StoredFrame

_DAY: Final = timedelta(days=1)


def register(group: typer.Typer) -> None:
    """Adds the command to `evpower station`."""
    group.command()(frames)


def frames(
    name: str = typer.Argument(help="Its id, another name of it, or its post code."),
    action: str = typer.Option("", "--action", help="Only these, StopTransaction for one."),
    direction: str = typer.Option("", "--direction", help="in: from the station; out: to it."),
    since: str = typer.Option("", "--since", help="A time with its zone; a day ago by default."),
    until: str = typer.Option("", "--until", help="A time with its zone; now by default."),
    session: str = typer.Option("", "--session", help="Only those of a session's time."),
    limit: int = typer.Option(1_000, "--limit", min=1, max=10_000, help="At most so many."),
    jsonl: bool = typer.Option(False, "--jsonl", help="A JSON object a line."),
) -> None:
    """Print a station's raw frames, oldest first, secrets blanked."""
    if direction not in {"", "in", "out"}:
        fail(f"there is no direction {direction!r}", "in or out")
    session_id = _session(session)
    now = utc_now()
    before = _time(until, "--until") or now
    first = datetime.min.replace(tzinfo=now.tzinfo) if session_id else before - _DAY
    after = _time(since, "--since") or first

    async def work(database: Database) -> "FramePage":
        from evpower import ocpp

        async with database.connection() as connection:
            return await ocpp.list_frames(
                connection,
                name,
                since=after,
                until=before,
                action=action or None,
                direction=cast("Direction", direction) if direction else None,
                session_id=session_id,
                limit=limit,
            )

    page = with_database(work)
    shown = _whole_times(page)
    for frame in shown:
        if jsonl:
            typer.echo(json.dumps(_row(page.station_id, frame), ensure_ascii=False))
        else:
            arrow = "<" if frame.direction == "in" else ">"
            console.print(f"{to_z(frame.received_at)} {arrow} {frame.action or '?'} {frame.frame}")
    if page.has_more and len(shown) == len(page.frames):
        errors.print(f"there are more, maybe of the same moment: raise --limit, it is {limit}")
    elif page.has_more:
        following = to_z(page.frames[len(shown)].received_at)
        errors.print(f"there are more: --since {following} goes on, --limit is {limit}")
    elif not page.frames:
        errors.print(f"no frame between {to_z(after)} and {to_z(before)}")
        if action and not _is_known(action):
            errors.print(f"OCPP 1.6 has no action {action!a:.80}")


def _whole_times(page: "FramePage") -> "Sequence[StoredFrame]":
    """Returns a page without the moment that its limit cut: the next page begins with it.

    A call and its reply may share one, and `--since` includes its own time.
    """
    if not page.has_more:
        return page.frames
    cut = page.frames[-1].received_at
    before = [frame for frame in page.frames if frame.received_at < cut]
    return before or page.frames


def _is_known(action: str) -> bool:
    from evpower import ocpp

    return action in ocpp.known_actions()


def _row(station_id: str, frame: "StoredFrame") -> dict[str, object]:
    return {
        "station": station_id,
        "received_at": to_z(frame.received_at),
        "direction": frame.direction,
        "message_type": frame.message_type,
        "message_id": frame.message_id,
        "action": frame.action,
        "frame": frame.frame,
    }


def _time(text: str, option: str) -> datetime | None:
    if not text:
        return None
    try:
        return read_time(text)
    except ValueError as error:
        fail(f"{option} {error}", "2026-12-01T12:00:00Z, or with an offset")


def _session(text: str) -> UUID | None:
    if not text:
        return None
    try:
        return UUID(text)
    except ValueError:
        fail(f"{text!r} is no session's id")
