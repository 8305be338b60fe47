"""docs/reports.md defines each figure that a report has, and its query is the ledger's sum."""

import re
from datetime import timedelta
from pathlib import Path

from evpower.foundation.db import Connection, Database
from evpower.reports import report_csv, report_json
from tests.reports.books import FIRST, Books

PAGE = (Path(__file__).parents[2] / "docs" / "reports.md").read_text()
DEFINED = re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)
[QUERY] = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
UNITS = {"_wh": "_kwh", "_minor": "_som", "uptime": "uptime_percent"}


async def test_the_page_defines_the_figures_of_json_and_csv(
    db: Database, owner: Connection
) -> None:
    report = await Books(db, owner).report()
    assert sorted(report_json(report)["total"]) == sorted(DEFINED)
    in_csv = [
        re.sub("|".join(UNITS), lambda unit: UNITS[unit.group()], figure) for figure in DEFINED
    ]
    head = report_csv(report).splitlines()[0].split(",")
    assert sorted(head[5:]) == sorted(in_csv)


async def test_the_query_of_the_page_is_what_a_day_charged(db: Database, owner: Connection) -> None:
    books = Books(db, owner)
    client = await books.money.client()
    await books.top_up(client, 100_000)
    for second, cost_minor in ((0, 700), (86_399, 1_300)):
        await books.session(client, "S1", cost_minor)
        await books.at(second)
    query = QUERY.replace("2026-12-01", str(FIRST))
    query = query.replace("2026-12-02", str(FIRST + timedelta(days=1)))
    assert await owner.fetchval(query) == 2_000
    assert (await books.report(FIRST)).total.charged_minor == 2_000
    books.day += timedelta(days=1)
    await books.session(client, "S1", 500)
    await books.at(0)
    assert await owner.fetchval(query) == 2_000
