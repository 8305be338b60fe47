"""supabase/migrations/ is what supabase/source/ makes, one object a file, all of one edition."""

import re
from pathlib import Path

import pytest

from evpower.devstack.supabase.migrations import EDITION, FILE, digests, generate

ROOT = Path(__file__).parents[2] / "supabase"
SOURCES = sorted((ROOT / "source").glob("*.sql"))
CREATED = re.compile(r"^create (?:or replace function|table if not exists) ([\w.]+)", re.MULTILINE)


def test_the_migration_is_the_sum_of_its_sources() -> None:
    assert (ROOT / "migrations" / FILE).read_text() == generate(), "run `make supabase-migrations`"


def test_the_released_migrations_and_the_next_are_shipped() -> None:
    shipped = sorted(path.name for path in (ROOT / "migrations").iterdir())
    assert shipped == sorted({*digests(), FILE})


@pytest.mark.parametrize("path", SOURCES, ids=[path.stem for path in SOURCES])
def test_a_file_makes_one_function_or_table_and_has_its_name(path: Path) -> None:
    made = CREATED.findall(path.read_text())
    assert len(made) <= 1
    assert all(re.fullmatch(r"\d{4}_" + name.split(".")[1], path.stem) for name in made)


def test_every_file_says_the_edition_in_a_comment() -> None:
    texts = {path.stem: path.read_text() for path in SOURCES}
    stamped = [stem for stem, text in texts.items() if "'evpower {edition}: " in text]
    assert sorted(texts.keys() - stamped) == ["0100_table_owners"]
    assert "select '{edition}'" in texts["0115_edition"]
    assert f"select '{EDITION}'" in generate()
    assert "{edition}" not in generate()
