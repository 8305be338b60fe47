"""A slice reads another one's data through that slice's public views, and only from above.

A name `schema.object` in a string of `src/` is of the slice's own schema, a view its owner
declares public (`PUBLIC_VIEWS`) or a function granted to `evpower_app`.
"""

import ast
import re
from collections.abc import Iterator
from importlib import import_module

import pytest

from evpower.foundation.db import Database
from tests.snapshots.layers import LEVELS, SOURCE, is_above, slice_of
from tests.snapshots.trees import nodes, one_worker

SCHEMAS = (
    "foundation",
    "alerts",
    "identity",
    "tariffs",
    "stations",
    "payments",
    "charging",
    "ocpp",
    "push",
    "wallet",
    "sync",
    "client_migration",
)
NAME = re.compile(
    rf"""(?<![\w./])"?(?P<schema>{"|".join(SCHEMAS)})"?\."?(?P<object>\w+|\x00|\{{)""",
    re.IGNORECASE,
)
UNKNOWN = "\0"  # a part of a string that is known only when the program runs

# In the database the wallet stands above the causes of its transactions: its rows point at theirs.
MONEY_CORE = {("wallet", "payments"), ("wallet", "charging")}

_MOVES = "the clients of another system are moved by the owner, rows locked and written whole"
_PROOF = "the proof recomputes all money from every table there is, views would hide what is wrong"
EXCEPTIONS: dict[str, tuple[str, set[str]]] = {
    "wallet/store_verify.py": (
        _PROOF,
        {"identity.clients", "payments.payments", "charging.sessions", "charging.settlements"},
    ),
    "wallet/store.py": (
        "a payment or session is locked before a refund points at it: two would wait in a circle",
        {"payments.payments", "charging.sessions"},
    ),
    "client_migration/store_plan.py": (_MOVES, {"identity.aliases", "identity.clients"}),
    "client_migration/store.py": (_MOVES, {"identity.aliases", "identity.clients"}),
    "client_migration/store_record.py": (_MOVES, {"identity.aliases", "identity.clients"}),
    "client_migration/store_revert.py": (_MOVES, {"identity.aliases"}),
    "client_migration/execute.py": ("an action of the audit, no table", {"identity.migrate"}),
    "client_migration/runs.py": (
        "actions of the audit, no tables",
        {"identity.confirm", "identity.decide", "identity.revert"},
    ),
    "client_migration/opening_balances.py": ("an action of the audit, no table", {"sync.adopt"}),
    "config/settings.py": ("the host of older apps, no table", {"ocpp.evpower"}),
    "cli/sync.py": ("shown to an operator, who is no slice", {"sync.drift"}),
}


def strings(source: str) -> Iterator[str]:
    """Yields the strings of a module, parts joined. Docstrings are prose, casts name types."""
    everything = nodes(source)
    prose = {
        id(statement.value)
        for node in everything
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    } | {
        id(node.args[0])
        for node in everything
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "cast"
    }
    for node in everything:
        if isinstance(node, ast.expr) and id(node) not in prose:
            text = _text(node)
            if text is not None:
                yield text


def _text(node: ast.expr) -> str | None:
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(_text(part) or UNKNOWN for part in parts)
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            texts = _text(left), _text(right)
            return None if texts == (None, None) else "".join(text or UNKNOWN for text in texts)
        case _:
            return None


def foreign_names(source: str, own: str) -> set[str]:
    """Returns the names of other schemas in a module of the slice `own`."""
    return {
        f"{match['schema'].lower()}.{match['object'].lower()}"
        for text in strings(source)
        for match in NAME.finditer(text)
        if match["schema"].lower() != own
    }


def public_views() -> set[str]:
    """Returns the views that slices declare."""
    return {
        view
        for slice_ in SCHEMAS
        for view in getattr(import_module(f"evpower.{slice_}"), "PUBLIC_VIEWS", ())
    }


async def granted_functions(db: Database) -> set[str]:
    """Returns the functions that the processes may call."""
    async with db.connection() as connection:
        rows = await connection.fetch(
            "select n.nspname || '.' || p.proname as name from pg_proc p"
            " join pg_namespace n on n.oid = p.pronamespace cross join aclexplode(p.proacl) a"
            " where n.nspname = any ($1) and a.grantee = 'evpower_app'::regrole",
            list(SCHEMAS),
        )
    return {row["name"] for row in rows}


def may_read(reader: str, name: str, allowed: set[str]) -> bool:
    """Whether a slice may name an object of another schema."""
    owner = name.partition(".")[0]
    return name in allowed and (is_above(reader, owner) or (reader, owner) in MONEY_CORE)


@pytest.mark.parametrize(
    "source",
    [
        "'select * from wallet.wallets'",
        "'select * from Wallet.Wallets'",
        """'select * from "wallet"."wallets"'""",
        "f'with a as ({A}) select * from wallet.wallets'",
        "f'select * from wallet.{table}'",
        "'select * from ' + 'wallet.' + table",
        "'select * from wallet.{}'.format(table)",
        "call('select 1,', table='wallet.wallets')",
        "'insert into wallet.wallets'",
        "'select wallet.open_wallet()'",
    ],
)
def test_a_name_of_another_schema_is_seen(source: str) -> None:
    assert foreign_names(f"sql = {source}", "sync")


@pytest.mark.parametrize(
    "source",
    [
        '"""Reads wallet.wallets."""',
        "'select * from sync.pending'",
        "import_module('evpower.wallet.store')",
        "'the wallet. Nothing else'",
        "'see docs/wallet.md'",
        "'select w.balance from sync.wallet w'",
    ],
)
def test_what_names_no_other_schema_is_allowed(source: str) -> None:
    assert not foreign_names(source, "sync")


@pytest.mark.parametrize(
    ("reader", "name"),
    [
        ("sync", "wallet.wallets"),  # a table
        ("identity", "wallet.balances"),  # from below
        ("payments", "charging.sessions_public"),  # a neighbour
        ("charging", "wallet.open_wallet"),  # a function that is not granted
    ],
)
def test_what_is_not_public_is_refused(reader: str, name: str) -> None:
    assert not may_read(reader, name, public_views())


def test_a_slice_reads_views_of_those_below() -> None:
    assert may_read("sync", "wallet.balances", public_views())
    assert may_read("wallet", "payments.payments_public", public_views())


@one_worker
async def test_slices_read_each_other_by_public_views(db: Database) -> None:
    allowed = public_views() | await granted_functions(db)
    refused_names: dict[str, set[str]] = {}
    for path in sorted(SOURCE.rglob("*.py")):
        reader = slice_of(path)
        names = foreign_names(path.read_text(), reader)
        if refused := {name for name in names if not may_read(reader, name, allowed)}:
            refused_names[str(path.relative_to(SOURCE))] = refused
    assert refused_names == {path: names for path, (_, names) in EXCEPTIONS.items()}


async def test_every_schema_is_known(db: Database) -> None:
    async with db.connection() as connection:
        rows = await connection.fetch(
            "select nspname as name from pg_namespace where nspname !~ '^pg_'"
            " and nspname not in ('information_schema', 'public')"
        )
    assert {row["name"] for row in rows} == set(SCHEMAS)
    assert set(SCHEMAS) <= set(LEVELS)


def test_a_file_s_slice_is_its_folder() -> None:
    assert slice_of(SOURCE / "sync" / "inbound" / "pull.py") == "sync"
    assert slice_of(SOURCE / "__main__.py") == "__main__"
