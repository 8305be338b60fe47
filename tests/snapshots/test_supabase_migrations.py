"""supabase/migrations/ is what supabase/source/ makes, one object a file, all of one edition."""

import re
from pathlib import Path

import pytest

from evpower.devstack.supabase.migrations import EDITION, FILE, generate

ROOT = Path(__file__).parents[2] / "supabase"
SOURCES = sorted((ROOT / "source").glob("*.sql"))
CREATED = re.compile(r"^create (?:or replace function|table if not exists) ([\w.]+)", re.MULTILINE)


def test_the_migration_is_the_sum_of_its_sources() -> None:
    assert (ROOT / "migrations" / FILE).read_text() == generate(), "run `make supabase-migrations`"


def test_no_other_migration_is_shipped() -> None:
    assert [path.name for path in (ROOT / "migrations").iterdir()] == [FILE]


@pytest.mark.parametrize("path", SOURCES, ids=[path.stem for path in SOURCES])
def test_a_file_makes_one_function_or_table_and_has_its_name(path: Path) -> None:
    made = CREATED.findall(path.read_text())
    assert len(made) <= 1
    assert all(re.fullmatch(r"\d{4}_" + name.split(".")[1], path.stem) for name in made)


def test_every_comment_and_the_edition_say_the_same_version() -> None:
    texts = {path.stem: path.read_text() for path in SOURCES}
    stamps = {stem: set(re.findall(r"'evpower (\S+): ", text)) for stem, text in texts.items()}
    assert [stem for stem, found in stamps.items() if found - {EDITION}] == []
    assert [stem for stem, found in stamps.items() if not found] == ["0100_table_owners"]
    assert f"select '{EDITION}'" in texts["0115_edition"]
