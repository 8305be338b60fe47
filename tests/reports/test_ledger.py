"""The sums of every day's report are those of the ledger, whatever was billed when."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
from hypothesis import given, settings
from hypothesis import strategies as st

from evpower.foundation.db import Connection
from tests.conftest import as_owner, patient_database
from tests.reports.books import FIRST, Books, money_of

_STATIONS = st.sampled_from(["S1", "S2", "of another system"])
_OWNERS = st.sampled_from(["", None, "Aida", "Bek"])
_MONEY = st.integers(0, 50_000)
_ENERGY = st.integers(0, 60_000)
_PICK = st.integers(0, 1_000)
_ACTS = st.one_of(
    st.tuples(st.just("top_up"), _PICK, st.integers(1, 50_000)),
    st.tuples(st.just("session"), _PICK, _STATIONS, _MONEY, _ENERGY, _OWNERS),
    st.tuples(st.just("correct"), _PICK, _MONEY, _ENERGY, _OWNERS),
    st.tuples(st.just("refund"), _PICK, st.floats(0, 1)),
    st.tuples(st.just("next_day")),
)
_SECONDS = st.integers(0, 86_399) | st.sampled_from([0, 86_399])
_DAYS = 12


async def act(books: Books, clients: list[Any], deed: tuple[Any, ...]) -> None:
    match deed:
        case ("top_up", pick, amount):
            await books.top_up(clients[pick % len(clients)], amount)
        case ("session", pick, station, cost, energy, owner):
            await books.session(clients[pick % len(clients)], station, cost, energy, owner)
        case ("correct", pick, cost, energy, owner) if books.sessions:
            await books.correct(books.sessions[pick % len(books.sessions)], cost, energy, owner)
        case ("refund", pick, share) if books.sessions:
            await books.refund(books.sessions[pick % len(books.sessions)], share)
        case ("next_day",):
            books.day = min(books.day + timedelta(days=1), FIRST + timedelta(days=_DAYS))
        case _:
            pass


async def compare(books: Books) -> None:
    for number in range(_DAYS + 1):
        day = FIRST + timedelta(days=number)
        report = await books.report(day)
        ledger = await books.ledger(day)
        assert money_of(report.stations) == ledger
        assert money_of(report.locations) == ledger
        assert money_of(report.owners) == ledger
        assert (report.total.charged_minor, report.total.refunded_minor) == ledger
        for rows in (report.stations, report.locations, report.owners):
            assert sum(row.figures.energy_wh for row in rows) == report.total.energy_wh
            assert sum(row.figures.sessions for row in rows) == report.total.sessions


async def energy_is_that_of_the_sessions(books: Books) -> None:
    """Over all days the energy is what the sessions took at last, and each is counted once."""
    days = [await books.report(FIRST + timedelta(days=number)) for number in range(_DAYS + 1)]
    energy = await books.sql.fetchval(
        "select coalesce(sum(energy_wh), 0) from charging.sessions where id = any ($1)",
        books.sessions,
    )
    assert sum(day.total.energy_wh for day in days) == energy
    assert sum(day.total.sessions for day in days) == len(books.sessions)


async def test_every_day_adds_up_to_the_ledger(dsn: str, owner: Connection) -> None:
    def work() -> None:
        loop = asyncio.new_event_loop()
        database = patient_database(dsn, size=2)

        async def connect() -> Connection:
            await database.start()
            return await asyncpg.connect(as_owner(dsn))

        sql = loop.run_until_complete(connect())

        async def scenario(acts: list[tuple[tuple[Any, ...], int]]) -> None:
            books = Books(database, sql)
            clients = [await books.money.client() for _ in range(3)]
            await sql.execute("set session_replication_role = replica")
            await sql.execute("delete from wallet.transactions; delete from charging.settlements")
            await sql.execute("reset session_replication_role")
            for deed, second in acts:
                await act(books, clients, deed)
                await books.at(second)
            await compare(books)
            await energy_is_that_of_the_sessions(books)

        try:

            @given(st.lists(st.tuples(_ACTS, _SECONDS), max_size=25))
            @settings(max_examples=max(settings().max_examples // 4, 25))
            def adds_up(acts: list[tuple[tuple[Any, ...], int]]) -> None:
                loop.run_until_complete(scenario(acts))

            adds_up()
        finally:
            loop.run_until_complete(sql.close())
            loop.run_until_complete(database.close())
            loop.close()

    await asyncio.to_thread(work)
    assert await owner.fetchval("select count(*) from charging.sessions") > 0
