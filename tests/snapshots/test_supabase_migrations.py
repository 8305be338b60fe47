"""supabase/migrations/ is what supabase/source/ makes."""

from pathlib import Path

from evpower.devstack.supabase.migrations import FILE, generate

FOLDER = Path(__file__).parents[2] / "supabase" / "migrations"


def test_the_migration_is_the_sum_of_its_sources() -> None:
    assert (FOLDER / FILE).read_text() == generate(), "run `make supabase-migrations`"


def test_no_other_migration_is_shipped() -> None:
    assert [path.name for path in FOLDER.iterdir()] == [FILE]
