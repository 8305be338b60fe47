"""One comparison in a process of its own, so that its memory is its own: `check` or `naive`."""

import asyncio
import json
import re
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from evpower.foundation.db import Database
from evpower.foundation.http import HttpClient
from evpower.sync import SupabaseRpc, check

Json = dict[str, Any]
_PAGE = 1_000  # what PostgREST gives at once in a hosted project


@dataclass(frozen=True, slots=True)
class Where:
    """Both sides."""

    mode: str
    dsn: str
    url: str
    key: str


async def main() -> None:
    """Compare, and print what it took."""
    where = Where(*sys.argv[1:])
    database = await Database.open(where.dsn, size=4)
    async with HttpClient() as http, httpx.AsyncClient(trust_env=False) as bare:
        _forget_peak()
        before = _peak_mb()
        began = time.perf_counter()
        if where.mode == "check":
            clients = await _check(database, http, where)
        else:
            clients = await _naive(database, bare, where)
        took_s = time.perf_counter() - began
    await database.close()
    result = {"clients": clients, "seconds": took_s, "peak_mb": _peak_mb(), "start_mb": before}
    print(json.dumps(result), flush=True)


async def _check(database: Database, http: HttpClient, where: Where) -> int:
    done = await check(database, SupabaseRpc(http, where.url, where.key, timeout_s=30))
    if not done.equal or done.in_flight or done.notices:
        raise RuntimeError(f"{done.differ} differ, {done.notices} notices: {done.drift[:3]}")
    if not done.users == done.clients:
        raise RuntimeError(f"{done.users} people, {done.clients} clients")
    return done.clients


async def _naive(database: Database, http: httpx.AsyncClient, where: Where) -> int:
    """Every row over the wire, page by page, and compared in Python."""
    async with database.transaction() as connection:
        clients = {
            str(row["id"]): (row["email"], row["balance_minor"], row["held_minor"], row["version"])
            async for row in connection.cursor(
                "select c.id, c.email, w.balance_minor, w.held_minor, w.version"
                " from identity.clients c join wallet.wallets w on w.client_id = c.id"
            )
        }
        lines = {
            str(row["id"]): (row["version"], row["amount_minor"], row["balance_after_minor"])
            async for row in connection.cursor(
                "select id, version, amount_minor, balance_after_minor from wallet.transactions"
            )
        }
    there = _Rest(http, where)
    async for row in there.rows("clients", "id,email,balance,held,balance_version"):
        money = (_minor(row["balance"]), _minor(row["held"]), int(row["balance_version"]))
        if clients.get(row["id"]) != (row["email"], *money):
            raise RuntimeError(f"client {row['id']} differs")
    async for row in there.rows("transactions", "id,version,amount,balance_after"):
        line = (int(row["version"]), _minor(row["amount"]), _minor(row["balance_after"]))
        if lines.pop(row["id"], None) != line:
            raise RuntimeError(f"transaction {row['id']} differs")
    users = 0
    async for row in there.users():
        users += 1
        if clients[row["id"]][0] != row["email"]:
            raise RuntimeError(f"user {row['id']} differs")
    if lines or users != len(clients):
        raise RuntimeError(f"{len(lines)} transactions and {users} users")
    return len(clients)


class _Rest:
    """PostgREST and the admin API, as anybody would read them."""

    def __init__(self, http: httpx.AsyncClient, where: Where) -> None:
        self._http = http
        self._url = where.url
        self._headers = {"apikey": where.key}

    async def rows(self, table: str, columns: str) -> AsyncGenerator[Json]:
        after = "00000000-0000-0000-0000-000000000000"
        while True:
            parameters = {
                "select": columns,
                "id": f"gt.{after}",
                "order": "id",
                "limit": str(_PAGE),
            }
            page = await self._get(f"/rest/v1/{table}", parameters)
            for row in page:
                yield row
            if len(page) < _PAGE:
                return
            after = page[-1]["id"]

    async def users(self) -> AsyncGenerator[Json]:
        number = 1
        while True:
            parameters = {"page": str(number), "per_page": str(_PAGE)}
            page = (await self._get("/auth/v1/admin/users", parameters))["users"]
            for row in page:
                yield row
            if len(page) < _PAGE:
                return
            number += 1

    async def _get(self, path: str, parameters: dict[str, str]) -> "Any":  # noqa: ANN401 - JSON
        answer = await self._http.get(
            f"{self._url}{path}", params=parameters, headers=self._headers, timeout=30
        )
        answer.raise_for_status()
        return answer.json()


def _minor(som: object) -> int:
    return round(float(str(som)) * 100)


def _forget_peak() -> None:
    """From now on the peak is that of the comparison, not of the imports."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_mb() -> float:
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    if peak is None:
        raise RuntimeError("this system does not tell a process's memory")
    return int(peak[1]) / 1024


if __name__ == "__main__":
    asyncio.run(main())
