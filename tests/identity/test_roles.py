"""The roles of operators: one table, its page, and what became of the two old words."""

import re
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from evpower.foundation.db import Connection
from evpower.foundation.migrations import load, migrate
from evpower.identity import RIGHTS, ROLES
from tests.conftest import Server, as_owner

ROOT = Path(__file__).resolve().parents[2]
DIVIDED = "0014_operator_roles"


def role_table() -> str:
    """As docs/roles.md has it."""
    head = f"| Right | What | {' | '.join(ROLES)} |"
    lines = [head, f"|---|---|{'---|' * len(ROLES)}"]
    for right, grant in RIGHTS.items():
        cells = " | ".join("yes" if role in grant.roles else "" for role in ROLES)
        lines.append(f"| `{right}` | {grant.text} | {cells} |")
    return "\n".join(lines)


def test_the_page_has_the_table_of_the_code() -> None:
    assert role_table() in (ROOT / "docs" / "roles.md").read_text()


def test_every_role_reads_and_only_finance_moves_money() -> None:
    assert RIGHTS["read"].roles == set(ROLES)
    assert RIGHTS["session.bill"].roles == RIGHTS["tariff.change"].roles == {"finance"}


def test_only_an_administrator_gives_roles() -> None:
    assert RIGHTS["operator.change"].roles == {"admin"}


def test_a_right_of_support_is_one_of_operators_too() -> None:
    for right, grant in RIGHTS.items():
        if "support" in grant.roles:
            assert {"operator", "admin"} <= grant.roles, right


async def test_the_database_knows_the_same_roles(owner: Connection) -> None:
    text: Any = await owner.fetchval(
        "select pg_get_constraintdef(oid) from pg_constraint where conname = 'operators_role_check'"
    )
    assert re.findall(r"'(\w+)'", text) == list(ROLES)


class TestOldWords:
    """Who had a role before it was divided has no right that was not given."""

    @pytest.mark.parametrize(
        ("old", "acts"), [("viewer", []), ("operator", [("evpower migrate", "operator.add")])]
    )
    async def test_an_operator_of_before_is_a_viewer(
        self, server: Server, old: str, acts: list[tuple[str, str]]
    ) -> None:
        name = f"before_roles_{uuid4().hex[:8]}"
        await server.postgres.create_owned_database(name)
        dsn = server.owner_dsn(name)
        files = load()
        before = [file.version for file in files].index(DIVIDED)
        try:
            await migrate(dsn, files=files[:before])
            assert await self._roles_after(dsn, uuid4(), old) == ("viewer", acts)
        finally:
            await server.command(f"drop database {name}")

    @staticmethod
    async def _roles_after(dsn: str, user: UUID, old: str) -> tuple[str, list[tuple[str, str]]]:
        owner: Connection = await asyncpg.connect(as_owner(dsn))
        try:
            await owner.execute(
                "insert into identity.operators (user_id, name, role) values ($1, 'Aida', $2)",
                user,
                old,
            )
            await migrate(dsn)
            role = await owner.fetchval(
                "select role from identity.operators where user_id = $1", user
            )
            acts = await owner.fetch(
                "select actor, action from identity.audit where subject = $1", str(user)
            )
            return role, [(row["actor"], row["action"]) for row in acts]
        finally:
            await owner.close()
