"""A released migration never changes, and a new one comes after it."""

import hashlib
from pathlib import Path

import pytest

from evpower.devstack.supabase import migrations
from evpower.devstack.supabase.migrations import FILE, ReleasedFileError, digests, write
from tests.snapshots.released import LISTS, present

LISTED = pytest.mark.parametrize(
    ("listed", "pattern"), LISTS.items(), ids=[path.parent.name for path in LISTS]
)


@LISTED
def test_a_released_file_is_there_unchanged(listed: Path, pattern: str) -> None:
    released, now = digests(listed), present(listed, pattern)
    assert released, "the first edition is released"
    assert {name: now.get(name) for name in released} == released, (
        "a released file never changes: write a new one (docs/how-to/migration.md)"
    )


@LISTED
def test_a_new_file_comes_after_the_released_ones(listed: Path, pattern: str) -> None:
    released, now = digests(listed), present(listed, pattern)
    assert all(name > max(released) for name in now.keys() - released.keys())


def test_another_text_is_not_written_over_a_released_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    released = {FILE: hashlib.sha256(b"-- as released").hexdigest()}
    monkeypatch.setattr(migrations, "digests", lambda: released)
    with pytest.raises(ReleasedFileError, match="raise EDITION"):
        write(tmp_path)
    assert list(tmp_path.iterdir()) == []
