"""However a Supabase project came to it: what is installed is the same, and stays so."""

from collections.abc import Sequence
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from tests.conftest import Server
from tests.sync.catalog import Line, catalog
from tests.sync.projects import bare_project, connected, migration

HERE = Path(__file__).parent
# The files of editions before 0.1.0, as they were applied in projects that tried EvPower: ten, and
# the one that they became.
_FILES = sorted((HERE / "earlier_project").glob("*.sql"))
TEN = tuple(path.read_text() for path in _FILES if path.name < "20261129")
LAST = tuple(path.read_text() for path in _FILES if path.name >= "20261129")
SHAPES = {"empty": (), "older": ((HERE / "older_project.sql").read_text(),)}
OWNER_OF_AUTH = (
    "alter schema auth owner to supabase_owner",
    "alter table auth.users owner to supabase_owner",
)
# Their text has the types of the project's columns in it: where ids are varchar it is another one.
OF_THE_PROJECTS_TYPES = {
    "evpower.write_profile_contact(uuid,text,text)", "evpower.carry_contact()",
    "evpower.carry_pending_contacts()", "evpower.prune_without_owner()",
    "evpower.clients_and_users(text[])", "evpower_people(jsonb)", "evpower.apply_set(jsonb)",
    "evpower_digest(jsonb)", "evpower_openings(jsonb)", "evpower_archive(jsonb)",
}  # fmt: skip


async def project(
    server: Server, name: str, texts: Sequence[str], *, more: Sequence[str] = ()
) -> list[Line]:
    """The catalog of a new project after these, each in a transaction of its own."""
    async with connected(await bare_project(server, name, more=more)) as there:
        for text in texts:
            async with there.transaction():
                await there.execute(text)
        return await catalog(there)


def differences(left: Sequence[Line], right: Sequence[Line]) -> set[Line]:
    return set(left) ^ set(right)


@pytest.mark.parametrize("shape", ["empty", "older"])
async def test_every_way_to_this_edition_ends_in_the_same_catalog(
    server: Server, shape: str
) -> None:
    first, now = SHAPES[shape], migration()
    anew = await project(server, f"upgrade_{shape}_new", [*first, now])
    assert [line for line in anew if line.name == "evpower_apply(jsonb)"]
    ways = {
        "twice": [*first, now, now],
        "ten": [*first, *TEN, now],
        "ten_twice": [*first, *TEN, *TEN, now, now],
        "last": [*first, *LAST, now],
        "ten_last_twice": [*first, *TEN, *LAST, now, now],
        "ten_again_later": [*first, now, *TEN, now],
    }
    for way, texts in ways.items():
        upgraded = await project(server, f"upgrade_{shape}_{way}", texts)
        assert differences(upgraded, anew) == set(), way


@pytest.mark.parametrize("shape", ["empty", "older"])
async def test_who_owns_auth_makes_no_difference(server: Server, shape: str) -> None:
    """A hosted project's owner does not; a superuser, as in a project of one's own, does."""
    texts = [*SHAPES[shape], migration()]
    anew = await project(server, f"upgrade_{shape}_guest", texts)
    for times in (1, 2):
        name = f"upgrade_{shape}_host_{times}"
        upgraded = await project(server, name, texts + texts[-1:] * (times - 1), more=OWNER_OF_AUTH)
        assert differences(upgraded, anew) == set()


async def test_only_what_has_the_projects_types_differs_between_projects(server: Server) -> None:
    """Tables of public and what stands on them are the project's; everything else is one text."""
    now = migration()
    empty, older = [
        await project(server, f"upgrade_types_{shape}", [*texts, now])
        for shape, texts in SHAPES.items()
    ]
    ours = {
        line
        for line in differences(empty, older)
        if line.kind in {"schema", "function"}
        or any(name in line.name for name in ("evpower.", "auth.users"))
    }
    assert {line.name for line in ours} == OF_THE_PROJECTS_TYPES
    without_text = [{line[:3] for line in lines if line in ours} for lines in (empty, older)]
    assert without_text[0] == without_text[1]


async def test_rows_of_tables_with_other_names_move(server: Server) -> None:
    async with connected(await bare_project(server, "upgrade_rows")) as there:
        await there.execute(LAST[0])
        await there.execute(
            "insert into evpower.wishes (client_id, status, at)"
            " values ('a', 'inactive', '2026-11-01Z'), ('b', 'active', '2026-11-02Z');"
            "insert into evpower.uncarried (user_id, contact, since)"
            " values ('a', 'email', '2026-11-03Z');"
            "insert into evpower.set_aside (at, relation, client_id, was)"
            " values ('2026-11-04Z', 'clients', 'a', '{\"balance\": 7}');"
            "update evpower.webhook set url = 'https://e.kg/hook', kept_in = 'table'"
        )
        # A file from before is applied again beside the new tables: the newer row stays.
        for text in (migration(), migration(), *TEN, migration()):
            await there.execute(text)
        saved = await there.fetch(
            "select client_id, status, at::date::text from evpower.statuses_under_block order by 1"
        )
        assert [tuple(row) for row in saved] == [
            ("a", "inactive", "2026-11-01"),
            ("b", "active", "2026-11-02"),
        ]
        pending = await there.fetchrow("select user_id, contact from evpower.pending_contacts")
        assert tuple(pending or ()) == ("a", "email")
        archived = await there.fetchrow(
            "select at::date::text, relation, client_id, archived_row ->> 'balance' as balance"
            "  from evpower.archive"
        )
        assert tuple(archived or ()) == ("2026-11-04", "clients", "a", "7")
        webhook = await there.fetchrow("select url, kept_in from evpower.webhook")
        assert tuple(webhook or ()) == ("https://e.kg/hook", "table")


async def test_a_sign_up_while_the_file_is_applied_again_is_logged(server: Server) -> None:
    """The trigger gives up after 500 ms: so nothing may lock the log until the end."""
    dsn = await bare_project(server, "upgrade_beside")
    user = uuid4()
    async with connected(dsn) as there, connected(dsn) as other:
        await there.execute(migration())
        async with there.transaction():
            await there.execute(migration())
            await other.execute("insert into auth.users (id) values ($1)", user)
        logged = await there.fetch("select op from evpower.changes where row_id = $1", str(user))
        assert [row["op"] for row in logged] == ["insert"]


@pytest.mark.parametrize("table", ["clients", "transactions", "charging_sessions"])
async def test_a_table_of_another_role_is_named_before_anything_is_changed(
    server: Server, table: str
) -> None:
    name = f"upgrade_owned_{table}"
    dsn = await bare_project(server, name, more=[f"create table public.{table} (id text)"])
    async with connected(dsn) as there:
        before = await catalog(there)
        with pytest.raises(asyncpg.InsufficientPrivilegeError) as refused:
            await there.execute(migration())
        assert f"public.{table} belongs to postgres, so supabase_owner" in str(refused.value)
        assert f"alter table public.{table} owner to supabase_owner" in str(refused.value.hint)
        assert await catalog(there) == before


def test_the_earlier_files_are_there() -> None:
    """Without them the upgrades above would prove nothing."""
    assert (len(TEN), len(LAST)) == (10, 1)
