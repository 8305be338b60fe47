"""Corrections of a settled session: new facts and the next bill, or no change at all."""

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from evpower.charging.correct import correct
from evpower.charging.model import Correction, ReportedSession
from evpower.charging.record import record
from evpower.foundation.clock import utc_now
from evpower.foundation.db import Connection, Database
from evpower.foundation.errors import Conflict, EvPowerError, NotFound
from tests.charging.money import top_up


@pytest.fixture
async def report(db: Database, owner: Connection, client_id: UUID) -> ReportedSession:
    """Record a session that was charged 288.56 of 300.00 som."""
    await top_up(owner, client_id, 30_000)
    now = utc_now().replace(microsecond=0)
    report = ReportedSession(
        id=uuid4(),
        client_id=client_id,
        station_id="EVI-0080",
        connector_id=1,
        status="stopped",
        started_at=now - timedelta(hours=1),
        ended_at=now - timedelta(minutes=5),
        energy_wh=21_375,
        cost_minor=28_856,
        billed=False,
    )
    async with db.transaction() as connection:
        await record(connection, report)
    return report


def correction(report: ReportedSession, **other: Any) -> Correction:
    assert report.ended_at is not None
    facts = Correction(
        session_id=report.id,
        ended_at=report.ended_at,
        energy_wh=report.energy_wh,
        cost_minor=report.cost_minor,
        actor="Aida",
        reason="the station sent its stop late",
    )
    return replace(facts, **other)


async def session_facts(owner: Connection, report: ReportedSession) -> tuple[Any, ...]:
    row = await owner.fetchrow(
        "select state, ended_at, energy_wh, cost_minor from charging.sessions where id = $1",
        report.id,
    )
    assert row is not None
    return tuple(row)


async def test_a_better_figure_changes_facts_and_money_together(
    db: Database, owner: Connection, report: ReportedSession
) -> None:
    assert report.ended_at is not None
    later = report.ended_at + timedelta(minutes=3)
    better = correction(report, ended_at=later, energy_wh=22_000, cost_minor=29_700)
    async with db.transaction() as connection:
        done = await correct(connection, better)
    assert (done.changed, done.moved_minor, done.balance_minor, done.debt_minor) == (
        True, -844, 300, 0,
    )  # fmt: skip
    assert await session_facts(owner, report) == ("settled", later, 22_000, 29_700)
    async with db.transaction() as connection:
        again = await correct(connection, better)
    assert again == replace(done, changed=False, moved_minor=0)


async def test_a_correction_is_one_statement(db: Database, report: ReportedSession) -> None:
    statements: list[str] = []
    async with db.transaction() as connection:
        with connection.query_logger(lambda logged: statements.append(logged.query)):
            await correct(connection, correction(report, cost_minor=10_000))
    assert len(statements) == 1


async def test_an_unpaid_part_is_a_debt_and_a_lower_figure_forgives_it(
    db: Database, report: ReportedSession
) -> None:
    async with db.transaction() as connection:
        owing = await correct(connection, correction(report, cost_minor=35_000))
    assert (owing.balance_minor, owing.debt_minor) == (0, 5_000)
    async with db.transaction() as connection:
        done = await correct(connection, correction(report, cost_minor=28_000))
    assert (done.moved_minor, done.balance_minor, done.debt_minor) == (2_000, 2_000, 0)


async def test_the_same_report_after_a_correction_is_a_conflict(
    db: Database, report: ReportedSession
) -> None:
    async with db.transaction() as connection:
        await correct(connection, correction(report, cost_minor=10_000))
    with pytest.raises(Conflict) as refusal:
        async with db.transaction() as connection:
            await record(connection, report)
    assert refusal.value.code == "session_conflict"


@pytest.mark.parametrize(
    ("other", "code"),
    [
        ({"energy_wh": -1}, "invalid_energy"),
        ({"energy_wh": 1_000_001}, "implausible_energy"),
        ({"cost_minor": -1}, "invalid_amount"),
        ({"cost_minor": 10**30}, "invalid_amount"),
        ({"actor": " "}, "reason_missing"),
        ({"actor": "a" * 201}, "reason_missing"),
        ({"reason": ""}, "reason_missing"),
        ({"reason": "r" * 501}, "reason_missing"),
        ({"reason": "\ud83d"}, "reason_missing"),
        ({"reason": "a\x00b"}, "reason_missing"),
        ({"ended_at": utc_now() - timedelta(days=9)}, "end_before_start"),
    ],
)
async def test_nonsense_is_refused_and_changes_nothing(
    db: Database, owner: Connection, report: ReportedSession, other: dict[str, Any], code: str
) -> None:
    before = await session_facts(owner, report)
    with pytest.raises(EvPowerError) as refusal:
        async with db.transaction() as connection:
            await correct(connection, correction(report, **other))
    assert refusal.value.code == code
    assert await session_facts(owner, report) == before


async def test_only_a_charged_session_is_corrected(db: Database, report: ReportedSession) -> None:
    elsewhere = replace(report, id=uuid4(), billed=True)
    async with db.transaction() as connection:
        await record(connection, elsewhere)
    for unknown, kind, code in (
        (elsewhere, Conflict, "session_not_settled"),
        (replace(report, id=uuid4()), NotFound, "session_not_found"),
    ):
        with pytest.raises(kind) as refusal:
            async with db.transaction() as connection:
                await correct(connection, correction(unknown, cost_minor=1))
        assert refusal.value.code == code
