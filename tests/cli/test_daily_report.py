"""`evpower report daily`."""

import asyncio
import csv
import io
import json
from concurrent.futures import ThreadPoolExecutor

from click.testing import Result
from typer.testing import CliRunner

from evpower.cli.app import app
from evpower.foundation.db import Connection, Database
from tests.reports.books import FIRST, Books


async def report(dsn: str, *words: str) -> Result:
    with ThreadPoolExecutor(1) as pool:
        call = lambda: CliRunner().invoke(  # noqa: E731
            app, ["report", "daily", *words], env={"EVPOWER_DATABASE_URL": dsn}
        )
        return await asyncio.get_running_loop().run_in_executor(pool, call)


async def test_a_day_as_text_csv_and_json(db: Database, owner: Connection, dsn: str) -> None:
    books = Books(db, owner)
    client = await books.money.topped_up(100_000)
    session = await books.session(client, "S1", 1_250, 4_000, owner="Aida")
    await books.correct(session, 250, 1_000)
    await books.at(3_600)
    day = FIRST.isoformat()
    lines = (await report(dsn, "--date", day)).stdout.splitlines()
    assert lines[0] == "2026-03-10 in Asia/Bishkek"
    assert lines[1] == (
        "total: 1.000 kWh, 1 session (0 free, 0 quarantined), charged 12.50, of these debts 0.00, "
        "refunded 10.00, revenue 2.50 som, uptime -"
    )
    assert [line.split(":")[0] for line in lines[2:]] == [
        "station S1", "location (none)", "owner Aida",
    ]  # fmt: skip
    shown = json.loads((await report(dsn, "--date", day, "--json")).stdout)
    assert shown["total"]["revenue_minor"] == 250
    rows = list(csv.DictReader(io.StringIO((await report(dsn, "--date", day, "--csv")).stdout)))
    assert (rows[0]["scope"], rows[0]["revenue_som"]) == ("total", "2.50")


async def test_a_date_that_is_none_is_one_line(dsn: str) -> None:
    for words, why in (
        (("--date", "yesterday"), "is no date"),
        (("--date", "9999-12-31"), "begun"),
    ):
        done = await report(dsn, *words)
        assert (done.exit_code, why in done.stderr) == (1, True), done.stderr
