"""`evpower station frames`, as an operator reads evidence."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from typer.testing import CliRunner, Result

from evpower import stations
from evpower.cli.app import app
from evpower.foundation.clock import to_z, utc_now
from evpower.foundation.db import Database
from evpower.ocpp import store
from evpower.ocpp.model import FrameRow
from evpower.stations import Location

Command = Callable[..., Result]
NOW = utc_now()
ROWS = [
    FrameRow("EV-1", NOW - timedelta(hours=2), "in", 2, "1", "StartTransaction", '[2,"1"]'),
    FrameRow("EV-1", NOW - timedelta(hours=1), "in", 2, "2", "StopTransaction", '["\x1b[31m"]'),
    FrameRow("EV-1", NOW - timedelta(days=3), "in", 2, "0", "Heartbeat", '[2,"0"]'),
]


@pytest.fixture
async def run(db: Database, dsn: str) -> Command:
    async with db.transaction() as connection:
        await stations.add_station(
            connection,
            stations.StationDraft(
                "EV-1", Location("mall", "Mall"), (stations.usual_connector(1, 22_000),),
                no_auth=True,
            ),
            now=NOW, actor="aida",
        )  # fmt: skip
        await store.insert_frames(connection, ROWS)

    def invoke(*words: str) -> Result:
        env = {"EVPOWER_DATABASE_URL": dsn}
        return CliRunner().invoke(app, ["station", "frames", *words], env=env)

    def work(*words: str) -> Result:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(invoke, *words).result()

    return work


def lines(done: Result) -> list[dict[str, object]]:
    assert done.exit_code == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


async def test_the_last_day_is_a_json_object_a_line(run: Command) -> None:
    [start, stop] = lines(run("ev-1", "--jsonl"))
    assert (start["station"], start["action"], start["frame"]) == (
        "EV-1", "StartTransaction", '[2,"1"]',
    )  # fmt: skip
    assert stop["frame"] == '["\x1b[31m"]', "as it came"


async def test_an_older_time_is_named(run: Command) -> None:
    since = to_z(NOW - timedelta(days=4))
    assert [row["action"] for row in lines(run("EV-1", "--since", since, "--jsonl"))] == [
        "Heartbeat", "StartTransaction", "StopTransaction",
    ]  # fmt: skip


async def test_a_terminal_shows_no_control_characters(run: Command) -> None:
    done = run("EV-1", "--action", "stoptransaction")
    assert "\x1b" not in done.stdout
    assert "< StopTransaction" in done.stdout


async def test_what_the_limit_left_out_is_said(run: Command) -> None:
    done = run("EV-1", "--limit", "1", "--jsonl")
    assert len(lines(done)) == 1
    assert "there are more" in done.stderr


async def test_pages_repeat_nothing_and_lose_nothing(run: Command, db: Database) -> None:
    call_and_reply = [
        FrameRow("EV-1", NOW - timedelta(minutes=9), way, kind, "9", action, "[]")
        for way, kind, action in (("in", 2, "Heartbeat"), ("out", 3, None))
    ]
    async with db.transaction() as connection:
        await store.insert_frames(connection, call_and_reply)
    seen: list[dict[str, object]] = []
    words: tuple[str, ...] = ()
    while True:
        done = run("EV-1", "--limit", "3", "--jsonl", *words)
        seen += lines(done)
        if "there are more" not in done.stderr:
            break
        words = ("--since", done.stderr.split("--since ")[1].split()[0])
    assert [row["message_type"] for row in seen] == [2, 2, 2, 3]
    assert [row["message_id"] for row in seen] == ["1", "2", "9", "9"]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--direction", "up"), "no direction 'up'"),
        (("--since", "yesterday"), "--since"),
        (("--until", "2026-12-01T12:00:00"), "--until has no time zone"),
        (("--session", "7"), "'7' is no session's id"),
        (("--session", "0c1f3a58-0000-4000-8000-000000000000"), "there is no session"),
    ],
)
async def test_what_makes_no_sense_is_refused(
    run: Command, words: tuple[str, ...], problem: str
) -> None:
    done = run("EV-1", *words)
    assert done.exit_code == 1
    assert problem in done.stderr


async def test_an_action_that_ocpp_has_not_is_named(run: Command) -> None:
    assert "OCPP 1.6 has no action 'Foo'" in run("ev-1", "--action", "Foo").stderr
    assert "has no action" not in run("ev-1", "--action", "ClearCache").stderr
