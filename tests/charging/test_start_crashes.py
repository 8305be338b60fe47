"""SIGKILL while a session starts, is stopped or begins: all of it is there, or nothing."""

import asyncio
import signal
import sys
from pathlib import Path

import orjson
import pytest

from evpower import wallet
from evpower.foundation.failpoints import Failpoint
from tests.charging.site import STATION, Site
from tests.waiting import WAIT_LIMIT_S


async def run(site: Site, dsn: str, folder: Path, step: Failpoint | None, **facts: str) -> None:
    """Runs one act in a process of its own, which is killed at the step (None: it lives)."""
    words = {"station": STATION, "now": site.now.isoformat(), **facts}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.charging.doomed", dsn, str(folder / "failpoint")),
        *(step or "", orjson.dumps(words).decode()),
    )
    code = await asyncio.wait_for(process.wait(), WAIT_LIMIT_S)
    assert code == (-signal.SIGKILL if step else 0)


async def money_is_sound(site: Site) -> bool:
    return (await wallet.verify(site.db)).ok


@pytest.mark.parametrize(
    ("step", "rows"),
    [(Failpoint.START_UNCOMMITTED, 0), (Failpoint.CHANGES_COMMITTED, 1)],
)
async def test_a_start_is_whole_or_not_there(
    site: Site, dsn: str, tmp_path: Path, step: Failpoint, rows: int
) -> None:
    client = await site.driver()
    await run(site, dsn, tmp_path, step, act="start", client=str(client))
    held = 20_000 * rows
    assert await site.scenario.money(client) == (100_000, held, 0)
    assert len(await site.commands()) == rows
    assert await money_is_sound(site)
    await run(site, dsn, tmp_path, None, act="start", client=str(client))  # the app tries again
    assert await site.scenario.money(client) == (100_000, 20_000, 0)
    assert await site.commands() == [("remote_start", "queued")]


@pytest.mark.parametrize(
    ("step", "rows"),
    [(Failpoint.BEGIN_UNCOMMITTED, 0), (Failpoint.CHANGES_COMMITTED, 1)],
)
async def test_a_stations_start_is_whole_or_not_there(
    site: Site, dsn: str, tmp_path: Path, step: Failpoint, rows: int
) -> None:
    started = await site.start(await site.driver())
    await site.deliver()
    tag = await site.tag(started.session_id)
    await run(site, dsn, tmp_path, step, act="begin", tag=tag)
    assert await site.state(started.session_id) == ("charging" if rows else "starting")
    assert await money_is_sound(site)
    answer = await site.begin(tag)  # the station tries again
    assert await site.session_of(answer.transaction_id) == started.session_id
    assert await site.sql.fetchval("select count(*) from charging.transactions") == 1
    assert await site.holds(started.session_id) == [(1, 200, "open")]


async def test_a_stop_that_was_committed_is_carried_out(
    site: Site, dsn: str, tmp_path: Path
) -> None:
    client = await site.driver()
    answer = await site.started(client)
    session_id = await site.session_of(answer.transaction_id)
    step = Failpoint.CHANGES_COMMITTED
    words = {"client": str(client), "session": str(session_id)}
    await run(site, dsn, tmp_path, step, act="stop", **words)
    assert await site.state(session_id) == "stopping"
    assert (await site.deliver()).action == "remote_stop"
