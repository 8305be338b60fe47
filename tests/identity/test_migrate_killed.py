"""`evpower identity` as an operator runs it: killed, interrupted, asked again."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from typing import Any

import httpx

from evpower import client_migration
from evpower.foundation.db import Connection
from tests.identity.conftest import Answer, Edge, Request, forward
from tests.identity.moving import CONFIRMED, Moving, someone
from tests.waiting import until

ROWS = 120
USERS = "/auth/v1/admin/users"


def command(*words: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "evpower", "identity", *words)


async def start(moving: Moving, dsn: str, *words: str, url: str = "") -> Process:
    with moving.environment(dsn) as environment:
        return await asyncio.create_subprocess_exec(
            *command(*words), stdout=PIPE, stderr=PIPE, cwd=moving.folder,
            env=environment | ({"EVPOWER_SUPABASE_URL": url} if url else {}),
        )  # fmt: skip


async def evpower(moving: Moving, dsn: str, *words: str) -> tuple[int | None, str, str]:
    process = await start(moving, dsn, *words)
    out, err = await process.communicate()
    assert b"Traceback" not in err, err.decode()
    return process.returncode, out.decode(), err.decode()


async def moved(owner: Connection, at_least: int, process: Process) -> None:
    """Wait until so many rows are done."""

    async def are_done() -> bool:
        assert process.returncode is None, await process.communicate()
        count = await owner.fetchval(
            "select count(*) from client_migration.run_rows where state = 'done'"
        )
        return count >= at_least

    await until(are_done)


async def is_undone(owner: Connection) -> None:
    """What a killed process had begun is undone, and no process owns the run."""

    async def is_gone() -> bool:
        return not await owner.fetchval(
            "select exists (select from pg_stat_activity where application_name = 'command'"
            " and datname = current_database())"
        )

    await until(is_gone)


def answers(moving: Moving, edge: Edge, http: httpx.AsyncClient, first: int) -> asyncio.Event:
    """Auth creates every user, but says so of the `first` only until the event is set.

    So the command can't end before it is killed, however late that is.
    """
    all_of_them, created = asyncio.Event(), 0

    async def respond(request: Request) -> Answer:
        nonlocal created
        answer = await forward(moving.supabase, http, request)
        if (request.method, request.path) == ("POST", USERS):
            created += 1
            if created > first:
                await all_of_them.wait()
        return answer

    edge.respond = respond
    return all_of_them


def people() -> list[dict[str, object]]:
    """Some to link, some to create, some with money or cards, a conflict and a nonsense."""
    rows = [someone(f"old-{n}") for n in range(ROWS)]
    for n, row in enumerate(rows):
        row |= {"balance": "1.50" if n % 5 == 0 else "", "id_tags": f"tag-{n}" if n % 3 else ""}
    rows.append(someone("twin", email=rows[1]["email"], balance="", id_tags=""))
    rows.append(someone("nonsense", phone="none", balance="", id_tags=""))
    return rows


async def result(moving: Moving, rows: Sequence[dict[str, object]]) -> list[Any]:
    """What came of every row, without what differs from one run to another."""
    of = {row["id"]: row["email"] for row in rows}
    moved: list[Any] = []
    for old_id, client in sorted((await moving.named()).items()):
        user = await moving.there.fetchval("select email from auth.users where id = $1", client)
        record = await moving.owner.fetchrow(
            "select c.email, c.status, w.balance_minor, w.version,"
            " (select array_agg(alias order by alias) from identity.aliases a"
            "   where a.client_id = c.id) as aliases"
            " from identity.clients c join wallet.wallets w on w.client_id = c.id where c.id = $1",
            client,
        )
        assert record is not None
        assert user == record["email"] == of[old_id]
        moved.append((old_id, tuple(record)))
    counts = await moving.owner.fetchrow(
        "select (select count(*) from identity.clients), (select count(*) from payments.payments),"
        " (select count(*) from identity.aliases)"
    )
    return [moved, tuple(counts or ()), await moving.users()]


async def test_killed_and_resumed_it_ends_as_if_nothing_had_happened(
    moving: Moving, dsn: str, edge: Edge, http: httpx.AsyncClient
) -> None:
    rows = people()
    for row in rows[10:30]:
        await moving.user(email=row["email"], **CONFIRMED)
    path = str((moving.csv(*rows))._path)
    words = ("migrate", "--source", path)
    answered = answers(moving, edge, http, first=40)
    process = await start(moving, dsn, *words, "--per-second", "150", url=edge.url)
    await moved(moving.owner, 30, process)
    process.kill()
    await process.communicate()
    assert process.returncode == -signal.SIGKILL
    await is_undone(moving.owner)
    answered.set()
    code, _, err = await evpower(moving, dsn, *words)
    assert (code, "--resume" in err) == (1, True)
    code, out, err = await evpower(
        moving, dsn, *words, "--resume", "--json", "--per-second", "2000"
    )
    assert code == 1, err  # a conflict and a nonsense are left to a person
    done = json.loads(out)["done"]
    assert (done["done"], done["failed"], done["conflicts"], done["invalid"]) == (119, 0, 2, 1)

    results, counts, users = await result(moving, rows)
    assert len(results) == ROWS - 1
    assert users == ROWS - 1
    assert counts[0] == ROWS - 1
    opened = {old_id for old_id, record in results if record[2] == 150 and record[3] == 1}
    assert opened == {row["id"] for row in rows if row["balance"] and row["id"] != "old-1"}
    assert counts[1] == len(opened)
    tags = sum(1 for row in rows[:ROWS] if row["id_tags"] and row["id"] != "old-1")
    assert counts[2] == ROWS - 1 + tags


async def test_ctrl_c_ends_it_cleanly(
    moving: Moving, dsn: str, edge: Edge, http: httpx.AsyncClient
) -> None:
    rows = [someone(n) for n in range(100)]
    words = ("migrate", "--source", str(moving.csv(*rows)._path))
    answered = answers(moving, edge, http, first=20)
    process = await start(moving, dsn, *words, "--per-second", "100", url=edge.url)
    await moved(moving.owner, 10, process)
    process.send_signal(signal.SIGINT)
    answered.set()
    _, err = await process.communicate()
    assert (process.returncode, b"--resume" in err, b"Traceback" in err) == (1, True, False)
    assert await moving.users() == len(await moving.named())  # nothing was left half-way
    code, out, err = await evpower(moving, dsn, *words, "--resume", "--per-second", "2000")
    assert (code, len(await moving.named()), await moving.users()) == (0, 100, 100), out + err


async def test_the_whole_way_of_an_operator(moving: Moving, dsn: str) -> None:
    rows = [someone("a", balance="10"), someone("b", balance=""), someone("c", balance="")]
    user = await moving.user(email=rows[2]["email"])
    source = str(moving.csv(*rows)._path)
    code, out, _ = await evpower(moving, dsn, "migrate", "--source", source, "--dry-run")
    assert code == 0
    assert "2 would be created" in out
    assert "10.00 som" in out
    assert "email_unverified" in out
    assert "no column says which emails were confirmed" in out
    assert await moving.named() == {}
    code, _, err = await evpower(moving, dsn, "migrate", "--source", source, "--report", "no/r.csv")
    assert (code, "no/r.csv: No such file" in err) == (1, True)
    code, out, err = await evpower(moving, dsn, "migrate", "--source", source)
    assert (code, "1 row needs a decision" in err) == (1, True)
    assert "moved: 2 of 2" in err  # printed without a terminal, too
    async with moving.db.transaction() as connection:
        await client_migration.decide(
            connection, "c", user, actor="Aizada", reason="came with a passport"
        )
    code, _, _ = await evpower(moving, dsn, "migrate", "--source", source)
    assert (code, (await moving.named())["c"]) == (0, user)
    _, out, _ = await evpower(moving, dsn, "status", "--json")
    newest, first = json.loads(out)
    assert (newest["linked"], newest["rows_skipped"], first["created"]) == (1, 2, 2)
    async with moving.db.transaction() as connection:
        await client_migration.confirm(connection, first["id"], actor="Aizada")
    code, out, _ = await evpower(moving, dsn, "revert", "--json")
    assert json.loads(out) == {"run": newest["id"], "aliases": 1, "users": 0, "retained": 0}


async def test_what_was_left_is_counted_whole_and_listed_in_part(moving: Moving, dsn: str) -> None:
    rows = [someone(n, phone="none") for n in range(60)]  # more than any list shows
    twin = someone("twin")
    rows += [twin, someone("other", email=twin["email"])]
    words = ("migrate", "--source", str(moving.csv(*rows)._path))
    _, planned, _ = await evpower(moving, dsn, *words, "--dry-run")
    code, none, _ = await evpower(moving, dsn, "conflicts")
    assert (code, none) == (0, "none\n")
    await evpower(moving, dsn, *words)
    _, listed, _ = await evpower(moving, dsn, "conflicts", "--limit", "3")
    for output in (planned, listed):
        assert "conflict 2: two rows have one email" in output
        assert "invalid 60: its phone is invalid" in output
    assert listed.count("    line ") == 3
    assert "and 59 more: --limit 62 lists them" in listed
    _, whole, _ = await evpower(moving, dsn, "conflicts")
    assert (whole.count("    line "), "more" in whole) == (62, False)
    code, _, output = await evpower(moving, dsn, "confirm")  # the run moved no client
    assert (code, "none moved a client" in output) == (1, True)
    code, _, output = await evpower(moving, dsn, "confirm", "--run", "999")
    assert (code, "there is no such run" in output) == (1, True)
